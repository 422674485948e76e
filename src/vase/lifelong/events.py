"""The events of a run: what came of a verdict, put into a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from vase.records import Event, EventKind, Verdict


def of_verdict(step: int, verdict: Verdict, more: Mapping[str, object] | None = None) -> Event:
    """The event that a verdict is, with what came of it added to its evidence."""
    kind, evidence = cast(EventKind, verdict.kind), {**verdict.evidence, **(more or {})}
    return Event(step, kind, verdict.environment, verdict.reason, evidence)


def adrift(step: int, verdict: Verdict, batches: int) -> Event:
    """The event of a long wait: nothing is learnt, and no verdict can be passed."""
    reason = f"nothing was learnt from the last {batches} batches: {verdict.reason}"
    return Event(step, "adrift", verdict.environment, reason, verdict.evidence)
