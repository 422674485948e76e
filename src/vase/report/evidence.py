"""The evidence at each decision: how far every known environment was, and what is near enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vase.report import style
from vase.report.run import Record

MAX_DECISIONS = 40  # decisions that are drawn, the latest
ROW, TOP, BOTTOM, LEFT = 0.23, 0.5, 0.62, 2.3  # inches
MAX_DISTANCE = 1000.0  # nats; what is farther is drawn there
LINEAR_RANGE = 0.1  # nats up to which the axis is linear
WORDS = {
    "new": "new, {}",
    "returned": "back in {}",
    "dismissed": "still {}",
    "reopened": "{} founded anew",
}


def decision_events(events: Sequence[Record]) -> list[Record]:
    """The events that rest on distances, the latest `MAX_DECISIONS` of them."""
    told = [
        event
        for event in events
        if event["kind"] in WORDS and "distance_nats" in (event.get("evidence") or {})
    ]
    return told[-MAX_DECISIONS:]


@style.styled
def plot_decision_distances(told: Sequence[Record], colours: Mapping[int, Any]) -> Figure:
    """One row per decision: a dot for each environment known then, the chosen one ringed.

    colours: of environments, by index.
    """
    figure = Figure(figsize=(style.FULL, TOP + ROW * len(told) + BOTTOM))
    axes = style.inch_axes(figure, (LEFT, TOP, style.FULL - LEFT - 0.25, ROW * len(told)))
    axes.set_xscale("symlog", linthresh=LINEAR_RANGE)
    for row, event in enumerate(told):
        _draw_row(axes, row, event, colours)
    tolerance = told[-1]["evidence"]["tolerance_nats"]
    axes.axvspan(-LINEAR_RANGE, tolerance, color="#eaf3ea", linewidth=0, zorder=0)
    axes.set(xlim=(-LINEAR_RANGE, 1.6 * MAX_DISTANCE), ylim=(len(told) - 0.4, -0.6))
    axes.set_yticks(range(len(told)), [decision_label(event) for event in told], fontsize=8.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("distance of the held images from each known environment, nats per image")
    axes.text(
        tolerance, 1, f" the same up to {tolerance:g}", transform=axes.get_xaxis_transform(),
        va="bottom", ha="center", fontsize=8.5, color="#3d7a3d",
    )  # fmt: skip
    axes.set_title("How far every known environment was, at each decision", pad=18)
    axes.tick_params(axis="y", length=0)
    return figure


def decision_label(event: Record) -> str:
    """A decision in a few words."""
    words = WORDS[event["kind"]].format(event["environment"])
    return f"step {event['step']:,}: {words}"


def _draw_row(axes: Any, row: int, event: Record, colours: Mapping[int, Any]) -> None:
    axes.axhline(row, color=style.FAINT, linewidth=0.6, zorder=0)
    for index, distance in event["evidence"]["distance_nats"].items():
        x = float(np.clip(distance, -LINEAR_RANGE, MAX_DISTANCE))
        colour = colours.get(int(index), style.QUIET)
        axes.plot(x, row, "o", color=colour, markersize=6.5, clip_on=False)
        if event["kind"] != "new" and int(index) == event["environment"]:
            axes.plot(x, row, "o", color=style.INK, markersize=10, fillstyle="none", clip_on=False)
