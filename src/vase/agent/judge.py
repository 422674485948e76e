"""What exploring was worth: how a model reads worlds that it has never seen.

Readouts are fitted before anything was explored: of position where things moved, of identity where
the agent stands. They are frozen, and asked about held-out images of worlds that combine both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent.dynamics import Array
from vase.agent.imagine import Imagination
from vase.lifelong.memory import Memory
from vase.nets import Networks
from vase.probes.encode import Code, Model, encode
from vase.probes.readout import Readout
from vase.probes.survey import (
    TEST_SEED,
    TRAIN_SEED,
    Axes,
    Run,
    examples,
    frozen_readout,
    home_of,
)
from vase.records import Posterior
from vase.worlds import rendered
from vase.worlds.canvas import CanvasWorld, World
from vase.worlds.rendered import RenderedWorld, Say

TOLD = 0.5  # R^2 of a latent with a coordinate, from which on it stands for it


@dataclass(frozen=True, eq=False)
class Judge:
    """Frozen readouts and the worlds they are asked about.

    axes: the factors that are a position. coordinates: of latents that stand for one of them where
    they lived, 0 for the first and 1 for the second. images: of each world, that are asked about.
    """

    axes: Axes
    position: Readout
    identity: Readout
    coordinates: Mapping[int, int]
    worlds: Mapping[str, World]
    images: int

    def asked(self, networks: Networks, memory: Memory) -> dict[str, dict[str, float | None]]:
        """By world: position MSE, accuracy of identity, and nats, with what is known by now.

        position_mse: of all that the encoder sees. masked_position_mse: of what the model makes use
        of, without the latents that are masked where it believes each image to be from. The nats
        are those of the environment that explains the world best.
        """
        return {name: self._of(networks, memory, world) for name, world in self.worlds.items()}

    def _of(self, networks: Networks, memory: Memory, world: World) -> dict[str, float | None]:
        seen = [
            encode(networks, world, self.images, TEST_SEED, known) for known in memory.environments
        ]
        best = min(seen, key=lambda code: float(code.distortion.mean() + code.rate.mean()))
        shown = examples(best, self.axes)
        masked = replace(shown, code=shown.code * believed_masks(networks, memory, best))
        return {
            "position_mse": self.position.score(shown).position_mse,
            "masked_position_mse": self.position.score(masked).position_mse,
            "identity": self.identity.score(shown).identity,
            "reconstruction_nats": float(best.distortion.mean(dtype=np.float64)),
            "kl_nats": float(best.rate.mean(dtype=np.float64)),
        }

    def positions(self, latents: Array) -> NDArray[np.float64]:
        """Where latents [B, N] put a thing, in [0, 1], [B, 2]."""
        return self.position.position(latents.astype(np.float32)).clip(0, 1)


@torch.no_grad()
def believed_masks(networks: Networks, memory: Memory, code: Code) -> NDArray[np.bool_]:
    """The mask of the environment that each image is believed to be from, [B, N]."""
    device = next(networks.parameters()).device
    mean, log_variance = (
        torch.from_numpy(part).to(device) for part in (code.mean, code.log_variance)
    )
    posterior = Posterior(mean, log_variance)
    known = len(memory.environments)
    believed = networks.head(posterior, known).argmax(dim=1).cpu().numpy()
    masks: NDArray[np.bool_] = np.stack([each.mask for each in memory.environments])[believed]
    return masks


def judge(
    run: Run, model: Model, name: str, imagined: Imagination, axes: Axes, say: Say | None
) -> Judge | None:
    """The judge of a run that explores its world `name`; None where nothing can be told.

    That is so where a place is not one of the run's worlds, and where what is imagined lived in a
    world at rest. axes: the factors that are a position. say: told how far frames are that must be
    rendered.
    """
    place = run.test.get(name)
    homes = [other for other in run.train if home_of(run, model, other).index == imagined.home]
    if not isinstance(place, CanvasWorld | RenderedWorld) or not homes:
        return None
    count = run.config.probes.train
    code = encode(model.networks, run.train[homes[0]], count, TRAIN_SEED)
    if examples(code, axes).position is None:
        return None
    here = encode(model.networks, run.train[name], count, TRAIN_SEED)
    return Judge(
        axes=axes,
        position=frozen_readout(code, home_of(run, model, homes[0]).mask, axes),
        identity=frozen_readout(here, home_of(run, model, name).mask),
        coordinates=_coordinates(code, np.flatnonzero(imagined.latents).tolist(), axes),
        worlds=combined(place, say),
        images=run.config.probes.test,
    )


def combined(place: CanvasWorld | RenderedWorld, say: Say | None) -> dict[str, World]:
    """What a world at rest would be if its things moved, and if they were tinted, too."""
    name = f"moving {place.name}"
    if isinstance(place, RenderedWorld):
        return {name: rendered.world(name, place.place, "test", say)}
    found: dict[str, World] = {name: replace(place, moving=True)}
    if place.channels == 3:
        found[f"moving, tinted {place.name}"] = replace(place, moving=True, hue="random")
    return found


def _coordinates(code: Code, latents: Sequence[int], axes: Axes) -> dict[int, int]:
    """For both coordinates, of some latents the one that tells most of it, if it does tell it."""
    told = {
        (axis, latent): _r2(code.mean[:, latent], code.factors[name])
        for axis, name in enumerate(axes)
        for latent in latents
    }
    found: dict[int, int] = {}
    for axis, latent in sorted(told, key=lambda pair: -told[pair]):
        if told[axis, latent] >= TOLD and latent not in found and axis not in found.values():
            found[latent] = axis
    return found


def _r2(latent: NDArray[np.float32], factor: NDArray[np.float64]) -> float:
    """Squared correlation; 0 where either is always the same."""
    if latent.std() == 0 or factor.std() == 0:
        return 0.0
    return float(np.corrcoef(latent, factor)[0, 1] ** 2)
