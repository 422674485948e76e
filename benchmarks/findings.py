"""What to take from the models: a bullet per finding, every figure from the raw files.

A finding quotes the tables of RESULTS.md: it is computed by the same functions, and says the same.
It is left out where there are no raw files of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from preset_page import (
    PRESETS,
    SOURCE,
    Result,
    by_domain,
    noticed,
    readouts,
    results,
    rule_of,
    seeds,
)

from vase.bench import ablation_page, disentanglement, sharing
from vase.bench.ablation import CONDITIONS, OBJECTIVES, SCALES
from vase.bench.ablation_page import FORGETTING_MEASURES, FULL_METHOD, HEADLINE_MEASURES
from vase.bench.page import rows_of, spread
from vase.probes.ambiguity import CONTEXT_IMAGES
from vase.training.folder import read_json

SHARED = ("sharing", "rooms")
SEPARATE, SEPARATE_AND_MASKED = "sd", FULL_METHOD  # environments and replay, without and with masks


# ---- pieces --------------------------------------------------------------------------------------


def bullet(title: str, sentences: Iterable[str]) -> list[str]:
    """Return a finding in a list, or an empty list if there is nothing to say."""
    said = " ".join(sentences)
    return [f"- **{title}.** {said}"] if said else []


def cells(table: str) -> list[dict[str, str]]:
    """Return the rows of a table in Markdown, each cell by its heading."""
    rows = rows_of(table)
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def mean(cell: str) -> float:
    """Return the mean in a cell, which its spread or its interval may follow."""
    return float(cell.split(maxsplit=1)[0])


def extremes(found: Iterable[str]) -> str:
    """Return the least and the greatest of some cells."""
    ordered = sorted(found, key=mean)
    return f"{ordered[0]} to {ordered[-1]}"


def listed(names: Iterable[str]) -> str:
    """Return names as code, in a list."""
    return ", ".join(f"`{name}`" for name in names)


def by_readout(found: list[Result]) -> dict[str, dict[str, str]]:
    """Return what every readout reads and forgets over all domains of a preset."""
    return {row["readout"]: row for row in cells(readouts(found))}


def presets(folder: Path) -> Iterator[tuple[str, list[Result]]]:
    """Yield every preset with raw files, and its seeds."""
    for preset in PRESETS:
        if found := results(folder / preset):
            yield preset, found


# ---- the presets ---------------------------------------------------------------------------------


def environments(folder: Path) -> list[str]:
    """Return which changes are noticed, and what becomes of the latents that carry position."""
    return bullet("Environments", (_environments(*each) for each in presets(folder)))


def _environments(preset: str, found: list[Result]) -> str:
    switches, false = noticed(found)
    delays = [s["delay"] for r in found for s in r.probes["detection"]["switches"]]
    carried = [result.probes["latents"]["position"] for result in found]
    source = carried[0]["source"]
    later = [name for name in carried[0]["used_in"] if name != source]
    fates = (
        f"`{name}` uses {sum(len(each['used_in'][name]) for each in carried)} and masks "
        f"{sum(len(each['masked_in'][name]) for each in carried)}"
        for name in later
    )
    return (
        f"`{preset}` ({seeds(len(found))}, rule {rule_of(found)}) notices {switches} changes of "
        f"domain with a delay of {max(each for each in delays if each is not None)} batches at "
        f"most and {false} false alarms. Of its {sum(len(each['latents']) for each in carried)} "
        f"latents that carry position on `{source}`, {', '.join(fates)}."
    )


def forgetting(folder: Path) -> list[str]:
    """Return what refitted and frozen readouts lose."""
    changes = []
    for preset, found in presets(folder):
        rows = by_readout(found)
        changes.append(
            f"{rows['mlp']['identity change']} and {rows['mlp']['MSE change']} with a refitted MLP "
            f"and by {rows['frozen']['identity change']} and {rows['frozen']['MSE change']} with a "
            f"frozen one in `{preset}`"
        )
    paper = f"{SOURCE['identity change']} and {SOURCE['MSE change']} in the paper"
    said = (
        "From the best to the end of a run, identity (in points) and the MSE of position (in 1e-4) "
        f"change by {'; by '.join([*changes, paper])}."
    )
    return bullet("Forgetting", [said] if changes else [])


def identity(folder: Path) -> list[str]:
    """Return how well identity is read at best."""
    best = []
    for preset, found in presets(folder):
        domains = (
            f"{row['environment']} {row['identity max %']}" for row in cells(by_domain(found))
        )
        best.append(
            f"{by_readout(found)['mlp']['identity max %']} % in `{preset}` after "
            f"{found[0].probes['steps']:,} steps ({', '.join(domains)})"
        )
    paper = f"{SOURCE['identity max %']} % in the paper"
    said = f"At best an MLP reads {'; '.join([*best, paper])}."
    return bullet("Identity", [said] if best else [])


def position(folder: Path) -> list[str]:
    """Return how well position is read at best."""
    best = []
    for preset, found in presets(folder):
        mlp, linear = (by_readout(found)[name]["MSE min 1e-4"] for name in ("mlp", "linear"))
        best.append(f"{mlp} with an MLP and {linear} with a linear readout in `{preset}`")
    paper = f"{SOURCE['MSE min 1e-4']} in the paper, which states neither unit nor readout"
    said = f"The best MSE of position, in 1e-4, is {'; '.join([*best, paper])}."
    return bullet("Position", [said] if best else [])


def cost(folder: Path) -> list[str]:
    """Return the minutes of training."""
    said = []
    for preset, found in presets(folder):
        minutes = spread(result.cost["training_minutes"] for result in found)
        threads = ", ".join(map(str, sorted({result.cost["threads"] for result in found})))
        said.append(f"`{preset}` trains in {minutes} minutes on {threads} CPU thread(s)")
    return bullet("Cost", [f"{', '.join(said)}, beside other work."] if said else [])


def gpu(folder: Path) -> list[str]:
    """Return the minutes of training on a GPU."""
    file = folder / "gpu" / "poster.json"
    if not file.is_file():
        return []
    run = read_json(file)
    said = (
        f"`{run['preset']}` takes {run['seconds'] / 60:.1f} minutes for {run['steps']:,} steps on "
        f"one {run['device']}."
    )
    return bullet("On a GPU", [said])


# ---- ablations, metrics, sharing -----------------------------------------------------------------


def parts(folder: Path) -> list[str]:
    """Return what environments, replay and masks are worth, at every scale."""
    return [
        each for scale in SCALES for each in _parts(folder / "ablate" / scale, f"scale `{scale}`")
    ]


def _parts(folder: Path, scale: str) -> list[str]:
    records = ablation_page.read_ablations(folder)
    measures = {**HEADLINE_MEASURES, **FORGETTING_MEASURES}

    def means(name: str, *, kept: bool) -> list[float]:
        """The means over seeds, of the conditions with environments and replay or of the rest."""
        every = (ablation_page.means(records, each, measures[name]) for each in OBJECTIVES)
        both = (SEPARATE, SEPARATE_AND_MASKED)
        return [own[each] for own in every for each in own if (each in both) is kept]

    def loses(name: str, *, kept: bool) -> str:
        found = sorted(map(abs, means(name, kept=kept)))
        return f"{found[0]:.1f} to {found[-1]:.1f}"

    if not all(means("change", kept=kept) for kept in (True, False)):
        return []
    refitted = max(-each for kept in (True, False) for each in means("change", kept=kept))
    names = " and ".join(f"`{CONDITIONS[each]}`" for each in (SEPARATE, SEPARATE_AND_MASKED))
    told = (
        f"With environments and replay ({names}) a frozen readout loses "
        f"{loses('frozen: change', kept=True)} points of identity and past domains "
        f"{loses('past domains: nats lost', kept=True)} nats; in the other rows of the paper's "
        f"table that were run, {loses('frozen: change', kept=False)} points and "
        f"{loses('past domains: nats lost', kept=False)} nats. A refitted readout loses "
        f"{refitted:.1f} points at most."
    )
    count = len({record["seed"] for record in records})
    title = f"What each part is worth, {scale} ({seeds(count)}, {records[0]['steps']:,} steps)"
    return bullet(title, [told, *_masks(records)])


def _masks(records: list[ablation_page.Record]) -> Iterator[str]:
    """Yield what masks add, beside the paper."""
    objective = OBJECTIVES[0]
    for row in cells(ablation_page.difference_table(records)):
        if (row["objective"], row["condition"]) == (objective, CONDITIONS[SEPARATE]):
            paper = ablation_page.paper(objective, "change")
            yield (
                f"With masks a refitted readout keeps {row['identity change']} points of identity "
                f"more than without them ({objective}), a frozen one "
                f"{row['frozen identity change']}; in the paper "
                f"{paper[SEPARATE_AND_MASKED] - paper[SEPARATE]:+.1f}."
            )


def meaning(folder: Path) -> list[str]:
    """Return whether latents keep their meaning, and seeds agree on it, per benchmark."""
    return [
        *_meaning(folder / "disentangle", "What latents mean, then and now"),
        *_meaning(folder / "dsprites-long", "What latents mean, dSprites in order"),
    ]


def _meaning(folder: Path, title: str) -> list[str]:
    records, udr = disentanglement.read_records(folder)
    if not records:
        return []
    rows = cells(disentanglement.markdown(records, udr))
    said = (
        f"{then['domain (factors)']} {then['MIG']} and {now['MIG']} (UDR {now['UDR']})"
        for then, now in zip(rows[::2], rows[1::2], strict=True)
    )
    told = (
        "The MIG at the end of a domain's own segment and at the end of the stream, and the "
        f"agreement of seeds there (UDR), are: {'; '.join(said)}."
    )
    return bullet(title, [told])


def shared(folder: Path) -> list[str]:
    """Return what translations preserve and how sharp the boundary is, of every pair."""
    return [each for name in SHARED for each in _shared(folder / name)]


def _shared(folder: Path) -> list[str]:
    models = sharing.separating(sharing.read_records(folder))
    own = models[OBJECTIVES[0]]
    if not own:
        return []
    ends = [own[0]["ambiguity"][end] for end in ("source", "target")]
    morphs = [row for row in cells(sharing.equality_table(models)) if row[""] == OBJECTIVES[0]]
    ratios = [row for row in cells(sharing.variance_table(models)) if row[""] == OBJECTIVES[0]]
    latents = cells(sharing.shared_latent_table(models))[0][f"shared latents, {OBJECTIVES[0]}"]
    moved = [
        np.mean([_moved(record["ambiguity"]["morphs"][row["morph"]]) for record in own])
        for row in morphs
    ]
    said = [
        *_translated(models),
        f"Of the latents that either domain uses, both use {latents}.",
        f"A morph changes its domain within {extremes(row['width, median'] for row in morphs)} of "
        f"its length (median over pairs); {CONTEXT_IMAGES} images around it move the boundary by "
        f"{min(moved):.2f} to {max(moved):.2f}.",
        f"At the boundary the variance is "
        f"{extremes(row['variance over that of the first'] for row in ratios)} times that of "
        f"`{ends[0]}` and {extremes(row['of the second'] for row in ratios)} times that of "
        f"`{ends[1]}`.",
    ]
    return bullet(f"Shared latents, {' and '.join(ends)} ({seeds(len(own))})", said)


def _translated(models: dict[str, list[sharing.Record]]) -> Iterator[str]:
    """Yield what is read from translated images, both ways, and what is not."""
    apart, tangled = OBJECTIVES
    factors: dict[str, list[dict[str, str]]] = {}
    for row in cells(sharing.factor_table(models)):
        factors.setdefault(row["read"], []).append(row)
    kind = factors.pop("identity", [])
    lost = [name for name, own in factors.items() if min(mean(row[apart]) for row in own) < 0]
    read = {name: own for name, own in factors.items() if name not in lost}
    told = (f"{name} {' and '.join(row[apart] for row in own)}" for name, own in read.items())
    yield f"The R2 of readouts of translated images, one way and the other: {'; '.join(told)}."
    if lost:
        yield f"That of {', '.join(lost)} is below zero, at least one way."
    if models[tangled]:
        gaps = [abs(mean(row[apart]) - mean(row[tangled])) for own in read.values() for row in own]
        yield (
            f"With the {tangled} objective that of {', '.join(read)} differs by {max(gaps):.3f} at "
            "most."
        )
    if kind:
        yield (
            f"The accuracy of identity is {' and '.join(row[apart] for row in kind)} "
            f"({kind[0]['shuffled']} by chance)."
        )


def _moved(morph: sharing.Record) -> float:
    """Return how far the images around move the level at which both domains are as probable."""
    first, *_, last = (each["equality"]["mean"] for each in morph["contexts"])
    return abs(float(first - last))
