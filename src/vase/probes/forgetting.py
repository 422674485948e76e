"""Forgetting: how far every figure has fallen from its best, per domain and over all.

Per domain and readout, over the milestones from the domain's first appearance on:

    identity       change = end - max   (0 at best, negative when something was forgotten)
    position MSE   change = end - min   (0 at best, positive when something was forgotten)

The overall figure is the mean over domains of each domain's own. Where no domain has a position,
position figures are undefined, that is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

READOUTS = ("linear", "mlp", "frozen")

Best = Literal["max", "min"]
_PICK: Mapping[Best, Callable[[Sequence[float]], float]] = {"max": max, "min": min}


def best_end_change(values: Sequence[float], best: Best) -> dict[str, float]:
    """The best of a non-empty series, its end, and change = end - best."""
    top = _PICK[best](values)
    return {best: top, "end": values[-1], "change": values[-1] - top}


def readout_values(
    timeline: Sequence[Mapping[str, Any]], domain: str, figure: str, readout: str
) -> list[float]:
    """One figure of one domain along the timeline; milestones that lack it are left out."""
    values = (entry["domains"].get(domain, {}).get(figure) for entry in timeline)
    return [value[readout] for value in values if value is not None]


def measure_forgetting(
    timeline: Sequence[Mapping[str, Any]], figure: str, readout: str, best: Best
) -> dict[str, Any]:
    """Best, end and change of a figure: the mean over domains, and each domain's own."""
    names = dict.fromkeys(name for entry in timeline for name in entry["domains"])
    found = {name: readout_values(timeline, name, figure, readout) for name in names}
    domains = {name: best_end_change(values, best) for name, values in found.items() if values}
    overall = {
        key: _mean([own[key] for own in domains.values()]) for key in (best, "end", "change")
    }
    return {**overall, "domains": domains}


def summarise_forgetting(timeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Forgetting of identity and of position under every readout."""
    return {
        "identity": {
            name: measure_forgetting(timeline, "identity", name, "max") for name in READOUTS
        },
        "position_mse": {
            name: measure_forgetting(timeline, "position_mse", name, "min") for name in READOUTS
        },
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
