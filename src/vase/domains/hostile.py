"""Streams as they come in the field: blurred boundaries, drift, glitches, and no repetition at all.

Each wraps a stream and is a stream: batch k remains a pure function of (seed, k).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vase.domains.canvas import CanvasDomain, Floats
from vase.domains.sprites import Sprites, only, turned
from vase.domains.stream import Batches
from vase.records import GroundTruth

RAMP, GLITCH, ENDLESS = 1, 2, 3  # set the random numbers of one wrapper apart from another's


@dataclass(frozen=True, eq=False)
class Ramped:
    """Fuzzy boundaries: over `length` steps the images of the old domain become rarer.

    In step k of a new segment each image is of the new domain with probability
    (k + 1) / (length + 1).
    The truth names the new domain from the first step on. Segments must be as long as the ramp.
    """

    stream: Batches
    length: int
    starts: Sequence[int]
    seed: int = 0

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        images, truth = self.stream.batch(step)
        start = max((start for start in self.starts if start <= step), default=0)
        if start == 0 or step - start >= self.length:
            return images, truth
        generator = np.random.default_rng([self.seed, RAMP, step])
        old, _ = self.stream.batch(max(0, start - 1 - (step - start)))
        new = generator.random(len(images)) < (step - start + 1) / (self.length + 1)
        return np.where(new[:, None, None, None], images, old), truth


@dataclass(frozen=True, eq=False)
class Drifting:
    """Gradual drift: the brightness goes evenly from 1 to `end` over the steps [start, stop)."""

    stream: Batches
    end: float
    start: int
    stop: int

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        images, truth = self.stream.batch(step)
        done = float(np.clip((step - self.start) / (self.stop - self.start), 0, 1))
        return images * np.float32(1 + done * (self.end - 1)), truth


@dataclass(frozen=True, eq=False)
class Glitched:
    """Outliers: a `share` of all batches is black, noise, or one image over and over."""

    stream: Batches
    share: float
    seed: int = 0

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        images, truth = self.stream.batch(step)
        generator = np.random.default_rng([self.seed, GLITCH, step])
        if step == 0 or generator.random() >= self.share:
            return images, truth
        kind = generator.integers(3)
        if kind == 0:
            return np.zeros_like(images), truth
        if kind == 1:
            return generator.random(images.shape, dtype=np.float32), truth
        return np.repeat(images[:1], len(images), axis=0), truth


@dataclass(frozen=True, eq=False)
class Endless:
    """A stream that never repeats: from step `start` on each batch is of a domain of its own.

    Every batch has one class, one turn, one column, one brightness, and is inverted or not.
    """

    stream: Batches
    sprites: Sprites
    size: int
    batch_size: int
    start: int
    seed: int = 0
    classes: Mapping[int, Sprites] = field(init=False)

    def __post_init__(self) -> None:
        found = np.unique(self.sprites.labels).tolist()
        object.__setattr__(self, "classes", {k: only(self.sprites, [k]) for k in found})

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        if step < self.start:
            return self.stream.batch(step)
        generator = np.random.default_rng([self.seed, ENDLESS, step])
        place = float(generator.random())
        domain = CanvasDomain(
            name=f"domain of step {step}",
            sprites=turned(
                self.classes[int(generator.choice(list(self.classes)))],
                int(generator.integers(4)),
            ),
            size=self.size,
            moving=True,
            columns=(place, place),
            inverted=bool(generator.random() < 0.5),
            brightness=float(generator.uniform(0.3, 1)),
        )
        return domain.sample(generator, self.batch_size)
