"""Named streams of consecutive frames: clips, sprites, one factor at a time, a walk, hostile ones.

A scenario gives a stream for a seed. Its visits are in frames, and batches are cut from the stream
wherever they fall: a change may be in the middle of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from vase import build
from vase.bench.frame_hostile import DISTURBANCES, Disturbance
from vase.bench.scenarios import DOMAINS
from vase.domains import own
from vase.domains.canvas import Floats
from vase.domains.frames import FrameDomain
from vase.domains.scenery import Light
from vase.domains.stream import Schedule, Segment
from vase.errors import ConfigError
from vase.images.files import is_video
from vase.settings import DomainSettings

CLIPS, LAMP = "Real clips", "A walk in three lights"  # groups of streams
RUN_LENGTH = "9000000 frames"  # between false alarms: 140,000 batches of 64

LIFETIMES = (1, 16, 100, 500, 5000)  # frames that a bouncing sprite lives
CLIP_SIZES = (1, 8, 32, 64)  # frames of a batch
CLIP_STAYS, CLIP_FRAMES = 20, (1200, 2401)
WALK_STAYS, WALK_FRAMES = 11, (1500, 2501)  # in each light once, and ten times again
BOUNCING_STAYS, BOUNCING_FRAMES = 12, (4800, 8001)  # of one length a clock would find them all
LIGHTS: tuple[Light, ...] = ("day", "night", "lamp")
BOUNCING = ("moving-mnist", "moving-fashion", "fashion")
DSPRITES, FACTORS_STAYS = "dsprites", 10
FACTORS_FRAMES = 40_000  # of the first stay, in which every factor moves often
SIDE, SMALL = 64, 32  # pixels
CLIPS_LEAST = 3


@dataclass(frozen=True)
class FrameData:
    """Where the images come from. clips: a folder of three or more videos, if there is one."""

    options: build.DataOptions
    clips: Path | None = None


class Frames(Protocol):
    """A stream of consecutive frames with its true visits, in frames."""

    @property
    def visits(self) -> tuple[Segment, ...]: ...

    def frames(self, start: int, stop: int) -> Floats:
        """Frames [start, stop) of the stream, float32 [B, C, H, W]."""
        ...


@dataclass(frozen=True, eq=False)
class FrameStream:
    """Stays in domains with an order: frame n of the stream is frame n of its stay's domain."""

    schedule: Schedule
    domains: Mapping[str, FrameDomain]
    seed: int

    @property
    def visits(self) -> tuple[Segment, ...]:
        return self.schedule.segments

    def frames(self, start: int, stop: int) -> Floats:
        parts = []
        for visit in self.visits:
            first, last = max(start, visit.start), min(stop, visit.end)
            if first < last:
                numbers = np.arange(first, last)
                parts.append(self.domains[visit.domain].frames(numbers, self.seed)[0])
        return np.concatenate(parts)


def frames_of(count: int) -> str:
    """Return a number of frames in words."""
    return f"{count:,} frame{'' if count == 1 else 's'}"


def batches(stream: Frames, size: int) -> Iterator[Floats]:
    """Yield the stream in batches of `size` frames, the last one perhaps smaller."""
    end = stream.visits[-1].end
    for start in range(0, end, size):
        yield stream.frames(start, min(start + size, end))


@dataclass(frozen=True)
class FrameScenario:
    """One kind of stream.

    why: what makes it hard, in a sentence. group: the table that it is in. stream: made for a seed.
    beside: whether detectors of other packages see it too; they take frames one at a time, so that
    once is enough for streams that differ in batches alone. clips: whether it needs the videos.
    disturbance: what happens in it, where the question is not which changes are noticed.
    """

    name: str
    why: str
    group: str
    stream: Callable[[int, FrameData], Frames]
    batch_size: int = 32
    beside: bool = True
    clips: bool = False
    disturbance: Disturbance | None = None


def stays(
    names: Sequence[str], count: int, frames: tuple[int, int], seed: int
) -> Iterator[tuple[str, int]]:
    """Yield `count` stays of [low, high) frames: rounds through all names, each in random order.

    So every name is among the first stays, all come equally often, and none twice running.
    """
    generator = np.random.default_rng([seed, count, len(names)])
    order: list[str] = []
    while len(order) < count:
        round_ = generator.permutation(names).tolist()
        if order[-1:] != round_[:1]:
            order += round_
    for name in order[:count]:
        yield name, int(generator.integers(*frames))


# ---- the streams ---------------------------------------------------------------------------------


def clips(seed: int, data: FrameData) -> FrameStream:
    """Return a playlist of the video clips, each played back and forth."""
    domains = clip_domains(data)
    plan = stays(tuple(domains), CLIP_STAYS, CLIP_FRAMES, seed)
    return FrameStream(Schedule.of(list(plan)), domains, seed)


def clip_domains(data: FrameData) -> dict[str, FrameDomain]:
    """Return every video of the folder of clips as a domain, by the file's name."""
    paths = [] if data.clips is None else sorted(filter(is_video, data.clips.glob("*")))
    if len(paths) < CLIPS_LEAST:
        where = "No folder of clips is given" if data.clips is None else f"'{data.clips}' holds"
        found = "" if data.clips is None else f" {len(paths)} videos"
        raise ConfigError(
            f"{where}{found}, and the streams 'clips-...' and 'null-clips' play at least "
            f"{CLIPS_LEAST} videos. Give a folder of them: --clips FOLDER. docs/detection.md says "
            "which ones RESULTS.md has and where to get them."
        )
    images = {path.stem: own.load(path, SIDE, 3, data.options.progress) for path in paths}
    return {
        name: own.OwnDomain(name, frames, np.arange(len(frames)))  # none is held out
        for name, frames in images.items()
    }


def walk(lights: tuple[Light, ...], seed: int, data: FrameData) -> FrameStream:
    """Return a walk through the room by day, by night, or by the viewer's own lamp."""
    domains: dict[str, FrameDomain] = {light: _lit(light, data) for light in lights}
    plan = list(stays(lights, WALK_STAYS * len(lights), WALK_FRAMES, seed))
    return FrameStream(Schedule.of(plan), domains, seed)


def _lit(light: Light, data: FrameData) -> FrameDomain:
    settings = DomainSettings(domain="room", walk=True, light=light)
    return cast(FrameDomain, build.domain(light, settings, SIDE, data.options, "train"))


def bouncing(lifetime: int, seed: int, data: FrameData) -> FrameStream:
    """Return three domains of sprites that live `lifetime` frames each."""
    plan = list(stays(BOUNCING, BOUNCING_STAYS, BOUNCING_FRAMES, seed))
    domains = {name: sprites(name, lifetime, data) for name in BOUNCING}
    return FrameStream(Schedule.of(plan), domains, seed)


def sprites(name: str, lifetime: int, data: FrameData) -> FrameDomain:
    """Return a domain of `vase bench detect` as one whose sprites live `lifetime` frames."""
    settings = DomainSettings(**DOMAINS[name], lifetime=lifetime)
    return cast(FrameDomain, build.domain(name, settings, SMALL, data.options, "train"))


def factors(seed: int, data: FrameData) -> FrameStream:
    """Return dSprites in order, then sprites that live 16 frames each, and all of it again."""
    names = (DSPRITES, *BOUNCING[:2])
    later = list(stays(names, FACTORS_STAYS, BOUNCING_FRAMES, seed))
    plan = [(DSPRITES, FACTORS_FRAMES), *later[later[0][0] == DSPRITES :]]
    domains = {name: sprites(name, LIFETIMES[1], data) for name in BOUNCING[:2]}
    return FrameStream(Schedule.of(plan), {DSPRITES: one_at_a_time(data), **domains}, seed)


def one_at_a_time(data: FrameData) -> FrameDomain:
    """Return dSprites, of which one factor moves at a time."""
    settings = DomainSettings(domain="dsprites", shrink=2)
    return cast(FrameDomain, build.domain(DSPRITES, settings, SMALL, data.options, "train"))


def disturbed(what: Disturbance, seed: int, data: FrameData) -> Frames:
    """Return a stream of moving clothes, of 100 frames each, to which something happens."""
    return what.stream(sprites("moving-fashion", 100, data), seed)


SCENARIOS: Mapping[str, FrameScenario] = {
    scenario.name: scenario
    for scenario in (
        *(
            FrameScenario(
                f"clips-{size}",
                f"three real clips, twenty stays, batches of {size}",
                CLIPS,
                clips,
                batch_size=size,
                beside=size == CLIP_SIZES[2],
                clips=True,
            )
            for size in CLIP_SIZES
        ),
        FrameScenario(
            "walk",
            "a walk through a room by day and by night, ten returns to each",
            "A walk",
            partial(walk, LIGHTS[:2]),
        ),
        FrameScenario(
            "walk-lights",
            "the same by day, by night and by a lamp",
            LAMP,
            partial(walk, LIGHTS),
        ),
        *(
            FrameScenario(
                f"bouncing-{lifetime}",
                f"three domains of sprites that live {frames_of(lifetime)}",
                "Bouncing sprites",
                partial(bouncing, lifetime),
                batch_size=64,
            )
            for lifetime in LIFETIMES
        ),
        FrameScenario(
            "factors",
            "dSprites, one factor moves at a time; then clothes and digits, and all again",
            "One factor at a time",
            factors,
            batch_size=64,
        ),
        *(
            FrameScenario(
                f"hostile-{each.name}",
                each.why,
                "What happens to cameras",
                partial(disturbed, each),
                disturbance=each,
            )
            for each in DISTURBANCES.values()
        ),
    )
}
