"""The evidence for a verdict: the held images, seen through every known environment.

Everything is seen by the averaged networks under today's weights. What an environment should look
like by now is measured, too: for the present one on its latest learnt images, for an absent one on
dreams of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vase.lifelong.dream import Source, dream
from vase.lifelong.identify import Candidate, Evidence
from vase.lifelong.look import moments
from vase.lifelong.memory import Environment, Memory
from vase.nets import Networks
from vase.objective.atypicality import atypicality
from vase.objective.moments import Moments

DREAMS = 256  # dreamed images on which the drift of an absent environment is measured


@dataclass(frozen=True)
class Witness:
    """Who looks: today's averaged networks, the snapshot that dreams, and a source of noise."""

    average: Networks
    snapshot: Networks | None
    source: Source
    generator: torch.Generator

    def noise(self, count: int) -> Tensor:
        """Standard normal noise, [count, N]."""
        latents, device = self.average.shape.latents, self.generator.device
        return torch.randn(count, latents, generator=self.generator, device=device)

    def evidence(self, images: Tensor, environment: Environment) -> Moments:
        """The moments of images as the averaged networks see them in an environment."""
        return moments(self.average, images, environment, self.noise(len(images)))

    def drifted(self, known: Environment) -> Moments:
        """What an absent environment's moments must be by now, measured on dreams of it.

        The encoder has moved while the environment was away. Dreams of it, seen by the snapshot
        and by today's networks, show how far; its record is shifted by the difference.
        """
        if self.snapshot is None:
            return known.moments
        dreamed = dream(self.snapshot, [known], DREAMS, self.source, self.generator)
        noise = self.noise(DREAMS)
        then = moments(self.snapshot, dreamed.images, known, noise)
        now = moments(self.average, dreamed.images, known, noise)
        ratio = np.clip(now.variance / then.variance, 0.25, 4.0)
        record = known.moments
        return Moments(record.mean + now.mean - then.mean, record.variance * ratio, record.count)


@torch.no_grad()
def weigh(witness: Witness, memory: Memory, held: Tensor, recent: Sequence[Tensor]) -> Evidence:
    """One candidate per known environment, for the images [B, C, H, W] that are held.

    recent: the latest learnt batches of the present environment. Its record lags behind a model
    that learns fast, and the lag would look like a change of the world.
    """
    known = memory.environments
    posterior = witness.average.encoder(held)
    log_belief = witness.average.head(posterior, len(known)).mean(0)

    def expected(environment: Environment) -> Moments:
        if environment.index != memory.current:
            return witness.drifted(environment)
        if not recent:
            return environment.moments
        return witness.evidence(torch.cat(list(recent)), environment)

    candidates = tuple(
        Candidate(
            environment=environment,
            seen=witness.evidence(held, environment),
            expected=expected(environment),
            belief=float(log_belief[environment.index]),
        )
        for environment in known
    )
    alpha = atypicality(candidates[0].seen)[: witness.average.shape.latents]
    return Evidence(candidates, alpha, memory.current, len(known))
