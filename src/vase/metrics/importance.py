"""Disentanglement, completeness, informativeness: who needs which latent to predict what?

Eastwood, Williams: A Framework for the Quantitative Evaluation of Disentangled Representations
(ICLR 2018). A model is fitted to predict each factor from all latents; R_nk >= 0 is how much it
relies on latent n for factor k. With shares P_nk = R_nk / sum_k R_nk and Q_nk = R_nk / sum_n R_nk

    D_n = 1 - H(P_n.) / log K      D = sum_n r_n D_n,  r_n = sum_k R_nk / sum R
    C_k = 1 - H(Q_.k) / log N      C = mean of C_k
    I_k = held-out score of the model for factor k,    I = mean of I_k

D asks whether a latent serves one factor, C whether a factor sits in one latent, I whether it is
there at all. An unused latent has D_n = 0 and weighs nothing. A factor that no latent serves has
C_k = 0, and it counts: not to know a factor must not raise the score. (disentanglement_lib weighs
C_k by sum_n R_nk instead. The importances of trees add up to 1 for every factor, so there both
are the same number, unless the trees found nothing at all to split on.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import Lasso

from vase.errors import InputError
from vase.metrics.table import Array, Labels, Table, split, standardised

Model = Literal["trees", "lasso"]

PENALTY = 0.01  # of the lasso, on standardised columns: shares of variance below its square vanish


@dataclass(frozen=True, eq=False)
class Dci:
    """Disentanglement, completeness and informativeness, each in [0, 1], 1 the best.

    importance: R [N, K]. per_latent: D_n [N]. per_factor: C_k [K]. held_out: I_k [K], accuracy of
    the trees or R^2 of the lasso. A factor that is constant in the table has nan, and no part in
    the means.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Array
    per_latent: Array
    per_factor: Array
    held_out: Array


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    model: Model = "trees",
    test_share: float = 0.25,
    seed: int = 0,
) -> Dci:
    """D, C and I of codes [B, N], N at least 2, for factors [B, K], two of which must vary.

    "trees": gradient boosting as in disentanglement_lib (scikit-learn's defaults) for discrete
    factors; R is the drop in impurity due to a latent, I the accuracy on held-out rows. One tree
    for each value and round: ten values cost ten times what one does.
    "lasso": linear in the latents, for factors that are numbers, in order, fractions allowed; codes
    and factors are standardised, R is |coefficient|, I is R^2 on held-out rows, 0 where it is worse
    than the mean.

    `test_share` of the rows, drawn with `seed`, are held out; the models never see them.

    Raises:
        InputError: arrays that do not fit; one latent only; factors that are not discrete (trees);
            a factor that is constant in the rows to train on.
    """
    table = Table.of(codes, factors, least_factors=2)
    if table.codes.shape[1] < 2:
        raise InputError("codes has one column: with one latent D and C are undefined. Give two.")
    if model not in _FITS:
        raise InputError(f"model is '{model}'; it must be one of {', '.join(_FITS)}.")
    train, test = split(len(table.codes), test_share, seed)
    fits = [_FITS[model](table, int(k), train, test, seed) for k in table.varying]
    importance = np.stack([weights for weights, _ in fits], axis=1)
    held_out = np.array([score for _, score in fits])
    return Dci(
        disentanglement(importance),
        completeness(importance),
        float(held_out.mean()),
        table.per_factor(importance),
        concentration(importance),
        table.per_factor(concentration(importance.T)),
        table.per_factor(held_out),
    )


def concentration(weights: Array) -> Array:
    """1 - H(p) / log n of the shares p of each row of weights [M, n]; 0 for a row of zeros. [M]."""
    used = weights.any(axis=1)
    found = np.zeros(len(weights))
    shares = 1 - entropy(weights[used], axis=1, base=weights.shape[1])
    found[used] = np.maximum(shares, 0.0)  # rounding can pass it by the last bit
    return found


def disentanglement(importance: Array) -> float:
    """D = sum_n r_n D_n of R [N, K]; 0 where no latent serves anything."""
    if not importance.any():
        return 0.0
    return float(np.average(concentration(importance), weights=importance.sum(axis=1)))


def completeness(importance: Array) -> float:
    """C = mean of C_k over the factors of R [N, K]."""
    return float(concentration(importance.T).mean())


def _trees(
    table: Table, factor: int, train: Labels, test: Labels, seed: int
) -> tuple[Array, float]:
    values = table.labels(factor)
    _check_training(values[train], factor)
    # Trees round to single precision and hold values within 1e-7 for equal: scale matters to them.
    codes = standardised(table.codes, like=table.codes[train])
    model = GradientBoostingClassifier(random_state=seed).fit(codes[train], values[train])
    guess = model.predict(codes[test])
    return model.feature_importances_, float(np.mean(guess == values[test]))


def _lasso(
    table: Table, factor: int, train: Labels, test: Labels, seed: int
) -> tuple[Array, float]:
    column = table.factors[:, [factor]]
    _check_training(column[train], factor)
    codes = standardised(table.codes, like=table.codes[train])
    values = standardised(column, like=column[train])[:, 0]
    model = Lasso(alpha=PENALTY, random_state=seed).fit(codes[train], values[train])
    rest = np.sum((values[test] - model.predict(codes[test])) ** 2)
    spread = np.sum((values[test] - values[test].mean()) ** 2)
    return np.abs(model.coef_), float(max(0.0, 1 - rest / spread)) if spread else 0.0


_FITS: dict[Model, Callable[[Table, int, Labels, Labels, int], tuple[Array, float]]] = {
    "trees": _trees,
    "lasso": _lasso,
}


def _check_training(values: Array | Labels, factor: int) -> None:
    if values.min() == values.max():
        raise InputError(
            f"factors[:, {factor}] takes one value in the {len(values)} rows to train on, so there "
            "is nothing to learn. Give more rows, or leave the factor out."
        )
