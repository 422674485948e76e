"""Streams: WHEN (a schedule of environments) times WHAT (their domains).

Batch k of a stream is a pure function of (seed, k): a stream has no state but its position, so a
run that resumes sees exactly the batches it would have seen. In a stream in order, batch k holds
the frames [k B, (k + 1) B) of its domain.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vase.domains.canvas import Domain, Floats
from vase.domains.frames import FrameDomain, shuffled
from vase.errors import ConfigError
from vase.records import GroundTruth

Order = Literal["independent", "consecutive", "shuffled"]


@dataclass(frozen=True)
class Segment:
    """One part of the stream in one domain: steps [start, end)."""

    domain: str
    start: int
    end: int


@dataclass(frozen=True)
class Schedule:
    """When the stream is where. `segments` follow one another without gaps, from step 0."""

    segments: tuple[Segment, ...]

    @staticmethod
    def of(parts: Sequence[tuple[str, int]]) -> Schedule:
        """Build from (domain, steps) pairs."""
        if not parts or any(steps <= 0 for _, steps in parts):
            raise ConfigError(
                "A schedule needs at least one segment, each of at least one step; "
                f"this one is {list(parts)}. Correct stream.schedule."
            )
        ends = np.cumsum([steps for _, steps in parts]).tolist()
        starts = [0, *ends[:-1]]
        names = [name for name, _ in parts]
        return Schedule(tuple(map(Segment, names, starts, ends)))

    @property
    def steps(self) -> int:
        return self.segments[-1].end

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains in the order of their first appearance."""
        return tuple(dict.fromkeys(segment.domain for segment in self.segments))

    def at(self, step: int) -> str:
        """The domain of a step."""
        return self.segments[self.index(step)].domain

    def index(self, step: int) -> int:
        """The number of the segment that a step is in."""
        return bisect_right(self.segments, step, key=lambda segment: segment.end)


class Batches(Protocol):
    """Anything that has a batch for every step."""

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        """Images and truth of one step, a pure function of it."""
        ...


@dataclass(frozen=True, eq=False)
class Stream:
    """An unlabelled stream of image batches over a schedule of domains.

    joint: batches of all domains mixed evenly at every step: what learning without an order is.
    order: "independent" images of a domain, its "consecutive" frames, or the same frames of a
    segment "shuffled". part: the rank of one of `processes`, which draws other images than the
    rest, or every so many-th frame.
    """

    schedule: Schedule
    domains: Mapping[str, Domain]
    batch_size: int
    seed: int
    joint: bool = False
    part: tuple[int, ...] = ()
    order: Order = "independent"
    processes: int = 1

    def __post_init__(self) -> None:
        missing = set(self.schedule.domains) - set(self.domains)
        if missing:
            raise ConfigError(
                f"The schedule names {sorted(missing)}, but the domains are {sorted(self.domains)}."
            )
        shapes = {name: domain.shape for name, domain in self.domains.items()}
        if len(set(shapes.values())) > 1:
            raise ConfigError(f"All domains of a stream must have one image shape, not {shapes}.")
        if self.order != "independent":
            self._refuse_without_order()

    def _refuse_without_order(self) -> None:
        if self.joint:
            raise ConfigError(
                f'A joint stream has no order: stream.joint and stream.order = "{self.order}" '
                "exclude each other. Leave one out."
            )
        without = [
            name
            for name in self.schedule.domains
            if not callable(getattr(self.domains[name], "frames", None))
        ]
        if without:
            raise ConfigError(
                f'stream.order is "{self.order}", but the domains {", ".join(without)} have no '
                "frames that follow one another. Leave stream.order out, or choose domains that "
                "have some: sprites, dsprites, hills or room not at rest, own, autoregressive, or "
                "one of your own with `frames` (docs/extend/domain.md)."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        return next(iter(self.domains.values())).shape

    def of_rank(self, rank: int, count: int) -> Stream:
        """What one of `count` processes draws: its part of every batch. Of one alone, all of it."""
        if count == 1:
            return self
        size = self.batch_size // count
        return replace(self, batch_size=size, part=(rank,), processes=count)

    def batch(self, step: int) -> tuple[Floats, GroundTruth]:
        """Images and truth of one step."""
        if self.order != "independent":
            ordered = cast(FrameDomain, self.domains[self.schedule.at(step)])
            return ordered.frames(self.numbers(step), self.seed)
        generator = np.random.default_rng([self.seed, step, *self.part])
        if self.joint:
            return self._mixed(generator)
        domain = self.domains[self.schedule.at(step)]
        return domain.sample(generator, self.batch_size)

    def numbers(self, step: int) -> NDArray[np.int64]:
        """The numbers [B] of the frames of one step of a stream in order."""
        whole = self.batch_size * self.processes
        first = step * whole
        if self.order == "shuffled":
            at = self.schedule.index(step)
            segment = self.schedule.segments[at]
            start = segment.start * whole
            numbers = shuffled(self.seed, at, start, segment.end * whole)[first - start :][:whole]
        else:
            numbers = np.arange(first, first + whole)
        rank = self.part[0] if self.part else 0
        return numbers[rank :: self.processes]

    def _mixed(self, generator: np.random.Generator) -> tuple[Floats, GroundTruth]:
        """A batch of all domains: every image's domain is drawn, each equally likely."""
        names = self.schedule.domains
        counts = generator.multinomial(self.batch_size, [1 / len(names)] * len(names))
        drawn = [
            self.domains[name].sample(generator, int(count))
            for name, count in zip(names, counts, strict=True)
            if count
        ]
        order = generator.permutation(self.batch_size)
        images = np.concatenate([images for images, _ in drawn])[order]
        identity = np.concatenate([truth.labels for _, truth in drawn])[order]
        return images, GroundTruth("all", identity, {})

    def images(self, start: int = 0) -> Iterator[Floats]:
        """The stream as a learner sees it, from step `start` on: images and nothing else."""
        for step in range(start, self.schedule.steps):
            yield self.batch(step)[0]
