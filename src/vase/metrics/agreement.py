"""Unsupervised disentanglement ranking: do models that never met have the same latents?

Duan et al.: Unsupervised Model Selection for Variational Disentangled Representation Learning
(ICLR 2020). Disentangled models agree up to order and sign, entangled ones each in a way of their
own. With R(a, b) = |Spearman's rho| of latent a of model i and latent b of model j, over those that
are informative (KL above 0.01 nats), d_i and d_j in number:

    UDR_ij = 1 / (d_i + d_j) ( sum_b r_b^2 / sum_a R(a, b) + sum_a r_a^2 / sum_b R(a, b) )

with r_b and r_a the largest of the column and of the row. The score of model i is the median over
the other models. (disentanglement_lib averages the two halves with equal weight, whatever d_i and
d_j are; they differ where two models use different numbers of latents.) No factors are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from vase.errors import InputError
from vase.metrics.table import Array, checked_columns, standardised


@dataclass(frozen=True, eq=False)
class Udr:
    """`scores` [M], a model's median agreement with the others; `pairs` [M, M], UDR_ij.

    All in [0, 1]; pairs are symmetric, with nan for a model and itself.
    """

    scores: Array
    pairs: Array


def udr(
    codes: Sequence[ArrayLike], kl: Sequence[ArrayLike] | None = None, threshold: float = 0.01
) -> Udr:
    """UDR of M models, from the codes [B, N_i] that each gives the same B images.

    kl: for each model the mean KL to the prior of each latent in nats, [N_i]; latents with
    `threshold` or less are left out. Without it all latents count. A constant latent correlates
    with nothing. A model without informative latents agrees with nobody: 0.

    Raises:
        InputError: fewer than two models; arrays that do not fit.
    """
    if len(codes) < 2:
        raise InputError(f"{len(codes)} models were given, and agreement needs two.")
    ranks = _informative_ranks(codes, kl, threshold)
    pairs = np.full((len(ranks), len(ranks)), np.nan)
    for i, one in enumerate(ranks):
        for j in range(i):
            pairs[i, j] = pairs[j, i] = agreement(np.abs(one.T @ ranks[j]) / len(one))
    return Udr(np.nanmedian(pairs, axis=1), pairs)


def agreement(correlation: Array) -> float:
    """UDR_ij of R [d_i, d_j], in [0, 1]: 1 if and only if R is a permutation matrix."""
    if not correlation.size:
        return 0.0
    share = sum(_dominance(side).sum() for side in (correlation, correlation.T))
    return float(share / sum(correlation.shape))


def _dominance(correlation: Array) -> Array:
    """r^2 / sum of R for each column; 0 for a column of zeros."""
    total = correlation.sum(axis=0)
    found: Array = correlation.max(axis=0) ** 2 / np.where(total > 0, total, 1.0)
    return found


def _informative_ranks(
    codes: Sequence[ArrayLike], kl: Sequence[ArrayLike] | None, threshold: float
) -> list[Array]:
    """Standardised ranks [B, d_i] of each model's informative latents: rho is their covariance."""
    if kl is not None and len(kl) != len(codes):
        raise InputError(f"kl is of {len(kl)} models and codes of {len(codes)}. Give one for each.")
    found: list[Array] = []
    for i, each in enumerate(codes):
        checked = checked_columns(each, f"codes[{i}]")
        if found and len(checked) != len(found[0]):
            raise InputError(
                f"codes[{i}] has {len(checked)} rows and codes[0] has {len(found[0])}. Encode the "
                "same images with every model."
            )
        used = np.ones(checked.shape[1], np.bool_)
        if kl is not None:
            nats = np.asarray(kl[i], dtype=np.float64)
            if nats.shape != used.shape or not np.isfinite(nats).all():
                raise InputError(
                    f"kl[{i}] must be {len(used)} finite numbers, the mean KL in nats of each "
                    f"column of codes[{i}]; its shape is {list(nats.shape)}."
                )
            used = nats > threshold
        found.append(standardised(rankdata(checked[:, used], axis=0)))
    return found
