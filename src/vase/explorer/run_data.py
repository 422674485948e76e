"""Computes what the explorer shows: latents, images, beliefs and earlier weights of a run."""

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
from vase.lifelong.effects import described, measure_effects
from vase.lifelong.environments import Environment
from vase.lifelong.translation import translated
from vase.probes import encode
from vase.report import decode, pictures, style
from vase.report.decode import Floats
from vase.report.latents import State
from vase.report.run import RunRecords, match_domains, read_run
from vase.training.folder import RunFolder

MAX_UPLOAD_BYTES = 20_000_000  # bytes of an image that is dropped
EXAMPLES = 24  # images of every domain that can be looked at


@dataclass(frozen=True)
class EnvironmentEntry:
    """An environment: its record, what it is called, and the colour it has in the report."""

    environment: Environment
    name: str
    colour: str

    @property
    def index(self) -> int:
        return self.environment.index


@dataclass(frozen=True)
class LatentControl:
    """A latent as it is in one environment.

    meaning: what moving it does, "" where nothing is known. share: how much of the change that
    explains. nats: what it carries here. shared: the other environments that use it.
    """

    latent: int
    state: State
    nats: float
    meaning: str
    share: float | None
    shared: tuple[int, ...]


@dataclass(frozen=True)
class ImageInference:
    """The posterior, the belief and the translations of one image [C, H, W].

    belief: over the environments, [E]. most_probable: index of the most probable environment.
    mean, deviation: of the posterior, [N]. translations: the image in every environment,
    [E, C, H, W]; in `most_probable` it is the reconstruction.
    """

    belief: Floats
    most_probable: int
    mean: Floats
    deviation: Floats
    translations: Floats


@dataclass(frozen=True, eq=False)
class ExplorerData:
    """A run, its environments, and images of every domain.

    examples: [K, C, H, W] by domain. real: whether they are held-out images, or generated ones,
    where the images cannot be had.
    """

    run: RunRecords
    environments: tuple[EnvironmentEntry, ...]
    examples: dict[str, Floats]
    real: bool
    weights: dict[int, Path]

    @property
    def milestones(self) -> list[int]:
        """Steps at which weights were kept, and at last that of now."""
        return [*(step for step in self.weights if step < self.run.steps), self.run.steps]


def load_explorer_data(folder: RunFolder, data: build.DataOptions) -> ExplorerData:
    """Read a run. Raises `RunError` where there is nothing to explore yet."""
    if not folder.checkpoint.is_file():
        raise RunError(
            f"'{folder.path}' has no checkpoint yet. Go on with it: vase resume {folder.path}"
        )
    run = read_run(folder)
    names = match_domains(run.segments, run.bands)
    colours = style.domain_colours(run.domains)
    environments = tuple(
        EnvironmentEntry(
            known, names.get(known.index, ""), colours.get(names.get(known.index, ""), "#5f6670")
        )
        for known in run.environments
    )
    weights = {int(path.stem.removeprefix("step-")): path for path in folder.milestones()}
    try:
        test = build.stream(run.config, data, "test")
        seen = pictures.held_out_images(run, test, EXAMPLES)
        return ExplorerData(run, environments, seen, real=True, weights=weights)
    except VaseError:  # its images are translations: what it generates is always here
        made = {
            name: decode.generated_images(run.networks, place, EXAMPLES, pictures.SEED)
            for name, place in run.matched_environments.items()
        }
        return ExplorerData(run, environments, made, real=False, weights=weights)


def latent_controls(explored: ExplorerData, index: int) -> list[LatentControl]:
    """Every latent in environment `index`, those that carry most in any environment first.

    The order is the same in every environment, so that a slider stays where it is.
    """
    known = [place.environment for place in explored.environments]
    nats = [np.where(each.mask, each.kl, 0) for each in known]  # [N] each
    most = np.max(
        [np.where(each.used, carried, 0) for each, carried in zip(known, nats, strict=True)], axis=0
    )
    here, effects = known[index], _effects(explored, index)
    return [
        LatentControl(
            latent=int(latent),
            state=_state(here, int(latent)),
            nats=float(nats[index][latent]),
            meaning=effects.get(int(latent), ("", None))[0],
            share=effects.get(int(latent), ("", None))[1],
            shared=tuple(each.index for each in known if each.index != index and each.used[latent]),
        )
        for latent in np.argsort(-most, kind="stable")
    ]


def used_anywhere(control: LatentControl) -> bool:
    """Whether a latent is used in any environment, this one or another."""
    return control.state == "used" or bool(control.shared)


def _state(environment: Environment, latent: int) -> State:
    if not environment.mask[latent]:
        return "masked"
    return "used" if environment.used[latent] else "spare"


@lru_cache(maxsize=256)
def _effects(explored: ExplorerData, index: int) -> dict[int, tuple[str, float | None]]:
    """What moving each latent does in an environment, and the share that this explains.

    As the probes found, measured where there are none. Of a latent that is used in other
    environments only, the name has no share.
    """
    domains = (explored.run.probes or {}).get("latents", {}).get("domains", [])
    if not domains:
        here = explored.environments[index].environment
        used = [int(latent) for latent in np.flatnonzero(here.used)]
        found = measure_effects(explored.run.networks, here, used)
        return {latent: (each.name, each.share) for latent, each in found.items()}
    told: dict[int, tuple[str, float | None]] = {}
    for domain in sorted(domains, key=lambda domain: bool(domain["index"] == index)):
        for latent in {*domain.get("encodes", {}), *domain.get("effects", {})}:
            name, share = described(domain, int(latent))
            told[int(latent)] = (name, share if domain["index"] == index else None)
    return told


def sample_latents(explored: ExplorerData, index: int, seed: int) -> Floats:
    """Draw latents [N] from the marginals of an environment."""
    environment = explored.environments[index].environment
    z: Floats = replay.drawn_latents(environment, 1, seed)[0].numpy()
    return z


def decode_latents(
    explored: ExplorerData, z: Sequence[float] | NDArray[np.float32], index: int
) -> Floats:
    """Decode latents [N] into an image [C, H, W]; masked latents have no effect."""
    environment = explored.environments[index].environment
    code = torch.as_tensor(np.asarray(z, dtype=np.float32) * environment.mask)
    images = decode.decode_latents(explored.run.networks, code[None], environment)
    image: Floats = images[0]
    return image


@torch.no_grad()
def infer_image(explored: ExplorerData, image: Floats) -> ImageInference:
    """Encode an image [C, H, W] in [0, 1], and translate it into every environment."""
    networks, batch = explored.run.networks, torch.from_numpy(image[None].astype(np.float32))
    posterior = networks.encoder(batch)
    belief = networks.classifier(posterior, len(explored.environments)).exp()[0].numpy()
    most_probable = int(belief.argmax())
    source = explored.environments[most_probable].environment
    translations = [
        translated(networks, batch, source, place.environment)[0].numpy()
        for place in explored.environments
    ]
    return ImageInference(
        belief=belief,
        most_probable=most_probable,
        mean=(posterior.mean[0] * torch.as_tensor(source.mask)).numpy(),
        deviation=(posterior.log_variance[0] / 2).exp().numpy(),
        translations=np.stack(translations),
    )


# ---- earlier ------------------------------------------------------------------------------------


def nearest_milestone(explored: ExplorerData, step: float) -> int:
    """The step of the milestone that is nearest to a step."""
    return min(explored.milestones, key=lambda kept: abs(kept - step))


@lru_cache(maxsize=16)
def model_at(explored: ExplorerData, milestone: int) -> encode.Model:
    """The model of a milestone; raises `CheckpointError` if the file no longer exists."""
    run = explored.run
    if milestone == run.steps:
        return encode.Model(run.steps, run.networks, run.environments)
    return encode.load_model(
        explored.weights[milestone], run.networks.architecture, torch.device("cpu")
    )


def reconstruct_examples(explored: ExplorerData, milestone: int, domain: str) -> Floats | None:
    """Reconstruct a domain's examples, [K, C, H, W]; None if its environment did not exist."""
    model, place = model_at(explored, milestone), explored.run.matched_environments.get(domain)
    known = {each.index: each for each in model.environments}
    if place is None or place.index not in known:
        return None
    return decode.reconstruct_images(model.networks, explored.examples[domain], known[place.index])


def describe_step(explored: ExplorerData, step: int) -> str:
    """A sentence: the true domain and the believed environment just before a step."""
    segment = next((each for each in reversed(explored.run.segments) if each.start < step), None)
    band = next((each for each in reversed(explored.run.bands) if each.start < step), None)
    if segment is None or band is None:
        return "Nothing had been seen yet."
    return f"Step {step:,}: the stream showed {segment.domain}, taken for environment {band.index}."


def segment_bars(explored: ExplorerData) -> dict[str, list[tuple[float, str, str]]]:
    """True and believed segments, each as (share of all steps, colour, name)."""
    run = explored.run
    colours = style.domain_colours(run.domains)
    known = {
        place.index: place.colour for place in explored.environments
    }  # what was dissolved is not
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
