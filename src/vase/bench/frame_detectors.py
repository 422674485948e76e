"""Every detector on consecutive frames, behind one protocol: frames in, alarms out.

Ours decide batch by batch and name an environment; nothing is learnt, since they never ask the
networks. PySceneDetect's and river's see one frame at a time, have their default parameters, raise
alarms and name nothing. The published rule asks a model that learns: it is not here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from vase.bench.detectors import river
from vase.bench.frame_scores import coarse_pixels, principal_direction
from vase.bench.scores import Alarm
from vase.detection import DetectionSettings, ModelView, detector_class
from vase.domains.canvas import Floats
from vase.errors import ConfigError
from vase.nets import Architecture

OURS = "blocks"  # the rule of `DETECTORS` that is measured
SHOTS = ("ContentDetector", "AdaptiveDetector", "HashDetector", "ThresholdDetector")
DRIFTS = ("ADWIN", "KSWIN", "PageHinkley")
MOVES = ("new", "returned", "reopened")
CPU = torch.device("cpu")
FRAMES_PER_SECOND = 25.0  # PySceneDetect wants a rate; its defaults count frames
FITTED = 1000  # frames from which the first principal component is taken

Signal = Literal["brightness", "first component"]


class FrameDetector(Protocol):
    """Watches a stream from its first frame on."""

    def watch(self, images: Floats, start: int) -> list[Alarm]:
        """Return the alarms on frames [B, C, H, W], numbered from `start` on."""
        ...


@dataclass(frozen=True)
class NoModel:
    """All that a detector needs which never asks the model."""

    architecture: Architecture
    device: torch.device = CPU


class RuleDetector:
    """A change detector of this package, by its rule.

    An alarm names an environment by a number that no other ever has: the ids of discarded ones are
    given again. environments: those that are kept, by that number. waiting: batches held back.
    """

    def __init__(self, settings: DetectionSettings, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        model = NoModel(Architecture(channels=channels, height=height, width=width))
        self.detector = detector_class(settings.rule)(settings, cast(ModelView, model))
        self.environments: list[int] = []
        self.opened = self.waiting = 0

    def watch(self, images: Floats, start: int) -> list[Alarm]:
        decision = self.detector.update(torch.from_numpy(images))
        self.waiting += decision.kind in ("deferred", "undetermined")
        if decision.kind not in MOVES:
            return []
        if decision.discards:
            self.environments.pop()  # only the newest is ever discarded
        if decision.kind != "returned":
            self.environments.append(self.opened)
            self.opened += 1
        if self.opened == 1:
            return []
        return [Alarm(start + len(images) - 1, self.environments[decision.environment])]


class ShotDetector:
    """A detector of PySceneDetect, by its class: frames become 8-bit BGR and keep their size.

    The alarm is at the frame at which the cut is reported, which may be later than the cut.
    """

    def __init__(self, name: str) -> None:
        package = scenedetect()
        self.detector = getattr(package, name)()
        self.timecode = package.FrameTimecode

    def watch(self, images: Floats, start: int) -> list[Alarm]:
        alarms = []
        for number, frame in enumerate(bgr(images), start):
            if self.detector.process_frame(self.timecode(number, FRAMES_PER_SECOND), frame):
                alarms.append(Alarm(number))
        return alarms


class DriftDetector:
    """A drift detector of river, by its class, on one number per frame.

    The first principal component is that of the coarse pixels of the first `FITTED` frames, which
    the detector is then told at once; no alarm is raised before.
    """

    def __init__(self, name: str, signal: Signal) -> None:
        self.detector, self.signal = river(name), signal
        self.first: list[Floats] = []
        self.direction: NDArray[np.float64] | None = None

    def watch(self, images: Floats, start: int) -> list[Alarm]:
        alarms = []
        for number, value in enumerate(self._values(images), start):
            self.detector.update(float(value))
            if self.detector.drift_detected:
                alarms.append(Alarm(number))
        return alarms

    def _values(self, images: Floats) -> Iterable[float]:
        if self.signal == "brightness":
            return cast(Iterable[float], images.mean((1, 2, 3), dtype=np.float64))
        coarse = coarse_pixels(images)
        if self.direction is None:
            self.first.append(coarse)
            seen = np.concatenate(self.first)
            if len(seen) < FITTED:
                return ()
            self.direction, self.first = principal_direction(seen), []
            for value in (seen[: -len(images)] @ self.direction).tolist():
                self.detector.update(value)
        return cast(Iterable[float], coarse @ self.direction)


def rivals() -> dict[str, FrameDetector]:
    """Return the detectors of other packages by name; a `ConfigError` where one is missing."""
    signals: tuple[Signal, ...] = ("brightness", "first component")
    return {
        **{f"PySceneDetect {name}": ShotDetector(name) for name in SHOTS},
        **{
            f"{name} on {signal}": DriftDetector(name, signal)
            for signal in signals
            for name in DRIFTS
        },
    }


def bgr(images: Floats) -> NDArray[np.uint8]:
    """Return images [B, C, H, W] in [0, 1] as 8-bit frames [B, H, W, 3], blue first."""
    colour = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))[:, ::-1]
    scaled = np.moveaxis(np.round(255 * colour), 1, -1)
    return np.ascontiguousarray(scaled.astype(np.uint8))


def scenedetect() -> Any:
    """Return PySceneDetect; a `ConfigError` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package = import_module("scenedetect")
            import_module("cv2").setNumThreads(1)
    except ImportError:
        raise ConfigError(
            "PySceneDetect is not installed. Install it: pip install 'vase-lifelong[bench]', or "
            "leave the detectors of other packages out: --detectors ours"
        ) from None
    return package


@dataclass(frozen=True)
class Watched:
    """What a detector made of a stream, and the seconds that it took."""

    alarms: tuple[Alarm, ...]
    seconds: float


def watch(batches: Iterable[Floats], detectors: Mapping[str, FrameDetector]) -> dict[str, Watched]:
    """Show every detector the same batches of consecutive frames [B, C, H, W]."""
    alarms: dict[str, list[Alarm]] = {name: [] for name in detectors}
    seconds = dict.fromkeys(detectors, 0.0)
    seen = 0
    for images in batches:
        for name, detector in detectors.items():
            began = perf_counter()
            alarms[name] += detector.watch(images, seen)
            seconds[name] += perf_counter() - began
        seen += len(images)
    return {name: Watched(tuple(alarms[name]), seconds[name]) for name in detectors}
