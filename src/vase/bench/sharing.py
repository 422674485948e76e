"""`vase bench share`: what shared latents are good for, on two domains of one preset.

Every seed is trained twice on the same stream, disentangled and entangled.
`vase.probes.translation` measures what a translation preserves; `vase.probes.ambiguity` measures
how the model classifies interpolations between the domains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vase import build
from vase.bench.page import spread, table
from vase.bench.seeds import SeedJob
from vase.errors import RunError
from vase.probes import ambiguity, evaluate, translation
from vase.report import ambiguity as curves
from vase.report import pictures, style
from vase.report import run as runs
from vase.report import translation as drawing
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder, read_json, rounded, write_json

Record = Mapping[str, Any]

PRESET_SUFFIXES = {
    "disentangled": "",
    "entangled": "+entangled",
}  # by objective, what it adds to a preset
FIGURE_SEED = 0  # the seed shown in figures


def objective_presets(name: str) -> tuple[str, ...]:
    """Return a preset of two domains, with either objective."""
    return tuple(name + part for part in PRESET_SUFFIXES.values())


def objective_of(preset: str) -> str:
    """Return the objective of a preset."""
    return "entangled" if preset.endswith(PRESET_SUFFIXES["entangled"]) else "disentangled"


def run_seed(job: SeedJob) -> dict[str, Any]:
    """Train one seed, measure translation and ambiguity, and return the raw record."""
    run = job.train()
    return {
        "preset": job.preset,
        "seed": job.seed,
        "steps": run.learner.step,
        **_measured(job, run.folder),
        **run.provenance(),
    }


def _measured(job: SeedJob, folder: RunFolder) -> dict[str, Any]:
    """Return translation and ambiguity; nothing if the model does not separate the domains."""
    run = evaluate.open_run(folder, job.data)
    model = translation.load_last_model(run, folder)
    try:
        names = translation.distinct_pairs(run, model)
        between = ambiguity.measure_ambiguity(run, model, *names[0])
    except RunError as error:
        return {"translation": [], "ambiguity": None, "why": str(error)}
    if job.seed == FIGURE_SEED:
        draw_figures(job, folder, between)
    return {"translation": translation.measure_translation(run, model, names), "ambiguity": between}


def draw_figures(job: SeedJob, folder: RunFolder, measured: Record) -> None:
    """Draw translations both ways, morphs, and the posterior along them, as PNG files."""
    shown = runs.read_run(folder)
    seen = pictures.held_out_images(
        shown, build.stream(shown.config, job.data, "test"), pictures.IMAGES_SHOWN
    )
    one, other = ends = measured["source"], measured["target"]
    rows = [
        row
        for source, target in (ends, (other, one))
        for row in pictures.translation_rows(shown, seen[source], source, [target])
    ]
    colours = style.domain_colours(shown.domains)
    for name, figure in (
        ("translations", drawing.plot_image_rows(rows)),
        ("morphs", pictures.plot_morphs(shown, seen[one], seen[other], one, other)),
        ("belief", curves.plot_ambiguity(measured, colours)),
    ):
        write_bytes(job.out / f"{objective_of(job.preset)}-{name}.png", style.png(figure))


def write_record(record: Record, out: Path) -> None:
    """Write a raw file."""
    name = f"{objective_of(record['preset'])}-seed-{record['seed']}.json"
    write_json(out / name, rounded(record))


def read_records(folder: Path) -> list[Record]:
    """Return the raw records of a folder, by objective and seed."""
    return [
        read_json(path)
        for objective in PRESET_SUFFIXES
        for path in sorted(folder.glob(f"{objective}-seed-*.json"))
    ]


def render_tables(folder: Path) -> str:
    """Return the tables of a folder's raw files, in Markdown."""
    return markdown(read_records(folder))


def markdown(records: Sequence[Record]) -> str:
    """Return what translations preserve, the number of shared latents, and results on morphs."""
    by_objective = separating(records)
    if not any(by_objective.values()):
        return "No model separates the two domains."
    missing = len(records) - sum(map(len, by_objective.values()))
    note = f"{missing} of {len(records)} models do not separate the two domains."
    tables = [
        factor_table(by_objective),
        shared_latent_table(by_objective),
        equality_table(by_objective),
        variance_table(by_objective),
    ]
    return "\n\n".join([*tables, *([note] if missing else [])])


def separating(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of models that separate the two domains, by objective."""
    return {
        objective: [
            each
            for each in records
            if objective_of(each["preset"]) == objective and each["translation"]
        ]
        for objective in PRESET_SUFFIXES
    }


def factor_table(by_objective: Mapping[str, Sequence[Record]]) -> str:
    """Return a table with a row per pair of domains and factor, and a column per objective."""
    every = [record for own in by_objective.values() for record in own]
    rows = []
    for ends, factors in _pairs(by_objective):
        for factor in factors:
            scores = [_scores(own, ends, factor, "translated") for own in by_objective.values()]
            scores += [_scores(every, ends, factor, name) for name in ("real", "shuffled")]
            rows.append([*ends, factor, *(spread(each, 3) for each in scores)])
    return table(("from", "to", "read", *by_objective, "real images", "shuffled"), rows)


def _scores(
    records: Sequence[Record], ends: tuple[str, str], factor: str, name: str
) -> list[float]:
    return [_pair_record(record, ends)["factors"][factor][name] for record in records]


def shared_latent_table(by_objective: Mapping[str, Sequence[Record]]) -> str:
    """Return how many latents two domains share, of those that either uses."""
    rows = []
    for ends, _ in _pairs(by_objective):
        found = [
            [_pair_record(record, ends)["latents"] for record in own]
            for own in by_objective.values()
        ]
        cells = [
            f"{spread([len(each['shared']) for each in own])} of "
            f"{spread([len(each['either']) for each in own])}"
            if own
            else "–"
            for own in found
        ]
        rows.append([*ends, *cells])
    return table(
        ("from", "to", *(f"shared latents, {objective}" for objective in by_objective)), rows
    )


def equality_table(by_objective: Mapping[str, Sequence[Record]]) -> str:
    """Return the point of equality in every context, and the width of the transition."""
    rows = []
    for objective, own in by_objective.items():
        for morph in own[0]["ambiguity"]["morphs"] if own else ():
            found = [record["ambiguity"]["morphs"][morph] for record in own]
            around = [
                [each["contexts"][k]["equality"]["mean"] for each in found]
                for k in range(len(found[0]["contexts"]))
            ]
            alone = [each["alone"] for each in found]
            rows.append(
                [
                    objective,
                    morph,
                    spread([each["equality"]["mean"] for each in alone], 3),
                    spread([each["width"]["median"] for each in alone], 3),
                    spread([each["width"]["upper quartile"] for each in alone], 3),
                    *(spread(each, 3) for each in (around[0], around[-1])),
                ]
            )
    head = (
        "", "morph", "equality at", "width, median", "width, upper quartile",
        "equality among the first domain's", "among the second's",
    )  # fmt: skip
    return table(head, rows)


def variance_table(by_objective: Mapping[str, Sequence[Record]]) -> str:
    """Return the variance of the shared latents at equality, over that at either end."""
    rows = []
    for objective, own in by_objective.items():
        for morph in own[0]["ambiguity"]["morphs"] if own else ():
            found = [record["ambiguity"]["morphs"][morph]["variance"]["ratios"] for record in own]
            ratios = [spread([each[end] for each in found if each], 2) for end in (0, 1)]
            rows.append([objective, morph, *ratios])
    return table(("", "morph", "variance over that of the first", "of the second"), rows)


def _pairs(by_objective: Mapping[str, Sequence[Record]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Return every pair of domains with the factors that are read."""
    first = next(own[0] for own in by_objective.values() if own)
    return [
        ((pair["source"], pair["target"]), list(pair["factors"])) for pair in first["translation"]
    ]


def _pair_record(record: Record, ends: tuple[str, str]) -> Record:
    found: Record = next(
        pair for pair in record["translation"] if (pair["source"], pair["target"]) == ends
    )
    return found
