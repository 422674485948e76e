"""The table of results in README.md, from the raw files in results/."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import peers_page
from preset_page import PRESETS, SOURCE, Result, noticed, results, seeds

from vase.bench import disentanglement, frame_page, page, sharing
from vase.bench.frame_detectors import OURS as BLOCKS
from vase.bench.frame_scenarios import CLIPS, LAMP
from vase.bench.page import NO_RIVALS, OURS, read, returns_known, spread, table

START, END = (
    "<!-- results: written by `python benchmarks/results.py page` -->",
    "<!-- end of results -->",
)

GROUPS = {CLIPS: "frames of real clips", LAMP: "a walk, lamp on and off"}
DETECTION = (
    "detection of changes",
    "noticed",
    "false alarms",
    "returns known again",
    "median delay",
)
FACTORS = ("distance", "pitch", "bearing", "hue")  # that hills and a room both show
METRICS = {"FactorVAE": "FactorVAE", "DCI": "dci D", "MIG": "MIG"}
NOTE = (
    "Identity: accuracy of an MLP on the latents, in percent, averaged over domains; position: "
    "mean squared error of the same, in units of 1e-4; change: the end of the stream minus the "
    "best. The paper states neither its readout nor the unit of its error, and its domains cannot "
    "be had, so that no row repeats it ([limits](docs/limits.md)). Minutes are of one CPU thread "
    "beside other work."
)


def with_results(readme: str, folder: Path) -> str:
    """Return the README with its table of results replaced."""
    before, rest = readme.split(START)
    return f"{before}{START}\n\n{results_table(folder)}\n\n{END}{rest.split(END)[1]}"


def results_table(folder: Path) -> str:
    """Return the tables: learning beside the paper, detection of changes, and dSprites."""
    head = ["", "identity, best", "identity, change", "position MSE, best", "change",
            "switches noticed", "false alarms", "minutes"]  # fmt: skip
    rows = [["the paper, VASE (SDA)", *map(str, SOURCE.values()), "-", "-", "-"]]
    for preset in PRESETS:
        found = results(folder / preset)
        steps = found[0].probes["steps"]
        rows.append([f"`{preset}`, {steps:,} steps, {seeds(len(found))}", *_learning(found)])
    return "\n\n".join([
        table(head, rows),
        NOTE,
        table(
            DETECTION,
            [
                _independent(folder / "detect"),
                *_hostile(folder / "detect"),
                *_consecutive(folder / "frames"),
            ],
        ),
        *peers_page.summary(folder / "peers"),
        _disentangled(folder / "disentangle", folder / "dsprites-long"),
        _translated(folder / "rooms"),
    ])  # fmt: skip


def _learning(found: list[Result]) -> list[str]:
    """Cells of a preset: identity, position, switches, minutes."""
    summary = [result.probes["summary"] for result in found]
    return [
        spread((s["identity"]["mlp"]["max"] for s in summary), scale=100),
        spread((s["identity"]["mlp"]["change"] for s in summary), scale=100),
        spread((s["position_mse"]["mlp"]["min"] for s in summary), scale=1e4),
        spread((s["position_mse"]["mlp"]["change"] for s in summary), scale=1e4),
        *map(str, noticed(found)),
        spread((result.cost["training_minutes"] for result in found), 0),
    ]


def _independent(folder: Path) -> list[str]:
    """The long suite: what was noticed, when, and what was re-identified."""
    suite = [record for record in read(folder) if "forgetting" in record]
    all_ = page.pooled(suite, OURS)
    domains = {visit["domain"] for visit in suite[0]["visits"]}
    return [
        f"VASE, independent images of {len(domains)} domains, {seeds(len(suite))}",
        f"{all_['switches'] - all_['missed']} of {all_['switches']}",
        str(all_["false"]),
        f"{returns_known(suite)} of {all_['returns']}",
        f"{all_['delay_median']:g} batches",
    ]


def _hostile(folder: Path) -> list[list[str]]:
    """The short streams: a row for our detector, and one for the other with the fewest errors."""
    records = [record for record in read(folder) if "forgetting" not in record]
    found = {
        name: page.pooled(records, name)
        for name in records[0]["detectors"]
        if all(name in record["detectors"] for record in records)
    }
    others = found.keys() - {OURS, *NO_RIVALS}
    best = min(others, key=lambda name: (found[name]["missed"] + found[name]["false"], name))
    streams = f"{len({record['scenario'] for record in records})} hostile streams of the same kind"
    count = len({record["seed"] for record in records})
    return [
        _scored(f"VASE, {streams}, {seeds(count)}", found[OURS], "batches"),
        _scored(f"the best other detector there ({best})", found[best], "batches"),
    ]


def _consecutive(folder: Path) -> list[list[str]]:
    """By group: a row for our detector, and one for the best other, the one that covers most."""
    rows, records = [], frame_page.read(folder)
    for group, label in GROUPS.items():
        own = frame_page.watched_by_all([each for each in records if each.get("group") == group])
        found = {name: frame_page.pooled(own, name) for name in own[0]["detectors"]}
        others = found.keys() - {BLOCKS, *NO_RIVALS}
        best = max(others, key=lambda name: (found[name]["covering"], name))
        frames = f"{label}, {own[0]['batch_size']} at a time"
        rows += [
            _scored(f"VASE, {frames}, {seeds(len(own))}", found[BLOCKS], "frames"),
            _scored(f"the best other detector there ({best})", found[best], "frames"),
        ]
    return rows


def _scored(label: str, scores: Mapping[str, float], unit: str) -> list[str]:
    known = scores["returns_identified"]
    return [
        label,
        f"{scores['switches'] - scores['missed']:.0f} of {scores['switches']:.0f}",
        f"{scores['false']:.0f}",
        "-" if math.isnan(known) else f"{known:.0%}",
        f"{scores['delay_median']:.0f} {unit}",
    ]


def _disentangled(folder: Path, ordered: Path) -> str:
    """dSprites, independent and, where there are raw files of that, in order: a sentence each."""

    def scores(kind: Path) -> str:
        records, _ = disentanglement.read_records(kind)
        then = [record["domains"]["dsprites"]["then"] for record in records]
        return f"{seeds(len(records))}: " + ", ".join(
            f"{name} {spread((each[key] for each in then), 2)}" for name, key in METRICS.items()
        )

    said = [f"dSprites without labels, {scores(folder)}."]
    if ordered.is_dir():
        said.append(f"In order, as frames in which one factor moves at a time, {scores(ordered)}.")
    return " ".join(said)


def _translated(folder: Path) -> str:
    """Hills as a room and a room as hills: what a reader of the real images reads of them."""
    records = sharing.separating(sharing.read_records(folder))["disentangled"]

    def read(factor: str, scale: float, digits: int) -> str:
        ways = zip(*(record["translation"] for record in records), strict=True)
        return " and ".join(
            spread((each["factors"][factor]["translated"] for each in way), digits, scale=scale)
            for way in ways
        )

    told = ", ".join(f"{name} {read(name, 1, 2)}" for name in FACTORS)
    return (
        f"Rendered hills, translated into a room, and a room into hills, {seeds(len(records))}: R2 "
        f"of {told}; kind of object {read('identity', 100, 0)} %."
    )
