"""`vase bench share`: what shared latents are good for, on two worlds of one preset.

Every seed is trained twice, disentangled and entangled, on the same stream. What a translation
keeps is measured by `vase.probes.translation`, what is made of images between two worlds by
`vase.probes.ambiguity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vase import build
from vase.bench.page import spread, table
from vase.bench.seeds import Job
from vase.errors import RunError
from vase.probes import ambiguity, survey, translation
from vase.report import ambiguity as curves
from vase.report import pictures, style
from vase.report import run as runs
from vase.report import translation as drawing
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder, read_json, rounded, write_json

Record = Mapping[str, Any]

HALVES = {"disentangled": "", "entangled": "+entangled"}  # what each adds to a preset
DRAWN = 0  # the seed that pictures are made of


def presets(name: str) -> tuple[str, ...]:
    """A preset of two worlds in both halves."""
    return tuple(name + part for part in HALVES.values())


def half_of(preset: str) -> str:
    """The half that a preset is of."""
    return "entangled" if preset.endswith(HALVES["entangled"]) else "disentangled"


def work(job: Job) -> dict[str, Any]:
    """Train one seed, or go on with it, and measure both: the raw record."""
    run = job.trained()
    return {
        "preset": job.preset,
        "seed": job.seed,
        "steps": run.learner.step,
        **_measured(job, run.folder),
        **run.origin(),
    }


def _measured(job: Job, folder: RunFolder) -> dict[str, Any]:
    """Translation and ambiguity; nothing where the model does not tell the worlds apart."""
    run = survey.read(folder, job.data)
    model = translation.last_model(run, folder)
    try:
        names = translation.pairs(run, model)
        between = ambiguity.ambiguity(run, model, *names[0])
    except RunError as error:
        return {"translation": [], "ambiguity": None, "why": str(error)}
    if job.seed == DRAWN:
        draw(job, folder, between)
    return {"translation": translation.translation(run, model, names), "ambiguity": between}


def draw(job: Job, folder: RunFolder, measured: Record) -> None:
    """Translations both ways, morphs and belief along them, as PNGs beside the raw files."""
    shown = runs.read(folder)
    seen = pictures.examples(shown, build.stream(shown.config, job.data, "test"), pictures.SHOWN)
    one, other = ends = measured["source"], measured["target"]
    rows = [
        row
        for source, target in (ends, (other, one))
        for row in pictures.translated(shown, seen[source], source, [target])
    ]
    colours = style.world_colours(shown.worlds)
    for name, figure in (
        ("translations", drawing.draw(rows)),
        ("morphs", pictures.morphs(shown, seen[one], seen[other], one, other)),
        ("belief", curves.draw(measured, colours)),
    ):
        write_bytes(job.out / f"{half_of(job.preset)}-{name}.png", style.png(figure))


def write(record: Record, out: Path) -> None:
    """Write a raw file."""
    name = f"{half_of(record['preset'])}-seed-{record['seed']}.json"
    write_json(out / name, rounded(record))


def read(folder: Path) -> list[Record]:
    """The raw records of a folder, by half and seed."""
    return [
        read_json(path) for half in HALVES for path in sorted(folder.glob(f"{half}-seed-*.json"))
    ]


def tables(folder: Path) -> str:
    """What the raw files of a folder show."""
    return markdown(read(folder))


def markdown(records: Sequence[Record]) -> str:
    """What a translation keeps, how many latents are shared, and what is made of morphs."""
    halves = {
        half: [each for each in records if half_of(each["preset"]) == half and each["translation"]]
        for half in HALVES
    }
    if not any(halves.values()):
        return "No model tells the two worlds apart."
    missing = len(records) - sum(map(len, halves.values()))
    note = f"{missing} of {len(records)} models do not tell the two worlds apart."
    tables = [kept(halves), shared(halves), between(halves), unsure(halves)]
    return "\n\n".join([*tables, *([note] if missing else [])])


def kept(halves: Mapping[str, Sequence[Record]]) -> str:
    """A row per pair of worlds and factor, the halves beside each other."""
    every = [record for own in halves.values() for record in own]
    rows = []
    for ends, factors in _pairs(halves):
        for factor in factors:
            told = [_scores(own, ends, factor, "translated") for own in halves.values()]
            told += [_scores(every, ends, factor, name) for name in ("real", "shuffled")]
            rows.append([*ends, factor, *(_spread(each, 3) for each in told)])
    return table(("from", "to", "read", *halves, "real images", "shuffled"), rows)


def _scores(
    records: Sequence[Record], ends: tuple[str, str], factor: str, name: str
) -> list[float]:
    return [_of(record, ends)["factors"][factor][name] for record in records]


def shared(halves: Mapping[str, Sequence[Record]]) -> str:
    """How many latents two worlds share, of how many that either uses."""
    rows = []
    for ends, _ in _pairs(halves):
        found = [[_of(record, ends)["latents"] for record in own] for own in halves.values()]
        cells = [
            f"{_spread([len(each['shared']) for each in own])} of "
            f"{_spread([len(each['either']) for each in own])}"
            for own in found
        ]
        rows.append([*ends, *cells])
    return table(("from", "to", *(f"shared latents, {half}" for half in halves)), rows)


def between(halves: Mapping[str, Sequence[Record]]) -> str:
    """Where belief changes sides in every context, and how sharply."""
    rows = []
    for half, own in halves.items():
        for morph in own[0]["ambiguity"]["morphs"] if own else ():
            found = [record["ambiguity"]["morphs"][morph] for record in own]
            around = [
                [each["contexts"][k]["equality"]["mean"] for each in found]
                for k in range(len(found[0]["contexts"]))
            ]
            alone = [each["alone"] for each in found]
            rows.append(
                [
                    half,
                    morph,
                    _spread([each["equality"]["mean"] for each in alone], 3),
                    _spread([each["width"]["median"] for each in alone], 3),
                    _spread([each["width"]["upper quartile"] for each in alone], 3),
                    *(_spread(each, 3) for each in (around[0], around[-1])),
                ]
            )
    head = (
        "", "morph", "equality at", "width, median", "width, upper quartile",
        "equality among the first world's", "among the second's",
    )  # fmt: skip
    return table(head, rows)


def unsure(halves: Mapping[str, Sequence[Record]]) -> str:
    """Variance of the shared latents at the point of equality, over that at either end."""
    rows = []
    for half, own in halves.items():
        for morph in own[0]["ambiguity"]["morphs"] if own else ():
            found = [record["ambiguity"]["morphs"][morph]["variance"]["ratios"] for record in own]
            ratios = [_spread([each[end] for each in found if each], 2) for end in (0, 1)]
            rows.append([half, morph, *ratios])
    return table(("", "morph", "variance over that of the first", "of the second"), rows)


def _pairs(halves: Mapping[str, Sequence[Record]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Every pair of worlds with the factors that are read."""
    first = next(own[0] for own in halves.values() if own)
    return [
        ((pair["source"], pair["target"]), list(pair["factors"])) for pair in first["translation"]
    ]


def _of(record: Record, ends: tuple[str, str]) -> Record:
    found: Record = next(
        pair for pair in record["translation"] if (pair["source"], pair["target"]) == ends
    )
    return found


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return spread(values, digits) if values else "–"
