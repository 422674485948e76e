"""Dreams: images of past environments, drawn from a frozen snapshot of the model itself.

A dream is drawn in the latents of a past environment, decoded by the snapshot and encoded by it
again. What the snapshot saw in it is what today's networks must still see (`objective.proximity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from vase.lifelong.memory import Environment
from vase.nets import Networks
from vase.objective.proximity import Distance
from vase.records import Posterior

Source = Literal["marginal", "prior"]
Method = Literal["proximity", "replay"]


@dataclass(frozen=True)
class DreamRule:
    """How the past is dreamed of.

    method: "proximity" keeps encoder and decoder where they were on dreams; "replay" learns dreams
    as if they were data (see `vase.lifelong.replay`). share: dreamed images per present one.
    source: where latents are drawn, from the environment's own remembered marginals or from the
    prior. encoder, decoder: weights of the proximity terms. distance: of posteriors. refresh: steps
    after which the snapshot is taken anew (0: at switches only). stored: images of the past that
    are kept and replayed in place of dreams (0: none).
    """

    method: Method = "proximity"
    share: float = 0.5
    source: Source = "marginal"
    encoder: float = 1.0
    decoder: float = 1.0
    distance: Distance = "kl"
    refresh: int = 0
    stored: int = 0

    def count(self, present: int) -> int:
        """How many images of the past are gone over again beside so many present ones."""
        return max(1, round(self.share * present))


@dataclass(frozen=True)
class Dream:
    """Dreamed `images` [B, C, H, W] with the z [B, N], environment [B] and snapshot's view."""

    images: Tensor
    z: Tensor
    environment: Tensor
    posterior: Posterior
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Past:
    """What is dreamed of, a row for each environment: index [E]; mask, mean, variance [E, N]."""

    index: Tensor
    mask: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, environments: Sequence[Environment], source: Source, device: torch.device) -> Self:
        """The past as tensors on a device; "prior" puts 0 and 1 in place of the moments."""
        mask = np.stack([known.mask for known in environments])
        size = mask.shape[1]
        mean = np.stack([known.moments.mean[:size] for known in environments])
        variance = np.stack([known.moments.variance[:size] for known in environments])
        if source == "prior":
            mean, variance = np.zeros_like(mean), np.ones_like(variance)
        index = torch.tensor([known.index for known in environments], device=device)
        tables = (torch.from_numpy(each).float().to(device) for each in (mask, mean, variance))
        return cls(index, *tables)

    def latents(self, choice: Tensor, noise: Tensor) -> Tensor:
        """Latents [B, N] of environments in the rows `choice` [B]: masked ones are 0.

        z = a * ( m + sqrt(v) noise ), noise [B, N] standard normal.
        """
        mean, deviation = self.mean[choice], self.variance[choice].sqrt()
        return self.mask[choice] * (mean + deviation * noise)


def latents(
    environments: Sequence[Environment], choice: Tensor, noise: Tensor, source: Source
) -> Tensor:
    """Latents of past environments, [B, N]; see `Past.latents`."""
    return Past.of(environments, source, noise.device).latents(choice, noise)


@torch.no_grad()
def dream(
    snapshot: Networks,
    past: Past,
    count: int,
    generator: torch.Generator,
    rows: slice = slice(None),
) -> Dream:
    """Dream `count` images of past environments, each equally likely; only `rows` of them."""
    device = generator.device
    choice = torch.randint(len(past.index), (count,), generator=generator, device=device)
    noise = torch.randn(count, snapshot.shape.latents, generator=generator, device=device)
    z, index = past.latents(choice[rows], noise[rows]), past.index[choice[rows]]
    logits = snapshot.decoder(z, index)
    images = torch.sigmoid(logits)
    return Dream(images, z, index, snapshot.encoder(images), logits)
