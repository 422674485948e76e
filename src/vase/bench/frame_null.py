"""How often a detector raises a false alarm on dependent frames, against the rate asked for.

A null stream stays in one domain for ever. The mean number of blocks between two alarms of rule
`blocks`, which stays where it is, is measured at several rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase.bench import block_null
from vase.bench.frame_scenarios import (
    LIFETIMES,
    FrameData,
    FrameStream,
    clip_domains,
    frames_of,
    sprites,
)
from vase.detection.blocks import CHUNK
from vase.detection.features import random_features
from vase.domains.canvas import Floats
from vase.domains.stream import Schedule
from vase.nets import Architecture
from vase.settings import DomainSettings

RATES = (100.0, 1_000.0, 10_000.0)  # blocks between two alarms, as asked for
FRAMES = 320_000  # of a null stream; of one of sprites, which never repeats itself, more
SPRITE_FRAMES, WARMUP = 600_000, 64_000  # and frames before anything is counted
ALARMS = 34  # per seed, after which no more are counted: over 100 with three
SIZE = 8  # features of an AR(1) process
AT_ONCE = 256  # frames that are drawn
PHIS = (0.0, 0.5, 0.9, 0.99)


def measured_run_length(
    batches: Iterable[Floats], asked: Sequence[float] = RATES, warmup: int = WARMUP
) -> list[dict[str, float]]:
    """Return, for every rate asked for, `asked`, `alarms` and the `blocks` they were counted in.

    batches: of one domain, [B, C, H, W] each, in order. warmup: frames before anything is counted.
    """
    extractor: torch.nn.Module | None = None

    def features() -> Iterator[NDArray[np.float64]]:
        nonlocal extractor
        for images in batches:
            channels, height, width = images.shape[1:]
            shape = Architecture(channels=channels, height=height, width=width)
            extractor = extractor or random_features(shape)
            yield extractor(torch.from_numpy(images)).double().numpy()

    return _counted(block_null.chunks_of(features()), asked, warmup)


def _counted(
    chunks: Iterator[NDArray[np.float64]], asked: Sequence[float], warmup: int
) -> list[dict[str, float]]:
    found, known = block_null.run_lengths(chunks, asked, ALARMS, warmup)
    shared = {"block_frames": known.block * CHUNK, "correlation_time": known.correlation_time}
    return [{**asdict(each), **shared} for each in found]


def features_run_length(phi: float, seed: int) -> list[dict[str, float]]:
    """Count the false alarms on AR(1) features, from the first frame on."""
    features = block_null.autoregressive(phi, SIZE, seed)
    return _counted(block_null.chunks_of(features), RATES, warmup=0)


# ---- the streams ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NullScenario:
    """Streams without any change, by name, for a seed.

    phi: of AR(1) features, which the detector is shown in place of images.
    """

    name: str
    why: str
    streams: Callable[[int, FrameData], Mapping[str, FrameStream]]
    clips: bool = False
    phi: float | None = None


def autoregressive(phi: float, seed: int, data: FrameData) -> dict[str, FrameStream]:
    """Return AR(1) vectors."""
    settings = DomainSettings(domain="autoregressive", options={"phi": phi})
    name = f"AR(1), phi = {phi:g}"
    return _staying({name: build.domain(name, settings, 1, data.options, "train")}, seed)


def bouncing(lifetime: int, seed: int, data: FrameData) -> dict[str, FrameStream]:
    """Return moving clothes that live `lifetime` frames each."""
    name = f"bouncing, life {lifetime:,}"
    return _staying({name: sprites("moving-fashion", lifetime, data)}, seed, SPRITE_FRAMES)


def looped(seed: int, data: FrameData) -> dict[str, FrameStream]:
    """Return every clip by itself, back and forth without end."""
    return _staying(clip_domains(data), seed)


def _staying(domains: Mapping[str, Any], seed: int, frames: int = FRAMES) -> dict[str, FrameStream]:
    return {
        name: FrameStream(Schedule.of([(name, frames)]), {name: domain}, seed)
        for name, domain in domains.items()
    }


NULLS: Mapping[str, NullScenario] = {
    scenario.name: scenario
    for scenario in (
        *(
            NullScenario(
                f"null-ar-{phi:g}",
                f"no change: AR(1) with phi = {phi:g}",
                partial(autoregressive, phi),
                phi=phi,
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
        NullScenario("null-clips", "no change: every clip by itself, looped", looped, clips=True),
    )
}
