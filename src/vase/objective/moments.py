"""First two moments of several channels, and how they pool.

Everything the learner remembers of an environment's data is of this kind: a mean and a variance
per channel, never an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_VARIANCE = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and variance per channel, [K] each, of `count` samples."""

    mean: Array
    variance: Array
    count: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "variance", np.maximum(self.variance, MIN_VARIANCE))


def pool(parts: Sequence[Moments]) -> Moments:
    """The moments of all samples together: v = E[v_i + m_i^2] - m^2."""
    weights = np.array([part.count for part in parts], dtype=np.float64)
    means = np.stack([part.mean for part in parts])
    variances = np.stack([part.variance for part in parts])
    mean = np.average(means, axis=0, weights=weights)
    second = np.average(variances + means**2, axis=0, weights=weights)
    return Moments(mean, second - mean**2, float(weights.sum()))


def update_moments(moments: Moments, batch: Moments, span: float) -> Moments:
    """Return the moments after one more batch, averaged over about `span` samples."""
    count = min(moments.count, span)
    return pool([Moments(moments.mean, moments.variance, count), batch])
