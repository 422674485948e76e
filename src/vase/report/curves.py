"""The terms of the objective over the run: reconstruction, KL and capacity, proximity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vase.domains.stream import Segment
from vase.report import style
from vase.report.run import Record

MAX_POINTS = 700  # of a curve, at the most; averages are drawn where there are more steps
SECOND_COLOUR = "#8e5bb5"  # of a second line: a colour that no domain has
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a title and the lines in it as (key of metrics.jsonl, name, colour)."""

    title: str
    lines: tuple[tuple[str, str, str], ...]


def panels(*, wasserstein: bool, terms: Sequence[str] = ()) -> tuple[Panel, ...]:
    """What is drawn. wasserstein: the encoder's distance is in squared latent units, not nats.

    terms: further loss terms, by the keys of `objective.terms`.
    """
    encoder = "encoder, W²" if wasserstein else "encoder"
    return (
        Panel("Reconstruction, nats per image", (("reconstruction", "reconstruction", style.INK),)),
        Panel(
            "Information in the latents, nats per image",
            (("kl", "KL", SECOND_COLOUR), ("capacity", "capacity C", style.INK)),
        ),
        Panel(
            "Drift of the networks since the snapshot, on replayed images, nats per image",
            (
                ("encoder_proximity", encoder, SECOND_COLOUR),
                ("decoder_proximity", "decoder", style.INK),
            ),
        ),
        *(
            Panel(f"Loss term {name}, before its weight", ((name, name, style.INK),))
            for name in terms
        ),
    )


def average_curve(
    metrics: Sequence[Record], key: str, points: int = MAX_POINTS
) -> tuple[Array, Array]:
    """Steps and values of one term, averaged over runs of records; NaN where it was not learnt."""
    steps = np.array([record["step"] for record in metrics], dtype=np.float64)
    values = np.array([record.get(key, np.nan) for record in metrics], dtype=np.float64)
    size = -(-len(steps) // points) if len(steps) else 1
    starts = np.arange(0, len(steps), size)
    if not len(steps):
        return steps, values
    known = np.isfinite(values)
    counts = np.add.reduceat(known.astype(float), starts)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return steps[starts], means


@style.styled
def plot_curves(
    metrics: Sequence[Record],
    segments: Sequence[Segment],
    end: int,
    *,
    wasserstein: bool = False,
    terms: Sequence[str] = (),
) -> Figure:
    """One panel per group of terms; a group that the run never had is left out."""
    shown = [
        panel
        for panel in panels(wasserstein=wasserstein, terms=terms)
        if any(np.isfinite(average_curve(metrics, key)[1]).any() for key, _, _ in panel.lines)
    ]
    height, gap = 1.45, 0.5
    figure = Figure(figsize=(style.FULL, 0.35 + max(len(shown), 1) * (height + gap)))
    for k, panel in enumerate(shown):
        axes = style.inch_axes(figure, (0.8, 0.35 + k * (height + gap), 7.9, height))
        last = k == len(shown) - 1
        _draw_panel(axes, panel, metrics)
        style.time_axis(axes, segments, end, labelled=last)
        style.name_domains(axes, segments, end, style.domain_colours([s.domain for s in segments]))
        if last:
            axes.set_xlabel("step")
    return figure


def _draw_panel(axes: Axes, panel: Panel, metrics: Sequence[Record]) -> None:
    axes.set_title(panel.title, pad=6)
    axes.grid(axis="y")
    lowest = highest = 0.0
    for key, name, colour in panel.lines:
        steps, values = average_curve(metrics, key)
        axes.plot(steps, values, color=colour, linewidth=1.1, label=name)
        settled = values[np.isfinite(values)]
        if len(settled):
            highest = max(highest, float(np.quantile(settled, 0.985)))
            lowest = min(lowest, float(np.quantile(settled, 0.015)))
    # The first batches after a start or a switch would otherwise press everything else flat.
    axes.set_ylim(1.25 * lowest, 1.25 * highest or 1)
    if len(panel.lines) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)
