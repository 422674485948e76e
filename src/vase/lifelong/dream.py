"""Dreams: images of past environments, drawn from a frozen snapshot of the model itself.

A dream is drawn in the latents of a past environment, decoded by the snapshot and encoded by it
again. What the snapshot saw in it is what today's networks must still see (`objective.proximity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


def latents(
    environments: Sequence[Environment], choice: Tensor, noise: Tensor, source: Source
) -> Tensor:
    """Latents of past environments, [B, N]: masked ones are 0.

    choice: [B], positions in `environments`. noise: [B, N], standard normal. From the prior
    z = a * noise; from the marginal z = a * ( m + sqrt(v) noise ).
    """
    mask = _table(noise, [known.mask for known in environments])[choice]
    if source == "prior":
        return mask * noise
    size = noise.shape[1]
    mean = _table(noise, [known.moments.mean[:size] for known in environments])[choice]
    variance = _table(noise, [known.moments.variance[:size] for known in environments])[choice]
    return mask * (mean + variance.sqrt() * noise)


@torch.no_grad()
def dream(
    snapshot: Networks,
    environments: Sequence[Environment],
    count: int,
    source: Source,
    generator: torch.Generator,
    rows: slice = slice(None),
) -> Dream:
    """Dream `count` images of the given environments, each equally likely; only `rows` of them."""
    device = generator.device
    choice = torch.randint(len(environments), (count,), generator=generator, device=device)
    noise = torch.randn(count, snapshot.shape.latents, generator=generator, device=device)
    z = latents(environments, choice[rows], noise[rows], source)
    index = torch.tensor([known.index for known in environments], device=device)[choice[rows]]
    logits = snapshot.decoder(z, index)
    images = torch.sigmoid(logits)
    return Dream(images, z, index, snapshot.encoder(images), logits)


def _table(like: Tensor, rows: Sequence[object]) -> Tensor:
    return torch.stack([torch.as_tensor(row) for row in rows]).to(like)
