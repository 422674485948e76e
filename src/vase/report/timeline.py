"""The run over time: what was shown, where the learner believed to be, and why it thought so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from vase.domains.stream import Segment, Stream
from vase.report import style
from vase.report.decode import Floats
from vase.report.images import mosaic, show_pixels
from vase.report.run import (
    BelievedSegment,
    Record,
    RunRecords,
    changes_environment,
    match_domains,
)

LEFT, WIDTH = 1.28, 7.98  # inches that the time axis takes
STRIP_COLUMNS, STRIP_ROWS = 24, 3  # images of the strip
MAX_BINS = 480  # columns of the heat map, at the most

# Grey while a latent is typical; colour from the threshold on.
HEAT = LinearSegmentedColormap.from_list(
    "atypical", ["#ffffff", "#c9ced6", "#f6c667", "#d55e00", "#6b1d00"]
)


def sample_strip(
    stream: Stream, end: int, columns: int = STRIP_COLUMNS, rows: int = STRIP_ROWS
) -> Floats:
    """The first `rows` images of the batch in the middle of each of `columns` parts of the run."""
    steps = [int((column + 0.5) * end / columns) for column in range(columns)]
    batches = [stream.batch(step)[0] for step in steps]
    rows = min(rows, *(len(batch) for batch in batches))
    return np.stack([batch[:rows] for batch in batches], axis=1)


def visible_latents(order: Sequence[int], alpha: NDArray[np.float64], atypical: float) -> list[int]:
    """Latents worth a row: those in use, and any that ever came near the threshold.

    order: latents in use. alpha: [T, N].
    """
    peaks = alpha.max(axis=0) if len(alpha) else np.zeros(0)
    strays = [n for n in np.flatnonzero(peaks > atypical / 2).tolist() if n not in order]
    return [*order, *strays]


def atypicality_over_time(metrics: Sequence[Record]) -> NDArray[np.float64]:
    """Atypicality over time, [T, N], in nats; 0 at a batch that was left out, which has none."""
    latents = max((len(record["alpha"]) for record in metrics), default=0)
    return np.array([record["alpha"] or [0.0] * latents for record in metrics], dtype=np.float64)


def max_pooled(
    values: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of [T, N] in at most `bins` runs, the largest value of each: first rows and [bins, N].

    The largest, because a switch is over within a few steps and an average would hide it.
    """
    starts = np.unique(np.linspace(0, len(values), min(bins, len(values)) + 1)[:-1].astype(int))
    return starts, np.maximum.reduceat(values, starts, axis=0)


def environment_colours(
    segments: Sequence[Segment], bands: Sequence[BelievedSegment], matched: Mapping[str, int]
) -> dict[int, tuple[float, float, float]]:
    """A colour per environment: that of its domain, pale unless the domain is matched to it."""
    colours = style.domain_colours([segment.domain for segment in segments])
    return {
        index: style.lighten(colours[name], 0.9 if matched.get(name) == index else 0.4)
        for index, name in match_domains(segments, bands).items()
    }


@style.styled
def plot_timeline(run: RunRecords, strip: Floats, order: Sequence[int]) -> Figure:
    """The stream above, the learner's beliefs and its evidence below, on one time axis.

    strip: images [R, K, C, H, W], column k as seen at step (k + 1/2) steps / K. order: latents
    from top to bottom; the others are left out.
    """
    rows, columns = strip.shape[:2]
    heights = {
        "strip": WIDTH / columns * rows,
        "events": 0.46,
        "bands": 0.62,
        "heat": min(max(0.165 * len(order), 0.9), 5.0),
        "statistic": 1.15,
    }
    gaps = {"strip": 0.28, "events": 0.04, "bands": 0.0, "heat": 0.42, "statistic": 0.34}
    figure = Figure(figsize=(style.FULL, sum(heights.values()) + sum(gaps.values()) + 0.52))
    top, axes = 0.0, {}
    for name, height in heights.items():
        top += gaps[name]
        axes[name] = style.inch_axes(figure, (LEFT, top, WIDTH, height))
        top += height
    _draw_strip(axes["strip"], strip)
    _draw_events(axes["events"], run)
    _draw_bands(axes["bands"], run)
    _draw_heat(figure, axes["heat"], run, order)
    _draw_suspicion(axes["statistic"], run)
    return figure


def _draw_strip(axes: Axes, strip: Floats) -> None:
    show_pixels(axes, mosaic(strip))
    axes.set_title("What the model saw", pad=5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _hide_axes(axes: Axes, run: RunRecords) -> None:
    style.time_axis(axes, run.segments, run.steps, labelled=False)
    axes.tick_params(left=False, bottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


DECISIONS = ("new", "returned", "dismissed", "reopened")
MARKERS = {
    "new": "^",
    "returned": "v",
    "dismissed": "o",
    "reopened": "^",
    "undetermined": "x",
    "skipped": "X",
    "snapshot": "|",
}
MARKER_COLOURS = {
    "new": style.INK,
    "returned": style.INK,
    "dismissed": style.QUIET,
    "reopened": style.QUIET,
    "undetermined": style.QUIET,
    "skipped": "#b42318",
    "snapshot": style.QUIET,
}


def _draw_events(axes: Axes, run: RunRecords) -> None:
    """A marker per event, and a label for those that moved the learner, staggered where crowded."""
    _hide_axes(axes, run)
    axes.set_ylim(0, 1)
    for event in run.events:
        axes.plot(
            event["step"],
            0.12,
            MARKERS[event["kind"]],
            color=MARKER_COLOURS[event["kind"]],
            markersize=6 if changes_environment(event) else 5,
            clip_on=False,
            markerfacecolor="white" if event["kind"] == "dismissed" else None,
        )
    labelled = [event for event in run.events if changes_environment(event)]
    levels = stagger_labels([event["step"] for event in labelled], 0.085 * run.steps)
    for event, level in zip(labelled, levels, strict=True):
        if level is None:
            continue
        late = event["step"] > 0.93 * run.steps
        axes.annotate(
            f"{event['kind']} {event['environment']}",
            (event["step"], 0.12),
            xytext=(-5 if late else 5, 6 + 10 * level),
            textcoords="offset points",
            ha="right" if late else "left",
            fontsize=8.5,
        )
    axes.text(-0.012, 0.12, "events", transform=axes.transAxes, ha="right", va="center", fontsize=9)


def stagger_labels(steps: Sequence[int], room: float, levels: int = 2) -> list[int | None]:
    """A level for each label so that those on one level are `room` apart; None if none is free."""
    last = [-np.inf] * levels
    chosen: list[int | None] = []
    for step in steps:
        free = [level for level in range(levels) if step - last[level] >= room]
        chosen.append(free[0] if free else None)
        if free:
            last[free[0]] = step
    return chosen


def _draw_bands(axes: Axes, run: RunRecords) -> None:
    """The truth above, the belief below, in the same colours where they agree."""
    _hide_axes(axes, run)
    axes.set_ylim(0, 2)
    truth = style.domain_colours([segment.domain for segment in run.segments])
    matched = {name: place.index for name, place in run.matched_environments.items()}
    belief = environment_colours(run.segments, run.bands, matched)
    for segment in run.segments:
        _draw_band(
            axes, run, (segment.start, segment.end), 1.08, truth[segment.domain], segment.domain
        )
    for band in run.bands:
        name = f"environment {band.index}"
        _draw_band(axes, run, (band.start, band.end), 0.08, belief[band.index], name)
    for y, text in ((1.5, "true domain"), (0.5, "inferred")):
        axes.text(
            -0.012, y / 2, text, transform=axes.transAxes, ha="right", va="center", fontsize=9
        )


def _draw_band(
    axes: Axes,
    run: RunRecords,
    span: tuple[int, int],
    y: float,
    colour: str | tuple[float, float, float],
    text: str,
) -> None:
    start, end = span
    axes.broken_barh([(start, end - start)], (y, 0.84), facecolor=colour, linewidth=0)
    room = (end - start) / run.steps * WIDTH - 0.06  # inches
    whole = text == style.truncate(text, room, 8.5)
    shown = text if whole else text.removeprefix("environment ")
    if room > 0.12:
        axes.text(
            (start + end) / 2,
            y + 0.4,
            style.truncate(shown, room, 8.5),
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if _dark(colour) else style.INK,
        )


def _dark(colour: str | tuple[float, float, float]) -> bool:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.6


def _draw_heat(figure: Figure, axes: Axes, run: RunRecords, order: Sequence[int]) -> None:
    """Atypicality of each latent: grey below the threshold, coloured above it."""
    style.time_axis(axes, run.segments, run.steps, labelled=False)
    masked = {known.index: np.flatnonzero(~known.mask).tolist() for known in run.environments}
    framed = any(masked.get(band.index) for band in run.bands)
    title = "Atypicality of the latents" + ("; framed where masked" if framed else "")
    axes.set_title(title, pad=5)
    axes.tick_params(left=False)
    if not run.metrics or not order:
        return
    starts, values = max_pooled(atypicality_over_time(run.metrics)[:, list(order)], MAX_BINS)
    steps = np.array([record["step"] for record in run.metrics])
    edges = np.append(steps[starts], run.steps)
    rows = np.arange(len(order) + 1)
    threshold = run.config.masks.threshold
    top = max(4 * threshold, 1e-6)
    image = axes.pcolormesh(edges, rows, values.T, cmap=HEAT, norm=_norm(threshold, top))
    axes.invert_yaxis()
    _frame_masked(axes, run, order, masked)
    every = -(-len(order) // 34)  # a label for each latent, or for as many as can be read
    axes.set_yticks(rows[:-1:every] + 0.5, [f"z{n}" for n in order[::every]])
    axes.tick_params(axis="y", labelsize=8)
    if hidden := run.networks.architecture.latents - len(order):
        axes.set_title(
            f"{hidden} more are at rest throughout",
            loc="right",
            pad=5,
            fontsize=8.5,
            weight="normal",
            color=style.QUIET,
        )
    _, height = figure.get_size_inches()
    box = axes.get_position()
    bar = style.inch_axes(
        figure, (LEFT + WIDTH + 0.1, (1 - box.y1) * height, 0.1, min(box.height * height, 1.6))
    )
    colours = figure.colorbar(image, cax=bar, extend="max")
    colours.set_ticks([0, threshold, top], labels=["0", f"{threshold:g}", f"{top:g}"])
    colours.outline.set_visible(False)
    bar.tick_params(labelsize=8, length=2)
    bar.set_title("nats", fontsize=8, weight="normal", pad=8, loc="left")


def _frame_masked(
    axes: Axes, run: RunRecords, order: Sequence[int], masked: Mapping[int, Sequence[int]]
) -> None:
    """Frame the spans in which a latent was switched off."""
    for band in run.bands:
        for first, count in masked_rows(order, masked.get(band.index, ())):
            axes.add_patch(
                Rectangle(
                    (band.start, first),
                    band.end - band.start,
                    count,
                    fill=False,
                    edgecolor=style.INK,
                    linewidth=1.1,
                    clip_on=False,
                    zorder=3,
                )
            )


def masked_rows(order: Sequence[int], masked: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring rows of masked latents as (first row, number of rows)."""
    spans: list[tuple[int, int]] = []
    for row, latent in enumerate(order):
        if latent not in masked:
            continue
        if spans and sum(spans[-1]) == row:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((row, 1))
    return spans


def _norm(threshold: float, top: float) -> Normalize:
    return TwoSlopeNorm(vmin=0, vcenter=threshold, vmax=top)


def _draw_suspicion(axes: Axes, run: RunRecords) -> None:
    """The evidence that the domain has changed, and the height at which the alarm goes off."""
    alarm = run.config.detection.threshold
    style.time_axis(axes, run.segments, run.steps, labelled=True)
    axes.set_title("Evidence that the domain has changed", pad=5)
    axes.set_xlabel(f"step (one batch of {run.config.stream.batch_size} images each)")
    axes.set_yscale("log")
    axes.set_ylim(0.3, alarm * 8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    values = np.array([record["statistic"] for record in run.metrics], dtype=float)
    values[values <= 0] = np.nan
    steps = [record["step"] for record in run.metrics]
    axes.plot(steps, values, color=style.INK, linewidth=0.9)
    axes.axhline(alarm, color="#b42318", linewidth=0.9, linestyle=(0, (4, 2)))
    axes.annotate(
        "alarm",
        (1, alarm),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color="#b42318",
    )
    alarms = [event["step"] for event in run.events if event["kind"] in DECISIONS]
    alarms = [step for step in alarms if step > 0]
    axes.vlines(alarms, 0.3, alarm, color="#b42318", linewidth=0.9)
    axes.plot(alarms, [alarm] * len(alarms), "o", color="#b42318", markersize=4)
