"""Imagined goals: what is possible elsewhere, and was never seen here.

A latent that carries nothing in the present environment, or is always the same, but lived in
another one is set to a value that is plausible from there; all others are kept as they are.
Plausible is what was dreamed: a dream of the other environment, seen again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent.dynamics import Array
from vase.errors import InputError
from vase.lifelong.dream import Past, dream
from vase.lifelong.memory import Environment, Memory
from vase.nets import Networks

AT_REST = 0.25  # of a latent's variance elsewhere: what varies by less has come to rest


@dataclass(frozen=True, eq=False)
class Imagination:
    """What can be imagined in an environment.

    home: the index of that where it lived. latents: [N], which are set to what they are there.
    """

    home: int
    latents: NDArray[np.bool_]


def imagination(memory: Memory) -> Imagination:
    """The latents that are idle here but lived elsewhere, as they were where most of them did.

    An `InputError` if there are none.
    """
    here = memory.here
    home = max(memory.elsewhere, key=lambda known: int(idle(here, known).sum()), default=None)
    if home is None or not idle(here, home).any():
        why = (
            f"every latent that lives elsewhere is alive in environment {here.index}"
            if home
            else "this model knows one environment only"
        )
        raise InputError(
            f"There is nothing to imagine: {why}. Explore where something is at rest that moves "
            "elsewhere, with a run that has seen both."
        )
    return Imagination(home.index, idle(here, home))


def idle(here: Environment, home: Environment) -> NDArray[np.bool_]:
    """[N], True where a latent is in use at home, and here is not in use, or at rest.

    In use is what carries `memory.USED` nats or more; at rest what varies by less than `AT_REST` of
    its variance at home, posterior and means together. Nats alone do not tell: where a world was
    foreign nothing is masked, and a latent that is the same for all images may be many nats away
    from the prior.
    """
    latents = len(home.mask)
    varies = here.moments.variance[:latents] >= AT_REST * home.moments.variance[:latents]
    found: NDArray[np.bool_] = home.used & ~(here.used & varies)
    return found


def plausible(
    networks: Networks, home: Environment, count: int, generator: torch.Generator
) -> Array:
    """Latents [count, N] as they may be at home: of dreams of that environment, encoded."""
    past = Past.of([home], "marginal", generator.device)
    dreamed = dream(networks, past, count, generator)
    seen: Array = dreamed.posterior.mean.double().cpu().numpy()
    return seen
