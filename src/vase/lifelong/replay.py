"""Replay: images of the past learnt like present ones, the rival of dreams with proximity terms.

Either dreams of a frozen snapshot, labelled by it with the environment they are of (deep generative
replay, Shin et al. 2017), or images that were really seen and stored, a uniform sample of the whole
stream (a reservoir). VASE does neither; they are what it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vase.lifelong.memory import Environment


@dataclass(frozen=True)
class Replay:
    """Images [R, C, H, W] to be learnt again, with environment [R], mask and noise [R, N]."""

    images: Tensor
    environment: Tensor
    mask: Tensor
    noise: Tensor

    def part(self, rows: slice) -> Replay:
        """Some of the images."""
        return Replay(*(each[rows] for each in vars(self).values()))


def labelled(
    images: Tensor,
    environment: Tensor,
    known: Sequence[Environment],
    generator: torch.Generator,
) -> Replay:
    """Images [R, C, H, W] of known environments, with their masks and fresh noise."""
    masks = {record.index: torch.as_tensor(record.mask) for record in known}
    mask = torch.stack([masks[index] for index in environment.tolist()]).to(images.device)
    noise = torch.randn(*mask.shape, generator=generator, device=images.device)
    return Replay(images, environment, mask, noise)


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

    def draw(self, count: int, here: Environment, generator: torch.Generator) -> Replay | None:
        """`count` stored images at random, all of one environment; None as long as it is empty."""
        if not self.seen:
            return None
        device = self.images.device
        rows = torch.randint(len(self), (count,), generator=generator, device=device)
        return labelled(self.images[rows], torch.full_like(rows, here.index), [here], generator)
