"""First two moments of several channels, how they pool, and how far apart two sets of them are.

Everything the learner remembers of an environment's data is of this kind: a mean and a variance
per channel, never an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMALLEST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and variance per channel, [K] each, of `count` samples."""

    mean: Array
    variance: Array
    count: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "variance", np.maximum(self.variance, SMALLEST_VARIANCE))


def pool(parts: Sequence[Moments]) -> Moments:
    """The moments of all samples together: v = E[v_i + m_i^2] - m^2."""
    weights = np.array([part.count for part in parts], dtype=np.float64)
    means = np.stack([part.mean for part in parts])
    variances = np.stack([part.variance for part in parts])
    mean = np.average(means, axis=0, weights=weights)
    second = np.average(variances + means**2, axis=0, weights=weights)
    return Moments(mean, second - mean**2, float(weights.sum()))


def follow(memory: Moments, batch: Moments, span: float) -> Moments:
    """Let remembered moments drift towards a batch's with an average over `span` samples."""
    count = min(memory.count, span)
    return pool([Moments(memory.mean, memory.variance, count), batch])


def divergence(p: Moments, q: Moments) -> Array:
    """KL( N(m_p, v_p) || N(m_q, v_q) ) per channel, in nats, [K]."""
    ratio = p.variance / q.variance
    shift = (p.mean - q.mean) ** 2 / q.variance
    result: Array = (ratio + shift - 1 - np.log(ratio)) / 2
    return result


def likelihood_ratio(batch: Moments, memory: Moments) -> Array:
    """G = 2 B KL( batch || memory ) per channel, [K].

    Twice the log likelihood ratio of "the batch has its own mean and variance" over "it has the
    remembered ones": about chi-square with 2 degrees of freedom while nothing has changed.
    """
    return 2 * batch.count * divergence(batch, memory)
