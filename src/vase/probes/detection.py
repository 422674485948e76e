"""Was the change noticed? Delays, missed switches, false alarms, and returns recognised.

Pure functions over the true schedule and the run's log. An event "new" or "back" explains a
switch if it is the first one after it and within the stay; every further one is a false alarm. A
switch whose stay is still going on when the log ends is neither detected nor missed yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vase.worlds.stream import Schedule, Stay

Line = Mapping[str, Any]  # one record of events.jsonl or metrics.jsonl


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
    verdict: str | None = None
    index: int | None = None
    correct: bool = False


def visits(schedule: Schedule) -> tuple[Stay, ...]:
    """The stays, with neighbours in the same environment joined: there is no switch between."""
    joined: list[Stay] = []
    for stay in schedule.stays:
        if joined and joined[-1].environment == stay.environment:
            joined[-1] = Stay(stay.environment, joined[-1].start, stay.end)
        else:
            joined.append(stay)
    return tuple(joined)


def assigned(
    schedule: Schedule, metrics: Iterable[Line], world: str, before: int | None = None
) -> int | None:
    """The believed index that the learner mostly stood in while a world was on.

    Only steps below `before` count, if it is given. None if no line of the log tells; of equally
    frequent ones the earlier.
    """
    stays = [stay for stay in schedule.stays if stay.environment == world]
    counts = Counter(
        line["environment"]
        for line in metrics
        if (before is None or line["step"] < before)
        and any(stay.start <= line["step"] < stay.end for stay in stays)
    )
    return int(counts.most_common(1)[0][0]) if counts else None


def switches(
    schedule: Schedule, events: Sequence[Line], metrics: Sequence[Line], steps: int
) -> tuple[Switch, ...]:
    """Every true switch within the first `steps` steps, and whether it was explained.

    Correct is "new" for a first appearance, and for a return "back" to the index that the world
    had been assigned in its earlier stays.
    """
    found = []
    for visit in visits(schedule)[1:]:
        if visit.start < steps:
            returning = any(
                stay.environment == visit.environment and stay.end <= visit.start
                for stay in schedule.stays
            )
            home = assigned(schedule, metrics, visit.environment, before=visit.start)
            found.append(_explain(visit, returning, home, _moves(events, visit, steps)))
    return tuple(found)


def false_alarms(
    schedule: Schedule, events: Sequence[Line], steps: int
) -> tuple[dict[str, Any], ...]:
    """The "new" and "back" events that neither a switch nor the start explains."""
    alarms = []
    for visit in visits(schedule):
        moves = _moves(events, visit, steps)
        explained = bool(moves) and (visit.start > 0 or moves[0]["step"] == 0)
        alarms += moves[explained:]
    return tuple(
        {"step": move["step"], "kind": move["kind"], "index": move["environment"]}
        for move in alarms
    )


def detection(
    schedule: Schedule, events: Sequence[Line], metrics: Sequence[Line], steps: int
) -> dict[str, Any]:
    """All scores of detection over the first `steps` steps of a run.

    `mean_delay` is None where no switch was detected. `missed` and `returns` leave out a switch
    that is not detected but whose stay has not ended.
    """
    found = switches(schedule, events, metrics, steps)
    ends = {visit.start: visit.end for visit in visits(schedule)}
    known = [s for s in found if s.detected_at is not None or ends[s.step] <= steps]
    delays = [switch.delay for switch in known if switch.delay is not None]
    returns = [switch for switch in known if switch.returning]
    return {
        "switches": [asdict(switch) for switch in found],
        "false_alarms": list(false_alarms(schedule, events, steps)),
        "missed": sum(switch.detected_at is None for switch in known),
        "kept": sum(event["kind"] == "kept" and event["step"] < steps for event in events),
        "mean_delay": sum(delays) / len(delays) if delays else None,
        "returns": len(returns),
        "returns_recognised": sum(switch.correct for switch in returns),
    }


def _moves(events: Sequence[Line], visit: Stay, steps: int) -> list[Line]:
    """The events of a visit at which the learner went to another environment."""
    end = min(visit.end, steps)
    return [
        event
        for event in events
        if event["kind"] in ("new", "back") and visit.start <= event["step"] < end
    ]


def _explain(visit: Stay, returning: bool, home: int | None, moves: Sequence[Line]) -> Switch:
    if not moves:
        return Switch(visit.start, visit.environment, returning)
    first = moves[0]
    kind, index = str(first["kind"]), int(first["environment"])
    correct = (kind == "back" and index == home) if returning else kind == "new"
    return Switch(
        step=visit.start,
        to=visit.environment,
        returning=returning,
        detected_at=first["step"],
        delay=first["step"] - visit.start,
        verdict=kind,
        index=index,
        correct=correct,
    )
