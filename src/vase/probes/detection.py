"""Scores detection: delays, missed switches, false alarms and recognised returns.

Pure functions over the true schedule and the run's log. An event "new" or "returned" explains a
switch if it is the first one after it and within the segment; every further one is a false alarm. A
switch whose segment is still going on when the log ends is neither detected nor missed yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vase.domains.stream import Schedule, Segment

LogRecord = Mapping[str, Any]  # one record of events.jsonl or metrics.jsonl


@dataclass(frozen=True)
class Switch:
    """One true switch, at `step` to the environment `to`, and the event that explains it.

    delay: batches of the new environment that came before the one at which it was noticed.
    index: the environment the learner then believed in. All None if it was not noticed.
    """

    step: int
    to: str
    returning: bool
    detected_at: int | None = None
    delay: int | None = None
    decision: str | None = None
    index: int | None = None
    correct: bool = False


def merged_segments(schedule: Schedule) -> tuple[Segment, ...]:
    """The segments; neighbours of the same domain are joined, as there is no switch between."""
    joined: list[Segment] = []
    for segment in schedule.segments:
        if joined and joined[-1].domain == segment.domain:
            joined[-1] = Segment(segment.domain, joined[-1].start, segment.end)
        else:
            joined.append(segment)
    return tuple(joined)


def matched_index(
    schedule: Schedule, metrics: Iterable[LogRecord], domain: str, before: int | None = None
) -> int | None:
    """The environment (index) that the learner believed in most while a domain was on.

    Only steps below `before` count, if it is given. None if the log has no such step; of two that
    are equally frequent the earlier.
    """
    segments = [segment for segment in schedule.segments if segment.domain == domain]
    counts = Counter(
        line["environment"]
        for line in metrics
        if (before is None or line["step"] < before)
        and any(segment.start <= line["step"] < segment.end for segment in segments)
    )
    return int(counts.most_common(1)[0][0]) if counts else None


def switches(
    schedule: Schedule, events: Sequence[LogRecord], metrics: Sequence[LogRecord], steps: int
) -> tuple[Switch, ...]:
    """Every true switch within the first `steps` steps, and whether it was explained.

    "new" is correct for a first appearance. For a return, "returned" is correct if its index is
    the environment matched to the domain's earlier segments.
    """
    found = []
    for visit in merged_segments(schedule)[1:]:
        if visit.start < steps:
            returning = any(
                segment.domain == visit.domain and segment.end <= visit.start
                for segment in schedule.segments
            )
            matched = matched_index(schedule, metrics, visit.domain, before=visit.start)
            found.append(
                _match_event(visit, returning, matched, _environment_changes(events, visit, steps))
            )
    return tuple(found)


def false_alarms(
    schedule: Schedule, events: Sequence[LogRecord], steps: int
) -> tuple[dict[str, Any], ...]:
    """The "new" and "returned" events that neither a switch nor the start explains."""
    alarms = []
    for visit in merged_segments(schedule):
        moves = _environment_changes(events, visit, steps)
        explained = bool(moves) and (visit.start > 0 or moves[0]["step"] == 0)
        alarms += moves[explained:]
    return tuple(
        {"step": move["step"], "kind": move["kind"], "index": move["environment"]}
        for move in alarms
    )


def score_detection(
    schedule: Schedule, events: Sequence[LogRecord], metrics: Sequence[LogRecord], steps: int
) -> dict[str, Any]:
    """All scores of detection over the first `steps` steps of a run.

    `mean_delay` is None where no switch was detected. `missed` and `returns` leave out a switch
    that is not detected but whose segment has not ended.
    """
    found = switches(schedule, events, metrics, steps)
    ends = {visit.start: visit.end for visit in merged_segments(schedule)}
    known = [s for s in found if s.detected_at is not None or ends[s.step] <= steps]
    delays = [switch.delay for switch in known if switch.delay is not None]
    returns = [switch for switch in known if switch.returning]
    return {
        "switches": [asdict(switch) for switch in found],
        "false_alarms": list(false_alarms(schedule, events, steps)),
        "missed": sum(switch.detected_at is None for switch in known),
        "dismissed": sum(
            event["kind"] == "dismissed" and event["step"] < steps for event in events
        ),
        "mean_delay": sum(delays) / len(delays) if delays else None,
        "returns": len(returns),
        "returns_recognised": sum(switch.correct for switch in returns),
    }


def _environment_changes(
    events: Sequence[LogRecord], visit: Segment, steps: int
) -> list[LogRecord]:
    """The events of a visit at which the learner went to another environment."""
    end = min(visit.end, steps)
    return [
        event
        for event in events
        if event["kind"] in ("new", "returned") and visit.start <= event["step"] < end
    ]


def _match_event(
    visit: Segment, returning: bool, matched: int | None, moves: Sequence[LogRecord]
) -> Switch:
    if not moves:
        return Switch(visit.start, visit.domain, returning)
    first = moves[0]
    kind, index = str(first["kind"]), int(first["environment"])
    correct = (kind == "returned" and index == matched) if returning else kind == "new"
    return Switch(
        step=visit.start,
        to=visit.domain,
        returning=returning,
        detected_at=first["step"],
        delay=first["step"] - visit.start,
        decision=kind,
        index=index,
        correct=correct,
    )
