"""The stays of a watch as bands on a time axis. Pure functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from vase.watching.records import Stay

FINEST = 1000  # parts of the axis that can be told apart
MOST_BANDS = 150  # each at least 2 pixels wide, on a telephone too
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JUST_NOW = timedelta(seconds=5)
EPOCH = datetime.fromtimestamp(0, UTC)
STEPS = (
    *(number * MINUTE for number in (1, 2, 5, 10, 15, 30)),
    *(number * HOUR for number in (1, 2, 3, 6, 12)),
    *(number * DAY for number in (1, 2, 7, 14, 30, 90)),
)


@dataclass(frozen=True)
class Band:
    """A part of the axis: its share of it, and which environment was there, None if none was."""

    share: float
    environment: int | None
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Tick:
    """A place on the axis, 0 to 1, and the local time there."""

    place: float
    label: str


def span(
    stays: Sequence[Stay], now: datetime, window: timedelta | None
) -> tuple[datetime, datetime]:
    """The window until now, None for all; it begins no earlier than the stays do.

    The end is rounded up by less than can be seen, so that it seldom changes.
    """
    first = min([now - MINUTE, *(stay.start for stay in stays)])
    whole = now - first if window is None else min(now - first, window)
    fine = (step for step in (SECOND, 10 * SECOND, *STEPS) if step >= whole / FINEST)
    end = now + (EPOCH - now) % next(fine, STEPS[-1])
    return (first if window is None else max(first, end - window)), end


def lasting(stays: Sequence[Stay], now: datetime, end: datetime) -> list[Stay]:
    """The stays, of which one that lasts until now lasts until the end of the axis."""
    return [replace(stay, end=end) if now - stay.end <= JUST_NOW else stay for stay in stays]


def bands(
    stays: Sequence[Stay], start: datetime, end: datetime, most: int = MOST_BANDS
) -> tuple[Band, ...]:
    """What was there from start to end, without gaps: shares sum to 1.

    Where there are more than `most`, neighbours are drawn as the longest of them.
    """
    found, at = list[Band](), start

    def add(environment: int | None, until: datetime) -> None:
        nonlocal at
        if until <= at:
            return
        goes_on = bool(found) and found[-1].environment == environment
        begun = found.pop().start if goes_on else at
        found.append(Band((until - begun) / (end - start), environment, begun, until))
        at = until

    for stay in sorted(stays, key=lambda stay: stay.start):
        if max(stay.start, at) < min(stay.end, end):
            add(None, stay.start)
            add(stay.environment, min(stay.end, end))
    add(None, end)
    return tuple(found) if len(found) <= most else _fewer(found, start, end, most)


def _fewer(found: list[Band], start: datetime, end: datetime, most: int) -> tuple[Band, ...]:
    def part(band: Band) -> int:
        return math.floor(most * ((band.start - start) / (end - start)))

    groups = [list(group) for _, group in itertools.groupby(found, part)]
    return tuple(
        Band(
            sum(band.share for band in group),
            max(group, key=lambda band: band.share).environment,
            group[0].start,
            group[-1].end,
        )
        for group in groups
    )


def ticks(start: datetime, end: datetime, most: int = 6) -> tuple[Tick, ...]:
    """Round local times from start to end, at most so many."""
    whole = end - start
    days = DAY * math.ceil(whole / most / DAY)
    step = next((step for step in STEPS if whole / step <= most), days)
    midnight = start.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    found: list[Tick] = []
    first = (start - midnight.astimezone() - HOUR) // step  # the clock may have been changed
    for number in itertools.count(max(first, 0)):
        local = midnight + number * step
        time = local.astimezone()
        if time >= end:
            break
        if time >= start:
            label = f"{local:%H:%M}" if local.hour or local.minute else f"{local.day} {local:%b}"
            found.append(Tick((time - start) / whole, label))
    return tuple(found[-most:])
