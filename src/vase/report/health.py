"""Is a run well? What its records say of known ways to go wrong, each in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vase.report.run import Record, Run

LATEST = 50  # logged steps that say how it is now
COLLAPSED = 1.0  # nats per image: less is as good as nothing
STORM, WITHIN = 5, 1000  # so many new environments within so many steps
HELD = 0.2  # of the logged steps


def complaints(run: Run) -> list[str]:
    """What looks wrong, and what to do about it; empty where all is well."""
    learnt = [each for each in run.metrics if each.get("learnt")]
    found = [
        _collapse(learnt[-LATEST:]),
        _limit(learnt[-LATEST:], run.config.objective.c_max, run.config.objective.kind),
        _storm([each["step"] for each in run.events if each["kind"] == "new"]),
        _held(run.metrics),
        _skipped(run.events),
    ]
    return [each for each in found if each]


def _collapse(latest: Sequence[Record]) -> str:
    if len(latest) < LATEST or np.mean([each["kl"] for each in latest]) >= COLLAPSED:
        return ""
    return (
        "The latents carry next to nothing (posterior collapse). Lower objective.beta, raise "
        "objective.c_start, or look whether the images show anything at all."
    )


def _limit(latest: Sequence[Record], limit: float, kind: str) -> str:
    if kind == "vae" or not latest or latest[-1]["capacity"] < limit:
        return ""
    return (
        f"The capacity has grown to its limit of {limit:g} nats. Raise objective.c_max if codes "
        "may be as large, or model.latents if all are in use."
    )


def _storm(steps: Sequence[int]) -> str:
    """`steps` at which environments were opened, in order."""
    opened = max((sum(0 <= later - step < WITHIN for later in steps) for step in steps), default=0)
    if opened < STORM:
        return ""
    return (
        f"{opened} environments were opened within {WITHIN:,} steps. Batches of one domain may be "
        "unlike one another, as frames in a row are: shuffle them within a buffer, or raise "
        "detection.tolerance."
    )


def _held(metrics: Sequence[Record]) -> str:
    held = sum(not each.get("learnt", True) for each in metrics)
    if len(metrics) < LATEST or held < HELD * len(metrics):
        return ""
    return (
        f"Of every hundred batches {100 * held / len(metrics):.0f} were held back and not learnt. "
        "The stream changes faster than it can be told apart; the events say why."
    )


def _skipped(events: Sequence[Record]) -> str:
    count = sum(each["kind"] == "skipped" for each in events)
    if not count:
        return ""
    batches = "batch was" if count == 1 else "batches were"
    return (
        f"{count} {batches} left out, having no finite images, loss or gradient. The events say "
        "where; look at the images around them."
    )
