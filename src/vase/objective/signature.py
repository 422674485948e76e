"""Signatures: a world as the mean and covariance of its features, and how far apart two are.

A batch is compared with a signature along the signature's own principal axes, in units of its
standard deviation there: that is what gives the comparison its power, since features of one image
are strongly correlated. On each axis k the statistic is the likelihood ratio of "the batch and the
signature have moments of their own" over "they share them",

    G_k = (B + n) log v_k - B log v_bk - n log v_nk

with v of both together, v_b of the batch and v_n = 1 of the n remembered images: about chi-square
with 2 degrees of freedom while nothing has changed, for every n. Divided by 2 n B / (n + B) it is a
divergence in nats per image. All in float64 on the CPU; signatures are kept in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BLUR = 1e-5  # of the total variance: an axis along which a world hardly varies is not dwelt upon
FARTHEST = 5.0  # standard deviations: one strange image cannot speak for its whole batch


@dataclass(frozen=True, eq=False)
class Signature:
    """Moments of features: `mean` [F], `covariance` [F, F], float32, of about `count` images."""

    mean: Tensor
    covariance: Tensor
    count: float

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Principal axes [F, F], scaled to unit variance, and the share of blur in it [F]."""
        values, vectors = torch.linalg.eigh(self.covariance.double())
        blur = (BLUR * values.sum()).clamp(min=1e-12)
        total = values.clamp(min=0) + blur
        return vectors / total.sqrt(), blur / total


def of(features: Tensor) -> Signature:
    """The signature of features [B, F]."""
    return _signature(features.mean(0), _covariance(features), len(features))


def follow(memory: Signature, features: Tensor, span: float) -> Signature:
    """The signature after one more batch, averaged over about `span` images."""
    n, count = min(memory.count, span), len(features)
    apart = features.mean(0) - memory.mean
    share = count / (n + count)
    covariance = (1 - share) * memory.covariance + share * _covariance(features)
    covariance = covariance + share * (1 - share) * torch.outer(apart, apart)
    return _signature(memory.mean + share * apart, covariance, n + count)


def likelihood_ratio(features: Tensor, memory: Signature) -> float:
    """G = sum_k G_k of a batch of features [B, F] against a signature."""
    axes, blur = memory.axes
    along = ((features - memory.mean) @ axes).clamp(-FARTHEST, FARTHEST)
    mean, variance = along.mean(0), along.var(0, correction=0) + blur
    count, n = len(features), memory.count
    both = (count * variance + n) / (count + n) + count * n * mean**2 / (count + n) ** 2
    return float(((count + n) * both.log() - count * variance.log()).sum())


def images_compared(count: int, memory: Signature) -> float:
    """n B / (n + B): the images that a comparison of B with n is worth."""
    return count * memory.count / (count + memory.count)


def mixture(first: Signature, second: Signature, features: Tensor) -> tuple[Signature, float]:
    """The mixture of two worlds nearest to some features [B, F], and the second one's share.

    m = (1 - w) m_1 + w m_2,  S = (1 - w) S_1 + w S_2 + w (1 - w) (m_2 - m_1) (m_2 - m_1)^T.
    """
    apart = second.mean.double() - first.mean
    along = (features.mean(0) - first.mean) @ apart / (apart @ apart).clamp(min=1e-12)
    w = float(along.clamp(0, 1))
    covariance = (1 - w) * first.covariance + w * second.covariance
    covariance = covariance + w * (1 - w) * torch.outer(apart, apart)
    return _signature(first.mean + w * apart, covariance, min(first.count, second.count)), w


def disagreement(groups: Sequence[Tensor]) -> float:
    """How far batches of features [B_i, F] are from being of one world: about 1 if they are.

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


def _signature(mean: Tensor, covariance: Tensor, count: float) -> Signature:
    return Signature(mean.float(), covariance.float(), float(count))
