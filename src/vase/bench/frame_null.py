"""How often a detector raises a false alarm on dependent frames, against the rate asked for.

A null stream stays in one domain for ever. The mean number of blocks between two alarms of rule
`blocks`, which stays where it is, is measured at several rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from vase.bench import block_null
from vase.bench.frame_scenarios import (
    LIFETIMES,
    FrameData,
    FrameStream,
    batches,
    clip_domains,
    frames_of,
    one_at_a_time,
    sprites,
)
from vase.detection.blocks import CHUNK
from vase.detection.features import random_features
from vase.domains.canvas import Floats
from vase.domains.frames import FrameDomain
from vase.domains.stream import Schedule
from vase.nets import Architecture

RATES = (100.0, 1_000.0, 10_000.0)  # blocks between two alarms, as asked for
FRAMES = 320_000  # of a null stream; of one of sprites, which never repeats itself, more
SPRITE_FRAMES, WARMUP = 600_000, 64_000  # and frames before anything is counted
ALARMS = 34  # per seed, after which no more are counted: over 100 with three
SIZE = 8  # features of an AR(1) process
AT_ONCE = 256  # frames that are drawn
PHIS = (0.0, 0.5, 0.9, 0.99)


Features = Iterable[NDArray[np.float64]]


def measured_run_length(
    features: Features, asked: Sequence[float] = RATES, warmup: int = WARMUP
) -> list[dict[str, float]]:
    """Return, for every rate asked for, `asked`, `alarms` and the `blocks` they were counted in.

    features: of one domain, [n, F] each, in order. warmup: frames before anything is counted.
    """
    found, known = block_null.run_lengths(block_null.chunks_of(features), asked, ALARMS, warmup)
    shared = {"block_frames": known.block * CHUNK, "correlation_time": known.correlation_time}
    return [{**asdict(each), **shared} for each in found]


def features_of(batches: Iterable[Floats]) -> Iterator[NDArray[np.float64]]:
    """Yield the features of batches of images [B, C, H, W]."""
    extractor: torch.nn.Module | None = None
    for images in batches:
        channels, height, width = images.shape[1:]
        shape = Architecture(channels=channels, height=height, width=width)
        extractor = extractor or random_features(shape)
        yield extractor(torch.from_numpy(images)).double().numpy()


# ---- the streams ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NullScenario:
    """Streams without any change, by name, for a seed: what the detector sees, their features.

    warmup: frames before anything is counted.
    """

    name: str
    why: str
    streams: Callable[[int, FrameData], Mapping[str, Features]]
    clips: bool = False
    warmup: int = WARMUP


def autoregressive(phi: float, seed: int, data: FrameData) -> dict[str, Features]:  # noqa: ARG001
    """Return AR(1) features."""
    return {f"AR(1), phi = {phi:g}": block_null.autoregressive(phi, SIZE, seed)}


def bouncing(lifetime: int, seed: int, data: FrameData) -> dict[str, Features]:
    """Return moving clothes that live `lifetime` frames each."""
    name = f"bouncing, life {lifetime:,}"
    return _staying({name: sprites("moving-fashion", lifetime, data)}, seed, SPRITE_FRAMES)


def factors(seed: int, data: FrameData) -> dict[str, Features]:
    """Return dSprites, of which one factor moves at a time."""
    return _staying({"dSprites, one factor at a time": one_at_a_time(data)}, seed, SPRITE_FRAMES)


def looped(seed: int, data: FrameData) -> dict[str, Features]:
    """Return every clip by itself, back and forth without end."""
    return _staying(clip_domains(data), seed)


def _staying(
    domains: Mapping[str, FrameDomain], seed: int, frames: int = FRAMES
) -> dict[str, Features]:
    streams = {
        name: FrameStream(Schedule.of([(name, frames)]), {name: domain}, seed)
        for name, domain in domains.items()
    }
    return {name: features_of(batches(stream, AT_ONCE)) for name, stream in streams.items()}


NULLS: Mapping[str, NullScenario] = {
    scenario.name: scenario
    for scenario in (
        *(
            NullScenario(
                f"null-ar-{phi:g}",
                f"no change: AR(1) with phi = {phi:g}",
                partial(autoregressive, phi),
                warmup=0,
            )
            for phi in PHIS
        ),
        *(
            NullScenario(
                f"null-bouncing-{lifetime}",
                f"no change: sprites that live {frames_of(lifetime)}",
                partial(bouncing, lifetime),
            )
            for lifetime in LIFETIMES
        ),
        NullScenario("null-factors", "no change: dSprites, one factor moves at a time", factors),
        NullScenario("null-clips", "no change: every clip by itself, looped", looped, clips=True),
    )
}
