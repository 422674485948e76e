"""Results of the benchmark on consecutive frames: tables in Markdown, and a figure.

Everything is computed from the raw records; each job has written one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vase.bench.frame_detectors import OURS
from vase.bench.frame_scores import DUMMIES, ORACLE, frame_pooled
from vase.bench.page import (
    COLOURS,
    GAP,
    LEFT,
    ROW,
    TITLE,
    Record,
    bar,
    cell,
    detector_names,
    numbers,
    owners,
    rows_of,
    stretches,
    table,
)
from vase.report import style
from vase.training.folder import read_json

ALARMS_DRAWN = (ORACLE, *DUMMIES)  # have no row in the figure
UNKNOWN = "#9aa1a9"  # the colour of an environment of no true domain
HEAD = (
    "detector", "changes", "missed", "false", "per 100,000 frames", "delay, frames: median / worst",
    "in correlation times", "returns known again", "environments at the end", "covering",
    "beats the dummies", "frames/s",
)  # fmt: skip
BY_STREAM = f"By stream: {OURS}"
ERRORS = "By stream, every detector: missed + false"  # too wide for a terminal
NOT_IN_A_TERMINAL = (
    "per 100,000 frames", "in correlation times", "frames/s", "batches held back",
    "correlation times, frames",
)  # fmt: skip
STREAM_HEAD = (
    "stream", "changes", "missed", "false", "delay, frames: median / worst",
    "in correlation times", "returns known again", "environments at the end, of domains",
    "batches held back", "correlation times, frames",
)  # fmt: skip


def read(folder: Path) -> list[Record]:
    """Return the records in a folder, ordered by file name, its numbers as numbers."""
    paths = sorted(folder.glob("*-seed-*.json"), key=lambda path: _natural(path.name))
    return [read_json(path) for path in paths]


def _natural(name: str) -> list[tuple[float, str]]:
    """Return a key by which "clips-8" comes before "clips-32"."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(part), "") if k % 2 else (0.0, part) for k, part in enumerate(parts)]


def markdown(records: Sequence[Record]) -> str:
    """Return all tables."""
    return "\n\n".join(f"### {title}\n\n{shown}" for title, shown in tables(records))


def terminal(records: Sequence[Record]) -> list[tuple[str, list[list[str]]]]:
    """Return the tables that fit a terminal: a title and rows of cells, the header first."""
    found = []
    for title, shown in tables(records):
        if title == ERRORS:
            continue
        rows = rows_of(shown)
        fits = [k for k, head in enumerate(rows[0]) if head not in NOT_IN_A_TERMINAL]
        found.append((title, [[row[k] for k in fits] for row in rows]))
    return found


def tables(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return a title and a table each: by stream and detector, by stream, hostile, null."""
    changing = [record for record in records if record.get("expected", "") is None]
    shown = []
    for group in dict.fromkeys(record["group"] for record in changing):
        own = watched_by_all([record for record in changing if record["group"] == group])
        for name in dict.fromkeys(record["scenario"] for record in own):
            of_stream = [record for record in own if record["scenario"] == name]
            shown.append((f"{group}, `{name}`: every detector", detector_table(of_stream)))
    if changing:
        shown += [(BY_STREAM, stream_table(changing)), (ERRORS, error_table(changing))]
    if hostile := [record for record in records if record.get("expected")]:
        shown.append(("What happens to cameras", hostile_table(hostile)))
    if nulls := [record for record in records if "run_lengths" in record]:
        shown.append(("No change: measured over asked run length", null_table(nulls)))
    return shown


def detector_table(records: Sequence[Record]) -> str:
    """Return one row per detector over the seeds of a stream that every detector watched."""
    best = max(pooled(records, name)["covering"] for name in DUMMIES)
    rows = []
    for name in detector_names(records):
        all_ = pooled(records, name)
        found = [record["detectors"][name] for record in records]
        kept = [each["environments"] for each in found if "environments" in each]
        rates = [each["frames_per_second"] for each in found if "frames_per_second" in each]
        better = "yes" if all_["covering"] > best else "no"
        rows.append([
            f"**{name}**" if kept else name,
            *_counts(all_),
            cell(all_["false_per_100k"], "{:,.1f}"),
            *_delays(all_),
            cell(all_["returns_identified"], "{:.0%}"),
            cell(float(np.mean(kept)), "{:.1f}") if kept else "–",
            cell(all_["covering"], "{:.3f}"),
            "–" if name in DUMMIES else better,
            cell(float(np.median(rates)), "{:,.0f}") if rates else "–",
        ])  # fmt: skip
    return table(HEAD, rows)


def watched_by_all(records: Sequence[Record]) -> list[Record]:
    """Return the records of the streams that every detector watched."""
    most = max(len(record["detectors"]) for record in records)
    return [record for record in records if len(record["detectors"]) == most]


def stream_table(records: Sequence[Record]) -> str:
    """Return one row per stream for our detector, its seeds pooled."""
    rows = []
    for name in dict.fromkeys(record["scenario"] for record in records):
        own = [record for record in records if record["scenario"] == name]
        all_ = pooled(own, OURS)
        found = [record["detectors"][OURS] for record in own]
        times = numbers([record["correlation_times"] for record in own])
        spans = [
            f"{domain} {cell(float(np.mean([each[domain] for each in times])), '{:,.0f}')}"
            for domain in times[0]
        ]
        kept = float(np.mean([each["environments"] for each in found]))
        rows.append([
            f"`{name}`: {own[0]['why']}",
            *_counts(all_),
            *_delays(all_),
            cell(all_["returns_identified"], "{:.0%}"),
            f"{kept:.1f} of {len(spans)}",
            f"{np.mean([each['held'] for each in found]):.1%}",
            ", ".join(spans),
        ])  # fmt: skip
    return table(STREAM_HEAD, rows)


def error_table(records: Sequence[Record]) -> str:
    """Return one row per stream: missed + false for every detector that is not told the truth."""
    names = [name for name in detector_names(records) if name != ORACLE]
    rows = []
    for stream in dict.fromkeys(record["scenario"] for record in records):
        own = [record for record in records if record["scenario"] == stream]
        found = [
            pooled(own, name) if all(name in r["detectors"] for r in own) else None
            for name in names
        ]
        changes = sum(len(record["visits"]) - 1 for record in own)
        errors = [
            f"{each['missed']:,.0f} + {each['false']:,.0f}" if each else "–" for each in found
        ]
        rows.append([f"`{stream}`", f"{changes:,}", *errors])
    return table(("stream", "changes", *names), rows)


def hostile_table(records: Sequence[Record]) -> str:
    """Return what should happen on every hostile stream, and on how many seeds it did."""
    others = [name for name in detector_names(records) if name not in (OURS, *ALARMS_DRAWN)]
    rows = []
    for name in dict.fromkeys(record["scenario"] for record in records):
        own = [record for record in records if record["scenario"] == name]
        right = [record["detectors"][OURS]["as_expected"] for record in own]
        rows.append([
            f"`{name}`: {own[0]['why']}",
            own[0]["expected"],
            f"{sum(right)} of {len(right)}",
            *(_alarms(own, other) for other in others),
        ])  # fmt: skip
    head = ("stream", "what should happen", f"**{OURS}**: did it")
    return table((*head, *(f"{other}: alarms" for other in others)), rows)


def null_table(records: Sequence[Record]) -> str:
    """Return measured and asked run lengths, the seeds pooled: one row per stream and rate."""
    pooled_rates: dict[tuple[str, float], list[Record]] = {}
    for record in records:
        for name, rates in record["run_lengths"][OURS].items():
            for rate in rates:
                pooled_rates.setdefault((name, rate["asked"]), []).append(rate)
    rows = []
    for (name, asked), rates in pooled_rates.items():
        alarms = sum(rate["alarms"] for rate in rates)
        blocks = sum(rate["blocks"] for rate in rates)
        measured = blocks / max(alarms, 1)
        rows.append([
            OURS, name, f"{asked:,.0f}", f"{alarms:,}",
            f"{measured:,.0f}" if alarms else f"over {blocks:,.0f}",
            f"{measured / asked:.2f}" if alarms else f"over {blocks / asked:.2f}",
        ])  # fmt: skip
    return table(
        ("detector", "stream", "blocks asked for", "alarms counted", "blocks measured", "ratio"),
        rows,
    )


def pooled(records: Sequence[Record], name: str) -> dict[str, float]:
    """Return the pooled scores of a detector."""
    return frame_pooled(numbers([record["detectors"][name]["scores"] for record in records]))


def _counts(all_: Mapping[str, float]) -> list[str]:
    return [f"{all_[key]:,.0f}" for key in ("switches", "missed", "false")]


def _delays(all_: Mapping[str, float]) -> list[str]:
    """Return median and worst delay, in frames and in correlation times."""
    frames = " / ".join(cell(all_[key], "{:,.0f}") for key in ("delay_median", "delay_worst"))
    times = " / ".join(cell(all_[key], "{:.1f}") for key in ("times_median", "times_worst"))
    return [frames, times]


def _alarms(records: Sequence[Record], name: str) -> str:
    """Return the number of alarms of a detector on all seeds, or a dash where it did not run."""
    found = [record["detectors"].get(name) for record in records]
    if None in found:
        return "–"
    scores = [each["scores"] for each in found if each]
    return f"{sum(s['false'] + s['switches'] - s['missed'] for s in scores):,}"


# ---- the picture ---------------------------------------------------------------------------------


def drawn(records: Sequence[Record]) -> list[Record]:
    """Return the records that the figure shows: those with changes, of the first seed."""
    changing = [record for record in records if record.get("expected", "") is None]
    seed = min((record["seed"] for record in changing), default=0)
    return [record for record in changing if record["seed"] == seed]


@style.styled
def figure(records: Sequence[Record]) -> Figure:
    """Draw, per stream, the truth, what our detectors infer, and the alarms of the others."""
    heights = [ROW * (1 + len(_shown(record))) for record in records]
    height = sum(heights) + (GAP + ROW) * len(records) + 0.75
    picture = Figure(figsize=(style.FULL, height))
    picture.text(0.008, 1 - 0.2 / height, TITLE, va="center", color=style.QUIET)
    top = 0.42
    for record, tall in zip(records, heights, strict=True):
        picture.text(0.008, 1 - (top + 0.5 * ROW) / height, record["scenario"], weight="bold")
        top += ROW
        _draw(style.inch_axes(picture, (LEFT, top, style.FULL - LEFT - 0.15, tall)), record)
        top += tall + GAP
    return picture


def _shown(record: Record) -> list[str]:
    return [name for name in record["detectors"] if name not in ALARMS_DRAWN]


def _draw(axes: Axes, record: Record) -> None:
    visits, end = record["visits"], record["visits"][-1]["end"]
    names = dict.fromkeys(visit["domain"] for visit in visits)
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    for visit in visits:
        bar(axes, visit["start"], visit["end"], 0, colours[visit["domain"]])
    for row, name in enumerate(_shown(record), start=1):
        alarms: Sequence[Any] = record["detectors"][name]["alarms"]
        if name != OURS:
            steps = [step for step, _ in alarms]
            axes.vlines(steps, row + 0.12, row + 0.88, color=style.INK, linewidth=0.6)
            continue
        owner = owners(alarms, visits)
        for start, stop, index in stretches(alarms, end):
            bar(axes, start, stop, row, colours.get(owner.get(index, ""), UNKNOWN))
    labels = ["truth", *_shown(record)]
    axes.set(xlim=(0, end), ylim=(len(labels), 0), yticks=np.arange(len(labels)) + 0.5, xticks=[])
    axes.set_yticklabels(labels, fontsize=6.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
