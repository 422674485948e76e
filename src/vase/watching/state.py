"""What a watch knows between two frames, and what a decision makes of it. Pure functions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vase.records import Decision
from vase.training.folder import defined
from vase.watching.records import KnownEnvironment, WatchEvent, WatchEventKind, utc

MOST_KEPT = 100  # events beside the state, for a journal that has lost them
TOLD: tuple[WatchEventKind, ...] = ("new", "returned", "reopened", "undetermined", "skipped")
MOVES = ("new", "returned", "reopened")


@dataclass(frozen=True)
class Seen:
    """When an environment was there first and last, in seconds since 1970, and its frames."""

    first: float
    last: float
    frames: int


@dataclass(frozen=True)
class WatchState:
    """Where a watch is. It is saved with the model, so that both are of the same frame.

    run: the name of its folder. run_id: makes the ids of its events. source, mark, position: what
    was looked at last. frames, dropped, reconnects: so far. sequence: of the last event.
    environment, since: the present one. unusual_since: when what is deferred began. seen: by
    environment. counts: of events by kind. outbox: the last events, the latest last.
    """

    run: str
    run_id: str
    source: str = ""
    mark: Any = None
    position: float = 0.0
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    sequence: int = 0
    environment: int = 0
    since: float = 0.0
    unusual_since: float | None = None
    seen: Mapping[int, Seen] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    outbox: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """In what JSON can hold."""
        seen = {str(key): [each.first, each.last, each.frames] for key, each in self.seen.items()}
        return {**vars(self), "seen": seen, "outbox": [*self.outbox]}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> WatchState:
        """What `to_json` made."""
        seen = {int(key): Seen(*each) for key, each in saved["seen"].items()}
        return cls(**{**saved, "seen": seen, "outbox": tuple(saved["outbox"])})


@dataclass(frozen=True)
class Batch:
    """Frames that were looked at together: how many, and the last one's mark, position and time."""

    count: int
    mark: Any
    position: float
    time: float


def after_batch(
    state: WatchState, decision: Decision, batch: Batch, names: Mapping[int, str]
) -> tuple[WatchState, WatchEvent | None]:
    """Return the state after a batch, and what there is to tell of it."""
    began = batch.time if state.unusual_since is None else state.unusual_since
    unusual = began if decision.kind in ("deferred", "undetermined") else None
    looked = replace(
        state,
        mark=batch.mark,
        position=batch.position,
        frames=state.frames + batch.count,
        unusual_since=unusual,
    )
    event, moved = None, looked
    if decision.kind in MOVES:
        moved = _moved(looked, decision, began)
    if decision.kind in TOLD:
        moved, event = told(
            moved,
            batch.time,
            decision.kind,
            names,
            reason=decision.reason,
            began=began,
            evidence=defined(decision.numbers),
            left=looked,
        )
    return _counted(moved, batch, certain=unusual is None), event


def told(
    state: WatchState,
    time: float,
    kind: WatchEventKind,
    names: Mapping[int, str],
    *,
    reason: str,
    began: float | None = None,
    evidence: Mapping[str, Any] | None = None,
    left: WatchState | None = None,
) -> tuple[WatchState, WatchEvent]:
    """Return the state with one more event, and the event.

    left: the state before it, where the environment has changed.
    """
    number, here = state.sequence + 1, state.environment
    before = left if left is not None and left.seen and kind in MOVES else None
    back = left.seen.get(here) if left is not None and kind == "returned" else None
    event = WatchEvent(
        id=str(uuid.uuid5(uuid.UUID(state.run_id), str(number))),
        sequence=number,
        time=utc(time),
        position=round(state.position, 3),
        frame=state.frames,
        run=state.run,
        kind=kind,
        environment=here,
        name=names.get(here, ""),
        previous=before.environment if before else None,
        previous_name=names.get(before.environment, "") if before else "",
        last_seen=utc(back.last) if back else None,
        began=utc(time if began is None else began),
        reason=reason,
        evidence=dict(evidence or {}),
    )
    outbox = (*state.outbox, event.model_dump(mode="json"))[-MOST_KEPT:]
    counts = {**state.counts, kind: state.counts.get(kind, 0) + 1}
    return replace(state, sequence=number, counts=counts, outbox=outbox), event


def known_environments(state: WatchState, names: Mapping[int, str]) -> tuple[KnownEnvironment, ...]:
    """What is known of each environment."""
    return tuple(
        KnownEnvironment(key, names.get(key, ""), utc(each.first), utc(each.last), each.frames)
        for key, each in sorted(state.seen.items())
    )


def forgotten(before: WatchState, after: WatchState, decision: Decision) -> int | None:
    """The environment whose name no longer fits: it was discarded, or began again."""
    if decision.kind == "reopened":
        return after.environment
    return before.environment if decision.discards else None


def _moved(state: WatchState, decision: Decision, began: float) -> WatchState:
    seen = dict(state.seen)
    if decision.discards:  # the present one was a mistake; its number is free again
        seen.pop(state.environment, None)
    return replace(state, environment=decision.environment, since=began, seen=seen)


def _counted(state: WatchState, batch: Batch, *, certain: bool) -> WatchState:
    """The frames of a batch, counted to the present environment.

    certain: whether it is there at all; while frames are unusual, nobody knows.
    """
    here = state.seen.get(state.environment, Seen(batch.time, batch.time, 0))
    last = max(here.last, batch.time) if certain else here.last
    now = Seen(here.first, last, here.frames + batch.count)
    return replace(state, seen={**state.seen, state.environment: now})


def at_source(state: WatchState, source: str) -> WatchState:
    """The state at the begin of a source: the same goes on where it was, another at its start."""
    if state.source == source:
        return state
    return replace(state, source=source, mark=None, position=0.0)
