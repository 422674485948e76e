"""Morphs between two domains: what they look like, what is believed of them, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vase.report import style

Record = Mapping[str, Any]

STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)))


@style.styled
def plot_ambiguity(record: Record, colours: Mapping[str, str]) -> Figure:
    """Belief along every kind of morph in every context, and the variance of the latents."""
    figure = Figure(figsize=(style.FULL, 3.4), layout="constrained")
    panels = figure.subplots(1, 1 + len(record["morphs"]))
    first, second = record["source"], record["target"]
    ends = (colours.get(first, style.PALETTE[0]), colours.get(second, style.PALETTE[1]))
    for axes, (name, found) in zip(panels[:-1], record["morphs"].items(), strict=True):
        _belief(axes, record["levels"], found, ends)
        axes.set_title(name.capitalize())
    panels[0].set_ylabel(f"belief in {style.truncate(second, 1.4, 9.5)}")
    _variance(panels[-1], record)
    for axes in panels:
        axes.set_xlim(0, 1)
        names = (style.truncate(first, 1.0, 9), "", style.truncate(second, 1.0, 9))
        axes.set_xticks([0, 0.5, 1], names)
        for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
            label.set_horizontalalignment(side)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=5,
        title=f"Share of the images around that are of {second}; a dot where belief is even",
    )
    return figure


def _belief(axes: Axes, levels: list[float], found: Record, ends: tuple[str, str]) -> None:
    for each in found["contexts"]:
        share = each["share"]
        axes.plot(
            levels, each["belief"], color=blend_colours(*ends, share), label=f"{100 * share:.0f} %"
        )
        axes.plot(each["equality"]["mean"], 0.5, "o", ms=4, color=blend_colours(*ends, share))
    axes.axhline(0.5, color=style.QUIET, lw=0.6, ls=(0, (2, 2)))
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.5, 1])


def _variance(axes: Axes, record: Record) -> None:
    """Variance of the latents that both domains use, per kind of morph."""
    for k, (name, found) in enumerate(record["morphs"].items()):
        if not found["variance"]["curve"]:
            continue
        axes.plot(
            record["levels"],
            found["variance"]["curve"],
            color=style.INK,
            ls=STYLES[k],
            label=name,
        )
    axes.set_ylim(0)
    axes.set_title("Variance")
    axes.legend()


def blend_colours(one: str, other: str, share: float) -> tuple[float, float, float]:
    """A colour on the way from one to the other."""
    red, green, blue = (1 - share) * np.array(to_rgb(one)) + share * np.array(to_rgb(other))
    return float(red), float(green), float(blue)
