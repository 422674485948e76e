"""Every detector behind one protocol: a scenario and a seed in, alarms out.

`Learning` is a VASE that decides where it is. River's detectors raise alarms and name nothing; they
watch what a user of a plain model would give them, its loss or its latents, batch by batch, before
the batch is learnt. `Oracle` knows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

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
from vase.records import Event

MOVES = ("new", "returned")
MAX_ENVIRONMENTS = 20


@dataclass(frozen=True)
class Outcome:
    """What a detector made of a stream: alarms, and for a learner its events."""

    alarms: tuple[Alarm, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """What a plain model sees: `loss` [T] in nats per image, mean `latents` [T, N]."""

    loss: NDArray[np.float64]
    latents: NDArray[np.float64]


class Detector(Protocol):
    """The one method that all have."""

    def watch(self, scenario: Scenario, seed: int, data: build.DataOptions) -> Outcome:
        """Alarms on the scenario's stream for a seed."""
        ...


@dataclass(frozen=True)
class Oracle:
    """Knows every switch at its first batch."""

    def watch(self, scenario: Scenario, seed: int, data: build.DataOptions) -> Outcome:  # noqa: ARG002
        environments: dict[str, int] = {}
        visits = scenario.visits(seed)
        indices = [environments.setdefault(visit.domain, len(environments)) for visit in visits]
        alarms = [Alarm(v.start, k) for v, k in zip(visits, indices, strict=True)]
        return Outcome(tuple(alarms[1:]))


@dataclass(frozen=True)
class Learning:
    """A VASE with the change detector of one rule, such as "published".

    "published" is stopped beyond `MAX_ENVIRONMENTS` environments; later alarms are not counted.
    """

    rule: str

    def watch(self, scenario: Scenario, seed: int, data: build.DataOptions) -> Outcome:
        settings = with_rule(scenario.config(seed), self.rule)
        stream, learner = opened(scenario, settings, data)
        events: list[Event] = []
        for images in batches(stream, settings):
            events += learner.observe(images).events
            if self.rule == "published" and len(learner.environments) > MAX_ENVIRONMENTS:
                break
        return Outcome(alarms_of(events), tuple(events))


def with_rule(settings: Config, rule: str) -> Config:
    """The settings with another change detector."""
    detection = settings.detection.model_copy(update={"rule": rule})
    return settings.model_copy(update={"detection": detection})


def alarms_of(events: Iterable[Event]) -> tuple[Alarm, ...]:
    """The events at which a learner went to another environment, as alarms."""
    moves = (event for event in events if event.kind in MOVES and event.step > 0)
    return tuple(Alarm(event.step, event.environment) for event in moves)


@dataclass(frozen=True)
class Drift:
    """A drift detector of river, by name, on the loss or on every latent of a plain model.

    All parameters are river's defaults. On latents an alarm of any is one.
    """

    name: str
    on: str

    def watch(self, scenario: Scenario, seed: int, data: build.DataOptions) -> Outcome:
        return self.on_trace(trace(scenario, seed, data))

    def on_trace(self, seen: Trace) -> Outcome:
        """Alarms on a trace."""
        signals = seen.loss[:, None] if self.on == "loss" else seen.latents
        detectors = [river(self.name) for _ in range(signals.shape[1])]
        alarms = []
        for step, values in enumerate(signals):
            for detector, value in zip(detectors, values, strict=True):
                detector.update(float(value))
            if any(detector.drift_detected for detector in detectors):
                alarms.append(Alarm(step))
        return Outcome(tuple(alarms))


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
