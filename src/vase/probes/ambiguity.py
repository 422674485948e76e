"""Measures belief and uncertainty for images between two domains.

Held-out images of two domains are paired, and each pair becomes a path of morphs from one to the
other. Three things are asked along it. Where does belief change sides, and how sharply: the
psychometric curve of each pair, made monotone, has a point of equality (1/2) and a width (from 1/10
to 9/10). How do the images around it move that point. And is the model less sure of its latents in
between: the posterior's variance at each path's own point of equality beside that at its ends, of
the latents that both domains use. (Of a latent that one of them leaves free the variance is near 1
at that end, and says nothing.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from vase.domains.canvas import Floats
from vase.errors import RunError
from vase.lifelong.class_priors import class_priors, with_priors
from vase.lifelong.environments import USED, Environment
from vase.probes.encode import Model
from vase.probes.evaluate import TEST_SEED, EvaluatedRun, matched_environment
from vase.probes.translation import sample_labelled_images
from vase.records import Posterior

Array = NDArray[np.float64]

LEVELS = 41  # steps of a path, both ends included
PAIRS = 128  # of images, one path each
CONTEXT_IMAGES = 64  # images around, as many as in a batch
CONTEXTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # the share of them that is of the second domain
WIDTH = (0.1, 0.9)  # the beliefs between which a transition is measured


# ---- morphs ------------------------------------------------------------------------------------


def mixture(first: Floats, second: Floats, level: float) -> Floats:
    """Pixels (1 - w) a + w b at level w in [0, 1]."""
    weight = np.float32(level)
    return (1 - weight) * first + weight * second


def overlay(first: Floats, second: Floats, level: float) -> Floats:
    """Both in one image, the brighter pixel of either: max(min(1, 2 - 2w) a, min(1, 2w) b).

    Half way both are there in full; before and after, one of them is fainter.
    """
    fading, coming = (np.float32(min(1.0, 2 * share)) for share in (1 - level, level))
    both: Floats = np.maximum(fading * first, coming * second)
    return both


def side_by_side(first: Floats, second: Floats, level: float) -> Floats:
    """The left 1 - w of the one beside the right w of the other, to a whole column."""
    cut = round((1 - level) * first.shape[-1])
    return np.concatenate([first[..., :cut], second[..., cut:]], axis=-1)


MORPHS: Mapping[str, Callable[[Floats, Floats, float], Floats]] = {
    "mixture": mixture,
    "both together": overlay,
    "side by side": side_by_side,
}


# ---- one path ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MorphPath:
    """What is made of P paths of L levels: beliefs in the two environments [L, P, 2], posterior."""

    levels: Array
    beliefs: Array
    mean: Array
    variance: Array

    @property
    def crossing(self) -> NDArray[np.bool_]:
        """Which paths begin on the first side and end on the second, [P]."""
        crossing: NDArray[np.bool_] = (self.beliefs[0, :, 1] < 0.5) & (self.beliefs[-1, :, 1] > 0.5)
        return crossing

    def crossing_paths(self) -> MorphPath:
        """The paths that change sides."""
        some = self.crossing
        return MorphPath(
            self.levels, self.beliefs[:, some], self.mean[:, some], self.variance[:, some]
        )

    def second(self, pi: Array | None = None) -> Array:
        """Belief in the second environment, [L, P], given the shares of both, [2]."""
        prior = torch.tensor([0.5, 0.5] if pi is None else pi.tolist(), dtype=torch.float64)
        flat = torch.from_numpy(self.beliefs).reshape(-1, 2)
        believed: Array = with_priors(flat, prior)[:, 1].reshape(self.beliefs.shape[:2]).numpy()
        return believed


@dataclass(frozen=True, eq=False)
class PsychometricCurve:
    """Where each of P paths reaches a belief of 1/10, 1/2 and 9/10; the mean belief, [L]."""

    low: Array
    equal: Array
    high: Array
    mean: Array

    def to_json(self) -> dict[str, Any]:
        width = self.high - self.low
        return {
            "equality": {"mean": float(self.equal.mean()), "sd": float(self.equal.std())},
            "width": {
                name: float(np.quantile(width, q))
                for name, q in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75))
            },
            "belief": self.mean.tolist(),
        }


def fit_psychometric_curves(levels: Array, belief: Array) -> PsychometricCurve:
    """The curve of every path, [L, P], after the monotone fit that is nearest in least squares."""
    fit = IsotonicRegression(y_min=0, y_max=1)
    risen = [fit.fit_transform(levels, path) for path in belief.T]
    low, equal, high = (
        np.array([_crossing_level(levels, path, value) for path in risen])
        for value in (WIDTH[0], 0.5, WIDTH[1])
    )
    return PsychometricCurve(low, equal, high, belief.mean(1))


def _crossing_level(levels: Array, path: Array, value: float) -> float:
    """The level at which a rising path reaches a value; an end of it where it lies beyond."""
    reached = np.flatnonzero(path >= value)
    if not len(reached):
        return float(levels[-1])
    k = int(reached[0])
    if k == 0:
        return float(levels[0])
    share = (value - path[k - 1]) / (path[k] - path[k - 1])
    return float(levels[k - 1] + share * (levels[k] - levels[k - 1]))


# ---- a pair of domains --------------------------------------------------------------------------


def measure_ambiguity(run: EvaluatedRun, model: Model, first: str, second: str) -> dict[str, Any]:
    """All figures of one pair of domains, for every kind of morph.

    A `RunError` if belief changes sides on no path: then the model does not tell them apart.
    """
    domains = (run.test[first], run.test[second])
    one, other = (
        sample_labelled_images(domain, PAIRS, TEST_SEED + k).images
        for k, domain in enumerate(domains)
    )
    around = [
        sample_labelled_images(domain, CONTEXT_IMAGES, TEST_SEED + 2 + k).images
        for k, domain in enumerate(domains)
    ]
    matches = [matched_environment(run, model, name) for name in (first, second)]
    contexts = {
        share: class_prior(model, matches, mix_images(around[0], around[1], share))
        for share in CONTEXTS
    }
    levels = np.linspace(0, 1, LEVELS)
    paths = {
        name: evaluate_path(model, matches, one, other, levels, morph)
        for name, morph in MORPHS.items()
    }
    crossing = next(iter(paths.values())).crossing  # all begin and end with the same images
    if not crossing.any():
        raise RunError(
            f"The model takes images of '{first}' and of '{second}' for the same environment, so "
            "no morph is ambiguous. Choose two that it tells apart."
        )
    return {
        "step": model.step,
        "source": first,
        "target": second,
        "levels": levels.tolist(),
        "morphs": {
            name: morph_scores(path.crossing_paths(), matches, contexts)
            for name, path in paths.items()
        },
        "crossing": float(crossing.mean()),
    }


def mix_images(first: Floats, second: Floats, share: float) -> Floats:
    """Mix two sets of images: `share` of the result is from the second."""
    count = round(share * len(first))
    return np.concatenate([first[count:], second[:count]])


@torch.no_grad()
def class_prior(model: Model, matches: list[Environment], images: Floats) -> Array:
    """How likely the two environments are, [2], where these images are."""
    beliefs, _ = beliefs_and_posterior(model, matches, images)
    pi: Array = class_priors(beliefs).numpy()
    return pi


@torch.no_grad()
def evaluate_path(
    model: Model,
    matches: list[Environment],
    first: Floats,
    second: Floats,
    levels: Array,
    morph: Callable[[Floats, Floats, float], Floats],
) -> MorphPath:
    """Evaluate the model at every level of every path."""
    seen = [
        beliefs_and_posterior(model, matches, morph(first, second, float(level)))
        for level in levels
    ]
    return MorphPath(
        levels,
        torch.stack([beliefs for beliefs, _ in seen]).numpy(),
        torch.stack([posterior.mean for _, posterior in seen]).double().numpy(),
        torch.stack([posterior.log_variance.exp() for _, posterior in seen]).double().numpy(),
    )


def beliefs_and_posterior(
    model: Model, matches: list[Environment], images: Floats
) -> tuple[Tensor, Posterior]:
    """Beliefs in the two environments, [B, 2], as if there were no other; and the posterior."""
    posterior = model.networks.encoder(torch.from_numpy(images))
    named = model.networks.classifier(posterior, len(model.environments))
    both = named[:, [matched.index for matched in matches]].double().softmax(1)
    return both, posterior


def morph_scores(
    path: MorphPath, matches: list[Environment], contexts: Mapping[float, Array]
) -> dict[str, Any]:
    """Curves without and in every context, and how sure the model is along the path."""
    alone = fit_psychometric_curves(path.levels, path.second())
    return {
        "alone": alone.to_json(),
        "contexts": [
            {
                "share": share,
                "likely": pi.tolist(),
                **fit_psychometric_curves(path.levels, path.second(pi)).to_json(),
            }
            for share, pi in contexts.items()
        ],
        "variance": posterior_variance(
            path, np.stack([matched.mask for matched in matches]), alone
        ),
    }


def posterior_variance(
    path: MorphPath, masks: NDArray[np.bool_], alone: PsychometricCurve
) -> dict[str, Any]:
    """Posterior variance of the latents that both domains use, masks being [2, N].

    curve: mean over paths and latents, [L]. ends, equality: mean over paths for each latent, [2, K]
    and [K]. ratios: of the sum over latents at equality to that at either end.
    """
    kl = 0.5 * (path.mean**2 + path.variance - 1 - np.log(path.variance))
    shared = masks.all(0) & (kl[[0, -1]].mean(1) >= USED).all(0)
    variance = path.variance[:, :, shared]
    nearest = np.abs(path.levels[:, None] - alone.equal).argmin(0)
    ends = variance[[0, -1]].mean(1)
    equality = variance[nearest, np.arange(len(nearest))].mean(0)
    return {
        "latents": np.flatnonzero(shared).tolist(),
        "curve": variance.mean((1, 2)).tolist() if shared.any() else [],
        "ends": ends.tolist(),
        "equality": equality.tolist(),
        "ratios": (equality.sum() / ends.sum(1)).tolist() if shared.any() else [],
    }
