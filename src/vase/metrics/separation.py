"""The separated attribute predictability: is one latent by itself a better guess than any other?

Kumar, Sattigeri, Balakrishnan: Variational Inference of Disentangled Latent Concepts from Unlabeled
Observations (ICLR 2018). With S_nk how well latent n alone predicts factor k

    SAP = mean over k of ( S_ak - S_bk ),  a the best latent for factor k, b the second best.

S_nk is one of three:

    "svm"         accuracy of a linear support vector machine, as in disentanglement_lib
    "thresholds"  accuracy, averaged over the values, of V - 1 thresholds: what the paper says
    "r2"          the squared correlation, for factors that are numbers: what both say

A line per value cannot tell the middle ones of many apart, so that even the factors themselves have
an "svm" score far from 1, and "svm" and "thresholds" never reach it: the second best latent guesses
too, and is right one time in V. The machine's penalty is not indifferent to scale. Here each latent
is standardised first, which disentanglement_lib does not: give it standardised codes to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import recall_score
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from vase.errors import InputError
from vase.metrics.table import Array, Labels, Table, split, standardised

Predictor = Literal["svm", "thresholds", "r2"]


@dataclass(frozen=True, eq=False)
class Sap:
    """The gap of every factor [K] in [0, 1], and `score`, their mean.

    predictability: S [N, K]. A factor that is constant in the table has nan in both, and the score
    leaves it out.
    """

    score: float
    gaps: Array
    predictability: Array


def sap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    by: Predictor = "svm",
    test_share: float = 0.25,
    seed: int = 0,
) -> Sap:
    """The SAP score of codes [B, N], N at least 2, for factors [B, K].

    "svm" and "thresholds" are for discrete factors: fitted on most rows and scored on
    `test_share` of them, drawn with `seed`. "r2" fits nothing and uses all rows.

    Raises:
        InputError: arrays that do not fit; one latent only; factors that are not discrete ("svm",
            "thresholds"); a factor that is constant in the rows to train on.
    """
    table = Table.of(codes, factors)
    if table.codes.shape[1] < 2:
        raise InputError("codes has one column, and a gap needs a second best latent. Give two.")
    if by not in _SCORES:
        raise InputError(f"by is '{by}'; it must be one of {', '.join(_SCORES)}.")
    train, test = split(len(table.codes), test_share, seed)
    predictability = np.stack(
        [_SCORES[by](table, int(k), train, test) for k in table.varying], axis=1
    )
    ranked = np.sort(predictability, axis=0)
    gaps = ranked[-1] - ranked[-2]
    return Sap(float(gaps.mean()), table.per_factor(gaps), table.per_factor(predictability))


def _svm(table: Table, factor: int, train: Labels, test: Labels) -> Array:
    values = _values(table, factor, train)
    codes = standardised(table.codes, like=table.codes[train])
    found = []
    for latent in codes.T[:, :, None]:
        machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        guess = machine.fit(latent[train], values[train]).predict(latent[test])
        found.append(np.mean(guess == values[test]))
    return np.array(found)


def _thresholds(table: Table, factor: int, train: Labels, test: Labels) -> Array:
    """A tree on one latent with a leaf for each value: thresholds, set greedily."""
    values = _values(table, factor, train)
    # Trees round to single precision and hold values within 1e-7 for equal: scale matters to them.
    codes = standardised(table.codes, like=table.codes[train])
    found = []
    for latent in codes.T[:, :, None]:
        tree = DecisionTreeClassifier(
            max_leaf_nodes=int(values.max()) + 1, class_weight="balanced", random_state=0
        )
        guess = tree.fit(latent[train], values[train]).predict(latent[test])
        present = np.unique(values[test])
        found.append(recall_score(values[test], guess, labels=present, average="macro"))
    return np.array(found)


def _r2(table: Table, factor: int, train: Labels, test: Labels) -> Array:  # noqa: ARG001
    codes = standardised(table.codes)
    values = standardised(table.factors[:, [factor]])
    correlation: Array = (codes * values).mean(axis=0)
    return correlation**2


_SCORES: dict[Predictor, Callable[[Table, int, Labels, Labels], Array]] = {
    "svm": _svm,
    "thresholds": _thresholds,
    "r2": _r2,
}


def _values(table: Table, factor: int, train: Labels) -> Labels:
    values = table.labels(factor)
    if len(np.unique(values[train])) < 2:
        raise InputError(
            f"factors[:, {factor}] takes one value in the {len(train)} rows to train on, so there "
            "is nothing to tell apart. Give more rows, or leave the factor out."
        )
    return values
