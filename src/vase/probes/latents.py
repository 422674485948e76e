"""What each latent does in each domain: used, masked or spare, and what it stands for.

    used     the mask lets it through and its mean KL is at least 0.5 nats
    masked   the mask switches it off
    spare    the mask lets it through and it carries less than 0.5 nats

What it stands for is measured by R^2 of a cubic polynomial of this one latent, fitted to a true
factor on training images and scored on held-out ones, 0 where it is worse than the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.lifelong.effects import Effect
from vase.lifelong.environments import USED
from vase.objective.atypicality import atypicality
from vase.probes.encode import Code

Array = NDArray[np.float64]

ENCODES = 0.3  # R^2 from which a latent stands for a factor
DEGREE = 3
CIRCULAR = frozenset({"hue"})  # factors in [0, 1) that wrap around
POSITION = {"x": "x position", "y": "y position"}


@dataclass(frozen=True, eq=False)
class DomainLatents:
    """The latents of one domain: mask, mean KL and atypicality (nats), R^2 per factor; all [N].

    kl is 0 where masked, so that it adds up to the rate. alpha and r2 look through the mask.
    known: whether anything is known of what the images show. effects: what moving each used latent
    does, found without labels.
    """

    name: str
    index: int
    mask: NDArray[np.bool_]
    kl: Array
    alpha: Array
    r2: Mapping[str, Array]
    known: bool
    effects: Mapping[int, Effect] = field(default_factory=dict)

    @property
    def used(self) -> list[int]:
        return _indices(self.mask & (self.kl >= USED))

    @property
    def masked(self) -> list[int]:
        return _indices(~self.mask)

    @property
    def spare(self) -> list[int]:
        return _indices(self.mask & (self.kl < USED))

    @property
    def position_latents(self) -> list[int]:
        """The used latents that stand for x or y; none in a domain at rest."""
        if not set(POSITION) <= set(self.r2):
            return []
        best = np.max([self.r2[factor] for factor in POSITION], axis=0)
        return _indices(self.mask & (self.kl >= USED) & (best >= ENCODES))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "index": self.index,
            "used": self.used,
            "masked": self.masked,
            "spare": self.spare,
            "kl": self.kl.tolist(),
            "alpha": self.alpha.tolist(),
            "r2": {factor: values.tolist() for factor, values in self.r2.items()},
            "encodes": {str(latent): meaning(latent, self.r2) for latent in self.used}
            if self.known
            else {},
            "effects": {str(latent): each.to_json() for latent, each in self.effects.items()},
        }


def measure_latents(
    name: str, index: int, mask: NDArray[np.bool_], train: Code, test: Code
) -> DomainLatents:
    """The latents of one domain, from codes of its training and held-out images."""
    r2 = {
        factor: single_latent_r2(
            train.mean,
            regression_targets(factor, train.factors[factor]),
            test.mean,
            regression_targets(factor, test.factors[factor]),
        )
        for factor in test.factors
    }
    kl = np.where(mask, test.kl, 0.0)  # a masked latent costs nothing
    known = bool(r2) or len(np.unique(test.labels)) > 1
    return DomainLatents(name, index, mask, kl, atypicality(test.marginal), r2, known)


def regression_targets(factor: str, values: Array) -> Array:
    """What is regressed for a factor [B]: itself, or cosine and sine if it wraps; [B, 1 or 2]."""
    if factor not in CIRCULAR:
        return values[:, None]
    angle = 2 * np.pi * values
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def single_latent_r2(
    train: NDArray[Any], train_targets: Array, test: NDArray[Any], test_targets: Array
) -> Array:
    """R^2 of every latent by itself, [N]: 1 - squared error / variance, clipped at 0.

    train, test: codes [B, N]. A factor that does not vary has R^2 = 0. A code outside the range
    of the training codes is moved to its edge, since a cubic runs away there.
    """
    lowest, highest = train.min(0), train.max(0)
    width = np.maximum(highest - lowest, 1e-12)
    fitted = 2 * (train - lowest) / width - 1
    asked = 2 * (np.clip(test, lowest, highest) - lowest) / width - 1
    spread = np.square(test_targets - test_targets.mean(0)).sum()
    if spread < 1e-12:
        return np.zeros(train.shape[1])
    errors = [
        np.square(_cubic(fitted[:, n], train_targets, asked[:, n]) - test_targets).sum()
        for n in range(train.shape[1])
    ]
    r2: Array = np.clip(1 - np.array(errors) / spread, 0, 1)
    return r2


def meaning(latent: int, r2: Mapping[str, Array]) -> str:
    """What a used latent stands for, in words: the factors with R^2 of 0.3 or more, or shape."""
    factors = [factor for factor, values in r2.items() if values[latent] >= ENCODES]
    if {"x", "y"} <= set(factors):
        words = ["position", *(factor for factor in factors if factor not in POSITION)]
    else:
        words = [POSITION.get(factor, factor) for factor in factors]
    return " and ".join(words) or "shape"


def shared_latents(domains: Sequence[DomainLatents]) -> list[dict[str, Any]]:
    """For every two domains the latents that both use."""
    return [
        {"domains": [a.name, b.name], "latents": sorted(set(a.used) & set(b.used))}
        for a, b in combinations(domains, 2)
    ]


def position_record(domains: Sequence[DomainLatents]) -> dict[str, Any]:
    """The latents that carry position in the first moving domain, and who uses or masks them.

    Without a moving domain there is no source, and there are no such latents.
    """
    source = next((domain for domain in domains if set(POSITION) <= set(domain.r2)), None)
    if source is None:
        return {"source": None, "latents": [], "masked_in": {}, "used_in": {}}
    carriers = source.position_latents
    return {
        "source": source.name,
        "latents": carriers,
        "masked_in": {domain.name: _intersection(domain.masked, carriers) for domain in domains},
        "used_in": {domain.name: _intersection(domain.used, carriers) for domain in domains},
    }


def _cubic(z: Array, wanted: Array, asked: Array) -> Array:
    """Fit polynomials of z [B] to wanted [B, K] by least squares; their values at asked, [C, K]."""
    weights = np.linalg.lstsq(np.vander(z, DEGREE + 1), wanted, rcond=None)[0]
    values: Array = np.vander(asked, DEGREE + 1) @ weights
    return values


def _indices(condition: NDArray[np.bool_]) -> list[int]:
    return [int(n) for n in np.flatnonzero(condition)]


def _intersection(some: Sequence[int], others: Sequence[int]) -> list[int]:
    return sorted(set(some) & set(others))
