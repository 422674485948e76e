"""Makes every figure of the report from a run, as PNGs with their captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from vase.domains.stream import Stream
from vase.probes import translation as probe
from vase.probes.ambiguity import MORPHS
from vase.report import (
    ambiguity,
    calibration,
    curves,
    decode,
    evidence,
    exploration,
    facts,
    images,
    latents,
    readouts,
    style,
    timeline,
    translation,
)
from vase.report.decode import Floats
from vase.report.run import Record, Run, owners

MOST_LATENTS = 10  # rows of a traversal
TEST_IMAGES = 512  # per domain, on which latents are measured when there are no probes
SHOWN, PER_ROW = 12, 6
DREAMT = 24
MOST_TARGETS = 5  # domains that one domain is translated to
SEED = 20_240_101  # of the images that are shown, the same for every run

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Picture:
    """A PNG, its file name without suffix, and what it shows for those who cannot see it.

    A film is an animated GIF, which is in a file already.
    """

    name: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Album:
    """All pictures of a report, by section."""

    timeline: Picture
    evidence: Picture | None
    matrix: Picture
    traversals: tuple[Picture, ...]
    reconstructions: tuple[Picture, ...]
    translations: tuple[Picture, ...]
    ambiguity: tuple[Picture, ...]
    films: tuple[Picture, ...]
    exploration: tuple[Picture, ...]
    dreams: tuple[Picture, ...]
    readouts: Picture | None
    calibration: Picture | None
    curves: Picture

    def all(self) -> tuple[Picture, ...]:
        """Every picture but films, in the order of the page."""
        shown = (
            self.timeline,
            self.evidence,
            self.matrix,
            *self.traversals,
            *self.reconstructions,
            *self.translations,
            *self.ambiguity,
            *self.exploration,
            *self.dreams,
            self.readouts,
            self.calibration,
            self.curves,
        )
        return tuple(picture for picture in shown if picture)


def examples(run: Run, test: Stream, count: int = TEST_IMAGES) -> dict[str, Floats]:
    """Test images [count, C, H, W] of every domain seen so far, the same for every run."""
    return {
        name: test.domains[name].sample(np.random.default_rng([SEED, k]), count)[0]
        for k, name in enumerate(run.domains)
    }


def latent_record(run: Run, seen: dict[str, Floats]) -> Record:
    """What each latent does in each domain: from the probes, or measured here without meanings."""
    if run.probes and run.probes.get("latents"):
        record: Record = run.probes["latents"]
        return record
    return decode.latent_record(run.networks, seen, run.places)


def album(run: Run, train: Stream, seen: dict[str, Floats], record: Record, say: Progress) -> Album:
    """Draw everything. seen: test images of each domain. record: the probes' part on latents."""
    say("Drawing the timeline")
    line, decisions = _timeline(run, train, record), _evidence(run)
    say("Drawing the latents")
    matrix = _matrix(record)
    traversals = _traversals(run, seen, record)
    say("Drawing reconstructions and dreams")
    reconstructions, dreams = _reconstructions(run, seen), _dreams(run)
    say("Drawing readouts and curves")
    return Album(
        timeline=line,
        evidence=decisions,
        matrix=matrix,
        traversals=traversals,
        reconstructions=reconstructions,
        translations=_translations(run, seen),
        ambiguity=_ambiguity(run, seen),
        films=_films(run),
        exploration=_exploration(run),
        dreams=dreams,
        readouts=_readouts(run),
        calibration=_calibration(run),
        curves=_curves(run),
    )


def _picture(name: str, figure: Figure, alt: str) -> Picture:
    return Picture(name, style.png(figure), alt)


def _timeline(run: Run, train: Stream, record: Record) -> Picture:
    order = [row.latent for row in latents.rows(record)]
    visible = timeline.visible_latents(
        order, timeline.alphas(run.metrics), run.config.masks.threshold
    )
    figure = timeline.draw(
        timeline.Timeline(
            segments=run.segments,
            bands=run.bands,
            metrics=run.metrics,
            events=run.events,
            end=run.steps,
            strip=timeline.strip(train, run.steps),
            order=tuple(visible),
            hidden=run.networks.architecture.latents - len(visible),
            places={name: place.index for name, place in run.places.items()},
            masked={
                known.index: np.flatnonzero(~known.mask).tolist() for known in run.environments
            },
            atypical=run.config.masks.threshold,
            alarm=run.config.detection.threshold,
            batch_size=run.config.stream.batch_size,
        )
    )
    alt = (
        f"Time runs from step 0 to {run.steps:,}. The domain was {facts.listed(_segments(run))}. "
        f"The learner believed to be in environment {_beliefs(run)}."
    )
    return _picture("timeline", figure, alt)


def _evidence(run: Run) -> Picture | None:
    """The distances at each decision; none where none was taken."""
    told = evidence.decisions(run.events)
    if not told:
        return None
    places = {name: place.index for name, place in run.places.items()}
    colours = timeline.band_colours(run.segments, run.bands, places)
    steps = facts.listed([evidence.label(event) for event in told])
    alt = f"Distances of the held images from every known environment, at {steps}."
    return _picture("evidence", evidence.draw(told, colours), alt)


def _segments(run: Run) -> list[str]:
    return [f"{segment.domain} from step {segment.start:,}" for segment in run.segments]


def _beliefs(run: Run) -> str:
    return facts.listed([f"{band.index} from step {band.start:,}" for band in run.bands])


def _matrix(record: Record) -> Picture:
    sentences = [
        f"{domain['name']}: {len(domain['used'])} latents used, {len(domain['masked'])} masked."
        for domain in record["domains"]
    ]
    return _picture("latents", latents.matrix(record), " ".join(sentences))


def _traversals(run: Run, seen: dict[str, Floats], record: Record) -> tuple[Picture, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    for domain in record["domains"]:
        name = domain["name"]
        if name not in run.places:
            continue
        chosen = latents.by_information(domain, MOST_LATENTS)
        path = decode.traverse(run.networks, seen[name][0], run.places[name], chosen)
        labels = [
            latents.label(n, domain.get("encodes", {}).get(str(n), ""), domain["kl"][n])
            for n in chosen
        ]
        figure = images.traversal(path, labels, name, colours[name])
        alt = f"Images of {name} while one latent at a time goes from -2 to 2: " + "; ".join(
            f"{title}, {nats}" for title, nats in labels
        )
        found.append(_picture(f"traversal-{slug(name)}", figure, alt))
    return tuple(found)


def _reconstructions(run: Run, seen: dict[str, Floats]) -> tuple[Picture, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    for name, place in run.places.items():
        originals = seen[name][:SHOWN]
        copies = decode.reconstruct(run.networks, originals, place)
        rows = images.paired(originals, copies, PER_ROW)
        figure = images.wall(rows, name, colours[name], pair=True)
        alt = f"{SHOWN} test images of {name}, and below each its reconstruction."
        found.append(_picture(f"reconstructions-{slug(name)}", figure, alt))
    return tuple(found)


def _translations(run: Run, seen: dict[str, Floats]) -> tuple[Picture, ...]:
    """Every domain in all others that the learner tells from it."""
    found = []
    for source, place in run.places.items():
        others = [name for name, other in run.places.items() if other.index != place.index]
        if others:
            originals = seen[source][:SHOWN]
            figure = translation.draw(translated(run, originals, source, others[:MOST_TARGETS]))
            alt = f"{SHOWN} test images of {source}, and what they would be in others."
            found.append(_picture(f"translations-{slug(source)}", figure, alt))
    return tuple(found)


def translated(
    run: Run, originals: Floats, source: str, targets: Sequence[str]
) -> list[translation.Row]:
    """Images [K, C, H, W] of one domain, how it sees them itself, and how others would."""
    colours = style.domain_colours(run.domains)
    place = run.places[source]
    own = probe.images(run.networks, originals, place, place)
    rows = [
        translation.Row(originals, source, "as it is", colours[source]),
        translation.Row(own, source, "as it is seen", colours[source]),
    ]
    for target in targets:
        made = probe.images(run.networks, originals, place, run.places[target])
        rows.append(translation.Row(made, target, "translated", colours[target]))
    return rows


def _ambiguity(run: Run, seen: dict[str, Floats]) -> tuple[Picture, ...]:
    """For every pair that was measured: morphs as pictures, and the curves."""
    colours = style.domain_colours(run.domains)
    found = []
    for record in run.ambiguity:
        ends = (record["source"], record["target"])
        if not set(ends) <= set(run.places):
            continue
        name = slug(f"ambiguity-{ends[0]}-{ends[1]}")
        alt = f"Images that go from {ends[0]} to {ends[1]}, and how each would see them."
        strip = morphs(run, seen[ends[0]], seen[ends[1]], *ends)
        found.append(_picture(f"{name}-morphs", strip, alt))
        told = "Belief along the way for different images around, and the variance of the latents."
        found.append(_picture(name, ambiguity.draw(record, colours), told))
    return tuple(found)


def _films(run: Run) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            "film",
            explored.film,
            f"{explored.record['place']}: above, what agents imagine; below, what they see on the "
            "way there.",
        )
        for explored in run.exploration
        if explored.film
    )


def _exploration(run: Run) -> tuple[Picture, ...]:
    """For every place that was explored: where the agents were, and what it was worth."""
    records = [explored.record for explored in run.exploration]
    found = []
    for place in dict.fromkeys(record["place"] for record in records):
        own = [record for record in records if record["place"] == place]
        name = slug(f"exploration-{place}")
        if any(record["coverage"] for record in own):
            alt = "Where agents, or the things before them, were; and how much was seen over time."
            found.append(_picture(f"{name}-places", exploration.places(own), alt))
        if any(record["zero_shot"] for record in own):
            alt = "How well domains that were never seen are read, over the steps of exploring."
            found.append(_picture(f"{name}-worth", exploration.worth(own), alt))
    return tuple(found)


def morphs(run: Run, first: Floats, second: Floats, one: str, other: str) -> Figure:
    """A path of each kind between the first images of two domains, and either's reconstruction."""
    colours = style.domain_colours(run.domains)
    rows = []
    for k, (kind, morph) in enumerate(MORPHS.items()):
        levels = np.linspace(0, 1, SHOWN)
        path = np.concatenate([morph(first[k : k + 1], second[k : k + 1], w) for w in levels])
        rows.append(translation.Row(path, kind, "what is shown", style.QUIET))
        for name in (one, other):
            made = decode.reconstruct(run.networks, path, run.places[name])
            rows.append(translation.Row(made, name, "seen as this", colours[name]))
    return translation.draw(rows)


def _dreams(run: Run) -> tuple[Picture, ...]:
    colours = style.domain_colours(run.domains)
    found = []
    names = owners(run.segments, run.bands)
    for environment in run.environments:
        name = names.get(environment.index, "")
        dreamt = decode.dreams(run.networks, environment, DREAMT, SEED)
        title = f"environment {environment.index}" + (f": {name}" if name else "")
        colour = colours.get(name, style.QUIET)
        figure = images.wall(images.grid(dreamt, PER_ROW), title, colour)
        alt = f"{DREAMT} images dreamt of {title}."
        found.append(_picture(f"dreams-{environment.index}", figure, alt))
    return tuple(found)


def _readouts(run: Run) -> Picture | None:
    if not run.probes or not readouts.told(run.probes, run.domains):
        return None
    colours = style.domain_colours(run.domains)
    figure = readouts.draw(run.probes, run.segments, run.steps, colours)
    return _picture("readouts", figure, "Accuracy and position error over time; see the table.")


def _calibration(run: Run) -> Picture | None:
    found = (run.probes or {}).get("calibration")
    if not found:
        return None
    figure = calibration.draw(found, style.domain_colours(run.domains))
    told = [f"{name}: rank correlation {each['spearman']:.2f}" for name, each in found.items()]
    return _picture("calibration", figure, "Predicted and true error. " + "; ".join(told))


def _curves(run: Run) -> Picture:
    wasserstein = run.config.replay.distance == "wasserstein"
    figure = curves.draw(run.metrics, run.segments, run.steps, wasserstein=wasserstein)
    return _picture("curves", figure, "Reconstruction, KL, capacity and proximity over time.")


def slug(name: str) -> str:
    """A domain's name as a part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def file_names(pictures: Sequence[Picture]) -> dict[str, bytes]:
    """Content by file name; pictures whose names collide get a number."""
    files: dict[str, bytes] = {}
    for picture in pictures:
        name, number = f"{picture.name}.png", 2
        while name in files:
            name, number = f"{picture.name}-{number}.png", number + 1
        files[name] = picture.png
    return files
