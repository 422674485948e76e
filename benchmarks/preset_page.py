"""What RESULTS.md says of a preset, from the raw files of its seeds."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vase.bench.ablation_page import FULL_METHOD, PAPER_TABLE
from vase.bench.page import spread, table
from vase.settings import REMOVED
from vase.training.folder import read_json, read_lines

PRESETS = ("quick", "poster")
READOUTS = ("linear", "mlp", "frozen")
# What is compared with the paper: figure, field, and the scale that it is printed in.
SCORES: tuple[tuple[str, str, float], ...] = (
    ("identity", "max", 100),
    ("identity", "change", 100),
    ("position_mse", "min", 1e4),
    ("position_mse", "change", 1e4),
)
# The row VASE (SDA), disentangled, as printed on the poster.
SOURCE = dict(
    zip(
        ("identity max %", "identity change", "MSE min 1e-4", "MSE change"),
        PAPER_TABLE["disentangled"][FULL_METHOD],
        strict=True,
    )
)


@dataclass(frozen=True)
class Result:
    """The raw files of one seed."""

    seed: int
    probes: dict[str, Any]
    events: list[dict[str, Any]]
    cost: dict[str, Any]
    config: dict[str, Any]


def results(preset: Path) -> list[Result]:
    """All seeds of a preset, in order."""
    return [
        Result(
            int(folder.name.removeprefix("seed-")),
            read_json(folder / "probes.json"),
            read_lines(folder / "events.jsonl"),
            read_json(folder / "cost.json"),
            tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")),
        )
        for folder in sorted(preset.glob("seed-*/"))
    ]


def seeds(count: int) -> str:
    """A number of seeds in words."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def rule_of(found: Sequence[Result]) -> str:
    """The change detector of a preset's runs, and whether it is still there."""
    rule = found[0].config["detection"]["rule"]
    return f"`{rule}`, since removed" if rule in REMOVED else f"`{rule}`"


def noticed(found: Sequence[Result]) -> tuple[str, int]:
    """How many changes of domain were noticed, of all; and the number of false alarms."""
    detection = [result.probes["detection"] for result in found]
    switches = sum(len(each["switches"]) for each in detection)
    missed = sum(each["missed"] for each in detection)
    false = sum(len(each["false_alarms"]) for each in detection)
    return f"{switches - missed} of {switches}", false


def section(folder: Path) -> str:
    """Everything there is to say of the preset of a folder."""
    preset, found = folder.name, results(folder)
    minutes = spread(result.cost["training_minutes"] for result in found)
    threads = sorted({result.cost["threads"] for result in found})
    numbers = ", ".join(str(result.seed) for result in found)
    stream = found[0].config["stream"]
    domains = ", then ".join(f"`{name}`" for name, _ in stream["schedule"])
    commits = ", ".join(sorted({result.cost["commit"] for result in found}))
    return "\n\n".join(
        [
            f"## Preset `{preset}`",
            f"{domains}, {stream['size']} x {stream['size']}, without labels; detection rule "
            f"{rule_of(found)}. Seeds {numbers}; {found[0].probes['steps']:,} steps; {minutes} "
            f"minutes of training on {', '.join(map(str, threads))} CPU thread(s) with PyTorch "
            f"{found[0].cost['torch']} at commit {commits}, beside other work on the same machine. "
            "Mean and standard deviation over seeds.",
            f"    python benchmarks/results.py train {preset} --seeds {numbers.replace(',', '')}",
            "### Readouts, all environments seen",
            readouts(found),
            "`max` (`min`) is each environment's best over training from its first appearance "
            "on, `change` its value at the end minus that, both averaged over environments. "
            "`frozen` is fitted once, when the environment was last present, and sees forgetting "
            "that a refitted readout hides.",
            "### By environment (MLP readout)",
            by_domain(found),
            "### Detection",
            detections(found),
            "### Position latents",
            positions(found),
        ]
    )


def readouts(found: list[Result]) -> str:
    """The headline: identity and position, three readouts, beside the paper."""

    def cell(kind: str, readout: str, name: str, scale: float) -> str:
        return spread((r.probes["summary"][kind][readout][name] for r in found), scale=scale)

    rows = [
        [readout, *(cell(kind, readout, name, scale) for kind, name, scale in SCORES)]
        for readout in READOUTS
    ]
    return table(["readout", *SOURCE], [*rows, ["the paper (not stated which)", *SOURCE.values()]])


def by_domain(found: list[Result]) -> str:
    """Identity, position and reconstruction of each domain."""
    summary = [r.probes["summary"] for r in found]
    domains = list(summary[0]["identity"]["mlp"]["domains"])

    def last(name: str) -> str:
        ends = (r.probes["timeline"][-1]["domains"][name]["reconstruction_nats"] for r in found)
        return spread(ends)

    def of(kind: str, name: str, field: str, scale: float) -> str:
        every = (s[kind]["mlp"]["domains"].get(name, {}).get(field) for s in summary)
        return spread(every, scale=scale)

    rows = [
        [name, *(of(kind, name, field, scale) for kind, field, scale in SCORES), last(name)]
        for name in domains
    ]
    return table(["environment", *SOURCE, "reconstruction at the end, nats"], rows)


def detections(found: list[Result]) -> str:
    """What each seed found."""
    rows = []
    for result in found:
        scores = result.probes["detection"]
        opened = [event for event in result.events if event["kind"] in ("new", "returned")]
        rows.append(
            [
                result.seed,
                len({event["environment"] for event in opened}),
                ", ".join(f"{s['decision']} {s['index']}" for s in scores["switches"]),
                ", ".join(str(s["delay"]) for s in scores["switches"]),
                len(scores["false_alarms"]),
                scores["missed"],
                scores["dismissed"],
            ]
        )
    head = ["seed", "environments", "decisions", "delays, batches", "false", "missed", "weighed"]
    return table(head, rows) + (
        "\n\n`weighed`: alarms that were looked into and dropped before anything was opened."
    )


def positions(found: list[Result]) -> str:
    """Which latents carry position in the first moving domain, and what became of them."""
    domains = [domain["name"] for domain in found[0].probes["latents"]["domains"]]
    rows = []
    for result in found:
        latents = result.probes["latents"]
        carried = latents["position"]
        best = {domain["name"]: domain for domain in latents["domains"]}[carried["source"]]["r2"]
        rows.append(
            [
                result.seed,
                ", ".join(map(str, carried["latents"])),
                *(f"{max(best[factor]):.2f}" for factor in ("x", "y")),
                *(state(carried, name) for name in domains),
            ]
        )
    return table(["seed", "latents", "best R2 of x", "of y", *domains], rows)


def state(carried: dict[str, Any], name: str) -> str:
    """How many of the position latents a domain uses and masks."""
    used, masked = carried["used_in"].get(name, []), carried["masked_in"].get(name, [])
    return f"{len(used)} used, {len(masked)} masked"
