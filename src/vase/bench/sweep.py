"""`vase sweep`: all combinations of presets, settings and seeds.

A run is trained and probed like any other run, and writes one raw file with the hash of its code
and configuration: an interrupted sweep resumes, and a finished run is not repeated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vase import config
from vase.bench import ablation
from vase.bench.ablation_page import HEADLINE_MEASURES, Record
from vase.bench.agreement import agreement
from vase.bench.page import spread
from vase.config import Config
from vase.errors import ConfigError
from vase.training.folder import read_json


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    preset: str
    settings: tuple[str, ...]
    fixed: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """The file name: readable and unique."""
        preset = "+".join(Path(part).stem for part in self.preset.split("+"))
        readable = " ".join((preset, *self.settings))
        whole = repr((self.preset, self.settings, self.fixed))
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9.=+-]+', '_', readable)[:80]}_seed={self.seed}_{digest}"

    @property
    def labels(self) -> dict[str, Any]:
        return asdict(self)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        given = [*overrides, *self.fixed, *self.settings, f"training.seed={self.seed}"]
        return config.load(self.preset, given)


def sweep_runs(
    presets: Sequence[str], settings: Iterable[str], seeds: Iterable[int]
) -> list[SweepRun]:
    """Return every combination once, ordered by seed, so that a sweep can be interrupted.

    settings: "key=value,value" to vary a setting, or "key=value" for all runs. Invalid settings
    raise a `ConfigError` here.
    """
    if not presets:
        raise ConfigError(
            "A sweep needs a preset or a file of settings, for example: vase sweep quick"
        )
    choices = [override_choices(setting) for setting in settings]
    fixed = tuple(values[0] for values in choices if len(values) == 1)
    found = [
        SweepRun(preset, combination, fixed, seed)
        for seed in seeds
        for preset in dict.fromkeys(presets)
        for combination in product(*(values for values in choices if len(values) > 1))
    ]
    for run in found:
        run.config()
    return found


def override_choices(setting: str) -> list[str]:
    """Return the values of a setting, each as an override; brackets may contain commas."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"'{setting}' is not a setting. Write key=value, or key=value,value.")
    if key.strip() == "training.seed":
        raise ConfigError("The seeds of a sweep are 0, 1, ...: set their number with --seeds.")
    return list(dict.fromkeys(f"{key}={value.strip()}" for value in _split_values(text)))


def _split_values(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


# ---- tables ------------------------------------------------------------------------------------


def finished_records(folder: Path, wanted: Sequence[SweepRun], code: str) -> list[Record]:
    """Return the records of the runs that this code has finished with these settings."""
    unfinished = {run for run, _ in ablation.unfinished_runs(wanted, (), folder, code)}
    return [read_json(folder / f"{run.name}.json") for run in wanted if run not in unfinished]


def agreement_of(folder: Path, records: Sequence[Record]) -> dict[Group, dict[int, float]]:
    """UDR of every seed by preset and settings, averaged over domains (`bench.agreement`).

    Of fewer than three seeds, of which two are as like each other either way, nothing is said.
    """
    found = {}
    for group, members in _groups(records).items():
        runs = [SweepRun(m["preset"], tuple(m["settings"]), tuple(m["fixed"]), m["seed"])
                for m in members]  # fmt: skip
        scores = agreement(folder, [run.name for run in runs]) if len(runs) > 2 else {}
        if scores:
            means = np.mean(list(scores.values()), axis=0).tolist()
            found[group] = dict(zip((run.seed for run in runs), means, strict=True))
    return found


Group = tuple[str, ...]  # the preset, and the settings that vary


def _groups(records: Sequence[Record]) -> dict[Group, list[Record]]:
    groups: dict[Group, list[Record]] = {}
    for record in records:
        groups.setdefault((record["preset"], *record["settings"]), []).append(record)
    return groups


def table_rows(
    records: Sequence[Record], agreement: Mapping[Group, Mapping[int, float]] | None = None
) -> list[list[str]]:
    """Return a header, and a row per preset and settings: mean and deviation over seeds.

    agreement: of `agreement_of`; if there is any, the last column names the seed that it prefers.
    """
    head = ["preset", "settings", "seeds", *HEADLINE_MEASURES, "environments", "minutes"]
    groups = _groups(records)
    rows = [_row(group, found) for group, found in groups.items()]
    if agreement:
        head.append("UDR (best seed)")
        for group, row in zip(groups, rows, strict=True):
            row.append(_preferred(agreement.get(group, {})))
    return [head, *rows]


def _preferred(agreement: Mapping[int, float]) -> str:
    """The UDR over seeds, and the seed that has most of it."""
    if not agreement:
        return "-"
    best = max(agreement, key=lambda seed: agreement[seed])
    return f"{spread(list(agreement.values()), 2)} ({best}: {agreement[best]:.2f})"


def _row(group: Group, found: Sequence[Record]) -> list[str]:
    cells = [group[0], ", ".join(group[1:]) or "-", str(len(found))]
    cells += [spread(map(measure, found)) for measure in HEADLINE_MEASURES.values()]
    cells.append(spread(record["detection"]["environments"] for record in found))
    return [*cells, spread(record["minutes"]["training"] for record in found)]
