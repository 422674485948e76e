"""Checks the records of a run for known failures, and describes each in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vase.report.run import Record, RunRecords

RECENT_RECORDS = 50  # logged steps that say how it is now
MIN_KL_NATS = 1.0  # nats per image: less is as good as nothing
MAX_NEW_ENVIRONMENTS, NEW_ENVIRONMENT_WINDOW = (
    5,
    1000,
)  # so many new environments within so many steps
MAX_HELD_SHARE = 0.2  # of the logged steps


def diagnose(run: RunRecords) -> list[str]:
    """Return a sentence for each failure found, with a remedy; empty if there is none."""
    learnt = [each for each in run.metrics if each.get("learnt")]
    found = [
        _posterior_collapse(learnt[-RECENT_RECORDS:]),
        _capacity_limit(
            learnt[-RECENT_RECORDS:], run.config.objective.c_max, run.config.objective.kind
        ),
        _too_many_environments([each["step"] for each in run.events if each["kind"] == "new"]),
        _held_batches(run.metrics),
        _skipped_batches(run.events),
    ]
    return [each for each in found if each]


def _posterior_collapse(latest: Sequence[Record]) -> str:
    if len(latest) < RECENT_RECORDS or np.mean([each["kl"] for each in latest]) >= MIN_KL_NATS:
        return ""
    return (
        "The latents carry next to nothing (posterior collapse). Lower objective.beta, raise "
        "objective.c_start, or look whether the images show anything at all."
    )


def _capacity_limit(latest: Sequence[Record], limit: float, kind: str) -> str:
    if kind == "vae" or not latest or latest[-1]["capacity"] < limit:
        return ""
    return (
        f"The capacity has grown to its limit of {limit:g} nats. Raise objective.c_max if codes "
        "may be as large, or model.latents if all are in use."
    )


def _too_many_environments(steps: Sequence[int]) -> str:
    """`steps` at which environments were opened, in order."""
    opened = max(
        (sum(0 <= later - step < NEW_ENVIRONMENT_WINDOW for later in steps) for step in steps),
        default=0,
    )
    if opened < MAX_NEW_ENVIRONMENTS:
        return ""
    return (
        f"{opened} environments were opened within {NEW_ENVIRONMENT_WINDOW:,} steps. "
        "Batches of one domain may be unlike one another, as frames in a row are: shuffle "
        "them within a buffer, or raise detection.tolerance."
    )


def _held_batches(metrics: Sequence[Record]) -> str:
    held = sum(not each.get("learnt", True) for each in metrics)
    if len(metrics) < RECENT_RECORDS or held < MAX_HELD_SHARE * len(metrics):
        return ""
    return (
        f"Of every hundred batches {100 * held / len(metrics):.0f} were held back and not learnt. "
        "The stream changes faster than it can be told apart; the events say why."
    )


def _skipped_batches(events: Sequence[Record]) -> str:
    count = sum(each["kind"] == "skipped" for each in events)
    if not count:
        return ""
    batches = "batch was" if count == 1 else "batches were"
    return (
        f"{count} {batches} left out, having no finite images, loss or gradient. The events say "
        "where; look at the images around them."
    )
