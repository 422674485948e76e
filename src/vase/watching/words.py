"""Events, environments and times in words. What comes from outside stays on one line, as text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime

from vase.watching.records import WatchEvent, WatchStatus

JOINERS = "\u200c\u200d"  # within an emoji, or a word
DAYS_WITHOUT_YEAR = 180


def plain(text: str) -> str:
    """Text on one line, without characters that would steer a terminal or turn its direction."""
    kept = (
        " " if kind in ("Cc", "Zl", "Zp") else "\ufffd" if kind == "Cs" else each
        for each, kind in ((each, unicodedata.category(each)) for each in text)
        if kind != "Cf" or each in JOINERS
    )
    return " ".join("".join(kept).split())


def called(index: int, name: str) -> str:
    """An environment by its name and its number."""
    name = plain(name)
    return f"{name} (environment {index})" if name else f"environment {index}"


def names_of(status: WatchStatus) -> dict[int, str]:
    """What environments are called now."""
    return {each.index: each.name for each in status.environments if each.name}


def what_happened(
    event: WatchEvent, names: Mapping[int, str] | None = None, *, brief: bool = False
) -> str:
    """An event in words. names: of now, where they are others than at the time of the event."""
    here = called(event.environment, (names or {}).get(event.environment, event.name))
    if event.kind == "new":
        return (
            f"something new: {here}" if event.previous is not None else f"the watch begins: {here}"
        )
    if event.kind == "returned":
        if event.last_seen is None or brief:
            return f"{here} is back"
        return f"{here} is back; last seen {about(seconds(event.last_seen, event.began))} before"
    return {
        "reopened": f"{here} began again",
        "undetermined": "unusual for long, and still undecided",
        "skipped": "images that are no numbers were left out",
        "source_lost": "the camera gives no frames",
        "source_back": "the camera gives frames again",
    }[event.kind]


# ---- times and numbers ---------------------------------------------------------------------------


def seconds(start: datetime, end: datetime) -> float:
    """From one time to another; 0 where the clock was set back."""
    return max((end - start).total_seconds(), 0.0)


def length(seconds: float) -> str:
    """A duration in its two largest units: 3 d 4 h, 6 h 12 min, 12 min, 45 s."""
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{days} d"] if days else []
    parts += [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes and not days else []
    parts += [f"{rest} s"] if not (days or hours or minutes) else []
    return " ".join(parts)


def about(seconds: float) -> str:
    """A duration in one unit: 45 s, 90 min, 36 h, 12 d."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(time: datetime, now: datetime) -> str:
    """A local time, with the day where that is not today, and the year where that is long ago."""
    local, today = time.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if abs((today - local).days) < DAYS_WITHOUT_YEAR:
        return f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"
    return f"{local.day} {local:%b} {local:%Y}, {local:%H:%M}"


def figure(value: float) -> str:
    """A number that is read: 12, 77,885, 0.034, 1.5e+07."""
    if value == 0 or 100 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.3g}"


def count(number: int, one: str) -> str:
    """1 event, 2 events."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


# ---- how it stands -------------------------------------------------------------------------------


def present_time(status: WatchStatus, now: datetime) -> datetime:
    """Now or, of a video that is watched faster than it would play, how far it has come."""
    return max([now, *(stay.end for stay in status.stays[-1:])])


def here_since(status: WatchStatus, now: datetime) -> str:
    """Since when the present environment is there, and for how long; or that it may be over."""
    if not status.frames:
        return "no frame was looked at yet"
    if 0 < status.threshold <= status.statistic:
        return "something has changed: more frames are looked at"
    end = present_time(status, now)
    return f"since {moment(status.since, end)}, for {length(seconds(status.since, end))}"


def correlation(status: WatchStatus) -> str:
    """The correlation time in frames and, where frames come, in seconds of the source."""
    frames = f"{figure(status.correlation_time)} frame{'' if status.correlation_time == 1 else 's'}"
    if not status.source_rate:
        return frames
    return f"{frames}, {figure(status.correlation_time / status.source_rate)} s"


def evidence_share(status: WatchStatus) -> float:
    """How far the statistic is on the way to the alarm, 0 to 1, by its logarithm."""
    if status.threshold <= 0:
        return 0.0
    statistic = max(status.statistic, 0.0)
    return min(math.log1p(statistic) / math.log1p(status.threshold), 1.0)


def evidence(status: WatchStatus) -> str:
    """The statistic against the level of the alarm."""
    return f"{figure(status.statistic)}, alarm at {figure(status.threshold)}"


def waiting(status: WatchStatus) -> str:
    """What receivers have not got yet; empty without receivers."""
    late = {plain(name): number for name, number in status.undelivered.items() if number}
    if status.undelivered and not late:
        return "all events are delivered"
    return "; ".join(
        f"{count(number, 'event')} wait{'s' if number == 1 else ''} for {name}"
        for name, number in late.items()
    )


def troubles(status: WatchStatus) -> list[str]:
    """What is wrong now, in sentences."""
    lost = [] if status.connected else [f"The camera gives no frames: {plain(status.source)}"]
    return [*lost, *([plain(status.trouble)] if status.trouble else [])]
