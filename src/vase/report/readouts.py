"""Plots the readout scores of identity and position over the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from vase.domains.stream import Segment
from vase.report import style
from vase.report.run import Record

STYLES: dict[str, dict[str, Any]] = {
    "mlp": {"linestyle": "-", "linewidth": 1.8, "marker": "o", "markersize": 3},
    "linear": {"linestyle": (0, (1, 1.5)), "linewidth": 1.3},
    "frozen": {"linestyle": (0, (5, 2)), "linewidth": 1.2},
}
NAMES = {
    "mlp": "MLP, fitted anew at each point",
    "linear": "linear, fitted anew",
    "frozen": "frozen: fitted when the domain was last on",
}


TITLES = {
    "identity": "Object identity, accuracy on test images",
    "position_mse": "Position, mean squared error in 10⁻⁴ of the range of travel",
}
MAX_NOTED = 5  # domains whose best and end are noted beside the lines; the table has all of them


def readout_series(
    timeline: Sequence[Record], domain: str, quantity: str, readout: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of one readout of one domain; points that were not measured are left out."""
    points = []
    for record in timeline:
        values = record["domains"].get(domain, {}).get(quantity)
        value = (values or {}).get(readout)
        if value is not None:
            points.append((record["step"], value))
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@style.styled
def plot_readouts(
    probes: Record, segments: Sequence[Segment], end: int, colours: Mapping[str, str]
) -> Figure:
    """Identity accuracy above, position error on a log scale below, for domains that have any."""
    timeline, shown = probes["timeline"], measured_quantities(probes, list(colours))
    left, width, height, gap = 0.95, 6.75, 2.5, 0.62
    figure = Figure(figsize=(style.FULL, 1.25 + len(shown) * (height + gap) - gap))
    for row, (quantity, names) in enumerate(shown.items()):
        axes = style.inch_axes(figure, (left, 0.75 + row * (height + gap), width, height))
        chosen, last = {name: colours[name] for name in names}, row == len(shown) - 1
        if quantity == "position_mse":
            axes.set_yscale("log")
        _panel(axes, timeline, quantity, chosen, (segments, end), labelled=last)
        axes.set_title(TITLES[quantity], pad=7)
        if quantity == "position_mse":
            _log_ticks(axes)
        else:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    _legend(figure)
    return figure


def measured_quantities(probes: Record, domains: Sequence[str]) -> dict[str, list[str]]:
    """The quantities that were read in any domain, each with the domains in which it was."""
    found = {
        quantity: [
            n for n in domains if len(readout_series(probes["timeline"], n, quantity, "mlp")[0])
        ]
        for quantity in TITLES
    }
    return {quantity: names for quantity, names in found.items() if names}


def _log_ticks(axes: Axes) -> None:
    """Plain numbers in units of 1e-4, at 1, 2 and 5 of every decade if there are few decades."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 500 else (1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda value, _: f"{float(f'{1e4 * value:.3g}'):,.10g}")


def _panel(
    axes: Axes,
    timeline: Sequence[Record],
    quantity: str,
    colours: Mapping[str, str],
    when: tuple[Sequence[Segment], int],
    *,
    labelled: bool,
) -> None:
    style.time_axis(axes, *when, labelled=labelled)
    axes.grid(axis="y")
    notes = []
    for name, colour in colours.items():
        for readout, look in STYLES.items():
            steps, values = readout_series(timeline, name, quantity, readout)
            axes.plot(steps, values, color=colour, **look)
        steps, values = readout_series(timeline, name, quantity, "mlp")
        if len(values):
            best = int(values.argmax() if quantity == "identity" else values.argmin())
            axes.plot(
                steps[best],
                values[best],
                "o",
                color=colour,
                markersize=7,
                markerfacecolor="white",
                markeredgewidth=1.6,
                zorder=4,
            )
            notes.append(
                (values[-1], name, colour, best_and_end(quantity, values[best], values[-1]))
            )
    style.name_domains(axes, *when, style.domain_colours([s.domain for s in when[0]]))
    if labelled:
        axes.set_xlabel("step")
    _notes(axes, notes)


def best_and_end(quantity: str, best: float, end: float) -> str:
    """Best value and what became of it, in the units of the panel."""
    if quantity == "identity":
        change = signed(100 * (end - best), 1)
        return f"best {100 * best:.1f} %, end {change} points"
    return f"best {1e4 * best:.1f}, end {signed(1e4 * (end - best), 1)}"


def signed(value: float, digits: int) -> str:
    """A number with its sign and a true minus; ±0 where it rounds to zero."""
    text = f"{value:+.{digits}f}"
    return "±0" if float(text) == 0 else text.replace("-", "\u2212")


def _notes(axes: Axes, notes: Sequence[tuple[float, str, str, str]]) -> None:
    """Name the lines at their ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    logarithmic = axes.get_yscale() == "log"
    ranked = sorted(notes, key=lambda entry: -entry[0])
    heights = [
        np.log(value / low) / np.log(high / low) if logarithmic else (value - low) / (high - low)
        for value, *_ in ranked
    ]
    crowded = len(ranked) > MAX_NOTED
    room = 0.98 / len(ranked) if crowded else 0.19
    for y, (_, name, colour, text) in zip(spread_labels(heights, room), ranked, strict=True):
        shown = style.truncate(name, 1.9, 10)
        align = "center" if crowded else "bottom"
        axes.text(1.015, y, shown, transform=axes.transAxes, color=colour, weight="bold", va=align)
        if not crowded:
            axes.text(
                1.015,
                y - 0.01,
                text,
                transform=axes.transAxes,
                fontsize=8.5,
                va="top",
                color=style.QUIET,
            )


def spread_labels(heights: Sequence[float], room: float) -> list[float]:
    """Move heights, sorted from the top, so that neighbours are at least `room` apart."""
    moved: list[float] = []
    for height in heights:
        moved.append(min(height, moved[-1] - room) if moved else min(height, 0.93))
    lift = max(0.0, 0.09 - moved[-1]) if moved else 0.0
    return [height + lift for height in moved]


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=style.INK, label=NAMES[readout], **look)
        for readout, look in STYLES.items()
    ]
    _, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.085, 1 - 0.08 / height),
        ncols=3,
        handlelength=3,
        columnspacing=1.6,
    )
