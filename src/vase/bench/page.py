"""Results of the detection benchmark: tables in Markdown, and a figure of truth and inference.

Everything is computed from the raw records; each job has written one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vase.bench.frame_scores import DUMMIES, ORACLE
from vase.bench.scores import pooled as pooled_scores
from vase.report import style
from vase.training.folder import read_json

Record = Mapping[str, Any]

OURS = "ours"  # what the detector of this package is called in a record that was read
NAMES = {OURS: "**ours**", "published": "published rule"}
ALL_HEAD = (
    "detector", "switches", "missed", "false", "false per 100,000 batches",
    "delay, batches: median", "95 %", "worst", "returns re-identified",
)  # fmt: skip
NO_RIVALS = (ORACLE, *DUMMIES)  # the oracle knows the truth; dummies ignore the images
BY_STREAM, OUTLIERS = NOT_IN_A_TERMINAL = ("By stream", "Effect of outliers")
LEFT, ROW, GAP = 2.35, 0.17, 0.16  # inches
UNKNOWN = "#9aa1a9"  # the colour of an environment of no true domain


def read(folder: Path) -> list[Record]:
    """Return the records of a folder, ordered by file name."""
    found: list[Record] = [read_json(path) for path in sorted(folder.glob("*.json"))]
    return [_named(record) for record in found if "detectors" in record]


def _named(record: Record) -> Record:
    """Return a record in which our detector, if it ran, is called that."""
    rule = record.get("rule")
    found = {OURS if name == rule else name: each for name, each in record["detectors"].items()}
    return {**record, "detectors": found}


def markdown(jobs: Sequence[Record]) -> str:
    """Return all tables."""
    return titled(tables(jobs))


def terminal(jobs: Sequence[Record]) -> list[tuple[str, list[list[str]]]]:
    """Return the tables that fit a terminal: a title and rows of cells, the header first."""
    return narrow(tables(jobs), NOT_IN_A_TERMINAL)


def tables(jobs: Sequence[Record]) -> list[tuple[str, str]]:
    """Return a title and a table each: the long suite, every detector, by stream, outliers."""
    shown = []
    if suite := [record for record in jobs if "forgetting" in record]:
        shown.append(("The long suite", f"{suite_table(suite)}\n\n{suite_sentence(suite)}"))
    if others := [record for record in jobs if "forgetting" not in record]:
        shown.append(("Every detector, over all streams", detector_table(others)))
        shown.append((BY_STREAM, scenario_table(others)))
    if harmed := [record for record in jobs if "unharmed" in record]:
        shown.append((OUTLIERS, outlier_table(harmed)))
    return shown


def detector_table(records: Sequence[Record]) -> str:
    """Return a table with one row per detector, over all streams."""
    rows = []
    for name in detector_names(records):
        rows.append([NAMES.get(name, name), *_cells(pooled(records, name))])
    return table(ALL_HEAD, rows)


def _cells(all_: Mapping[str, float]) -> list[str]:
    return [
        f"{all_['switches']:.0f}",
        f"{all_['missed']:.0f}",
        f"{all_['false']:.0f}",
        cell(all_["false_per_100k"], "{:,.0f}"),
        *(cell(all_[key], "{:.0f}") for key in ("delay_median", "delay_95", "delay_worst")),
        cell(all_["returns_identified"], "{:.0%}"),
    ]


def scenario_table(records: Sequence[Record]) -> str:
    """Return one row per stream: missed + false for every detector, and details of ours, if any."""
    names = [name for name in detector_names(records) if name != ORACLE]
    ours = OURS in names
    rows = []
    for scenario in dict.fromkeys(record["scenario"] for record in records):
        own = [record for record in records if record["scenario"] == scenario]
        every = {name: pooled(own, name) for name in detector_names(own) if name in names}
        rows.append(
            [
                f"`{scenario}`: {own[0]['why']}",
                f"{next(iter(every.values()))['switches']:.0f}",
                *(_details(every.get(OURS)) if ours else ()),
                *(_errors(every.get(name)) for name in names),
            ]
        )
    head = ["stream", "switches", *(("our delay, median / worst", "our returns") if ours else ())]
    return table([*head, *(f"{NAMES.get(name, name)}: missed + false" for name in names)], rows)


def _details(scores: Mapping[str, float] | None) -> tuple[str, str]:
    """Return delay and returns, or dashes for a detector that did not run."""
    if scores is None:
        return "–", "–"
    delay = " / ".join(cell(scores[key], "{:.0f}") for key in ("delay_median", "delay_worst"))
    return delay, cell(scores["returns_identified"], "{:.0%}")


def _errors(scores: Mapping[str, float] | None) -> str:
    """Return missed and false, or a dash for a detector that did not run."""
    return f"{scores['missed']:.0f} + {scores['false']:.0f}" if scores else "–"


def suite_table(records: Sequence[Record]) -> str:
    """Return one row per seed of the long suite."""
    head = (
        "seed", "switches", "missed", "false", "delay, median / worst", "returns re-identified",
        "identity change, MLP", "frozen", "last step / second", "minutes of training",
    )  # fmt: skip
    rows = []
    for record in records:
        scores = numbers([record["detectors"][OURS]["scores"]])[0]
        change = record["forgetting"]["summary"]["identity"]
        rows.append(
            [
                record["seed"],
                scores["switches"],
                scores["missed"],
                scores["false"],
                f"{scores['delay_median']:.0f} / {scores['delay_worst']:.0f}",
                f"{scores['returns_identified']:.0%} of {scores['returns']}",
                f"{100 * change['mlp']['change']:+.1f}",
                f"{100 * change['frozen']['change']:+.1f}",
                f"{record['step_ratio']:.2f}",
                f"{record['training_minutes']:.1f}",
            ]
        )
    return table(head, rows)


def suite_sentence(records: Sequence[Record]) -> str:
    """Return a summary of the suite over all seeds."""
    all_ = pooled(records, OURS)
    domains = {visit["domain"] for record in records for visit in record["visits"]}
    change = [100 * r["forgetting"]["summary"]["identity"]["mlp"]["change"] for r in records]
    return (
        f"{len(domains)} domains, {len(records[0]['visits'])} visits in random order, "
        f"{len(records)} seeds: of {all_['switches']:.0f} switches {all_['missed']:.0f} missed, "
        f"{all_['false']:.0f} false alarms, {returns_known(records)} of "
        f"{all_['returns']:.0f} returns re-identified, delay {all_['delay_median']:.0f} batches in "
        f"the median and {all_['delay_worst']:.0f} at worst; object identity changed by "
        f"{np.mean(change):+.1f} points (from each domain's best to the end, mean over seeds)."
    )


def outlier_table(records: Sequence[Record]) -> str:
    """Return the readouts at the end of a stream with and without its bad batches."""
    rows = []
    for record in records:
        readouts = record["unharmed"]
        identity = (f"{100 * readouts[name]['identity']:.1f}" for name in ("with", "without"))
        position = (f"{1e4 * readouts[name]['position_mse']:.1f}" for name in ("with", "without"))
        rows.append([record["seed"], *identity, *position])
    head = ("seed", "identity %, with bad batches", "without", "position MSE 1e-4, with", "without")
    return table(head, rows)


def returns_known(records: Sequence[Record]) -> int:
    """Return the number of returns that were re-identified."""
    scores = [record["detectors"][OURS]["scores"] for record in records]
    return sum(round(each["returns"] * (each["returns_identified"] or 0)) for each in scores)


# ---- the picture -------------------------------------------------------------------------------


def drawn(records: Sequence[Record]) -> list[Record]:
    """Return the records that the figure shows: those of the first seed, the long suite first."""
    seed = min((record["seed"] for record in records), default=0)
    shown = [record for record in records if record["seed"] == seed]
    return sorted(shown, key=lambda record: "forgetting" not in record)


@style.styled
def figure(records: Sequence[Record], naming: Sequence[str]) -> Figure:
    """Draw, per stream, the truth, what some detectors infer, and the alarms of the others.

    naming: the detectors that name environments.
    """
    heights = [ROW * (1 + len(_shown(record))) for record in records]
    height = sum(heights) + (GAP + ROW) * len(records) + 0.75
    picture = Figure(figsize=(style.FULL, height))
    picture.text(0.008, 1 - 0.2 / height, TITLE, va="center", color=style.QUIET)
    top = 0.42
    for record, tall in zip(records, heights, strict=True):
        picture.text(0.008, 1 - (top + 0.5 * ROW) / height, record["scenario"], weight="bold")
        top += ROW
        axes = style.inch_axes(picture, (LEFT, top, style.FULL - LEFT - 0.15, tall))
        _draw(axes, record, naming)
        top += tall + GAP
    return picture


TITLE = (
    "Same colour in both bands: identified. Grey: an environment of no true domain. "
    "Ticks: alarms of detectors that identify nothing."
)


def _shown(record: Record) -> list[str]:
    return [name for name in record["detectors"] if name not in NO_RIVALS]


def _draw(axes: Axes, record: Record, naming: Sequence[str]) -> None:
    visits, end = record["visits"], record["visits"][-1]["end"]
    names = dict.fromkeys(visit["domain"] for visit in visits)
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    for visit in visits:
        _bar(axes, visit["start"], visit["end"], 0, colours[visit["domain"]])
    for row, name in enumerate(_shown(record), start=1):
        alarms: Sequence[Any] = record["detectors"][name]["alarms"]
        if name not in naming:
            steps = [step for step, _ in alarms]
            axes.vlines(steps, row + 0.12, row + 0.88, color=style.INK, linewidth=0.6)
            continue
        owner = _owners(alarms, visits)
        for start, stop, index in _stretches(alarms, end):
            _bar(axes, start, stop, row, colours.get(owner.get(index, ""), UNKNOWN))
    labels = ["truth", *(NAMES.get(name, name).strip("*") for name in _shown(record))]
    axes.set(xlim=(0, end), ylim=(len(labels), 0), yticks=np.arange(len(labels)) + 0.5, xticks=[])
    axes.set_yticklabels(labels, fontsize=6.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


COLOURS = (
    *style.PALETTE, "#7b3294", "#a6d96a", "#fb9a99", "#00441b", "#fdbf6f", "#54278f", "#b15928",
    "#1f9e89", "#e31a1c", "#3b528b", "#c2a5cf",
)  # fmt: skip


def _bar(axes: Axes, start: int, stop: int, row: int, colour: str) -> None:
    """Draw the stretch [start, stop) of a row."""
    axes.barh(row + 0.5, stop - start, left=start, height=0.86, color=colour, linewidth=0)


def _stretches(alarms: Sequence[Sequence[int]], end: int) -> list[tuple[int, int, int]]:
    """Return (start, stop, inferred index) from the alarms."""
    moves = [(0, 0), *((step, index) for step, index in alarms)]
    stops = [*(step for step, _ in moves[1:]), end]
    return [(start, stop, index) for (start, index), stop in zip(moves, stops, strict=True)]


def _owners(alarms: Sequence[Sequence[int]], visits: Sequence[Record]) -> dict[int, str]:
    """Return the domain of every inferred index: the domain whose first visit ended with it."""
    owners: dict[int, str] = {}
    seen: set[str] = set()
    for visit in visits:
        belief = [index for start, _, index in _stretches(alarms, visit["end"])
                  if start < visit["end"]][-1]  # fmt: skip
        if visit["domain"] not in seen:
            seen.add(visit["domain"])
            owners.setdefault(belief, visit["domain"])
    return owners


# ---- pieces ------------------------------------------------------------------------------------


def detector_names(records: Sequence[Record]) -> list[str]:
    """Return the detectors of all records, in order."""
    return list(dict.fromkeys(name for record in records for name in record["detectors"]))


def titled(tables: Sequence[tuple[str, str]]) -> str:
    """Return tables below their titles."""
    return "\n\n".join(f"### {title}\n\n{shown}" for title, shown in tables)


def narrow(
    tables: Sequence[tuple[str, str]], left_out: Sequence[str]
) -> list[tuple[str, list[list[str]]]]:
    """Return titles and rows of cells, without the tables and columns of some names."""
    found = []
    for title, rows in ((title, rows_of(shown)) for title, shown in tables):
        fits = [k for k, head in enumerate(rows[0]) if head not in left_out]
        if title not in left_out:
            found.append((title, [[row[k] for k in fits] for row in rows]))
    return found


def rows_of(markdown: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without the line below its header."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [
        [cell.replace("*", "").strip() for cell in line.strip("|").split("|")] for line in lines
    ]
    return [*rows[:1], *rows[2:]]


def pooled(records: Sequence[Record], name: str) -> dict[str, float]:
    """Return the pooled scores of a detector on the streams that it watched."""
    seen = [r["detectors"][name]["scores"] for r in records if name in r["detectors"]]
    return pooled_scores(numbers(seen))


def numbers(scores: Sequence[Record]) -> list[dict[str, Any]]:
    """Return scores with nan for null: JSON has no nan."""
    nan = float("nan")
    return [{k: nan if v is None else v for k, v in each.items()} for each in scores]


def cell(value: float, form: str = "{:.2f}") -> str:
    """Return a figure as text, or a dash if it is undefined or infinite."""
    return form.format(value) if math.isfinite(value) else "–"


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    first = [str(cell) for cell in head]
    lines = [first, ["---"] * len(first), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Iterable[float | None], digits: int = 1, *, scale: float = 1) -> str:
    """Return mean and standard deviation over seeds, or the value if there is only one.

    What is undefined, None or nan, is left out; a dash if everything is.
    """
    known = [scale * value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return "–"
    mean = f"{np.mean(known):.{digits}f}"
    return f"{mean} ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else mean
