"""The table of results in README.md, from the raw files in results/."""

from __future__ import annotations

from pathlib import Path

from preset_page import SOURCE, Result, results, spread

from vase.bench.page import OURS, named, table
from vase.training.folder import read_json

START, END = (
    "<!-- results: written by `python benchmarks/results.py page` -->",
    "<!-- end of results -->",
)
PRESETS = (("quick", "12,000"), ("poster", "45,000"))


def with_results(readme: str, folder: Path) -> str:
    """Return the README with its table of results replaced."""
    before, rest = readme.split(START)
    return f"{before}{START}\n\n{results_table(folder)}\n\n{END}{rest.split(END)[1]}"


def results_table(folder: Path) -> str:
    """Return what was learnt and forgotten beside the paper, and how changes were noticed."""
    head = ["", "identity, best", "identity, change", "position MSE, best", "change",
            "switches noticed", "false alarms", "minutes"]  # fmt: skip
    paper = [SOURCE["identity max %"], SOURCE["identity change"], SOURCE["MSE min 1e-4"],
             SOURCE["MSE change"]]  # fmt: skip
    rows = [["the paper, VASE (SDA)", *map(str, paper), "-", "-", "-"]]
    for preset, steps in PRESETS:
        found = results(folder / preset)
        rows.append([f"`{preset}`, {steps} steps, {_seeds(len(found))}", *_learning(found)])
    return "\n\n".join([table(head, rows), _note(), table(*_detection(folder / "detect"))])


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "1 seed"


def _learning(found: list[Result]) -> list[str]:
    """Cells of a preset: identity, position, switches, minutes."""
    summary = [result.probes["summary"] for result in found]
    detection = [result.probes["detection"] for result in found]
    switches = sum(len(each["switches"]) for each in detection)
    return [
        spread((s["identity"]["mlp"]["max"] for s in summary), 100),
        spread((s["identity"]["mlp"]["change"] for s in summary), 100),
        spread((s["position_mse"]["mlp"]["min"] for s in summary), 1e4),
        spread((s["position_mse"]["mlp"]["change"] for s in summary), 1e4),
        f"{switches - sum(each['missed'] for each in detection)} of {switches}",
        str(sum(len(each["false_alarms"]) for each in detection)),
        spread((result.cost["training_minutes"] for result in found), 1, 0),
    ]


def _note() -> str:
    return (
        "Identity: accuracy of an MLP on the latents, in percent, averaged over domains; position: "
        "mean squared error of the same, in units of 1e-4; change: the end of the stream minus the "
        "best. The paper states neither its readout nor the unit of its error. Minutes are of one "
        "CPU thread beside other work. Changes of domain on twelve domains and 64 visits in random "
        "order, independent images:"
    )


def _detection(folder: Path) -> tuple[list[str], list[list[str]]]:
    """The long suite: what was noticed, when, and what was re-identified."""
    records = [named(read_json(path)) for path in sorted(folder.glob("suite-seed-*.json"))]
    scores = [record["detectors"][OURS]["scores"] for record in records]
    switches, missed, false, returns = (
        sum(score[name] for score in scores) for name in ("switches", "missed", "false", "returns")
    )
    identified = round(sum(score["returns"] * score["returns_identified"] for score in scores))
    head = ["detection suite", "switches noticed", "false alarms", "returns re-identified",
            "delay in batches, median", "worst"]  # fmt: skip
    row = [
        f"VASE, {len(scores)} seeds",
        f"{switches - missed} of {switches}",
        str(false),
        f"{identified} of {returns}",
        f"{max(score['delay_median'] for score in scores):g}",
        f"{max(score['delay_worst'] for score in scores):g}",
    ]
    return head, [row]
