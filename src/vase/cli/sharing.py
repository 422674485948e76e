"""`vase translate` and `vase ambiguity`: commands on pairs of domains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from vase import build, integrity
from vase.cli.options import console, say
from vase.errors import InputError
from vase.images import files
from vase.report import page_text, pictures, style, translation
from vase.report import run as runs
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder, rounded, write_json


def translate(
    path: Path,
    source: str | None,
    target: str | None,
    own: Path | None,
    data: build.DataOptions,
) -> None:
    """Measure and draw translations of a run: one pair of domains, all pairs, or given images."""
    folder = integrity.open_run(path, trust=data.trust)
    if own is not None:
        _translate_own(folder, source, target, own)
        return
    _measure(folder, source, target, data)


def _measure(
    folder: RunFolder,
    source: str | None,
    target: str | None,
    data: build.DataOptions,
) -> None:
    from vase.probes import evaluate
    from vase.probes import translation as probe

    run = evaluate.open_run(folder, data)
    model = probe.load_last_model(run, folder)
    wanted = probe.distinct_pairs(run, model, source, target)
    with console.status("Translating held-out images and reading them"):
        found = rounded(probe.measure_translation(run, model, wanted))
    _keep(folder.translation, found)
    console.print(_table(found))
    shown = runs.read_run(folder)
    examples = pictures.held_out_images(
        shown, build.stream(shown.config, data, "test"), pictures.IMAGES_SHOWN
    )
    for one, other in wanted:
        figure = translation.plot_image_rows(
            pictures.translation_rows(shown, examples[one], one, [other])
        )
        _write(folder, f"translation-{one}-to-{other}", style.png(figure))
    say(f"Numbers: {folder.translation}")


def _keep(path: Path, found: list[dict[str, Any]]) -> None:
    """Write records of pairs into a file; replace records of the same pairs or of earlier steps."""
    ends = [(pair["source"], pair["target"]) for pair in found]
    others = [
        pair
        for pair in runs.read_pair_records(path, found[0]["step"])
        if (pair["source"], pair["target"]) not in ends
    ]
    write_json(path, {"pairs": [*others, *found]})


def _table(found: list[dict[str, Any]]) -> Table:
    shown = Table("from", "to", "factor", "translated", "real", "shuffled", box=None)
    for row in page_text.translation_rows(found):
        shown.add_row(*row)
    return shown


def _translate_own(folder: RunFolder, source: str | None, target: str | None, own: Path) -> None:
    """Translate images from files; nothing is measured, because their factors are unknown."""
    from vase.probes import translation as probe

    if source is None or target is None:
        raise InputError("Name the domains of the translation with --from and --to.")
    run = runs.read_run(folder)
    probe.pairs_of_environments(
        {name: place.index for name, place in run.matched_environments.items()}, source, target
    )
    shape = run.networks.architecture
    images = files.read(own, (shape.channels, shape.height, shape.width), pictures.IMAGES_SHOWN)
    if len(images) == pictures.IMAGES_SHOWN:
        say(f"Using the first {pictures.IMAGES_SHOWN} images.")
    figure = translation.plot_image_rows(pictures.translation_rows(run, images, source, [target]))
    _write(folder, f"translation-{own.stem}-{source}-to-{target}", style.png(figure))


def _write(folder: RunFolder, name: str, content: bytes) -> None:
    path = folder.figures / f"{pictures.slug(name)}.png"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, content)
    say(f"Figure: {path}")


def ambiguity(path: Path, first: str, second: str, data: build.DataOptions) -> None:
    """Measure and draw how a run classifies interpolations between two domains."""
    from vase.probes import ambiguity as probe
    from vase.probes import evaluate
    from vase.probes import translation as pairing
    from vase.report import ambiguity as drawing

    folder = integrity.open_run(path, trust=data.trust)
    run = evaluate.open_run(folder, data)
    model = pairing.load_last_model(run, folder)
    pairing.distinct_pairs(run, model, first, second)
    with console.status("Evaluating morphs"):
        found = rounded(probe.measure_ambiguity(run, model, first, second))
    _keep(folder.ambiguity, [found])
    console.print(_curves(found))
    shown = runs.read_run(folder)
    seen = pictures.held_out_images(
        shown, build.stream(shown.config, data, "test"), pictures.IMAGES_SHOWN
    )
    colours = style.domain_colours(shown.domains)
    strip = pictures.plot_morphs(shown, seen[first], seen[second], first, second)
    name = f"ambiguity-{first}-{second}"
    _write(folder, f"{name}-morphs", style.png(strip))
    _write(folder, name, style.png(drawing.plot_ambiguity(found, colours)))
    say(f"Numbers: {folder.ambiguity}")


def _curves(found: dict[str, Any]) -> Table:
    """Return a table of equality and width for every morph and context."""
    shown = Table("morph", f"of {found['target']} around", "equality", "width, median", box=None)
    for name, figures in found["morphs"].items():
        for each in [{"share": None, **figures["alone"]}, *figures["contexts"]]:
            share = "nothing" if each["share"] is None else f"{100 * each['share']:.0f} %"
            middle = f"{each['equality']['mean']:.3f} ± {each['equality']['sd']:.3f}"
            shown.add_row(name, share, middle, f"{each['width']['median']:.3f}")
    return shown
