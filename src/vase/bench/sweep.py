"""`vase sweep`: presets, settings and seeds in every combination, by the engine of the ablations.

A point is trained and probed like any run and leaves one raw file, which bears the hash of its code
and configuration: a sweep that was interrupted goes on, and a finished point is not done twice.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from vase import config
from vase.bench import ablation
from vase.bench.ablation_page import HEADLINE, Record
from vase.bench.page import spread
from vase.config import Config
from vase.errors import ConfigError
from vase.training.folder import read_json


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    preset: str
    settings: tuple[str, ...]
    fixed: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """What its file is called: readable, and its own."""
        told = " ".join((Path(self.preset).stem, *self.settings))
        whole = repr((self.preset, self.settings, self.fixed))
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9.=+-]+', '_', told)[:80]}_seed={self.seed}_{digest}"

    @property
    def labels(self) -> dict[str, Any]:
        return asdict(self)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        given = [*overrides, *self.fixed, *self.settings, f"training.seed={self.seed}"]
        return config.load(self.preset, given)


def points(presets: Sequence[str], settings: Iterable[str], seeds: Iterable[int]) -> list[Point]:
    """Every combination once, seed by seed, so that an interrupted sweep has whole columns.

    settings: "key=value,value" to try each, or "key=value", which holds for all. What cannot be
    used is refused here.
    """
    if not presets:
        raise ConfigError("A sweep needs a preset or a file of settings, such as: vase sweep quick")
    choices = [choice(setting) for setting in settings]
    fixed = tuple(values[0] for values in choices if len(values) == 1)
    found = [
        Point(preset, combination, fixed, seed)
        for seed in seeds
        for preset in dict.fromkeys(presets)
        for combination in product(*(values for values in choices if len(values) > 1))
    ]
    for point in found:
        point.config()
    return found


def choice(setting: str) -> list[str]:
    """The values to be tried of a setting, each as an override; commas in brackets are its own."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"'{setting}' is no setting. Write key=value, or key=value,value.")
    if key.strip() == "training.seed":
        raise ConfigError("The seeds of a sweep are 0, 1, ...: say how many with --seeds.")
    return list(dict.fromkeys(f"{key}={value.strip()}" for value in _parts(text)))


def _parts(text: str) -> list[str]:
    """Split at commas that are not inside of brackets or quotes."""
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


def read(folder: Path, wanted: Sequence[Point], code: str) -> list[Record]:
    """The raw records of the points that are done, by this code and with these settings."""
    due = {point for point, _ in ablation.due(wanted, (), folder, code)}
    return [read_json(folder / f"{point.name}.json") for point in wanted if point not in due]


def rows(records: Sequence[Record]) -> list[list[str]]:
    """A head, and a line for every preset and settings: mean and deviation over its seeds."""
    places: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        places.setdefault((record["preset"], *record["settings"]), []).append(record)
    head = ["preset", "settings", "seeds", *HEADLINE, "environments", "minutes"]
    return [head, *(_row(place, found) for place, found in places.items())]


def _row(place: tuple[str, ...], found: Sequence[Record]) -> list[str]:
    cells = [place[0], ", ".join(place[1:]) or "-", str(len(found))]
    for measure in HEADLINE.values():
        values = [value for record in found if not math.isnan(value := measure(record))]
        cells.append(spread(values) if values else "-")
    cells.append(spread([record["detection"]["environments"] for record in found]))
    return [*cells, spread([record["minutes"]["training"] for record in found])]
