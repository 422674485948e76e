"""Generative replay: images of past environments, so that they are not forgotten.

A frozen snapshot of the model itself generates images; the paper calls them dreams. Latents are
drawn from the marginals of a past environment, and the snapshot decodes and encodes them. What it
made of an image, today's networks must still make of it (`objective.proximity`).

Its rivals learn images of the past as if they were present ones: images that the snapshot generates
and labels with their environment (deep generative replay, Shin et al. 2017), or images that were
stored, a uniform sample of the whole stream (a reservoir).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vase.lifelong.environments import Environment
from vase.nets import Networks
from vase.records import Posterior
from vase.settings import Fill, Source


@dataclass(frozen=True, eq=False)
class ReplayBatch:
    """Images [R, C, H, W] that the snapshot generated, and what it made of them.

    z: [R, N], from which they were decoded. environment: [R], ids. posterior: of the snapshot,
    [R, N]. logits: of the snapshot, [R, C, H, W].
    """

    images: Tensor
    z: Tensor
    environment: Tensor
    posterior: Posterior
    logits: Tensor


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Images [R, C, H, W] to be learnt as if they were present ones.

    environment: [R], ids. mask: [R, N], of their environments. noise: [R, N], standard normal.
    """

    images: Tensor
    environment: Tensor
    mask: Tensor
    noise: Tensor

    def part(self, rows: slice) -> LabelledBatch:
        """Some of the images."""
        return LabelledBatch(*(each[rows] for each in vars(self).values()))


@dataclass(frozen=True, eq=False)
class PastEnvironments:
    """What is replayed, a row for each environment: id [E]; mask, mean, variance [E, N].

    fill: what a masked latent is, 0 ("zero") or noise from the prior ("prior").
    """

    index: Tensor
    mask: Tensor
    mean: Tensor
    variance: Tensor
    fill: Fill = "zero"

    @classmethod
    def of(
        cls,
        environments: Sequence[Environment],
        source: Source,
        device: torch.device,
        fill: Fill = "zero",
    ) -> Self:
        """Put the past on a device; source "prior" has 0 and 1 in place of the moments."""
        mask = np.stack([known.mask for known in environments])
        size = mask.shape[1]
        mean = np.stack([known.moments.mean[:size] for known in environments])
        variance = np.stack([known.moments.variance[:size] for known in environments])
        if source == "prior":
            mean, variance = np.zeros_like(mean), np.ones_like(variance)
        index = torch.tensor([known.index for known in environments], device=device)
        masks, means, variances = (
            torch.from_numpy(each).float().to(device) for each in (mask, mean, variance)
        )
        return cls(index, masks, means, variances, fill)

    def latents(self, choice: Tensor, noise: Tensor) -> Tensor:
        """Latents [B, N] of environments in the rows `choice` [B].

        z = a * ( m + sqrt(v) noise ), and + (1 - a) noise where masked ones are drawn from the
        prior; noise [B, N] standard normal.
        """
        mean, deviation, mask = self.mean[choice], self.variance[choice].sqrt(), self.mask[choice]
        z = mask * (mean + deviation * noise)
        return z if self.fill == "zero" else z + (1 - mask) * noise


def drawn_latents(environment: Environment, count: int, seed: int) -> Tensor:
    """Latents [count, N] of an environment's own marginals, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, len(environment.mask), generator=generator)
    choice = torch.zeros(count, dtype=torch.long)
    return PastEnvironments.of([environment], "marginal", noise.device).latents(choice, noise)


@torch.no_grad()
def decoded(networks: Networks, z: Tensor, index: int) -> Tensor:
    """Images [B, C, H, W] in [0, 1] of latents [B, N], as seen in environment `index`."""
    z = z.to(next(networks.parameters()).device)
    return torch.sigmoid(networks.decoder(z, torch.full((len(z),), index, device=z.device)))


@torch.no_grad()
def generate(
    snapshot: Networks,
    past: PastEnvironments,
    count: int,
    generator: torch.Generator,
    rows: slice = slice(None),
) -> ReplayBatch:
    """Generate `count` images of past environments, each equally likely; only `rows` of them."""
    device = generator.device
    choice = torch.randint(len(past.index), (count,), generator=generator, device=device)
    noise = torch.randn(count, snapshot.architecture.latents, generator=generator, device=device)
    z, index = past.latents(choice[rows], noise[rows]), past.index[choice[rows]]
    logits = snapshot.decoder(z, index)
    images = torch.sigmoid(logits)
    return ReplayBatch(images, z, index, snapshot.encoder(images), logits)


def labelled(
    images: Tensor,
    environment: Tensor,
    known: Sequence[Environment],
    generator: torch.Generator,
) -> LabelledBatch:
    """Return images [R, C, H, W] of known environments with their masks and fresh noise."""
    masks = {record.index: torch.as_tensor(record.mask) for record in known}
    mask = torch.stack([masks[index] for index in environment.tolist()]).to(images.device)
    noise = torch.randn(*mask.shape, generator=generator, device=images.device)
    return LabelledBatch(images, environment, mask, noise)


class Reservoir:
    """A uniform sample without replacement of at most `size` of all images added so far.

    Algorithm R (Vitter 1985): image number t, counted from 0, takes a place at random among t + 1,
    and is kept if that is one of the `size` there are. For a learner of a single environment.
    """

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, 0
        self.images = torch.zeros(0)

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def add(self, images: Tensor, generator: torch.Generator) -> None:
        """Offer a batch [B, C, H, W]."""
        if not self.seen:
            self.images = images.new_zeros(self.size, *images.shape[1:])
        order = torch.arange(self.seen, self.seen + len(images))
        chance = torch.rand(len(images), generator=generator, device=images.device).cpu().double()
        place = torch.where(order < self.size, order, (chance * (order + 1)).long())
        # Where two images take one place, the later one has it.
        chosen = {int(slot): row for row, slot in enumerate(place) if slot < self.size}
        self.images[list(chosen)] = images[list(chosen.values())]
        self.seen += len(images)

    def draw(
        self, count: int, present: Environment, generator: torch.Generator
    ) -> LabelledBatch | None:
        """Draw `count` stored images, all of one environment; None as long as it is empty."""
        if not self.seen:
            return None
        device = self.images.device
        rows = torch.randint(len(self), (count,), generator=generator, device=device)
        index = torch.full_like(rows, present.index)
        return labelled(self.images[rows], index, [present], generator)
