"""Scores of a change detector: pure functions of the true segments and of its alarms.

A visit is a segment of the stream in one domain; every visit but the first starts with a switch.
The first alarm within a visit detects its switch; every further alarm is false, and so is every
alarm in the first visit. Undefined figures are `nan`; the docstrings state when.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vase.domains.stream import Segment

NAN = float("nan")


@dataclass(frozen=True)
class Alarm:
    """A reported change, and the environment that is then inferred; None if none is named."""

    step: int
    index: int | None = None


def oracle(visits: Sequence[Segment]) -> tuple[Alarm, ...]:
    """Return the alarms of one who knows: each visit's domain, at the visit's start."""
    known: dict[str, int] = {}
    indices = [known.setdefault(visit.domain, len(known)) for visit in visits]
    return tuple(Alarm(visit.start, k) for visit, k in zip(visits, indices, strict=True))[1:]


def within(visit: Segment, alarms: Sequence[Alarm]) -> list[Alarm]:
    """Return the alarms of a visit, in order."""
    return [alarm for alarm in alarms if visit.start <= alarm.step < visit.end]


def delays(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> list[int | None]:
    """Return, per switch, the batches of the new domain before the alarm, or None if missed."""
    firsts = [within(visit, alarms) for visit in visits[1:]]
    return [
        found[0].step - visit.start if found else None
        for visit, found in zip(visits[1:], firsts, strict=True)
    ]


def false_alarms(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> int:
    """Return the number of alarms that no switch explains."""
    counts = [len(within(visit, alarms)) for visit in visits]
    return counts[0] + sum(max(0, count - 1) for count in counts[1:])


def beliefs(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> list[int | None]:
    """Return the environment inferred at the end of every visit; 0 before any alarm.

    None for a detector that names no environments.
    """
    if any(alarm.index is None for alarm in alarms):
        return [None] * len(visits)
    moves = [Alarm(-1, 0), *sorted(alarms, key=lambda alarm: alarm.step)]
    return [[move.index for move in moves if move.step < visit.end][-1] for visit in visits]


def identified(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> list[bool | None]:
    """Return, for every visit after the first, whether the final inferred environment is right.

    A first visit is right if no other domain has its environment. A return is right if its first
    visit was right and it has the same environment. None if the detector names no environments.
    """
    matches: dict[str, int] = {}
    right: list[bool | None] = []
    for visit, belief in zip(visits, beliefs(visits, alarms), strict=True):
        if belief is None:
            right.append(None)
        elif visit.domain in matches:
            right.append(belief == matches[visit.domain])
        else:
            own = belief not in matches.values()
            right.append(own)
            matches[visit.domain] = belief if own else -1
    return right[1:]


def confusion(visits: Sequence[Segment], alarms: Sequence[Alarm]) -> dict[str, dict[str, int]]:
    """Return true domain -> inferred environment -> visits; empty if none are named."""
    table: dict[str, Counter[str]] = {}
    for visit, belief in zip(visits, beliefs(visits, alarms), strict=True):
        if belief is not None:
            table.setdefault(visit.domain, Counter())[str(belief)] += 1
    return {name: dict(counts) for name, counts in table.items()}


def score(visits: Sequence[Segment], alarms: Sequence[Alarm], steps: int) -> dict[str, Any]:
    """Return all scores of one stream.

    delay_* are `nan` if no switch was detected; returns_identified is `nan` if there was no return
    or no environments are named; false_per_100k is per 100,000 batches of the stream.
    """
    waited = delays(visits, alarms)
    noticed = [delay for delay in waited if delay is not None]
    right = identified(visits, alarms)
    names = [visit.domain for visit in visits]
    returns = [ok for k, ok in enumerate(right, start=1) if names[k] in names[:k]]
    false = false_alarms(visits, alarms)
    return {
        "steps": steps,
        "switches": len(waited),
        "missed": len(waited) - len(noticed),
        "false": false,
        "false_per_100k": 1e5 * false / steps,
        "delay_median": float(np.median(noticed)) if noticed else NAN,
        "delay_95": float(np.quantile(noticed, 0.95)) if noticed else NAN,
        "delay_worst": float(max(noticed)) if noticed else NAN,
        "delays": waited,
        "returns": len(returns),
        "returns_identified": _share(returns),
        "identified": _share(right),
        "believed": len({alarm.index for alarm in alarms if alarm.index is not None} | {0}),
        "confusion": confusion(visits, alarms),
    }


def _share(right: Sequence[bool | None]) -> float:
    known = [ok for ok in right if ok is not None]
    return sum(known) / len(known) if known else NAN


def pooled(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Pool the scores of several streams: counts added, delays pooled, shares averaged.

    A figure is `nan` if it is `nan` for every stream.
    """
    every = [delay for each in scores for delay in each["delays"] if delay is not None]
    steps, false = sum(each["steps"] for each in scores), sum(each["false"] for each in scores)
    named = [each["returns_identified"] for each in scores]
    named = [value for value in named if not math.isnan(value)]
    return {
        "streams": len(scores),
        "switches": sum(each["switches"] for each in scores),
        "missed": sum(each["missed"] for each in scores),
        "false": false,
        "false_per_100k": 1e5 * false / steps,
        "delay_median": float(np.median(every)) if every else NAN,
        "delay_95": float(np.quantile(every, 0.95)) if every else NAN,
        "delay_worst": float(max(every)) if every else NAN,
        "returns": sum(each["returns"] for each in scores),
        "returns_identified": float(np.mean(named)) if named else NAN,
        "believed": float(np.mean([each["believed"] for each in scores])),
    }
