"""Feature statistics: an environment as the mean and covariance of its features.

A batch is compared with the statistics along their own principal axes, in units of the standard
deviation there: that gives the comparison its power, since features of one image are strongly
correlated. On each axis k the statistic is the likelihood ratio of "batch and environment have
moments of their own" over "they share them",

    G_k = (B + n) log v_k - B log v_bk - n log v_nk

with v of both together, v_b of the batch and v_n = 1 of the n images of the environment: about
chi-square with 2 degrees of freedom while nothing has changed, for every n. Divided by
2 n B / (n + B) it is a divergence in nats per image. All arithmetic is in float64 on the CPU; the
statistics are kept in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

REGULARISATION = 1e-5  # of the total variance: axes with hardly any variance count for little
MAX_DEVIATION = 5.0  # standard deviations: clips outliers among the images of a batch


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Moments of features: `mean` [F], `covariance` [F, F], float32, of about `count` images."""

    mean: Tensor
    covariance: Tensor
    count: float

    @cached_property
    def whitening(self) -> tuple[Tensor, Tensor]:
        """Principal axes [F, F], scaled to unit variance, and the share of regularisation [F]."""
        values, vectors = torch.linalg.eigh(self.covariance.double())
        noise = (REGULARISATION * values.sum()).clamp(min=1e-12)
        total = values.clamp(min=0) + noise
        return vectors / total.sqrt(), noise / total


def feature_statistics(features: Tensor) -> FeatureStatistics:
    """The statistics of features [B, F]."""
    return _statistics(features.mean(0), _covariance(features), len(features))


def update_statistics(known: FeatureStatistics, features: Tensor, span: float) -> FeatureStatistics:
    """Return the statistics after one more batch, averaged over about `span` images."""
    n, count = min(known.count, span), len(features)
    apart = features.mean(0) - known.mean
    share = count / (n + count)
    covariance = (1 - share) * known.covariance + share * _covariance(features)
    covariance = covariance + share * (1 - share) * torch.outer(apart, apart)
    return _statistics(known.mean + share * apart, covariance, n + count)


def likelihood_ratio(features: Tensor, known: FeatureStatistics) -> float:
    """G = sum_k G_k of a batch of features [B, F] against an environment's."""
    axes, noise = known.whitening
    along = ((features - known.mean) @ axes).clamp(-MAX_DEVIATION, MAX_DEVIATION)
    mean, variance = along.mean(0), along.var(0, correction=0) + noise
    count, n = len(features), known.count
    both = (count * variance + n) / (count + n) + count * n * mean**2 / (count + n) ** 2
    return float(((count + n) * both.log() - count * variance.log()).sum())


def effective_images(count: int, known: FeatureStatistics) -> float:
    """n B / (n + B): the effective number of images in a comparison of B with n."""
    return count * known.count / (count + known.count)


def nearest_mixture(
    first: FeatureStatistics, second: FeatureStatistics, features: Tensor
) -> tuple[FeatureStatistics, float]:
    """Return the mixture of two environments nearest to features [B, F], and the second's share.

    m = (1 - w) m_1 + w m_2,  S = (1 - w) S_1 + w S_2 + w (1 - w) (m_2 - m_1) (m_2 - m_1)^T.
    """
    apart = second.mean.double() - first.mean
    along = (features.mean(0) - first.mean) @ apart / (apart @ apart).clamp(min=1e-12)
    w = float(along.clamp(0, 1))
    covariance = (1 - w) * first.covariance + w * second.covariance
    covariance = covariance + w * (1 - w) * torch.outer(apart, apart)
    return _statistics(first.mean + w * apart, covariance, min(first.count, second.count)), w


def f_ratio(groups: Sequence[Tensor]) -> float:
    """Return the F ratio of batches of features [B_i, F]: about 1 if they are of one domain.

    The F ratio of a one-way analysis of variance, mean square between over mean square within
    groups, averaged over features. 0 where it is undefined: for a single group, or single images.
    """
    sizes = torch.tensor([len(group) for group in groups], dtype=torch.float64)[:, None]
    images, number = int(sizes.sum()), len(groups)
    if number < 2 or images <= number:
        return 0.0
    means = torch.stack([group.mean(0) for group in groups])
    spreads = torch.stack([group.var(0, correction=0) for group in groups])
    centre = (sizes * means).sum(0) / images
    within = (sizes * spreads).sum(0) / (images - number)
    between = (sizes * (means - centre) ** 2).sum(0) / (number - 1)
    smallest = 1e-9 + 1e-6 * centre.square().mean()
    return float(((between + smallest) / (within + smallest)).mean())


def _covariance(features: Tensor) -> Tensor:
    return torch.cov(features.T, correction=0).reshape(features.shape[1], -1)


def _statistics(mean: Tensor, covariance: Tensor, count: float) -> FeatureStatistics:
    return FeatureStatistics(mean.float(), covariance.float(), float(count))
