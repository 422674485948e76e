"""The null run: a long stay in one environment, and how often the detector cries wolf in it.

One learner takes in the whole stream at the default rate. Its scores are kept, and the detector is
then run over them again at several rates: the mean number of batches between alarms, measured,
against the one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vase import build
from vase.bench.detectors import batches, opened
from vase.bench.scenarios import Scenario, staying
from vase.lifelong.detector import DetectorRule, Suspicion, suspect
from vase.objective.signature import likelihood_ratio

RATES = (100.0, 1_000.0, 10_000.0)


def scenario(steps: int) -> Scenario:
    """One world, for `steps` batches; tiny networks, since the detector does not look at them."""
    small = {"model.features": 4, "model.cells": 4, "model.hidden": 8, "model.latents": 4}
    schedule = staying("moving-mnist", steps)
    return Scenario("null", "one world and nothing else", schedule, settings=small)


def run(steps: int, seed: int, data: build.DataOptions, settled: int = 1000) -> dict[str, Any]:
    """Events after the first `settled` batches, and measured rates on the scores of the rest."""
    what = scenario(steps)
    settings = what.config(seed)
    stream, learner = opened(what, settings, data)
    scores: list[float] = []
    events = []
    for images in batches(stream, settings):
        if learner.step > 0:
            features = learner.eye(images).double()
            scores.append(likelihood_ratio(features, learner.memory.here.signature))
        events += [event.to_json() for event in learner.observe(images).events]
    later = [event for event in events if event["step"] >= settled]
    rule = learner.settings.detector
    return {
        "steps": steps - settled,
        "seed": seed,
        "run_length": rule.run_length,
        "alarms": len(later),
        "events": later,
        "rates": [rate(scores[settled:], asked, rule.window) for asked in RATES],
    }


def rate(scores: Sequence[float], asked: float, window: int) -> dict[str, float]:
    """Alarms on null scores, replayed, and the mean number of batches between them."""
    rule = DetectorRule(run_length=asked, window=window)
    null, state, alarms = list(scores[:window]), Suspicion(), 0
    for score in scores[window:]:
        held = state.held
        state = suspect(state, score, null, rule)
        if state.alarm or not state.held:
            null = [*null, *(state.held if state.alarm else (*held, score))][-window:]
        if state.alarm:
            alarms, state = alarms + 1, Suspicion()
    batches_watched = len(scores) - window
    return {
        "asked": asked,
        "alarms": alarms,
        "measured": batches_watched / alarms if alarms else float("inf"),
    }
