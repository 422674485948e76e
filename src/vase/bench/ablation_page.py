"""What an ablation shows: the source's table beside ours, paired differences, and a picture.

Everything is made from the raw records alone. Differences are paired: row minus row on the same
seed, so that what a seed does to all rows cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from vase.bench.ablation import BRACKETS, HALVES, ROWS
from vase.bench.page import spread, table
from vase.errors import RunError
from vase.probes.forgetting import trace
from vase.report import style
from vase.training.folder import read_json

Record = Mapping[str, Any]
Measure = Callable[[Record], float]

BEST_ROW = "sda"
CONFIDENCE = 0.95

# The source's table: identity max and change in percent, MSE of position min and change in 1e-4.
SOURCE: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "disentangled": {
        "cci": (88.6, -15.2, 3.5, 24.8),
        "s": (88.9, -13.9, 3.4, 22.5),
        "d": (88.6, -14.4, 3.3, 21.4),
        "a": (86.7, -24.5, 3.3, 67.6),
        "sa": (87.1, -28.1, 3.3, 78.9),
        "da": (86.3, -25.2, 3.3, 72.2),
        "sd": (88.3, -12.9, 3.4, 20.0),
        "sda": (88.6, -5.4, 3.2, 3.0),
    },
    "entangled": {
        "cci": (91.8, -12.1, 4.2, 10.5),
        "s": (91.7, -12.2, 4.5, 10.9),
        "d": (91.8, -12.4, 4.3, 11.7),
        "a": (88.6, -19.7, 4.5, 47.1),
        "sa": (89.9, -18.3, 4.8, 41.8),
        "da": (88.8, -19.4, 4.6, 40.2),
        "sd": (91.4, -11.7, 4.3, 11.6),
        "sd-replay": (91.9, -11.6, 4.7, 10.2),
        "sda": (91.5, -6.5, 4.2, 3.9),
    },
}


# ---- measures ----------------------------------------------------------------------------------


def figure_of(kind: str, readout: str, field: str, scale: float) -> Measure:
    """A measure: one figure of a record's summary; nan where no world has it."""

    def measure(record: Record) -> float:
        found = record["summary"][kind][readout][field]
        return math.nan if found is None else scale * found

    return measure


def reconstruction_change(record: Record) -> float:
    """Nats that images of the worlds left behind cost at the end above their best, on average."""
    timeline = record["timeline"]
    names = list(timeline[-1]["worlds"])[:-1]
    changes = [
        trace(
            [m["worlds"][name]["reconstruction_nats"] for m in timeline if name in m["worlds"]],
            "min",
        )["change"]
        for name in names
    ]
    return float(np.mean(changes))


HEADLINE: Mapping[str, Measure] = {
    "identity max %": figure_of("identity", "mlp", "max", 100),
    "change": figure_of("identity", "mlp", "change", 100),
    "MSE min 1e-4": figure_of("position_mse", "mlp", "min", 1e4),
    "MSE change": figure_of("position_mse", "mlp", "change", 1e4),
}
HARDER: Mapping[str, Measure] = {
    "frozen: identity max %": figure_of("identity", "frozen", "max", 100),
    "frozen: change": figure_of("identity", "frozen", "change", 100),
    "frozen: MSE min 1e-4": figure_of("position_mse", "frozen", "min", 1e4),
    "frozen: MSE change": figure_of("position_mse", "frozen", "change", 1e4),
    "old worlds: nats lost": reconstruction_change,
}


# ---- statistics --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the bounds are nan for a single value."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of a mean: m +- t s / sqrt(n), with n - 1 degrees of freedom."""
    numbers = np.asarray(values, dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    t = float(stats.t.ppf((1 + confidence) / 2, count - 1))
    half = t * float(numbers.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def paired(
    records: Sequence[Record], first: tuple[str, str], second: tuple[str, str], measure: Measure
) -> Interval | None:
    """The difference (row, half) minus (row, half) of a measure over the seeds that both have."""
    one, two = (by_seed(records, *place) for place in (first, second))
    seeds = sorted(set(one) & set(two))
    if not seeds:
        return None
    return interval([measure(one[seed]) - measure(two[seed]) for seed in seeds])


def by_seed(records: Sequence[Record], row: str, half: str) -> dict[int, Record]:
    """The records of one row and half, by seed."""
    return {r["seed"]: r for r in records if (r["row"], r["half"]) == (row, half)}


# ---- reading -----------------------------------------------------------------------------------


def read(folder: Path, code: str | None = None) -> list[Record]:
    """The records in a folder: those of one code, or all if they are of one.

    A `RunError` names the codes where figures of several would be mixed.
    """
    records: list[Record] = [
        record
        for path in sorted(folder.glob("*.json"))
        if "half" in (record := read_json(path)) and code in (None, record["code"])
    ]
    codes = {record["code"] for record in records}
    if len(codes) > 1:
        raise RunError(
            f"'{folder}' holds figures of different code ({', '.join(sorted(codes))}), which must "
            "not stand in one table. Do the grid anew with `vase ablate`, or remove the old files."
        )
    return records


# ---- tables ------------------------------------------------------------------------------------


def markdown(records: Sequence[Record]) -> str:
    """All tables and sentences."""
    parts = []
    for half in HALVES:
        if any(record["half"] == half for record in records):
            title = f"### {half.capitalize()}"
            parts += [title, headline(records, half), harder(records, half)]
            parts += [gaps(records, half)]
    return "\n\n".join(
        [*parts, "### Differences, seed by seed", differences(records), claims(records)]
    )


def headline(records: Sequence[Record], half: str) -> str:
    """The source's four figures, ours beside its own."""
    rows = []
    for row, name in [*ROWS.items(), *BRACKETS.items()]:
        own = list(by_seed(records, row, half).values())
        if own:
            theirs = SOURCE[half].get(row, ("–",) * 4)
            cells = [spread([measure(r) for r in own]) for measure in HEADLINE.values()]
            rows.append([name, *cells, *theirs])
    return table(["row", *HEADLINE, *(f"source: {name}" for name in HEADLINE)], rows)


def harder(records: Sequence[Record], half: str) -> str:
    """What a refitted readout hides: frozen readouts, and old images decoded at the end."""
    rows = []
    for row, name in [*ROWS.items(), *BRACKETS.items()]:
        own = list(by_seed(records, row, half).values())
        if own:
            cells = [spread([measure(r) for r in own]) for measure in HARDER.values()]
            opened = spread([r["detection"]["environments"] for r in own], digits=0)
            rows.append([name, *cells, opened])
    return table(["row", *HARDER, "environments opened"], rows)


def gaps(records: Sequence[Record], half: str) -> str:
    """The mutual information gap of every world: when its own stay ended, and at the end of all."""
    rows = []
    worlds = list(dict.fromkeys(name for r in records for name in r["timeline"][-1]["worlds"]))
    for row, name in [*ROWS.items(), *BRACKETS.items()]:
        own = list(by_seed(records, row, half).values())
        if own:
            pairs = [[_gaps(r, world) for r in own] for world in worlds]
            rows.append([name, *(_before_and_after(each) for each in pairs)])
    head = ["row", *(f"MIG of {world}: then, now" for world in worlds)]
    return table(head, rows)


def _gaps(record: Record, world: str) -> tuple[float, float] | None:
    """The gap at the last milestone of a world's own stays, and at the last one of all."""
    stays = record["config"]["stream"]["schedule"]
    ends = np.cumsum([steps for _, steps in stays])
    left = max(end for end, (name, _) in zip(ends, stays, strict=True) if name == world)
    then, now = [
        milestone["worlds"].get(world, {}).get("disentanglement")
        for milestone in (_milestone(record, left), record["timeline"][-1])
    ]
    return (then["mig"], now["mig"]) if then and now else None


def _milestone(record: Record, step: int) -> Record:
    """The last milestone up to a step."""
    reached: list[Record] = [each for each in record["timeline"] if each["step"] <= step]
    return reached[-1]


def _before_and_after(pairs: Sequence[tuple[float, float] | None]) -> str:
    known = [pair for pair in pairs if pair]
    if not known:
        return "–"
    then, now = zip(*known, strict=True)
    return f"{spread(then, 2)}, {spread(now, 2)}"


COMPARED: Mapping[str, Measure] = {
    "identity change": HEADLINE["change"],
    "MSE change 1e-4": HEADLINE["MSE change"],
    "frozen identity change": HARDER["frozen: change"],
    "frozen MSE change 1e-4": HARDER["frozen: MSE change"],
    "old worlds, nats": HARDER["old worlds: nats lost"],
}


def differences(records: Sequence[Record]) -> str:
    """VASE minus every other row of the same half, with 95 % intervals."""
    rows = []
    for half in HALVES:
        for row, name in [*ROWS.items(), *BRACKETS.items()]:
            if row == BEST_ROW:
                continue
            found = [
                paired(records, (BEST_ROW, half), (row, half), measure)
                for measure in COMPARED.values()
            ]
            if any(found):
                rows.append([half, name, *(_interval(each) for each in found)])
    note = (
        "VASE minus the row, mean over seeds with the 95 % interval of Student's t; identity "
        "above 0 and everything else below 0 is in favour of VASE."
    )
    return table(["half", "row", *COMPARED], rows) + "\n\n" + note


def _interval(found: Interval | None) -> str:
    if found is None:
        return "–"
    if math.isnan(found.low):
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def claims(records: Sequence[Record]) -> str:
    """What the source's order says where it matters, and whether it is so here."""
    said = []
    for half in HALVES:
        for name, measure, best in (
            ("identity", HEADLINE["change"], max),
            ("position", HEADLINE["MSE change"], min),
            ("identity, frozen readout,", HARDER["frozen: change"], max),
            ("position, frozen readout,", HARDER["frozen: MSE change"], min),
        ):
            means = _means(records, half, measure)
            if len(means) > 1:
                first = best(means, key=lambda row: means[row])
                worst = (min if best is max else max)(means, key=lambda row: means[row])
                said.append(
                    f"- {half}, {name} least forgotten by {ROWS[first]} ({means[first]:+.1f}), "
                    f"most by {ROWS[worst]} ({means[worst]:+.1f}); the source has VASE (SDA) "
                    "and SA or A."
                )
    apart = _means(records, "disentangled", HEADLINE["MSE min 1e-4"])
    tangled = _means(records, "entangled", HEADLINE["MSE min 1e-4"])
    both = sorted(set(apart) & set(tangled))
    if both:
        better = [row for row in both if apart[row] < tangled[row]]
        said.append(
            f"- position is read better from the disentangled code in {len(better)} of {len(both)} "
            "rows; in the source in all."
        )
    return "\n".join(said)


def _means(records: Sequence[Record], half: str, measure: Measure) -> dict[str, float]:
    """The mean of a measure over seeds, per row of the source's table."""
    found = {row: by_seed(records, row, half).values() for row in ROWS}
    return {row: float(np.mean([measure(r) for r in own])) for row, own in found.items() if own}


# ---- the picture -------------------------------------------------------------------------------


@style.styled
def figure(records: Sequence[Record]) -> Figure:
    """Forgetting of every row: a dot per seed, a bar at the mean."""
    rows = [row for row in [*ROWS, *BRACKETS] if any(r["row"] == row for r in records)]
    picture = Figure(figsize=(style.FULL, 0.32 * len(rows) + 1.4), layout="constrained")
    panels = picture.subplots(1, 4, sharey=True)
    for axes, (title, unit, measure) in zip(panels, PANELS, strict=True):
        for place, row in enumerate(rows):
            for k, half in enumerate(HALVES):
                values = [measure(r) for r in by_seed(records, row, half).values()]
                height, colour = place + (k - 0.5) * 0.36, style.PALETTE[k]
                axes.plot(values, [height] * len(values), "o", ms=3, color=colour, alpha=0.55)
                if values:
                    mean = float(np.mean(values))
                    axes.vlines(mean, height - 0.16, height + 0.16, color=colour, lw=2.2)
        axes.axvline(0, color=style.QUIET, lw=0.7)
        axes.set_title(title, fontsize=9.5)
        axes.set_xlabel(unit)
        axes.set_yticks(range(len(rows)), [{**ROWS, **BRACKETS}[row] for row in rows])
        axes.grid(axis="x")
    panels[3].set_xscale("symlog", linthresh=1.0)
    panels[3].set_xlim(left=-0.3)
    panels[3].set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    panels[0].invert_yaxis()
    for k, half in enumerate(HALVES):
        panels[0].plot([], [], "o", color=style.PALETTE[k], label=half)
    picture.legend(loc="outside lower center", ncols=2)
    return picture


PANELS = (
    ("Identity, refitted", "points; 0: none forgotten", HEADLINE["change"]),
    ("Identity, frozen", "points", HARDER["frozen: change"]),
    ("Position MSE, refitted", "1e-4; 0: none forgotten", HEADLINE["MSE change"]),
    ("Position MSE, frozen", "1e-4, logarithmic", HARDER["frozen: MSE change"]),
)
