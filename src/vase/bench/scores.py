"""Scores of a detector: pure functions of true visits and of the alarms that were raised.

A visit is a stay of the stream in one environment; every visit but the first begins with a switch.
The first alarm within a visit explains its switch, every further one is false, and so is every
alarm in the first visit. Undefined figures are `nan`, each docstring saying when.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vase.worlds.stream import Stay

NAN = float("nan")


@dataclass(frozen=True)
class Alarm:
    """A change that was reported, and the environment then believed in; None if none is named."""

    step: int
    index: int | None = None


def within(visit: Stay, alarms: Sequence[Alarm]) -> list[Alarm]:
    """The alarms of a visit, in order."""
    return [alarm for alarm in alarms if visit.start <= alarm.step < visit.end]


def delays(visits: Sequence[Stay], alarms: Sequence[Alarm]) -> list[int | None]:
    """For every switch, the batches of the new world before the one it was noticed at, or None."""
    firsts = [within(visit, alarms) for visit in visits[1:]]
    return [
        found[0].step - visit.start if found else None
        for visit, found in zip(visits[1:], firsts, strict=True)
    ]


def false_alarms(visits: Sequence[Stay], alarms: Sequence[Alarm]) -> int:
    """Alarms that no switch explains."""
    counts = [len(within(visit, alarms)) for visit in visits]
    return counts[0] + sum(max(0, count - 1) for count in counts[1:])


def beliefs(visits: Sequence[Stay], alarms: Sequence[Alarm]) -> list[int | None]:
    """The environment believed in at the end of every visit, 0 before any alarm.

    None for a detector that names no environments.
    """
    if any(alarm.index is None for alarm in alarms):
        return [None] * len(visits)
    moves = [Alarm(-1, 0), *sorted(alarms, key=lambda alarm: alarm.step)]
    return [[move.index for move in moves if move.step < visit.end][-1] for visit in visits]


def identified(visits: Sequence[Stay], alarms: Sequence[Alarm]) -> list[bool | None]:
    """For every visit after the first, whether the belief at its end is right.

    A first visit is right if the belief is no other environment's; a return, if the first visit was
    and it is that belief again. None where no environments are named.
    """
    homes: dict[str, int] = {}
    right: list[bool | None] = []
    for visit, belief in zip(visits, beliefs(visits, alarms), strict=True):
        if belief is None:
            right.append(None)
        elif visit.environment in homes:
            right.append(belief == homes[visit.environment])
        else:
            own = belief not in homes.values()
            right.append(own)
            homes[visit.environment] = belief if own else -1
    return right[1:]


def confusion(visits: Sequence[Stay], alarms: Sequence[Alarm]) -> dict[str, dict[str, int]]:
    """True environment -> believed index -> visits that ended so. Empty where none are named."""
    table: dict[str, Counter[str]] = {}
    for visit, belief in zip(visits, beliefs(visits, alarms), strict=True):
        if belief is not None:
            table.setdefault(visit.environment, Counter())[str(belief)] += 1
    return {name: dict(counts) for name, counts in table.items()}


def score(visits: Sequence[Stay], alarms: Sequence[Alarm], steps: int) -> dict[str, Any]:
    """All scores of one stream.

    delay_* are `nan` where no switch was noticed; returns_identified is `nan` where there was no
    return or no environments are named; false_per_100k is per 100,000 batches of the stream.
    """
    waited = delays(visits, alarms)
    noticed = [delay for delay in waited if delay is not None]
    right = identified(visits, alarms)
    names = [visit.environment for visit in visits]
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
    """Scores of several streams as those of one: counts added, delays pooled, shares averaged.

    `nan` where every stream's figure is.
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
