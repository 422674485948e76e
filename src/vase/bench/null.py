"""The null run: a long segment in one domain, and how often the detector raises a false alarm.

The detector never asks the networks, so nothing is learnt here: the change detector itself watches
the stream, and every decision but "deferred" is turned into "dismissed", so that it stays where it
is. The scores are kept, and the sequential test runs over them again at several rates: the mean
number of batches between alarms, measured, against the one asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from vase import build
from vase.bench.scenarios import Scenario, staying
from vase.detection import FeatureStatisticsDetector, ModelView
from vase.detection.identification import Evidence
from vase.detection.sequential import DetectorState, next_state
from vase.errors import ConfigError
from vase.nets import Architecture
from vase.records import Decision
from vase.settings import DetectionSettings

RATES = (100.0, 1_000.0, 10_000.0)
CPU = torch.device("cpu")
WARMUP = 1000  # batches before anything is counted
MIN_BATCHES = 1000  # from which on rates can be measured at all


@dataclass(frozen=True)
class NoModel:
    """All that a detector needs which never asks the model."""

    architecture: Architecture
    device: torch.device = CPU


class StayingDetector(FeatureStatisticsDetector):
    """The default detector in one environment for ever: what it decides is kept, not carried out.

    latest_score: of the latest batch. decided: the decision after an alarm, if there was one.
    """

    def __init__(self, settings: DetectionSettings, image: tuple[int, int, int]) -> None:
        channels, height, width = image
        model = NoModel(Architecture(channels=channels, height=height, width=width))
        super().__init__(settings, cast(ModelView, model))
        self.latest_score: float | None = None
        self.decided: Decision | None = None

    def update(self, images: Tensor) -> Decision:
        self.decided = self.latest_score = None
        return super().update(images)

    def score(self, features: Tensor) -> float:
        found = super().score(features)
        if self.latest_score is None:  # later ones are of batches that had been deferred
            self.latest_score = found
        return found

    def decide(self, evidence: Evidence) -> Decision:
        self.decided = super().decide(evidence)
        if self.decided.kind == "deferred":
            return self.decided
        return replace(self.decided, kind="dismissed", environment=self.current)


@dataclass(frozen=True)
class Watched:
    """One batch: its score, whether the alarm was raised at it, and a decision if one was made."""

    score: float
    alarm: bool
    decision: Decision | None = None


def scenario(steps: int) -> Scenario:
    """One domain, for `steps` batches."""
    default = {"detection.target_arl": DetectionSettings().target_arl}
    schedule = staying("moving-mnist", steps)
    return Scenario("null", "one domain and no other", schedule, settings=default)


def watch(batches: Iterable[Tensor], settings: DetectionSettings) -> Iterator[Watched]:
    """Watch images [B, C, H, W] of one domain; nothing is told of the first batch."""
    detector: StayingDetector | None = None
    for images in batches:
        if detector is None:
            detector = StayingDetector(settings, (images.shape[1], *images.shape[2:]))
            detector.update(images)
            continue
        scored = detector.state
        detector.update(images)
        alarm = detector.decided is not None and not scored.alarm
        yield Watched(detector.latest_score or 0.0, alarm, detector.decided)


def run(steps: int, seed: int, data: build.DataOptions) -> dict[str, Any]:
    """Count alarms and decisions in `steps` batches after the first ones, and rates on scores."""
    if steps < MIN_BATCHES:
        raise ConfigError(f"A null run needs at least {MIN_BATCHES} batches, not {steps}.")
    total = steps + WARMUP
    what = scenario(total)
    config = what.config(seed)
    stream = what.stream(config, data)
    images = (torch.from_numpy(stream.batch(k)[0]) for k in range(total))
    seen = list(watch(images, config.detection))[WARMUP - 1 :]
    decisions = [each.decision.kind for each in seen if each.decision is not None]
    scores = [each.score for each in seen]
    return {
        "steps": len(seen),
        "seed": seed,
        "run_length": config.detection.target_arl,
        "alarms": sum(each.alarm for each in seen),
        "opened": decisions.count("new"),
        "rates": [rate(scores, asked, config.detection.window) for asked in RATES],
    }


def rate(scores: Sequence[float], asked: float, window: int) -> dict[str, float]:
    """Count alarms on null scores, replayed, and the mean number of batches between them."""
    settings = DetectionSettings(target_arl=asked, window=window)
    null, state, alarms = list(scores[:window]), DetectorState(), 0
    for score in scores[window:]:
        deferred = state.deferred
        state = next_state(state, score, null, settings)
        if state.alarm or not state.deferred:
            null = [*null, *(state.deferred if state.alarm else (*deferred, score))][-window:]
        if state.alarm:
            alarms, state = alarms + 1, DetectorState()
    watched = len(scores) - window
    return {
        "asked": asked,
        "alarms": alarms,
        "measured": watched / alarms if alarms else float("inf"),
    }
