"""Figures of an exploration: the film, where the agents were, and what it was worth."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from vase.report import style
from vase.report.decode import Floats
from vase.report.images import mosaic

Record = Mapping[str, Any]

COLOURS = {
    "imagination": style.PALETTE[0],
    "random": style.PALETTE[4],
    "novelty": style.PALETTE[3],
    "oracle": style.PALETTE[2],
    "nothing": style.PALETTE[7],
}
MAX_MAPS_BESIDE = 3  # maps
SCALE, HEAD = 2, 22  # of the film, and pixels above each of its rows
PAUSE = 120  # milliseconds


def animated_gif(scenes: Sequence[tuple[int, Floats, Floats]]) -> bytes:
    """An animated GIF: above what each agent imagines, below what it sees.

    scenes: step, imagined and seen images [K, C, H, W] in [0, 1].
    """
    frames = [_frame(*scene).quantize(64, dither=Image.Dither.NONE) for scene in scenes]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=PAUSE, loop=0, optimize=True
    )
    return file.getvalue()


def _frame(step: int, imagined: Floats, seen: Floats) -> Image.Image:
    rows = [_row(images) for images in (imagined, seen)]
    width, height = rows[0].size
    page = Image.new("RGB", (width, 2 * (height + HEAD)), style.INK)
    words = ImageDraw.Draw(page)
    for k, (row, title) in enumerate(zip(rows, ("what it imagines", "what it sees"), strict=True)):
        words.text((6, k * (height + HEAD) + 3), title, fill="white", font_size=14)
        page.paste(row, (0, k * (height + HEAD) + HEAD))
    words.text((width - 6, 3), f"step {step}", fill=style.FAINT, font_size=14, anchor="ra")
    return page


def _row(images: Floats) -> Image.Image:
    """Images side by side, enlarged."""
    row = Image.fromarray(np.round(255 * mosaic(images[None])).astype(np.uint8))
    return row.resize((SCALE * row.width, SCALE * row.height), Image.Resampling.NEAREST)


@style.styled
def plot_coverage(records: Sequence[Record]) -> Figure:
    """Where agents were, a map for each policy, and the share of places seen over time.

    Up to three maps stand beside the curves, more of them above.
    """
    told = [record for record in records if record["coverage"]]
    side, pitch, top, rest = 1.6, 1.9, 0.4, 0.75
    beside = len(told) <= MAX_MAPS_BESIDE
    left = 0.7 + (pitch * len(told) if beside else 0)
    below = 0 if beside else side + rest
    figure = Figure(figsize=(style.FULL, top + below + side + rest))
    for k, record in enumerate(told):
        _map(style.inch_axes(figure, (0.3 + k * pitch, top, side, side)), record)
    axes = style.inch_axes(figure, (left, top + below, style.FULL - left - 0.4, side))
    for record in told:
        share = 100 * np.asarray(record["coverage"]["share"])
        axes.plot(share, color=COLOURS[record["policy"]], label=record["policy"])
    axes.set(ylim=(0, 103), xlabel="steps of every agent", title="places seen, %")
    if len(told) > 1:
        axes.legend(loc="lower right", ncols=len(told))
    return figure


def _map(axes: Axes, record: Record) -> None:
    visits = np.asarray(record["coverage"]["map"], dtype=float)
    if "bearing" in record.get("axes", ()):  # which is to the left, as the picture should have it
        visits = visits[:, ::-1]
    share = visits / visits.max()
    axes.imshow(np.where(visits > 0, np.sqrt(share), np.nan), cmap="viridis", vmin=0, vmax=1)
    axes.set_facecolor(style.GROUND)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    seen = float((visits > 0).mean())
    axes.set_title(record["policy"], color=COLOURS[record["policy"]])
    axes.set_xlabel(f"{100 * seen:.0f} % of places")


@style.styled
def plot_zero_shot(records: Sequence[Record]) -> Figure:
    """Zero-shot figures of domains never seen, over the steps of exploring, a line per policy.

    Of several seeds the mean, and a band of one standard deviation.
    """
    asked = [record for record in records if record["zero_shot"]]
    domains = list(asked[0]["zero_shot"][0]["domains"])
    figures = (
        ("position_mse", "position, MSE in 1e-4", 1e4),
        ("masked_position_mse", "as it is masked", 1e4),
        ("identity", "identity read, %", 100.0),
        ("reconstruction_nats", "nats", 1.0),
    )
    figure = Figure(figsize=(style.FULL, 0.6 + 2.3 * len(domains)), layout="constrained")
    grid = figure.subplots(len(domains), len(figures), squeeze=False)
    for domain, row in zip(domains, grid, strict=True):
        for (name, title, factor), axes in zip(figures, row, strict=True):
            for policy in dict.fromkeys(record["policy"] for record in asked):
                own = [record for record in asked if record["policy"] == policy]
                _plot_policy(axes, own, domain, name, factor)
            axes.set_title(title)
            axes.set_ylim(bottom=0)
        row[0].set_ylabel(domain)
    for axes in grid[-1]:
        axes.set_xlabel("steps of every agent")
    lines, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names))
    return figure


def _plot_policy(axes: Axes, own: Sequence[Record], domain: str, name: str, factor: float) -> None:
    steps = [entry["step"] for entry in own[0]["zero_shot"]]
    values = factor * np.array(
        [[entry["domains"][domain][name] for entry in record["zero_shot"]] for record in own],
        dtype=float,
    )
    policy = own[0]["policy"]
    axes.plot(steps, values.mean(0), color=COLOURS[policy], label=policy, marker="o", markersize=3)
    if len(own) > 1:
        spread = values.std(0, ddof=1)
        low, high = values.mean(0) - spread, values.mean(0) + spread
        axes.fill_between(steps, low, high, color=COLOURS[policy], alpha=0.15)
