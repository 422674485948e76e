"""The results of an ablation: the paper's table beside ours, paired differences, and a figure.

Everything is computed from the raw records. Differences are paired: condition minus condition on
the same seed, so that effects of the seed cancel.
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

from vase.bench.ablation import BASELINES, CONDITIONS, OBJECTIVES
from vase.bench.page import spread, table
from vase.errors import RunError
from vase.probes.forgetting import best_end_change
from vase.report import style
from vase.training.folder import read_json

Record = Mapping[str, Any]
Measure = Callable[[Record], float]

FULL_METHOD = "sda"
CONFIDENCE = 0.95

# The paper's table: identity max and change in percent, MSE of position min and change in 1e-4.
PAPER_TABLE: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
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


def summary_measure(kind: str, readout: str, field: str, scale: float) -> Measure:
    """Return a measure: one figure of a record's summary; nan if no domain has it."""

    def measure(record: Record) -> float:
        found = record["summary"][kind][readout][field]
        return math.nan if found is None else scale * found

    return measure


def reconstruction_change(record: Record) -> float:
    """Return the mean increase in nats of past domains, from their best to the end."""
    timeline = record["timeline"]
    names = list(timeline[-1]["domains"])[:-1]
    changes = [
        best_end_change(
            [m["domains"][name]["reconstruction_nats"] for m in timeline if name in m["domains"]],
            "min",
        )["change"]
        for name in names
    ]
    return float(np.mean(changes))


HEADLINE_MEASURES: Mapping[str, Measure] = {
    "identity max %": summary_measure("identity", "mlp", "max", 100),
    "change": summary_measure("identity", "mlp", "change", 100),
    "MSE min 1e-4": summary_measure("position_mse", "mlp", "min", 1e4),
    "MSE change": summary_measure("position_mse", "mlp", "change", 1e4),
}
FORGETTING_MEASURES: Mapping[str, Measure] = {
    "frozen: identity max %": summary_measure("identity", "frozen", "max", 100),
    "frozen: change": summary_measure("identity", "frozen", "change", 100),
    "frozen: MSE min 1e-4": summary_measure("position_mse", "frozen", "min", 1e4),
    "frozen: MSE change": summary_measure("position_mse", "frozen", "change", 1e4),
    "past domains: nats lost": reconstruction_change,
}


# ---- statistics --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the bounds are nan for a single value."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return Student's interval of a mean: m +- t s / sqrt(n), with n - 1 degrees of freedom."""
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
    """Return the paired difference of a measure, over the seeds that both have.

    first, second: (condition, objective); the result is first minus second. None without common
    seeds.
    """
    one, two = (by_seed(records, *place) for place in (first, second))
    seeds = sorted(set(one) & set(two))
    if not seeds:
        return None
    return interval([measure(one[seed]) - measure(two[seed]) for seed in seeds])


def by_seed(records: Sequence[Record], condition: str, objective: str) -> dict[int, Record]:
    """Return the records of one condition and objective, by seed."""
    return {
        r["seed"]: r for r in records if (r["condition"], r["objective"]) == (condition, objective)
    }


# ---- reading -----------------------------------------------------------------------------------


def read_ablations(folder: Path, code: str | None = None) -> list[Record]:
    """Return the records in a folder: those of one code, or all if they share one code.

    A `RunError` names the codes if results of several would be mixed.
    """
    records: list[Record] = [
        record
        for path in sorted(folder.glob("*.json"))
        if "objective" in (record := read_json(path)) and code in (None, record["code"])
    ]
    codes = {record["code"] for record in records}
    if len(codes) > 1:
        raise RunError(
            f"'{folder}' holds results of different code ({', '.join(sorted(codes))}), which must "
            "not share a table. Repeat the grid with `vase ablate`, or remove the old files."
        )
    return records


# ---- tables ------------------------------------------------------------------------------------


def markdown(records: Sequence[Record]) -> str:
    """Return all tables and claims."""
    parts = []
    for objective in OBJECTIVES:
        if any(record["objective"] == objective for record in records):
            title = f"### {objective.capitalize()}"
            parts += [
                title,
                headline_table(records, objective),
                forgetting_table(records, objective),
            ]
            parts += [mig_table(records, objective)]
    return "\n\n".join(
        [
            *parts,
            "### Differences, seed by seed",
            difference_table(records),
            ordering_claims(records),
        ]
    )


def headline_table(records: Sequence[Record], objective: str) -> str:
    """Return the paper's four figures, ours beside the paper's."""
    rows = []
    for condition, name in [*CONDITIONS.items(), *BASELINES.items()]:
        own = list(by_seed(records, condition, objective).values())
        if own:
            theirs = PAPER_TABLE[objective].get(condition, ("–",) * 4)
            cells = [spread([measure(r) for r in own]) for measure in HEADLINE_MEASURES.values()]
            rows.append([name, *cells, *theirs])
    return table(
        ["condition", *HEADLINE_MEASURES, *(f"paper: {name}" for name in HEADLINE_MEASURES)], rows
    )


def forgetting_table(records: Sequence[Record], objective: str) -> str:
    """Return what a refitted readout hides: frozen readouts, and the loss in nats."""
    rows = []
    for condition, name in [*CONDITIONS.items(), *BASELINES.items()]:
        own = list(by_seed(records, condition, objective).values())
        if own:
            cells = [spread([measure(r) for r in own]) for measure in FORGETTING_MEASURES.values()]
            opened = spread([r["detection"]["environments"] for r in own], digits=0)
            rows.append([name, *cells, opened])
    return table(["condition", *FORGETTING_MEASURES, "environments opened"], rows)


def mig_table(records: Sequence[Record], objective: str) -> str:
    """Return the MIG of every domain after its own last segment, and at the end of the stream."""
    rows = []
    domains = list(dict.fromkeys(name for r in records for name in r["timeline"][-1]["domains"]))
    for condition, name in [*CONDITIONS.items(), *BASELINES.items()]:
        own = list(by_seed(records, condition, objective).values())
        if own:
            pairs = [[_mig_then_and_now(r, domain) for r in own] for domain in domains]
            rows.append([name, *(_before_and_after(each) for each in pairs)])
    head = ["condition", *(f"MIG of {domain}: then, now" for domain in domains)]
    return table(head, rows)


def _mig_then_and_now(record: Record, domain: str) -> tuple[float, float] | None:
    """Return the MIG after a domain's own last segment, and at the last milestone."""
    segments = record["config"]["stream"]["schedule"]
    ends = np.cumsum([steps for _, steps in segments])
    left = max(end for end, (name, _) in zip(ends, segments, strict=True) if name == domain)
    then, now = [
        milestone["domains"].get(domain, {}).get("disentanglement")
        for milestone in (_milestone(record, left), record["timeline"][-1])
    ]
    return (then["mig"], now["mig"]) if then and now else None


def _milestone(record: Record, step: int) -> Record:
    """Return the last milestone up to a step."""
    reached: list[Record] = [each for each in record["timeline"] if each["step"] <= step]
    return reached[-1]


def _before_and_after(pairs: Sequence[tuple[float, float] | None]) -> str:
    known = [pair for pair in pairs if pair]
    if not known:
        return "–"
    then, now = zip(*known, strict=True)
    return f"{spread(then, 2)}, {spread(now, 2)}"


COMPARED_MEASURES: Mapping[str, Measure] = {
    "identity change": HEADLINE_MEASURES["change"],
    "MSE change 1e-4": HEADLINE_MEASURES["MSE change"],
    "frozen identity change": FORGETTING_MEASURES["frozen: change"],
    "frozen MSE change 1e-4": FORGETTING_MEASURES["frozen: MSE change"],
    "past domains, nats": FORGETTING_MEASURES["past domains: nats lost"],
}


def difference_table(records: Sequence[Record]) -> str:
    """Return VASE minus every other condition of the same objective, with 95 % intervals."""
    rows = []
    for objective in OBJECTIVES:
        for condition, name in [*CONDITIONS.items(), *BASELINES.items()]:
            if condition == FULL_METHOD:
                continue
            found = [
                paired(records, (FULL_METHOD, objective), (condition, objective), measure)
                for measure in COMPARED_MEASURES.values()
            ]
            if any(found):
                rows.append([objective, name, *(interval_cell(each) for each in found)])
    note = (
        f"VASE minus the condition, mean over seeds with the {100 * CONFIDENCE:.0f} % interval of "
        "Student's t; identity above 0 and all others below 0 favour VASE."
    )
    return table(["objective", "condition", *COMPARED_MEASURES], rows) + "\n\n" + note


def interval_cell(found: Interval | None, digits: int = 1) -> str:
    """Return a mean with its interval, if it has one, as a cell of a table."""
    if found is None:
        return "–"
    mean, low, high = (f"{each:+.{digits}f}" for each in (found.mean, found.low, found.high))
    return mean if math.isnan(found.low) else f"{mean} [{low}, {high}]"


def ordering_claims(records: Sequence[Record]) -> str:
    """Compare the order of the conditions with the paper's."""
    said = []
    for objective in OBJECTIVES:
        for readout, measures in (
            ("", HEADLINE_MEASURES),
            (", frozen readout", FORGETTING_MEASURES),
        ):
            for name, column, sign in (("identity", "change", 1), ("position", "MSE change", -1)):
                measure = measures[f"frozen: {column}" if readout else column]
                found = means(records, objective, measure)
                if len(found) > 1:
                    theirs = _least_and_most(paper(objective, column), sign)
                    said.append(
                        f"- {objective}, {name}{readout}: {_least_and_most(found, sign)}; in the "
                        f"paper {theirs}."
                    )
    position = "MSE min 1e-4"
    ours = [means(records, objective, HEADLINE_MEASURES[position]) for objective in OBJECTIVES]
    if set(ours[0]) & set(ours[1]):
        theirs = _better(*(paper(objective, position) for objective in OBJECTIVES))
        said.append(
            f"- position is read better from the disentangled code in {_better(*ours)} "
            f"conditions; in the paper in {theirs}."
        )
    return "\n".join(said)


def paper(objective: str, column: str) -> dict[str, float]:
    """Return a column of the paper's table, by condition; named like `HEADLINE_MEASURES`."""
    place = list(HEADLINE_MEASURES).index(column)
    return {condition: row[place] for condition, row in PAPER_TABLE[objective].items()}


def _least_and_most(found: Mapping[str, float], sign: int) -> str:
    """Return which condition forgets least and most; sign: 1 where a fall is a loss, else -1."""
    least, most = (best(found, key=lambda each: sign * found[each]) for best in (max, min))
    return (
        f"`{CONDITIONS[least]}` forgets least ({found[least]:+.1f}), "
        f"`{CONDITIONS[most]}` most ({found[most]:+.1f})"
    )


def _better(apart: Mapping[str, float], tangled: Mapping[str, float]) -> str:
    """Return in how many of the conditions that both have the first error is the smaller one."""
    both = set(apart) & set(tangled)
    return f"{sum(apart[each] < tangled[each] for each in both)} of {len(both)}"


def means(records: Sequence[Record], objective: str, measure: Measure) -> dict[str, float]:
    """Return the mean of a measure over seeds, per condition of the paper's table."""
    found = {each: by_seed(records, each, objective).values() for each in CONDITIONS}
    return {each: float(np.mean([measure(r) for r in own])) for each, own in found.items() if own}


# ---- the picture -------------------------------------------------------------------------------


@style.styled
def figure(records: Sequence[Record]) -> Figure:
    """Return a figure of the forgetting per condition: a dot per seed, a bar at the mean."""
    conditions = [
        each for each in [*CONDITIONS, *BASELINES] if any(r["condition"] == each for r in records)
    ]
    picture = Figure(figsize=(style.FULL, 0.32 * len(conditions) + 1.4), layout="constrained")
    panels = picture.subplots(1, 4, sharey=True)
    for axes, (title, unit, measure) in zip(panels, PANELS, strict=True):
        for place, condition in enumerate(conditions):
            for k, objective in enumerate(OBJECTIVES):
                values = [measure(r) for r in by_seed(records, condition, objective).values()]
                height, colour = place + (k - 0.5) * 0.36, style.PALETTE[k]
                axes.plot(values, [height] * len(values), "o", ms=3, color=colour, alpha=0.55)
                if values:
                    mean = float(np.mean(values))
                    axes.vlines(mean, height - 0.16, height + 0.16, color=colour, lw=2.2)
        axes.axvline(0, color=style.QUIET, lw=0.7)
        axes.set_title(title, fontsize=9.5)
        axes.set_xlabel(unit)
        axes.set_yticks(
            range(len(conditions)), [{**CONDITIONS, **BASELINES}[each] for each in conditions]
        )
        axes.grid(axis="x")
    panels[3].set_xscale("symlog", linthresh=1.0)
    panels[3].set_xlim(left=-0.3)
    panels[3].set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    panels[0].invert_yaxis()
    for k, objective in enumerate(OBJECTIVES):
        panels[0].plot([], [], "o", color=style.PALETTE[k], label=objective)
    picture.legend(loc="outside lower center", ncols=2)
    return picture


PANELS = (
    ("Identity, refitted", "points; 0: none forgotten", HEADLINE_MEASURES["change"]),
    ("Identity, frozen", "points", FORGETTING_MEASURES["frozen: change"]),
    ("Position MSE, refitted", "1e-4; 0: none forgotten", HEADLINE_MEASURES["MSE change"]),
    ("Position MSE, frozen", "1e-4, logarithmic", FORGETTING_MEASURES["frozen: MSE change"]),
)
