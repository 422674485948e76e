"""The detectors of river: they raise alarms and name nothing.

They watch what a user of a plain model would give them, its loss or its latents, batch by batch,
before the batch is learnt.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase.bench.scenarios import Scenario
from vase.bench.scores import Alarm
from vase.config import Config
from vase.domains.stream import Batches, Schedule
from vase.errors import ConfigError
from vase.lifelong.evaluation import evaluate
from vase.lifelong.learner import Learner


@dataclass(frozen=True, eq=False)
class Trace:
    """What a plain model sees: `loss` [T] in nats per image, mean `latents` [T, N]."""

    loss: NDArray[np.float64]
    latents: NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """A drift detector of river, by name, on the loss or on every latent of a plain model.

    All parameters are river's defaults. On latents an alarm of any is one.
    """

    name: str
    on: str

    def on_trace(self, seen: Trace) -> tuple[Alarm, ...]:
        """Alarms on a trace."""
        signals = seen.loss[:, None] if self.on == "loss" else seen.latents
        detectors = [river(self.name) for _ in range(signals.shape[1])]
        alarms = []
        for step, values in enumerate(signals):
            for detector, value in zip(detectors, values, strict=True):
                detector.update(float(value))
            if any(detector.drift_detected for detector in detectors):
                alarms.append(Alarm(step))
        return tuple(alarms)


RIVER = tuple(
    Drift(name, on) for name in ("ADWIN", "KSWIN", "PageHinkley") for on in ("loss", "latents")
)


def trace(scenario: Scenario, seed: int, data: build.DataOptions) -> Trace:
    """What a plain model of one environment sees of a stream, each batch before it is learnt."""
    settings = scenario.config(seed)
    settings = settings.model_copy(
        update={
            "detection": settings.detection.model_copy(update={"rule": "none"}),
            "replay": settings.replay.model_copy(update={"enabled": False}),
        }
    )
    stream, learner = opened(scenario, settings, data)
    rows = []
    for images in batches(stream, settings):
        if learner.environments:
            present = learner.environments.present
            seen = evaluate(learner.average, images, present, learner.generator)
            rows.append(seen.mean)
        learner.observe(images)
    table = np.array([rows[0], *rows])  # before the first batch there is no model
    return Trace(table[:, -2], table[:, :-2])


def opened(
    scenario: Scenario, settings: Config, data: build.DataOptions
) -> tuple[Batches, Learner]:
    """The stream of a scenario and a fresh learner for it."""
    stream = scenario.stream(settings, data)
    shape = stream.batch(0)[0].shape[1:]
    return stream, build.learner(settings, (shape[0], shape[1], shape[2]))


def batches(stream: Batches, settings: Config) -> Iterator[torch.Tensor]:
    """The stream as a learner sees it."""
    for step in range(Schedule.of(settings.stream.schedule).steps):
        yield torch.from_numpy(stream.batch(step)[0])


def river(name: str) -> Any:
    """A drift detector of river; a `ConfigError` where that is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drift = import_module("river.drift")
    except ImportError:
        raise ConfigError(
            "The detectors of river are not installed. Install them: "
            "pip install 'vase-lifelong[bench]', or leave them out: --detectors ours"
        ) from None
    if name == "KSWIN":
        return drift.KSWIN(seed=0)
    return getattr(drift, name)()
