"""Imagined goals: latents that are possible elsewhere and were never seen here.

A goal sets one latent to a plausible value. The latent is inactive in the present environment and
active in another one, the source; all other latents keep their values. Plausible values come from
generative replay of the source environment, encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent.dynamics import Array
from vase.errors import InputError
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.replay import PastEnvironments, generate
from vase.nets import Networks

MIN_VARIANCE_RATIO = 0.25  # of variance here to variance in the source, of an active latent


@dataclass(frozen=True, eq=False)
class Imagination:
    """What can be imagined in an environment.

    source: index of the environment in which the latents are active. latents: [N], True for the
    latents that can be imagined.
    """

    source: int
    latents: NDArray[np.bool_]


def imagination(environments: Environments) -> Imagination:
    """Return the latents that are inactive here and active in another environment.

    The source is the environment with most such latents. An `InputError` if there are none.
    """
    here = environments.present
    source = max(
        environments.absent, key=lambda known: int(inactive(here, known).sum()), default=None
    )
    if source is None or not inactive(here, source).any():
        why = (
            f"every latent that is active elsewhere is active in environment {here.index}"
            if source
            else "the model knows one environment only"
        )
        raise InputError(
            f"There is nothing to imagine: {why}. Explore a domain in which a factor is constant "
            "that varies in another domain, with a run that has seen both."
        )
    return Imagination(source.index, inactive(here, source))


def inactive(here: Environment, source: Environment) -> NDArray[np.bool_]:
    """Return [N], True for latents that are in use in the source and inactive here.

    A latent is in use if it carries `environments.USED` nats or more. It is inactive here if it is
    not in use, or if its variance (posterior and means) is less than `MIN_VARIANCE_RATIO` of its
    variance in the source. Nats alone are not enough: in an out-of-distribution domain nothing is
    masked, and a latent that is the same for all images may be many nats away from the prior.
    """
    latents = len(source.mask)
    varies = (
        here.moments.variance[:latents] >= MIN_VARIANCE_RATIO * source.moments.variance[:latents]
    )
    found: NDArray[np.bool_] = source.used & ~(here.used & varies)
    return found


def sample_plausible(
    networks: Networks, source: Environment, count: int, generator: torch.Generator
) -> Array:
    """Return latents [count, N] of replayed images of the source environment, encoded again."""
    past = PastEnvironments.of([source], "marginal", generator.device)
    replayed = generate(networks, past, count, generator)
    seen: Array = replayed.posterior.mean.double().cpu().numpy()
    return seen
