"""What the averaged networks make of images: moments for a mask, drift, and the published rule.

Everything is seen by the averaged networks under today's weights; training weights jitter too much
to be witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.lifelong.dream import Past, Source, dream
from vase.lifelong.kappa import Guess
from vase.lifelong.look import moments, to_moments
from vase.lifelong.memory import Environment, Memory
from vase.lifelong.ranks import ALONE, Ranks
from vase.nets import Networks
from vase.objective.atypicality import atypicality
from vase.objective.gaussian import kl_to_prior, masked
from vase.objective.moments import Moments

DREAMS = 256  # dreamed images on which the drift of an absent environment is measured


@dataclass(frozen=True)
class Witness:
    """Who looks: today's averaged networks, the snapshot that dreams, and a source of noise.

    All processes look at the same; what they see is averaged, so that none decides otherwise.
    """

    average: Networks
    snapshot: Networks | None
    source: Source
    generator: torch.Generator
    ranks: Ranks = ALONE

    def noise(self, count: int) -> Tensor:
        """Standard normal noise, [count, N]."""
        latents, device = self.average.shape.latents, self.generator.device
        return torch.randn(count, latents, generator=self.generator, device=device)

    def moments(self, images: Tensor, environment: Environment) -> Moments:
        """The moments of images as the averaged networks see them in an environment."""
        return self._seen(self.average, images, environment, self.noise(len(images)))

    def _seen(
        self, networks: Networks, images: Tensor, environment: Environment, noise: Tensor
    ) -> Moments:
        table = self.ranks.mean(moments(networks, images, environment, noise))
        return to_moments(table, len(images))

    @torch.no_grad()
    def kl(self, images: Tensor, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Nats per image that each latent carries through a mask, [N]."""
        used = masked(self.average.encoder(images), torch.as_tensor(mask, device=images.device))
        nats = self.ranks.mean(kl_to_prior(used).mean(0))
        return np.asarray(nats.cpu().double().numpy())

    def drifted(self, known: Environment) -> Moments:
        """What an absent environment's moments must be by now, measured on dreams of it.

        The encoder has moved while the environment was away. Dreams of it, seen by the snapshot
        and by today's networks, show how far; its record is shifted by the difference.
        """
        if self.snapshot is None:
            return known.moments
        past = Past.of([known], self.source, self.generator.device)
        dreamed = dream(self.snapshot, past, DREAMS, self.generator)
        noise = self.noise(DREAMS)
        then = self._seen(self.snapshot, dreamed.images, known, noise)
        now = self._seen(self.average, dreamed.images, known, noise)
        ratio = np.clip(now.variance / then.variance, 0.25, 4.0)
        record = known.moments
        return Moments(record.mean + now.mean - then.mean, record.variance * ratio, record.count)

    @torch.no_grad()
    def guess(self, images: Tensor, memory: Memory) -> Guess:
        """The environment head's best guess, and what images cost in it: for the kappa rule."""
        belief = self.average.head(self.average.encoder(images), len(memory.environments))
        belief = self.ranks.mean(belief.mean(0))
        guessed = memory.environments[int(belief.argmax())]
        seen = self.moments(images, guessed)
        return Guess(
            environment=guessed,
            distortion=float(seen.mean[-2]),
            alpha=atypicality(seen)[: self.average.shape.latents],
            current=memory.current,
            fresh=len(memory.environments),
        )
