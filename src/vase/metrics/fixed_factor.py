"""Hold one factor fixed: which latent stands still? The scores of beta-VAE and FactorVAE.

Both papers render images with one factor fixed and all others drawn anew. A table of codes cannot
render, so the images are picked from its rows: those that share the value of the fixed factor. That
is the same if the table is a sample in which the factors are independent. If they are not (some
combinations are missing or rare), fixing one factor restrains others too, here as in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from vase.arguments import whole_number
from vase.errors import InputError
from vase.metrics.table import Array, Labels, Table, standardised, varies


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows sorted by one factor, so that those that share a value lie side by side.

    order: rows [B] in that order. Of each row: where its group begins in `order`, how many rows
    the group has, and which of them it is; [B] each.
    """

    order: Labels
    begin: Labels
    size: Labels
    place: Labels

    @staticmethod
    def of(values: Labels) -> Groups:
        """The groups of a factor's values [B], numbered 0 .. V-1."""
        order = np.argsort(values, kind="stable")
        size = np.bincount(values)
        begin = np.cumsum(size) - size
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - begin[values[order]]
        return Groups(order, begin[values], size[values], place)


def factor_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    batch_size: int = 64,
    train_votes: int = 10_000,
    test_votes: int = 5_000,
    seed: int = 0,
) -> float:
    """FactorVAE's score of codes [B, N] for discrete factors [B, K]: an accuracy in [1/K, 1].

    Kim, Mnih: Disentangling by Factorising (ICML 2018). For each vote a factor k is drawn, a row
    gives it a value, and `batch_size` different rows with that value are picked; the vote is

        n = argmin over latents of Var(z_n in the batch) / Var(z_n in the table).

    A classifier maps n to the k that it stood for most often in `train_votes` votes; the score is
    its accuracy on `test_votes` others. Guessing gives 1/K, with K the factors that vary.

    Latents that are constant in the table have no vote. Latents that have collapsed, but not to
    the last bit, do vote, with noise: the paper leaves them out, and so can
    `codes[:, active_units(codes, threshold)]`. (disentanglement_lib divides 0 by 0 for a constant
    latent, and then it wins every vote.)

    Raises:
        InputError: arrays that do not fit; factors that are not discrete; fewer than two that
            vary; no latent that varies; a value that fewer than `batch_size` rows share.
    """
    _check_counts(batch_size=(batch_size, 2), train_votes=(train_votes, 1))
    _check_counts(test_votes=(test_votes, 1), seed=(seed, 0))
    table, groups = _prepare(codes, factors, batch_size)
    moving = table.codes[:, varies(table.codes)]
    scaled = standardised(moving)
    rng = np.random.default_rng(seed)
    train = _votes(scaled, groups, batch_size, train_votes, rng)
    test = _votes(scaled, groups, batch_size, test_votes, rng)
    stands_for = train.argmax(axis=0)  # [N]
    right = test[stands_for, np.arange(len(stands_for))].sum()
    return float(right / test_votes)


def beta_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    batch_size: int = 64,
    train_points: int = 10_000,
    test_points: int = 5_000,
    seed: int = 0,
) -> float:
    """beta-VAE's score of codes [B, N] for discrete factors [B, K]: an accuracy in [1/K, 1].

    Higgins et al.: beta-VAE (ICLR 2017). For each point a factor k is drawn and `batch_size` pairs
    of different rows that share a value of it; the point is the mean over the pairs of |z - z'|,
    [N], and a linear classifier (logistic regression) says from it which k it was. Guessing gives
    1/K, with K the factors that vary.

    Latents are standardised first, so that their scale does not matter to the classifier's penalty
    (disentanglement_lib takes them as they are). A row is never paired with itself: that would
    happen more often for factors with many values, and give them away.

    Raises:
        InputError: arrays that do not fit; factors that are not discrete; fewer than two that
            vary; no latent that varies; a value that only one row has.
    """
    _check_counts(batch_size=(batch_size, 1), train_points=(train_points, 100))
    _check_counts(test_points=(test_points, 1), seed=(seed, 0))
    table, groups = _prepare(codes, factors, 2)
    scaled = standardised(table.codes)
    rng = np.random.default_rng(seed)
    points, fixed = _differences(scaled, groups, batch_size, train_points, rng)
    classifier = LogisticRegression(max_iter=1000).fit(points, fixed)
    points, fixed = _differences(scaled, groups, batch_size, test_points, rng)
    return float(classifier.score(points, fixed))


def _votes(
    codes: Array, groups: list[Groups], batch_size: int, votes: int, rng: Generator
) -> Labels:
    """How often latent n stood still while factor k was fixed, [K, N]."""
    counts = np.zeros((len(groups), codes.shape[1]), np.intp)
    fixed, rows = (rng.integers(end, size=votes) for end in (len(groups), len(codes)))
    for k, row in np.stack([fixed, rows], axis=1):
        group = groups[k]
        picked = rng.choice(group.size[row], batch_size, replace=False)
        batch = codes[group.order[group.begin[row] + picked]]
        counts[k, batch.var(axis=0).argmin()] += 1
    return counts


def _differences(
    codes: Array, groups: list[Groups], batch_size: int, points: int, rng: Generator
) -> tuple[Array, Labels]:
    """Mean |z - z'| over pairs of rows that share a factor's value, [P, N], and which factor."""
    fixed = rng.integers(len(groups), size=points)
    found = np.empty((points, codes.shape[1]))
    for i, k in enumerate(fixed):
        group = groups[k]
        row = rng.integers(len(codes), size=batch_size)
        size = group.size[row]
        other = (group.place[row] + rng.integers(1, size)) % size
        found[i] = np.abs(codes[row] - codes[group.order[group.begin[row] + other]]).mean(axis=0)
    return found, fixed


def _prepare(codes: ArrayLike, factors: ArrayLike, least: int) -> tuple[Table, list[Groups]]:
    """The table and the groups of each factor that varies, none with fewer than `least` rows."""
    table = Table.of(codes, factors, least_factors=2)
    if not varies(table.codes).any():
        raise InputError(
            "Every latent of codes is constant, so none stands still. Nothing to score."
        )
    groups = []
    for factor in table.varying:
        group = Groups.of(table.labels(int(factor)))
        scarce = int(group.size.argmin())
        if group.size[scarce] < least:
            raise InputError(
                f"{group.size[scarce]} rows have the value {table.factors[scarce, factor]:g} in "
                f"factors[:, {factor}], and {least} are needed. Give more rows, leave that value "
                "out, bin the factor, or use a smaller batch_size."
            )
        groups.append(group)
    return table, groups


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (count, least) in counts.items():
        whole_number(count, name, least=least)
