"""A working memory of the present environment: its frames, with the redundant ones left out.

Frames that follow one another are almost the same, and a batch of them tells little of the
environment. Where frames depend on one another, a step therefore learns from images drawn out of a
bounded memory. When it is full, not the oldest frames go but those of which there are others like
them (Purushwalkam et al. 2022, "The challenges of continuous self-supervised learning"): a camera
that stands still for hours does not push out what was seen before.

With `pairs`, each frame is kept together with the one so many frames before it, and both are drawn
together: what has not changed between them may share latents (`objective/pairs.py`).

The memory holds nothing of the past. The learner empties it as soon as it leaves the environment,
and a checkpoint never contains it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress

import torch
from torch import Tensor
from torch.nn import functional

from vase.settings import MemorySettings

GRID = 8  # cells a side of the reduced image by which frames are compared
DEPENDENT = 2.0  # correlation time from which a batch holds notably less than as many images
COMPARED = 256  # frames of the memory, drawn at random, among which the redundant ones are sought


def uses_memory(settings: MemorySettings, correlation_time: float) -> bool:
    """Return whether a step learns from the memory instead of from its batch.

    correlation_time: of the frames, in frames; 1 where they are independent.
    """
    return settings.frames > 0 and (settings.use == "always" or correlation_time >= DEPENDENT)


@dataclass(frozen=True, eq=False)
class WorkingMemory:
    """Frames of the present environment. Adding makes a new record, so that a step can be undone.

    frames: at most `capacity`, each [C, H, W] on the CPU: uint8, or float32 if they are vectors.
    descriptors: of the frames, [n, D]. waiting: frames that came after the last step that learnt.
    pairs: frames from the first of a pair to the second; 0 without pairs. Each of `frames` and
    `waiting` is then [2 C, H, W], the earlier frame first. recent: the latest frames, from which
    pairs are made; the first ones of an environment have the first of all before them.
    """

    capacity: int
    frames: tuple[Tensor, ...] = ()
    descriptors: Tensor | None = None
    waiting: tuple[Tensor, ...] = ()
    pairs: int = 0
    recent: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.frames) + len(self.waiting)

    def emptied(self) -> WorkingMemory:
        """Return a memory of the same capacity without a frame."""
        return WorkingMemory(self.capacity, pairs=self.pairs)

    def waiting_for_step(self, images: Tensor) -> WorkingMemory:
        """Return the memory with images [B, C, H, W] in [0, 1] among those that wait."""
        new, recent = _stored(images), self.recent
        if self.pairs:
            known = (*recent, *new)
            first = len(recent) - self.pairs  # row of what is so many frames before the first new
            new = [torch.cat([known[max(0, first + k)], frame]) for k, frame in enumerate(new)]
            recent = known[-self.pairs :]
        return replace(self, waiting=(*self.waiting, *new), recent=recent)

    def merged(self, generator: torch.Generator) -> WorkingMemory:
        """Return the memory with the waiting frames in it, and what is redundant left out."""
        waiting = _images(self.waiting)
        new = descriptors(waiting.chunk(2, dim=1)[1] if self.pairs else waiting)
        known = new if self.descriptors is None else torch.cat([self.descriptors, new])
        frames = (*self.frames, *self.waiting)
        excess = len(frames) - self.capacity
        if excess > 0:
            old = _permutation(len(self.frames), generator)[:COMPARED]
            fresh = torch.arange(len(self.frames), len(frames))
            compared = torch.cat([old, fresh])
            keep = torch.ones(len(frames), dtype=torch.bool)
            keep[compared[redundant(known[compared], excess, generator)]] = False
            frames, known = tuple(compress(frames, keep.tolist())), known[keep]
        return replace(self, frames=frames, descriptors=known, waiting=())

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` images [count, C, H, W], float32 in [0, 1]; none twice if there are enough.

        They are on the generator's device. Pairs are in rows 2k and 2k + 1, so that an odd count is
        one more.
        """
        count = -(-count // 2) if self.pairs else count
        rows = _permutation(len(self.frames), generator).repeat(-(-count // len(self.frames)))
        drawn = _images(tuple(self.frames[row] for row in rows[:count].tolist()))
        if self.pairs:
            drawn = torch.stack(drawn.chunk(2, dim=1), dim=1).flatten(0, 1)
        return drawn.to(generator.device)


def descriptors(images: Tensor) -> Tensor:
    """Return what images [B, C, H, W] are compared by, [B, D]: reduced images of unit length."""
    cells = (min(GRID, images.shape[2]), min(GRID, images.shape[3]))
    reduced = functional.adaptive_avg_pool2d(images, cells).flatten(1)
    return functional.normalize(reduced, dim=1)


def redundant(descriptors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return which `count` of the descriptors [M, D] add least to the others, as rows.

    In a random order each is compared with those before it, and those that are nearest to one
    before them go. So of frames that are alike one stays, whichever comes first.
    """
    order = _permutation(len(descriptors), generator)
    distance = torch.cdist(descriptors[order], descriptors[order])
    later = torch.ones_like(distance, dtype=torch.bool).triu()  # itself included
    nearest = distance.masked_fill_(later, torch.inf).min(dim=1).values
    return order[nearest.argsort(stable=True)[:count]]


def _permutation(count: int, generator: torch.Generator) -> Tensor:
    """A random order of `count` things, on the CPU."""
    return torch.randperm(count, generator=generator, device=generator.device).cpu()


def _stored(images: Tensor) -> list[Tensor]:
    """Images or vectors as they are kept, each in memory of its own."""
    kept = images.detach().cpu()
    if images.shape[2:] != (1, 1):
        kept = kept.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    return [frame.clone() for frame in kept]


def _images(frames: tuple[Tensor, ...]) -> Tensor:
    """Frames as images [B, C, H, W], float32."""
    stacked = torch.stack(frames)
    return stacked.float().div_(255) if stacked.dtype == torch.uint8 else stacked
