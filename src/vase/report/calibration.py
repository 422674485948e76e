"""Error of the position readout against the variance that the posterior predicts for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from vase.report import style

Record = Mapping[str, Any]


@style.styled
def plot_calibration(found: Mapping[str, Record], colours: Mapping[str, str]) -> Figure:
    """A dot for every bin of predicted variance, a line for every domain, both axes logarithmic."""
    figure = Figure(figsize=(style.FULL, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(1.1, 1))
    for name, record in found.items():
        predicted, errors = (
            np.sqrt([each[what] for each in record["bins"]]) for what in ("predicted", "error")
        )
        label = f"{style.truncate(name, 1.9, 9)}: rank correlation {record['spearman']:.2f}"
        panels[0].plot(predicted, errors, "o-", ms=4, color=colours[name], label=label)
    _percent_axes(panels[0], "both")
    ends = panels[0].get_xlim()
    panels[0].plot(ends, ends, color=style.QUIET, lw=0.8, ls=(0, (2, 2)), label="as predicted")
    panels[0].set(
        xlabel="predicted deviation, share of the range of travel", ylabel="error, root mean square"
    )
    panels[0].set_title("Error against what was predicted")
    panels[0].legend()
    _plot_corruptions(panels[1], found, colours)
    return figure


def _plot_corruptions(axes: Axes, found: Mapping[str, Record], colours: Mapping[str, str]) -> None:
    """Error and prediction by how the images were shown."""
    ways = [each["shown"] for each in next(iter(found.values()))["ways"]]
    for name, record in found.items():
        rows = range(len(ways))
        errors, predicted = (
            np.sqrt([each[what] for each in record["ways"]]) for what in ("error", "predicted")
        )
        axes.plot(errors, rows, "o", ms=5, color=colours[name])
        axes.plot(predicted, rows, "|", ms=9, mew=1.6, color=colours[name])
    axes.set_yticks(range(len(ways)), ways)
    axes.invert_yaxis()
    _percent_axes(axes, "x")
    axes.set_xlabel("dot: error; line: predicted")
    axes.set_title("By how images were shown")
    axes.grid(axis="x")


def _percent_axes(axes: Axes, which: str) -> None:
    """Logarithmic axes of shares, their powers of ten in percent."""
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        if which in ("both", axis.axis_name):
            scale("log")
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
            axis.set_minor_formatter(NullFormatter())
