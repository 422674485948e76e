"""A learner on a stream: its alarms, and for the long suite what it costs and what is forgotten.

The suite has twelve domains and 64 visits. Along the way the averaged encoder is kept every few
visits; afterwards readouts of every domain seen by then are fitted and scored on each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from vase import build
from vase.bench.detectors import batches, opened
from vase.bench.scenarios import Scenario, as_it_is
from vase.bench.scores import Alarm, beliefs
from vase.domains.stream import Segment
from vase.lifelong.weights import frozen
from vase.probes.encode import Model
from vase.probes.evaluate import domain_scores, encode_domain, fit_frozen_readout
from vase.probes.forgetting import summarise_forgetting
from vase.records import Event

EVERY = 8  # visits between two milestones
MAX_ENVIRONMENTS = 20  # of the published rule, which opens one after the other
MOVES = ("new", "returned")


@dataclass(frozen=True, eq=False)
class Journey:
    """What a learner left behind. seconds: per step, those that learnt alone."""

    events: tuple[Event, ...]
    milestones: tuple[Model, ...]
    seconds: Mapping[int, float]

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The events at which the learner went to another environment."""
        moves = (event for event in self.events if event.kind in MOVES and event.step > 0)
        return tuple(Alarm(event.step, event.environment) for event in moves)


def travel(
    scenario: Scenario, seed: int, data: build.DataOptions, rule: str, *, whole: bool = False
) -> Journey:
    """Learn the stream with the change detector of a rule.

    whole: to its end in any case. If not, "published" is stopped beyond `MAX_ENVIRONMENTS`
    environments; later alarms are not counted.
    """
    settings = scenario.config(seed)
    detection = settings.detection.model_copy(update={"rule": rule})
    settings = settings.model_copy(update={"detection": detection})
    stream, learner = opened(scenario, settings, data)
    visits = scenario.visits(seed)
    ends = {visit.end for visit in [*visits[EVERY - 1 :: EVERY], visits[-1]]}
    events: list[Event] = []
    milestones: list[Model] = []
    seconds: dict[int, float] = {}
    for images in batches(stream, settings):
        began = perf_counter()
        observation = learner.observe(images)
        if observation.learnt:
            seconds[observation.step] = perf_counter() - began
        events += observation.events
        if learner.step in ends:
            milestones.append(Model(learner.step, frozen(learner.average), learner.environments))
        if rule == "published" and not whole and len(learner.environments) > MAX_ENVIRONMENTS:
            break
    return Journey(tuple(events), tuple(milestones), seconds)


def step_ratio(journey: Journey, visits: Sequence[Segment]) -> float:
    """Median time of a learnt step in the last visit over that in the second."""

    def median(visit: Segment) -> float:
        steps = range(visit.start, visit.end)
        return float(np.median([journey.seconds[k] for k in steps if k in journey.seconds]))

    return median(visits[-1]) / median(visits[1])


def forgetting(
    scenario: Scenario, seed: int, data: build.DataOptions, journey: Journey
) -> dict[str, Any]:
    """Identity and position of every domain at every milestone, and how far they fell."""
    settings, visits = scenario.config(seed), scenario.visits(seed)
    train = build.stream(settings, data).domains
    test = build.stream(settings, data, "test").domains
    matches = _matches(visits, journey.alarms)
    readouts: dict[str, Any] = {}
    timeline = []
    for model in journey.milestones:
        domains = {}
        for name in dict.fromkeys(v.domain for v in visits if v.start < model.step):
            known = model.environments
            matched = known[min(matches[name], len(known) - 1)]
            codes = encode_domain(model, train[name], test[name], matched, settings.probes)
            present = next(v for v in reversed(visits) if v.end <= model.step).domain
            if name not in readouts or present == name:
                readouts[name] = fit_frozen_readout(codes.train, matched.mask)
            domains[name] = domain_scores(codes, readouts[name])
        timeline.append({"step": model.step, "domains": domains})
    return {"timeline": timeline, "summary": summarise_forgetting(timeline)}


def unharmed(scenario: Scenario, seed: int, data: build.DataOptions, rule: str) -> dict[str, Any]:
    """Readouts at the end of a stream with its outliers, and of the same one without any."""
    found = {}
    for name, what in (("with", scenario), ("without", replace(scenario, wrap=as_it_is))):
        journey = travel(what, seed, data, rule, whole=True)
        summaries = forgetting(what, seed, data, journey)["summary"]
        found[name] = {
            "identity": summaries["identity"]["mlp"]["end"],
            "position_mse": summaries["position_mse"]["mlp"]["end"],
        }
    return found


def _matches(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> dict[str, int]:
    matches: dict[str, int] = {}
    for visit, belief in zip(visits, beliefs(visits, alarms), strict=True):
        matches.setdefault(visit.domain, belief or 0)
    return matches
