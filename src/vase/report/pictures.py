"""Makes every figure of the report from a run, as PNGs with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from vase.domains.stream import Stream
from vase.lifelong import effects
from vase.probes import translation as probe
from vase.probes.ambiguity import MORPHS
from vase.progress import Say
from vase.report import (
    ambiguity,
    calibration,
    curves,
    decode,
    evidence,
    exploration,
    images,
    latents,
    page_text,
    readouts,
    style,
    timeline,
    translation,
)
from vase.report.decode import Floats
from vase.report.run import Record, RunRecords, match_domains

MAX_TRAVERSED_LATENTS = 10  # rows of a traversal
TEST_IMAGES = 512  # per domain, on which latents are measured when there are no probes
IMAGES_SHOWN, PER_ROW = 12, 6
GENERATED_SHOWN = 24
MAX_TARGETS = 5  # domains that one domain is translated to
SEED = 20_240_101  # of the images that are shown, the same for every run


@dataclass(frozen=True)
class ReportFigure:
    """A PNG, its file name without suffix, and what it shows for those who cannot see it.

    A film is an animated GIF, which is in a file already.
    """

    name: str
    png: bytes
    alt: str


Album = dict[str, tuple[ReportFigure, ...]]  # the figures by section, in the order of the page


def held_out_images(run: RunRecords, test: Stream, count: int = TEST_IMAGES) -> dict[str, Floats]:
    """Test images [count, C, H, W] of every domain seen so far, the same for every run."""
    return {
        name: test.domains[name].sample(np.random.default_rng([SEED, k]), count)[0]
        for k, name in enumerate(run.domains)
    }


def latent_record(run: RunRecords, seen: dict[str, Floats]) -> Record:
    """What each latent does in each domain: from the probes, or measured here."""
    if run.probes and run.probes.get("latents"):
        record: Record = run.probes["latents"]
        return record
    return decode.measure_latent_record(run.networks, seen, run.matched_environments)


def draw_figures(
    run: RunRecords, train: Stream, seen: dict[str, Floats], record: Record, say: Say
) -> Album:
    """Draw everything. seen: test images of each domain. record: the probes' part on latents."""
    say("Drawing the timeline")
    album = {"timeline": _timeline_figure(run, train, record), "evidence": _evidence_figure(run)}
    say("Drawing the latents")
    album["matrix"] = _matrix_figure(record)
    album["traversals"] = _traversal_figures(run, seen, record)
    say("Drawing reconstructions and generated images")
    album["reconstructions"] = _reconstruction_figures(run, seen)
    album["translations"] = _translation_figures(run, seen)
    album["ambiguity"] = _ambiguity_figures(run, seen)
    album["films"] = _films(run)
    album["exploration"] = _exploration_figures(run)
    album["generated"] = _generated_figures(run)
    say("Drawing readouts and curves")
    album["readouts"] = _readout_figure(run)
    album["calibration"] = _calibration_figure(run)
    album["curves"] = _curves_figure(run)
    return album


def _report_figure(name: str, figure: Figure, alt: str) -> ReportFigure:
    return ReportFigure(name, style.png(figure), alt)


def _timeline_figure(run: RunRecords, train: Stream, record: Record) -> tuple[ReportFigure, ...]:
    order = timeline.visible_latents(
        [row.latent for row in latents.latent_rows(record)],
        timeline.atypicality_over_time(run.metrics),
        run.config.masks.threshold,
    )
    figure = timeline.plot_timeline(run, timeline.sample_strip(train, run.steps), order)
    domains = [f"{segment.domain} from step {segment.start:,}" for segment in run.segments]
    beliefs = [f"{band.index} from step {band.start:,}" for band in run.bands]
    alt = (
        f"Time runs from step 0 to {run.steps:,}. The domain was {page_text.listed(domains)}. "
        f"The learner believed to be in environment {page_text.listed(beliefs)}."
    )
    return (_report_figure("timeline", figure, alt),)


def _evidence_figure(run: RunRecords) -> tuple[ReportFigure, ...]:
    """The distances at each decision; none where none was taken."""
    told = evidence.decision_events(run.events)
    if not told:
        return ()
    matched = {name: place.index for name, place in run.matched_environments.items()}
    colours = timeline.environment_colours(run.segments, run.bands, matched)
    steps = page_text.listed([evidence.decision_label(event) for event in told])
    alt = f"Distances of the held images from every known environment, at {steps}."
    return (_report_figure("evidence", evidence.plot_decision_distances(told, colours), alt),)


def _matrix_figure(record: Record) -> tuple[ReportFigure, ...]:
    sentences = [
        f"{domain['name']}: {len(domain['used'])} latents used, {len(domain['masked'])} masked."
        for domain in record["domains"]
    ]
    return (_report_figure("latents", latents.plot_latent_matrix(record), " ".join(sentences)),)


def _traversal_figures(
    run: RunRecords, seen: dict[str, Floats], record: Record
) -> tuple[ReportFigure, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    for domain in record["domains"]:
        name = domain["name"]
        if name not in run.matched_environments:
            continue
        chosen = latents.most_informative(domain, MAX_TRAVERSED_LATENTS)
        path = decode.traverse_latents(
            run.networks, seen[name][0], run.matched_environments[name], chosen
        )
        labels = [
            latents.latent_label(n, *effects.described(domain, n), domain["kl"][n]) for n in chosen
        ]
        figure = images.plot_traversal(path, labels, name, colours[name])
        alt = f"Images of {name} while one latent at a time goes from -2 to 2: " + "; ".join(
            f"{title}, {nats}" for title, nats in labels
        )
        found.append(_report_figure(f"traversal-{slug(name)}", figure, alt))
    return tuple(found)


def _reconstruction_figures(run: RunRecords, seen: dict[str, Floats]) -> tuple[ReportFigure, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    for name, place in run.matched_environments.items():
        originals = seen[name][:IMAGES_SHOWN]
        copies = decode.reconstruct_images(run.networks, originals, place)
        rows = images.interleave_rows(originals, copies, PER_ROW)
        figure = images.plot_image_grid(rows, name, colours[name], pair=True)
        alt = f"{IMAGES_SHOWN} test images of {name}, and below each its reconstruction."
        found.append(_report_figure(f"reconstructions-{slug(name)}", figure, alt))
    return tuple(found)


def _translation_figures(run: RunRecords, seen: dict[str, Floats]) -> tuple[ReportFigure, ...]:
    """Every domain in all others that the learner tells from it."""
    found = []
    for source, place in run.matched_environments.items():
        others = [
            name for name, other in run.matched_environments.items() if other.index != place.index
        ]
        if others:
            originals = seen[source][:IMAGES_SHOWN]
            figure = translation.plot_image_rows(
                translation_rows(run, originals, source, others[:MAX_TARGETS])
            )
            alt = f"{IMAGES_SHOWN} test images of {source}, and what they would be in others."
            found.append(_report_figure(f"translations-{slug(source)}", figure, alt))
    return tuple(found)


def translation_rows(
    run: RunRecords, originals: Floats, source: str, targets: Sequence[str]
) -> list[translation.ImageRow]:
    """Images [K, C, H, W] of one domain, how it sees them itself, and how others would."""
    colours = style.domain_colours(run.domains)
    place = run.matched_environments[source]
    own = probe.translate_images(run.networks, originals, place, place)
    rows = [
        translation.ImageRow(originals, source, "as it is", colours[source]),
        translation.ImageRow(own, source, "as it is seen", colours[source]),
    ]
    for target in targets:
        made = probe.translate_images(
            run.networks, originals, place, run.matched_environments[target]
        )
        rows.append(translation.ImageRow(made, target, "translated", colours[target]))
    return rows


def _ambiguity_figures(run: RunRecords, seen: dict[str, Floats]) -> tuple[ReportFigure, ...]:
    """For every pair that was measured: morphs as pictures, and the curves."""
    colours = style.domain_colours(run.domains)
    found = []
    for record in run.ambiguity:
        ends = (record["source"], record["target"])
        if not set(ends) <= set(run.matched_environments):
            continue
        name = slug(f"ambiguity-{ends[0]}-{ends[1]}")
        alt = f"Images that go from {ends[0]} to {ends[1]}, and how each would see them."
        strip = plot_morphs(run, seen[ends[0]], seen[ends[1]], *ends)
        found.append(_report_figure(f"{name}-morphs", strip, alt))
        told = "Belief along the way for different images around, and the variance of the latents."
        found.append(_report_figure(name, ambiguity.plot_ambiguity(record, colours), told))
    return tuple(found)


def _films(run: RunRecords) -> tuple[ReportFigure, ...]:
    return tuple(
        ReportFigure(
            "film",
            explored.film,
            f"{explored.record['place']}: above, what agents imagine; below, what they see on the "
            "way there.",
        )
        for explored in run.exploration
        if explored.film
    )


def _exploration_figures(run: RunRecords) -> tuple[ReportFigure, ...]:
    """For every place that was explored: where the agents were, and what it was worth."""
    records = [explored.record for explored in run.exploration]
    found = []
    for place in dict.fromkeys(record["place"] for record in records):
        own = [record for record in records if record["place"] == place]
        name = slug(f"exploration-{place}")
        if any(record["coverage"] for record in own):
            alt = "Where agents, or the things before them, were; and how much was seen over time."
            found.append(_report_figure(f"{name}-places", exploration.plot_coverage(own), alt))
        if any(record["zero_shot"] for record in own):
            alt = "How well domains that were never seen are read, over the steps of exploring."
            found.append(_report_figure(f"{name}-worth", exploration.plot_zero_shot(own), alt))
    return tuple(found)


def plot_morphs(run: RunRecords, first: Floats, second: Floats, one: str, other: str) -> Figure:
    """A path of each kind between the first images of two domains, and either's reconstruction."""
    colours = style.domain_colours(run.domains)
    rows = []
    for k, (kind, morph) in enumerate(MORPHS.items()):
        levels = np.linspace(0, 1, IMAGES_SHOWN)
        path = np.concatenate([morph(first[k : k + 1], second[k : k + 1], w) for w in levels])
        rows.append(translation.ImageRow(path, kind, "what is shown", style.QUIET))
        for name in (one, other):
            made = decode.reconstruct_images(run.networks, path, run.matched_environments[name])
            rows.append(translation.ImageRow(made, name, "seen as this", colours[name]))
    return translation.plot_image_rows(rows)


def _generated_figures(run: RunRecords) -> tuple[ReportFigure, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    names = match_domains(run.segments, run.bands)
    for environment in run.environments:
        name = names.get(environment.index, "")
        made = decode.generated_images(run.networks, environment, GENERATED_SHOWN, SEED)
        title = f"environment {environment.index}" + (f": {name}" if name else "")
        colour = colours.get(name, style.QUIET)
        figure = images.plot_image_grid(images.in_rows(made, PER_ROW), title, colour)
        alt = f"{GENERATED_SHOWN} images generated for {title}."
        found.append(_report_figure(f"generated-{environment.index}", figure, alt))
    return tuple(found)


def _readout_figure(run: RunRecords) -> tuple[ReportFigure, ...]:
    if not run.probes or not readouts.measured_quantities(run.probes, run.domains):
        return ()
    colours = style.domain_colours(run.domains)
    figure = readouts.plot_readouts(run.probes, run.segments, run.steps, colours)
    alt = "Accuracy and position error over time; see the table."
    return (_report_figure("readouts", figure, alt),)


def _calibration_figure(run: RunRecords) -> tuple[ReportFigure, ...]:
    found = (run.probes or {}).get("calibration")
    if not found:
        return ()
    figure = calibration.plot_calibration(found, style.domain_colours(run.domains))
    told = [f"{name}: rank correlation {each['spearman']:.2f}" for name, each in found.items()]
    alt = "Predicted and true error. " + "; ".join(told)
    return (_report_figure("calibration", figure, alt),)


def _curves_figure(run: RunRecords) -> tuple[ReportFigure, ...]:
    wasserstein = run.config.replay.distance == "wasserstein"
    terms = list(run.config.objective.terms)
    figure = curves.plot_curves(
        run.metrics, run.segments, run.steps, wasserstein=wasserstein, terms=terms
    )
    told = ", ".join(["Reconstruction", "KL", "capacity", "proximity", *terms])
    return (_report_figure("curves", figure, f"{told} over time."),)


def slug(name: str) -> str:
    """A domain's name as a part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def file_names(pictures: Sequence[ReportFigure]) -> dict[str, bytes]:
    """Content by file name; pictures whose names collide get a number."""
    files: dict[str, bytes] = {}
    for picture in pictures:
        name, number = f"{picture.name}.png", 2
        while name in files:
            name, number = f"{picture.name}-{number}.png", number + 1
        files[name] = picture.png
    return files
