"""Imagined goals: what is possible elsewhere, and was never seen here.

A latent that carries nothing in the present environment but lived in another one is set to a value
that is plausible from there; all others are kept as they are. Plausible is what was dreamed: a
dream of the other environment, seen again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent.dynamics import Array
from vase.errors import InputError
from vase.lifelong.dream import dream
from vase.lifelong.memory import Environment, Memory
from vase.nets import Networks


@dataclass(frozen=True, eq=False)
class Imagination:
    """What can be imagined in an environment.

    home: the index of that where it lived. latents: [N], which are set to what they are there.
    """

    home: int
    latents: NDArray[np.bool_]


def imagination(memory: Memory) -> Imagination:
    """The latents that carry nothing here but lived elsewhere, as they were where most of them did.

    A latent is in use where it carries `memory.USED` nats or more. An `InputError` if there are
    none.
    """
    idle = ~memory.here.used
    home = max(memory.elsewhere, key=lambda known: int((known.used & idle).sum()), default=None)
    if home is None or not (home.used & idle).any():
        why = (
            f"every latent that lives elsewhere is in use in environment {memory.here.index}"
            if home
            else "this model knows one environment only"
        )
        raise InputError(
            f"There is nothing to imagine: {why}. Explore where something is at rest that moves "
            "elsewhere, with a run that has seen both."
        )
    return Imagination(home.index, home.used & idle)


def plausible(
    networks: Networks, home: Environment, count: int, generator: torch.Generator
) -> Array:
    """Latents [count, N] as they may be at home: of dreams of that environment, encoded."""
    dreamed = dream(networks, [home], count, "marginal", generator)
    seen: Array = dreamed.posterior.mean.double().cpu().numpy()
    return seen
