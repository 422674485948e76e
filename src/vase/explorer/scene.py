"""What the explorer shows, as functions of a run: latents, images, beliefs, earlier weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase.errors import RunError, VaseError
from vase.lifelong import replay
from vase.lifelong.environments import Environment
from vase.lifelong.translation import translated
from vase.probes import encode
from vase.report import decode, pictures, style
from vase.report.decode import Floats
from vase.report.latents import State
from vase.report.run import Run, owners, read
from vase.training.folder import RunFolder

LARGEST = 20_000_000  # bytes of an image that is dropped
EXAMPLES = 24  # images of every domain that can be looked at


@dataclass(frozen=True)
class Place:
    """An environment: its record, what it is called, and the colour it has in the report."""

    environment: Environment
    name: str
    colour: str

    @property
    def index(self) -> int:
        return self.environment.index


@dataclass(frozen=True)
class Control:
    """A latent as it is in one environment.

    meaning: what it encodes, "" if that was not measured. nats: what it carries here. shared: the
    other environments that use it.
    """

    latent: int
    state: State
    nats: float
    meaning: str
    shared: tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """What a model makes of one image [C, H, W].

    belief: over the environments, [E]. home: the most probable one. mean, deviation: of the
    posterior, [N]. elsewhere: the image in every environment, [E, C, H, W]; in `home` it is its
    reconstruction.
    """

    belief: Floats
    home: int
    mean: Floats
    deviation: Floats
    elsewhere: Floats


@dataclass(frozen=True, eq=False)
class Scene:
    """A run, its environments, and images of every domain.

    examples: [K, C, H, W] by domain. real: whether they are held-out images, or dreams, where the
    images cannot be had.
    """

    run: Run
    places: tuple[Place, ...]
    examples: dict[str, Floats]
    real: bool
    weights: dict[int, Path]

    @property
    def milestones(self) -> list[int]:
        """Steps at which weights were kept, and at last that of now."""
        return [*(step for step in self.weights if step < self.run.steps), self.run.steps]


def load(folder: RunFolder, data: build.DataOptions) -> Scene:
    """Read a run. Raises `RunError` where there is nothing to explore yet."""
    if not folder.checkpoint.is_file():
        raise RunError(
            f"'{folder.path}' has no checkpoint yet. Go on with it: vase resume {folder.path}"
        )
    run = read(folder)
    names = owners(run.segments, run.bands)
    colours = style.domain_colours(run.domains)
    places = tuple(
        Place(known, names.get(known.index, ""), colours.get(names.get(known.index, ""), "#5f6670"))
        for known in run.environments
    )
    weights = {int(path.stem.removeprefix("step-")): path for path in folder.milestones()}
    try:
        test = build.stream(run.config, data, "test")
        seen = pictures.examples(run, test, EXAMPLES)
        return Scene(run, places, seen, real=True, weights=weights)
    except VaseError:  # its images are elsewhere: what it dreams of is always here
        dreamt = {
            name: decode.dreams(run.networks, place, EXAMPLES, pictures.SEED)
            for name, place in run.places.items()
        }
        return Scene(run, places, dreamt, real=False, weights=weights)


def controls(scene: Scene, index: int) -> list[Control]:
    """Every latent as environment `index` has it: those that matter anywhere first, in one order.

    The order is the same in every environment, so that a slider stays where it is.
    """
    known = [place.environment for place in scene.places]
    nats = [np.where(each.mask, each.kl, 0) for each in known]  # [N] each
    most = np.max(
        [np.where(each.used, carried, 0) for each, carried in zip(known, nats, strict=True)], axis=0
    )
    here, meanings = known[index], _meanings(scene, index)
    return [
        Control(
            latent=int(latent),
            state=_state(here, int(latent)),
            nats=float(nats[index][latent]),
            meaning=meanings.get(int(latent), ""),
            shared=tuple(each.index for each in known if each.index != index and each.used[latent]),
        )
        for latent in np.argsort(-most, kind="stable")
    ]


def matters(control: Control) -> bool:
    """Whether a latent is used in any environment, this one or another."""
    return control.state == "used" or bool(control.shared)


def _state(environment: Environment, latent: int) -> State:
    if not environment.mask[latent]:
        return "masked"
    return "used" if environment.used[latent] else "spare"


def _meanings(scene: Scene, index: int) -> dict[int, str]:
    """What each latent encodes in an environment, as the probes found; elsewhere, if not here."""
    domains = (scene.run.probes or {}).get("latents", {}).get("domains", [])
    told: dict[int, str] = {}
    for domain in sorted(domains, key=lambda domain: bool(domain["index"] == index)):
        told |= {int(latent): words for latent, words in domain.get("encodes", {}).items()}
    return told


def dreamt(scene: Scene, index: int, seed: int) -> Floats:
    """Latents [N] of one dream of an environment."""
    environment = scene.places[index].environment
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, scene.run.networks.architecture.latents, generator=generator)
    z = replay.latents([environment], torch.zeros(1, dtype=torch.long), noise, "marginal")
    return np.asarray(z[0].numpy(), dtype=np.float32)


def painted(scene: Scene, z: Sequence[float] | NDArray[np.float32], index: int) -> Floats:
    """The image [C, H, W] of latents [N] in an environment; what it masks says nothing."""
    environment = scene.places[index].environment
    code = torch.as_tensor(np.asarray(z, dtype=np.float32) * environment.mask)
    images = decode.decode(scene.run.networks, code[None], environment)
    image: Floats = images[0]
    return image


@torch.no_grad()
def seen(scene: Scene, image: Floats) -> Seen:
    """What the model makes of an image [C, H, W] in [0, 1]."""
    networks, batch = scene.run.networks, torch.from_numpy(image[None].astype(np.float32))
    posterior = networks.encoder(batch)
    belief = networks.classifier(posterior, len(scene.places)).exp()[0].numpy()
    home = int(belief.argmax())
    source = scene.places[home].environment
    elsewhere = [
        translated(networks, batch, source, place.environment)[0].numpy() for place in scene.places
    ]
    return Seen(
        belief=belief,
        home=home,
        mean=(posterior.mean[0] * torch.as_tensor(source.mask)).numpy(),
        deviation=(posterior.log_variance[0] / 2).exp().numpy(),
        elsewhere=np.stack(elsewhere),
    )


# ---- earlier ------------------------------------------------------------------------------------


def nearest(scene: Scene, step: float) -> int:
    """The step of the milestone that is nearest to a step."""
    return min(scene.milestones, key=lambda kept: abs(kept - step))


@lru_cache(maxsize=16)
def then(scene: Scene, milestone: int) -> encode.Model:
    """The model as it was at a milestone; a `CheckpointError` if that has gone since."""
    run = scene.run
    if milestone == run.steps:
        return encode.Model(run.steps, run.networks, run.environments)
    return encode.load(scene.weights[milestone], run.networks.architecture, torch.device("cpu"))


def remembered(scene: Scene, milestone: int, domain: str) -> Floats | None:
    """Examples of a domain as the model then saw them, [K, C, H, W]; None where it knew it not."""
    model, place = then(scene, milestone), scene.run.places.get(domain)
    known = {each.index: each for each in model.environments}
    if place is None or place.index not in known:
        return None
    return decode.reconstruct(model.networks, scene.examples[domain], known[place.index])


def told(scene: Scene, step: int) -> str:
    """In a sentence, where the stream was and where the model believed to be before a step."""
    segment = next((each for each in reversed(scene.run.segments) if each.start < step), None)
    band = next((each for each in reversed(scene.run.bands) if each.start < step), None)
    if segment is None or band is None:
        return "Nothing had been seen yet."
    return f"Step {step:,}: the stream showed {segment.domain}, taken for environment {band.index}."


def bands(scene: Scene) -> dict[str, list[tuple[float, str, str]]]:
    """Where the stream was and where the model believed to be: share of all steps, colour, name."""
    run = scene.run
    colours = style.domain_colours(run.domains)
    known = {place.index: place.colour for place in scene.places}  # what was dissolved is not
    return {
        "the stream": [
            ((segment.end - segment.start) / run.steps, colours[segment.domain], segment.domain)
            for segment in run.segments
        ],
        "believed": [
            (
                (band.end - band.start) / run.steps,
                known.get(band.index, style.QUIET),
                f"environment {band.index}",
            )
            for band in run.bands
        ],
    }
