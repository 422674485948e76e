"""Zero-shot evaluation: how well a model reads domains that it has never seen.

Readouts are fitted before exploration: position in a domain in which things move, identity in the
domain that the agent explores. They are frozen, and evaluated on held-out images of domains that
combine both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent.dynamics import Array
from vase.agent.imagine import Imagination
from vase.domains import rendered
from vase.domains.canvas import CanvasDomain, Domain
from vase.domains.rendered import RenderedDomain
from vase.lifelong.environments import Environments
from vase.nets import Networks
from vase.probes.encode import Code, Model, encode
from vase.probes.evaluate import (
    TEST_SEED,
    TRAIN_SEED,
    Axes,
    EvaluatedRun,
    fit_frozen_readout,
    matched_environment,
    readout_examples,
)
from vase.probes.readout import Readout
from vase.progress import Say
from vase.records import Posterior

MIN_R2 = 0.5  # R^2 with a coordinate, from which on a latent encodes it


@dataclass(frozen=True, eq=False)
class ZeroShotEvaluator:
    """Frozen readouts and the domains on which they are evaluated.

    axes: the two factors that are a position. coordinates: for latents that encode one of them in
    the source environment, 0 for the first and 1 for the second. images: per domain.
    """

    axes: Axes
    position: Readout
    identity: Readout
    coordinates: Mapping[int, int]
    domains: Mapping[str, Domain]
    images: int

    def evaluate(
        self, networks: Networks, environments: Environments
    ) -> dict[str, dict[str, float | None]]:
        """Return, by domain, position MSE, identity accuracy, and nats of the present model.

        position_mse: from all latents of the encoder. masked_position_mse: without the latents that
        are masked in the environment that the model infers for each image. The nats are those of
        the environment that explains the domain best.
        """
        return {
            name: self._evaluate(networks, environments, domain)
            for name, domain in self.domains.items()
        }

    def _evaluate(
        self, networks: Networks, environments: Environments, domain: Domain
    ) -> dict[str, float | None]:
        seen = [encode(networks, domain, self.images, TEST_SEED, known) for known in environments]
        best = min(seen, key=lambda code: float(code.distortion.mean() + code.rate.mean()))
        shown = readout_examples(best, self.axes)
        masked = replace(shown, code=shown.code * inferred_masks(networks, environments, best))
        return {
            "position_mse": self.position.score(shown).position_mse,
            "masked_position_mse": self.position.score(masked).position_mse,
            "identity": self.identity.score(shown).identity,
            "reconstruction_nats": float(best.distortion.mean(dtype=np.float64)),
            "kl_nats": float(best.rate.mean(dtype=np.float64)),
        }

    def positions(self, latents: Array) -> NDArray[np.float64]:
        """Return the positions in [0, 1], [B, 2], that the readout predicts from latents [B, N]."""
        return self.position.position(latents.astype(np.float32)).clip(0, 1)


@torch.no_grad()
def inferred_masks(networks: Networks, environments: Environments, code: Code) -> NDArray[np.bool_]:
    """Return the mask of the environment that the model infers for each image, [B, N]."""
    device = next(networks.parameters()).device
    parts = (code.mean, code.log_variance, code.features)
    posterior = Posterior(
        *(torch.from_numpy(part).to(device) for part in parts if part is not None)
    )
    known = len(environments)
    believed = networks.classifier(posterior, known).argmax(dim=1).cpu().numpy()
    masks: NDArray[np.bool_] = np.stack([each.mask for each in environments])[believed]
    return masks


def zero_shot_evaluator(
    run: EvaluatedRun,
    model: Model,
    name: str,
    imagination: Imagination,
    axes: Axes,
    say: Say | None,
) -> ZeroShotEvaluator | None:
    """Return the evaluator of a run that explores its domain `name`, or None.

    None if the place is not a domain of the run, or if the imagined latents were active only in a
    domain at rest. axes: the factors that are a position. say: progress callback for frames that
    must be rendered.
    """
    place = run.test.get(name)
    homes = [
        other
        for other in run.train
        if matched_environment(run, model, other).index == imagination.source
    ]
    if not isinstance(place, CanvasDomain | RenderedDomain) or not homes:
        return None
    count = run.config.probes.train
    code = encode(model.networks, run.train[homes[0]], count, TRAIN_SEED)
    if readout_examples(code, axes).position is None:
        return None
    here = encode(model.networks, run.train[name], count, TRAIN_SEED)
    return ZeroShotEvaluator(
        axes=axes,
        position=fit_frozen_readout(code, matched_environment(run, model, homes[0]).mask, axes),
        identity=fit_frozen_readout(here, matched_environment(run, model, name).mask),
        coordinates=_coordinates(code, np.flatnonzero(imagination.latents).tolist(), axes),
        domains=unseen_domains(place, say),
        images=run.config.probes.test,
    )


def unseen_domains(place: CanvasDomain | RenderedDomain, say: Say | None) -> dict[str, Domain]:
    """Return the domain with things that move and, in colour, also tinted."""
    name = f"moving {place.name}"
    if isinstance(place, RenderedDomain):
        return {name: rendered.domain(name, place.place, "test", say)}
    found: dict[str, Domain] = {name: replace(place, moving=True)}
    if place.channels == 3:
        found[f"moving, tinted {place.name}"] = replace(place, moving=True, hue="random")
    return found


def _coordinates(code: Code, latents: Sequence[int], axes: Axes) -> dict[int, int]:
    """Return, for each coordinate, the latent that encodes it best, if any does."""
    correlation = {
        (axis, latent): _r2(code.mean[:, latent], code.factors[name])
        for axis, name in enumerate(axes)
        for latent in latents
    }
    found: dict[int, int] = {}
    for axis, latent in sorted(correlation, key=lambda pair: -correlation[pair]):
        if (
            correlation[axis, latent] >= MIN_R2
            and latent not in found
            and axis not in found.values()
        ):
            found[latent] = axis
    return found


def _r2(latent: NDArray[np.float32], factor: NDArray[np.float64]) -> float:
    """Return the squared correlation; 0 if either is constant."""
    if latent.std() == 0 or factor.std() == 0:
        return 0.0
    return float(np.corrcoef(latent, factor)[0, 1] ** 2)
