"""The table of results in README.md, from the raw files in results/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preset_page import PRESETS, SOURCE, Result, noticed, results, seeds, spread

from vase.bench.page import OURS, Record, named, numbers, returns_known, table
from vase.bench.scores import pooled
from vase.training.folder import read_json

START, END = (
    "<!-- results: written by `python benchmarks/results.py page` -->",
    "<!-- end of results -->",
)


def with_results(readme: str, folder: Path) -> str:
    """Return the README with its table of results replaced."""
    before, rest = readme.split(START)
    return f"{before}{START}\n\n{results_table(folder)}\n\n{END}{rest.split(END)[1]}"


def results_table(folder: Path) -> str:
    """Return what was learnt and forgotten beside the paper, and how changes were noticed."""
    head = ["", "identity, best", "identity, change", "position MSE, best", "change",
            "switches noticed", "false alarms", "minutes"]  # fmt: skip
    rows = [["the paper, VASE (SDA)", *map(str, SOURCE.values()), "-", "-", "-"]]
    for preset in PRESETS:
        found = results(folder / preset)
        steps = found[0].probes["steps"]
        rows.append([f"`{preset}`, {steps:,} steps, {seeds(len(found))}", *_learning(found)])
    paths = sorted((folder / "detect").glob("suite-seed-*.json"))
    suite = [named(read_json(path)) for path in paths]
    return "\n\n".join([table(head, rows), _note(suite), table(*_detection(suite))])


def _learning(found: list[Result]) -> list[str]:
    """Cells of a preset: identity, position, switches, minutes."""
    summary = [result.probes["summary"] for result in found]
    return [
        spread((s["identity"]["mlp"]["max"] for s in summary), 100),
        spread((s["identity"]["mlp"]["change"] for s in summary), 100),
        spread((s["position_mse"]["mlp"]["min"] for s in summary), 1e4),
        spread((s["position_mse"]["mlp"]["change"] for s in summary), 1e4),
        *map(str, noticed(found)),
        spread((result.cost["training_minutes"] for result in found), 1, 0),
    ]


def _note(suite: Sequence[Record]) -> str:
    visits = suite[0]["visits"]
    domains = {visit["domain"] for visit in visits}
    return (
        "Identity: accuracy of an MLP on the latents, in percent, averaged over domains; position: "
        "mean squared error of the same, in units of 1e-4; change: the end of the stream minus the "
        "best. The paper states neither its readout nor the unit of its error. Minutes are of one "
        f"CPU thread beside other work. Changes of domain on {len(domains)} domains and "
        f"{len(visits)} visits in random order, independent images:"
    )


def _detection(suite: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """The long suite: what was noticed, when, and what was re-identified."""
    all_ = pooled(numbers([record["detectors"][OURS]["scores"] for record in suite]))
    head = ["detection suite", "switches noticed", "false alarms", "returns re-identified",
            "delay in batches, median", "worst"]  # fmt: skip
    row = [
        f"VASE, {seeds(len(suite))}",
        f"{all_['switches'] - all_['missed']} of {all_['switches']}",
        str(all_["false"]),
        f"{returns_known(suite)} of {all_['returns']}",
        f"{all_['delay_median']:g}",
        f"{all_['delay_worst']:g}",
    ]
    return head, [row]
