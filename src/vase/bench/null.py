"""The null run: a long stay in one environment, and how often the detector cries wolf in it.

The detector never looks at the networks, so nothing is learnt here: `watch` is the learner's way
from a batch to a verdict without them (`tests/test_bench.py` holds the two together). The scores
are kept, and the detector is run over them again at several rates: the mean number of batches
between alarms, measured, against the one asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vase import build
from vase.bench.scenarios import Scenario, staying
from vase.errors import ConfigError
from vase.lifelong.detector import DetectorRule, Suspicion, suspect
from vase.lifelong.identify import IdentificationRule, identify, weigh
from vase.lifelong.memory import Environment, Memory, latest, recognise, released
from vase.nets import RandomFeatures
from vase.objective import signature
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.objective.signature import likelihood_ratio
from vase.records import Verdict

RATES = (100.0, 1_000.0, 10_000.0)
SETTLED = 1000  # batches before anything is counted
FEWEST = 1000  # batches of which rates can be told at all


@dataclass(frozen=True)
class Seen:
    """One batch: its score, whether the alarm was raised at it, and a verdict if one was passed."""

    score: float
    alarm: bool
    verdict: Verdict | None = None


def scenario(steps: int) -> Scenario:
    """One world, for `steps` batches."""
    default = {"detection.run_length": DetectorRule().run_length}
    schedule = staying("moving-mnist", steps)
    return Scenario("null", "one world and no other", schedule, settings=default)


def watch(
    batches: Iterable[Tensor], rule: DetectorRule, identification: IdentificationRule
) -> Iterator[Seen]:
    """Watch features [B, F] of one environment; it is never left, whatever the verdict."""
    stream = iter(batches)
    blank = Moments(np.zeros(1), np.ones(1), 1.0)
    first = signature.of(next(stream))
    here = Environment(0, np.ones(1, bool), blank, Capacity(), batches=1, signature=first)
    state = Suspicion()
    held: tuple[Tensor, ...] = ()
    for features in stream:
        score, before = likelihood_ratio(features, here.signature), state
        state = suspect(before, score, here.scores, rule)
        verdict = None
        if state.held:
            held = latest((*held, features), identification.pool, 2 * identification.batches)
            if state.alarm:
                memory = Memory().enter(here)
                verdict = identify(
                    weigh(memory, held, state.batches, identification), identification
                )
        else:
            if before.held:
                here = released(here, before, rule.window)
            here = recognise(here, features, score, span=rule.span, window=rule.window)
            here, held = replace(here, batches=here.batches + 1), ()
        yield Seen(score, state.alarm and not before.alarm, verdict)
        if verdict is not None and verdict.kind != "held":
            for batch in held[-verdict.evidence["batches"] :]:
                again = likelihood_ratio(batch, here.signature)
                here = recognise(here, batch, again, span=rule.span, window=rule.window)
            state, held = Suspicion(), ()


def run(steps: int, seed: int, data: build.DataOptions) -> dict[str, Any]:
    """Alarms and verdicts in `steps` batches after the first ones, and rates on their scores."""
    if steps < FEWEST:
        raise ConfigError(f"A null run needs at least {FEWEST} batches, not {steps}.")
    total = steps + SETTLED
    what = scenario(total)
    settings = what.config(seed)
    stream, rules = what.stream(settings, data), build.settings(settings)
    eye = RandomFeatures(1)
    features = (eye(torch.from_numpy(stream.batch(k)[0])).double() for k in range(total))
    seen = list(watch(features, rules.detector, rules.identification))[SETTLED - 1 :]
    verdicts = [each.verdict.kind for each in seen if each.verdict is not None]
    scores = [each.score for each in seen]
    return {
        "steps": len(seen),
        "seed": seed,
        "run_length": rules.detector.run_length,
        "alarms": sum(each.alarm for each in seen),
        "opened": verdicts.count("new"),
        "rates": [rate(scores, asked, rules.detector.window) for asked in RATES],
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
    watched = len(scores) - window
    return {
        "asked": asked,
        "alarms": alarms,
        "measured": watched / alarms if alarms else float("inf"),
    }
