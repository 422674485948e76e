"""Results of the benchmark on consecutive frames: tables in Markdown.

Everything is computed from the raw records; each job has written one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vase.bench.frame_detectors import OURS
from vase.bench.frame_scores import DUMMIES, ORACLE, frame_pooled
from vase.bench.page import NO_RIVALS, Record, cell, detector_names, narrow, numbers, table, titled
from vase.training.folder import read_json

HEAD = (
    "detector", "changes", "missed", "false", "per 100,000 frames", "delay, frames: median / worst",
    "in correlation times", "returns known again", "environments at the end", "covering",
    "beats the dummies", "frames/s",
)  # fmt: skip
BY_STREAM = f"By stream: {OURS}"
ERRORS = "By stream, every detector: missed + false"
NOT_IN_A_TERMINAL = (
    ERRORS, "per 100,000 frames", "in correlation times", "frames/s", "batches held back",
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
    return titled(tables(records))


def terminal(records: Sequence[Record]) -> list[tuple[str, list[list[str]]]]:
    """Return the tables that fit a terminal: a title and rows of cells, the header first."""
    return narrow(tables(records), NOT_IN_A_TERMINAL)


def with_changes(records: Sequence[Record]) -> list[Record]:
    """Return the records of streams on which the question is which changes are noticed."""
    return [record for record in records if record.get("expected", "") is None]


def tables(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return a title and a table each: by stream and detector, by stream, hostile, null."""
    changing, shown = with_changes(records), []
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
    others = [name for name in detector_names(records) if name not in (OURS, *NO_RIVALS)]
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
