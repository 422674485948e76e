"""Streams: WHEN (a schedule of environments) times WHAT (their worlds).

Batch k of a stream is a pure function of (seed, k): a stream has no state but its position, so a
run that resumes sees exactly the batches it would have seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vase.errors import ConfigError
from vase.records import Truth
from vase.worlds.canvas import Floats, World


@dataclass(frozen=True)
class Stay:
    """One stay of the stream in one environment: steps [start, end)."""

    environment: str
    start: int
    end: int


@dataclass(frozen=True)
class Schedule:
    """When the stream is where. `stays` follow one another without gaps, from step 0."""

    stays: tuple[Stay, ...]

    @staticmethod
    def of(parts: Sequence[tuple[str, int]]) -> Schedule:
        """Build from (environment, steps) pairs."""
        if not parts or any(steps <= 0 for _, steps in parts):
            raise ConfigError(
                "A schedule needs at least one stay, each of at least one step; "
                f"this one is {list(parts)}. Correct stream.schedule."
            )
        ends = np.cumsum([steps for _, steps in parts]).tolist()
        starts = [0, *ends[:-1]]
        names = [name for name, _ in parts]
        return Schedule(tuple(map(Stay, names, starts, ends)))

    @property
    def steps(self) -> int:
        return self.stays[-1].end

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments in the order of their first appearance."""
        return tuple(dict.fromkeys(stay.environment for stay in self.stays))

    def at(self, step: int) -> str:
        """The environment of a step."""
        return self.stays[bisect_right(self.stays, step, key=lambda stay: stay.end)].environment


class Batches(Protocol):
    """Anything that has a batch for every step."""

    def batch(self, step: int) -> tuple[Floats, Truth]:
        """Images and truth of one step, a pure function of it."""
        ...


@dataclass(frozen=True, eq=False)
class Stream:
    """An unlabelled stream of image batches over a schedule of worlds.

    joint: batches of all worlds mixed evenly at every step: what learning without an order is.
    part: numbers that make the draws of one process others than those of the rest.
    """

    schedule: Schedule
    worlds: Mapping[str, World]
    batch_size: int
    seed: int
    joint: bool = False
    part: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        missing = set(self.schedule.environments) - set(self.worlds)
        if missing:
            raise ConfigError(
                f"The schedule names {sorted(missing)}, but the worlds are {sorted(self.worlds)}."
            )
        shapes = {name: world.shape for name, world in self.worlds.items()}
        if len(set(shapes.values())) > 1:
            raise ConfigError(f"All worlds of a stream must have one image shape, not {shapes}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        return next(iter(self.worlds.values())).shape

    def of_rank(self, rank: int, count: int) -> Stream:
        """What one of `count` processes draws: its part of every batch. Of one alone, all of it."""
        if count == 1:
            return self
        return replace(self, batch_size=self.batch_size // count, part=(rank,))

    def batch(self, step: int) -> tuple[Floats, Truth]:
        """Images and truth of one step."""
        generator = np.random.default_rng([self.seed, step, *self.part])
        if self.joint:
            return self._mixed(generator)
        world = self.worlds[self.schedule.at(step)]
        return world.sample(generator, self.batch_size)

    def _mixed(self, generator: np.random.Generator) -> tuple[Floats, Truth]:
        """A batch of all worlds: every image's world is drawn, each equally likely."""
        names = self.schedule.environments
        counts = generator.multinomial(self.batch_size, [1 / len(names)] * len(names))
        drawn = [
            self.worlds[name].sample(generator, int(count))
            for name, count in zip(names, counts, strict=True)
            if count
        ]
        order = generator.permutation(self.batch_size)
        images = np.concatenate([images for images, _ in drawn])[order]
        identity = np.concatenate([truth.identity for _, truth in drawn])[order]
        return images, Truth("all", identity, {})

    def images(self, start: int = 0) -> Iterator[Floats]:
        """The stream as a learner sees it, from step `start` on: images and nothing else."""
        for step in range(start, self.schedule.steps):
            yield self.batch(step)[0]
