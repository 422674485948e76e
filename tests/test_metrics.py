"""Metrics against answers known by hand, a slow reference, and what must not change them."""

import inspect
import math
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from scipy.optimize import minimize

from vase.errors import ConfigError, InputError
from vase.metrics import (
    active_units,
    beta_vae_score,
    binned,
    dci,
    factor_vae_score,
    metric,
    mig,
    sap,
    total_correlation,
    udr,
)
from vase.metrics.agreement import agreement
from vase.metrics.fixed_factor import Groups, _differences, _votes
from vase.metrics.importance import completeness, concentration, disentanglement
from vase.metrics.table import MAX_MAGNITUDE, Array, split, standardised

VALUES = (2, 3, 4)


def grid(values: tuple[int, ...] = VALUES, repeats: int = 20) -> Array:
    """Every combination of the factors' values, equally often: exactly independent, [B, K]."""
    axes = np.meshgrid(*(np.arange(v) for v in values), indexing="ij")
    return np.tile(np.stack([axis.ravel() for axis in axes], axis=1), (repeats, 1)).astype(float)


def noise(rows: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def rotated(factors: Array) -> Array:
    """Two standardised factors, turned by 45 degrees."""
    return standardised(factors) @ np.array([[1, 1], [1, -1]]) / math.sqrt(2)


FACTORS = grid()
# The same latents in another order, with other signs, scales and origins.
DISGUISED = FACTORS[:, [2, 0, 1]] * [-3.0, 1e-6, 250.0] + [7.0, 0.0, -1.0]

# A fast setting of each metric that is 1 for the factors themselves.
PERFECT: dict[str, Any] = {
    "mig": lambda z, v: mig(z, v).score,
    "sap r2": lambda z, v: sap(z, v, by="r2").score,
    "dci d": lambda z, v: dci(z, v, model="lasso").disentanglement,
    "dci c": lambda z, v: dci(z, v, model="lasso").completeness,
    "factor_vae": lambda z, v: factor_vae_score(z, v, train_votes=500, test_votes=500),
    "beta_vae": lambda z, v: beta_vae_score(z, v, train_points=500, test_points=500),
}


@pytest.mark.parametrize("name", PERFECT)
def test_the_factors_themselves_score_one(name: str) -> None:
    assert PERFECT[name](FACTORS, FACTORS) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", PERFECT)
def test_order_sign_scale_and_origin_do_not_matter(name: str) -> None:
    assert PERFECT[name](DISGUISED, FACTORS) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", PERFECT)
def test_a_constant_latent_does_not_matter(name: str) -> None:
    codes = np.hstack([FACTORS, np.full((len(FACTORS), 1), 0.1)])
    assert PERFECT[name](codes, FACTORS) == pytest.approx(1.0, abs=1e-9)


# --- mutual information gap -------------------------------------------------------------------


def slow_mig(codes: Array, factors: Array, bins: int) -> list[float]:
    """The gap of each factor by counting, one row at a time."""
    rows = len(codes)
    gaps = []
    for k in range(factors.shape[1]):
        count = Counter(factors[:, k].tolist())
        entropy = -sum(c / rows * math.log(c / rows) for c in count.values())
        known = [0.0]
        for n in range(codes.shape[1]):
            low, high = codes[:, n].min(), codes[:, n].max()
            places = [
                min(int((z - low) / (high - low) * bins), bins - 1) if high > low else 0
                for z in codes[:, n]
            ]
            place_count = Counter(places)
            both = Counter(zip(places, factors[:, k].tolist(), strict=True))
            known.append(
                sum(
                    c / rows * math.log(c * rows / (place_count[z] * count[v]))
                    for (z, v), c in both.items()
                )
            )
        best, second = sorted(known)[-1], sorted(known)[-2]
        gaps.append((best - second) / entropy)
    return gaps


@pytest.mark.parametrize("bins", [2, 7, 20])
@pytest.mark.parametrize("latents", [1, 4])
def test_mig_equals_a_slow_loop(bins: int, latents: int) -> None:
    codes = FACTORS @ noise(3, latents, 1) + noise(len(FACTORS), latents, 2)
    assert_allclose(mig(codes, FACTORS, bins).gaps, slow_mig(codes, FACTORS, bins), atol=1e-12)


def test_mig_of_the_factors_knows_their_entropy() -> None:
    found = mig(FACTORS, FACTORS)
    assert_allclose(found.entropy, np.log(VALUES))
    assert_allclose(found.information, np.diag(np.log(VALUES)), atol=1e-12)


def test_mig_of_a_duplicated_latent_is_zero_for_its_factor() -> None:
    found = mig(np.hstack([FACTORS, -2 * FACTORS[:, [1]]]), FACTORS)
    assert_allclose(found.gaps, [1, 0, 1], atol=1e-12)
    assert found.score == pytest.approx(2 / 3)


def test_mig_is_bounded_by_the_bins() -> None:
    factors = np.tile(np.arange(40.0)[:, None], (20, 1))
    assert mig(factors, factors, bins=20).score == pytest.approx(math.log(20) / math.log(40))


def test_mig_of_noise_is_its_bias() -> None:
    """Each information is about (bins - 1)(V - 1) / 2B nats too large; gaps are below that."""
    factors = grid(repeats=200)
    found = mig(noise(len(factors), 5), factors)
    bias = 19 * (np.array(VALUES) - 1) / (2 * len(factors))
    assert np.all(found.information < 2.5 * bias)
    assert np.all(found.gaps < 2 * bias / np.log(VALUES))
    assert found.score < 0.01


def test_mig_refuses_fewer_rows_than_cells() -> None:
    with pytest.raises(InputError, match=r"^factors\[:, 1\] has 3 values: .* 60 cells for 48 rows"):
        mig(grid(repeats=2), grid(repeats=2))
    mig(grid(repeats=2), grid(repeats=2), bins=12)


# --- disentanglement, completeness, informativeness ----------------------------------------------


def test_shares_against_closed_forms() -> None:
    importance = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert_allclose(concentration(importance), [1, 1, 1, 0], atol=1e-12)
    assert disentanglement(importance) == pytest.approx(1)
    # log 4 / log 4 - log 2 / log 4 for the factor in two latents; a factor nobody serves has 0
    assert_allclose(concentration(importance.T), [1, 0.5, 0], atol=1e-12)
    assert completeness(importance) == pytest.approx(0.5)
    assert concentration(np.ones((1, 5))) == 0, "not even less by the last bit"


def test_latents_weigh_what_they_do() -> None:
    importance = np.array([[3.0, 0.0], [0.5, 0.5]])
    assert disentanglement(importance) == pytest.approx(3 / 4)


def test_nothing_served_is_zero() -> None:
    nothing = np.zeros((3, 2))
    assert (disentanglement(nothing), completeness(nothing)) == (0.0, 0.0)


def test_dci_of_trees_on_the_factors() -> None:
    factors = grid((2, 3))
    found = dci(factors, factors, seed=3)
    assert_allclose(found.importance, np.eye(2), atol=1e-9)
    assert found.disentanglement == pytest.approx(1)
    assert found.completeness == pytest.approx(1)
    assert found.informativeness == 1
    assert_allclose(found.per_latent, [1, 1])


def test_a_rotation_entangles_and_keeps_what_is_known() -> None:
    factors = grid((4, 4))
    codes = rotated(factors)
    lines, trees = (dci(codes, factors, model=model) for model in ("lasso", "trees"))
    # by symmetry the two latents share each factor equally; trees feel the order of their splits
    assert lines.disentanglement < 0.001
    assert lines.completeness < 0.001
    assert lines.informativeness > 0.99
    assert trees.disentanglement < 0.1
    assert trees.informativeness > 0.99
    # the sums of two lattice points are a lattice; 25 bins have no edge on one of its points
    assert mig(codes, factors, bins=25).score == pytest.approx(0, abs=1e-9)
    assert sap(codes, factors, by="r2").score == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("model", ["trees", "lasso"])
def test_dci_sees_neither_scale_nor_origin(model: Any) -> None:
    """Not even trees, which round to single precision and take values within 1e-7 for equal."""
    factors = grid((2, 3))
    codes = factors + 0.3 * noise(len(factors), 2)
    plain, moved = (dci(z, factors, model=model) for z in (codes, codes * [1e-9, 1] + [0, 1e7]))
    assert_allclose(moved.importance, plain.importance, atol=1e-3)
    assert moved.informativeness == pytest.approx(plain.informativeness, abs=1e-3)


@pytest.mark.parametrize(("model", "least", "most"), [("trees", 0.35, 0.65), ("lasso", 0, 0.02)])
def test_dci_of_noise_knows_nothing(model: Any, least: float, most: float) -> None:
    """Guessing: half right for two values; no variance explained."""
    factors = grid((2, 2), repeats=100)
    found = dci(noise(len(factors), 3), factors, model=model)
    assert least <= found.informativeness <= most
    assert found.disentanglement < (0.1 if model == "trees" else 1)


def test_dci_is_repeatable_and_the_split_is_seeded() -> None:
    factors = grid((2, 3))
    codes = factors + noise(len(factors), 2)
    one, same, other = (dci(codes, factors, model="lasso", seed=seed) for seed in (0, 0, 1))
    assert one.informativeness == same.informativeness != other.informativeness
    assert_array_equal(one.importance, same.importance)


# --- separated attribute predictability ----------------------------------------------------------


def test_sap_of_the_factors_by_thresholds_and_lines() -> None:
    """The second best latent guesses: right one time in V, by the mean over the values."""
    factors = grid(repeats=200)
    gaps = sap(factors, factors, by="thresholds").gaps
    assert_allclose(gaps, 1 - 1 / np.array(VALUES), atol=0.05)
    two = grid((2, 2), repeats=100)
    found = sap(two, two, by="svm")
    assert_allclose(np.diag(found.predictability), 1)
    assert_allclose(found.gaps, 0.5, atol=0.1)


def test_sap_of_a_duplicated_latent_is_zero_for_its_factor() -> None:
    codes = np.hstack([FACTORS, -2 * FACTORS[:, [1]]])
    for by in ("r2", "thresholds", "svm"):
        assert sap(codes, FACTORS, by=by).gaps[1] == pytest.approx(0, abs=1e-9)


def test_sap_r2_is_the_squared_correlation() -> None:
    codes = FACTORS @ noise(3, 4, 1) + noise(len(FACTORS), 4, 2)
    expected = np.corrcoef(codes.T, FACTORS.T)[:4, 4:] ** 2
    assert_allclose(sap(codes, FACTORS, by="r2").predictability, expected)


def test_sap_of_noise_is_near_zero() -> None:
    factors = grid((2, 2), repeats=500)
    codes = noise(len(factors), 4)
    assert sap(codes, factors, by="r2").score < 0.01
    assert sap(codes, factors, by="svm").score < 0.08  # 500 held-out rows: 2 deviations of 0.022
    assert sap(codes, factors, by="thresholds").score < 0.08


# --- one factor fixed ----------------------------------------------------------------------------


def test_fixed_factor_scores_of_noise_are_near_guessing() -> None:
    """One in K; the table's own chance patterns can be learnt, so a little more."""
    factors = grid((3, 3), repeats=200)
    codes = noise(len(factors), 4)
    assert abs(factor_vae_score(codes, factors, train_votes=2000, test_votes=2000) - 0.5) < 0.08
    assert abs(beta_vae_score(codes, factors, train_points=2000, test_points=2000) - 0.5) < 0.08


def test_fixed_factor_scores_need_every_factor_in_some_latent() -> None:
    """Two of three factors are known: the third is told by nothing that stands still.

    Its votes go to latents that stand for the others, so a third of the votes are lost.
    """
    score = factor_vae_score(FACTORS[:, :2], FACTORS, train_votes=2000, test_votes=2000)
    assert score == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_fixed_factor_scores_follow_their_seed(score: Any) -> None:
    codes = FACTORS + 2 * noise(len(FACTORS), 3)
    few = dict.fromkeys(list(inspect.signature(score).parameters)[3:5], 1500)
    one, same, other = (score(codes, FACTORS, batch_size=8, seed=seed, **few) for seed in (0, 0, 1))
    assert one == same != other
    assert 1 / 3 < one < 1


def test_no_row_is_paired_with_itself() -> None:
    """Every row has a code of its own, so a pair that differs by 0 is a row and itself."""
    rows = np.arange(24.0)[:, None]
    groups = [Groups.of(np.arange(24) % 12), Groups.of(np.arange(24) % 2)]
    points, fixed = _differences(rows, groups, 1, 300, np.random.default_rng(0))
    assert np.all(points > 0)
    # pairs share the fixed factor's value: equal modulo 12 or modulo 2
    assert np.all(points[:, 0] % np.where(fixed == 0, 12, 2) == 0)


@given(arrays(np.intp, st.integers(1, 30), elements=st.integers(0, 4)))
@example(np.arange(200) % 5)  # many rows: few would stay in order whatever sorts them
def test_groups_hold_the_rows_that_share_a_value_in_their_order(values: Any) -> None:
    _, numbered = np.unique(values, return_inverse=True)
    groups = Groups.of(numbered)
    for row, value in enumerate(numbered):
        begin, size = groups.begin[row], groups.size[row]
        assert_array_equal(groups.order[begin : begin + size], np.flatnonzero(numbered == value))
        assert groups.order[begin + groups.place[row]] == row


# --- unsupervised ranking ------------------------------------------------------------------------


def test_udr_of_the_same_latents_in_disguise_is_one() -> None:
    """Ranks see no monotone change either."""
    found = udr([FACTORS, DISGUISED, np.exp(FACTORS)])
    assert_allclose(found.scores, 1)
    assert_array_equal(np.isnan(found.pairs), np.eye(3, dtype=bool))


def test_udr_of_independent_codes_is_near_zero() -> None:
    """|rho| is about B^-1/2, so that r^2 / sum R is too."""
    rows = 4000
    found = udr([noise(rows, 5, seed) for seed in range(4)])
    assert np.all(found.scores < 2 / math.sqrt(rows))


def test_udr_leaves_uninformative_latents_out() -> None:
    codes = [np.hstack([FACTORS, noise(len(FACTORS), 2, seed)]) for seed in (1, 2)]
    assert np.all(udr(codes).scores < 0.9)
    kl = [[1.0, 1.0, 0.5, 0.01, 0.0]] * 2
    assert_allclose(udr(codes, kl).scores, 1)
    assert_array_equal(udr(codes, [kl[0], [0.0] * 5]).scores, [0, 0])


def test_udr_of_models_of_different_sizes() -> None:
    """R = [1 0 0; 0 1 0]: rows give 2, columns 2, of 2 + 3."""
    assert_allclose(udr([FACTORS[:, :2], FACTORS]).scores, 4 / 5)


def test_udr_score_is_the_median_over_the_others() -> None:
    found = udr([FACTORS, DISGUISED, FACTORS, FACTORS[:, :2]])
    assert_allclose(found.scores, [1, 1, 1, 4 / 5])


def test_agreement_of_entangled_latents() -> None:
    """All correlations r: each row and column gives r^2 / (d r)."""
    assert agreement(np.full((4, 4), 0.5)) == pytest.approx(0.5 / 4)
    assert agreement(np.array([[0.5]])) == 0.5
    assert agreement(np.zeros((2, 3))) == 0


# --- latents by themselves -----------------------------------------------------------------------


def with_correlation(rho: float, rows: int = 50) -> Array:
    """Two columns whose sample correlation is rho to within rounding."""
    white, _ = np.linalg.qr(noise(rows, 2) - noise(rows, 2).mean(axis=0))
    return white @ np.array([[1, rho], [0, math.sqrt(1 - rho**2)]])


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.9, 0.999])
def test_total_correlation_of_a_bivariate_normal(rho: float) -> None:
    expected = -math.log(1 - rho**2) / 2
    assert total_correlation(with_correlation(rho)) == pytest.approx(expected, abs=1e-9)


def test_total_correlation_of_an_equicorrelated_normal() -> None:
    """det = (1 - r)^(N-1) (1 + (N-1) r); columns that correlate by r through a common one."""
    latents, r = 4, 0.5
    white, _ = np.linalg.qr(noise(60, 5) - noise(60, 5).mean(axis=0))
    codes = white[:, :1] * math.sqrt(r) + white[:, 1:] * math.sqrt(1 - r)
    expected = -math.log((1 - r) ** (latents - 1) * (1 + (latents - 1) * r)) / 2
    assert total_correlation(codes) == pytest.approx(expected)


def test_total_correlation_of_noise_is_its_bias() -> None:
    rows, latents = 2000, 10
    found = total_correlation(noise(rows, latents))
    assert found == pytest.approx(latents * (latents - 1) / (4 * rows), rel=0.5)


def test_total_correlation_at_its_ends() -> None:
    assert total_correlation(FACTORS) == pytest.approx(0, abs=1e-12)
    assert total_correlation(FACTORS[:, [0, 1, 0]]) == math.inf
    assert total_correlation(FACTORS[:, [0]]) == 0
    assert total_correlation(np.ones((5, 3))) == 0
    with pytest.raises(InputError, match="3 rows and 3 latents"):
        total_correlation(noise(3, 3))


def test_total_correlation_is_infinite_up_to_what_rounding_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rule for the rank of a matrix: none below N eps times the largest eigenvalue."""
    rounding = 3 * np.finfo(np.float64).eps * 2.5
    for least, infinite in ((rounding, True), (math.nextafter(rounding, 1), False)):
        spectrum = np.array([least, 0.5, 2.5])
        monkeypatch.setattr(np.linalg, "eigvalsh", lambda _, found=spectrum: found)
        expected = math.inf if infinite else -np.log(spectrum).sum() / 2
        assert total_correlation(FACTORS) == pytest.approx(expected)


def test_active_units_are_those_that_vary_more_than_the_threshold() -> None:
    means = np.array([[-0.5, 5, -0.09], [0.5, 5, 0.09]])  # variances 0.25, 0, 0.0081
    assert_array_equal(active_units(means), [True, False, False])
    assert_array_equal(active_units(means, threshold=0.001), [True, False, True])
    assert_array_equal(active_units(means, threshold=0.25), [False, False, False])
    assert_array_equal(active_units([[0.0], [MAX_MAGNITUDE]]), [True])


# --- nothing is scored on what it was fitted to ---------------------------------------------------


def test_sap_by_lines_is_what_its_objective_says() -> None:
    """Against the machine's convex objective in two unknowns, minimised by SciPy.

    1/2 (w^2 + b^2) + C sum_i w_i max(0, 1 - y_i (w z_i + b))^2, values weighted to count alike. The
    rows held out have no say, not even in the scale: one of them lies far away.
    """
    rng = np.random.default_rng(2)
    train, test = split(200, 0.25, 0)
    values = (rng.random(200) < 0.1).astype(int)
    codes = rng.exponential(size=(200, 3)) + values[:, None] * [0.4, 1.2, 3.0]
    codes[test[0]] = 1e9
    signs, weights = 2 * values - 1, len(train) / (2 * np.bincount(values[train]))[values]

    def objective(line: Array, latent: Array) -> float:
        gaps = np.maximum(0, 1 - signs[train] * (line[0] * latent[train] + line[1]))
        return float(line @ line / 2 + 0.01 * weights[train] @ gaps**2)

    expected = []
    for latent in standardised(codes, like=codes[train]).T:
        line = minimize(objective, np.zeros(2), latent, tol=1e-10).x
        expected.append(np.mean((line[0] * latent[test] + line[1] > 0) == (values[test] > 0)))
    found = sap(codes, values[:, None], by="svm")
    assert_allclose(found.predictability[:, 0], expected)


def slow_thresholds(latent: Array, values: Any, train: Any, test: Any) -> float:
    """The mean recall of thresholds, each put where it most lessens the Gini impurity."""
    kinds = int(values.max()) + 1
    weights = 1 / np.bincount(values[train])[values[train]]

    def shares(cuts: list[float]) -> Array:
        place = np.digitize(latent[train], sorted(cuts))
        leaves = [place == leaf for leaf in range(len(cuts) + 1)]
        return np.array([np.bincount(values[train][i], weights[i], kinds) for i in leaves])

    def impurity(cuts: list[float]) -> float:
        found = shares(cuts)
        return float((found.sum(axis=1) - (found**2).sum(axis=1) / found.sum(axis=1)).sum())

    places = np.unique(latent[train])
    free, cuts = list((places[1:] + places[:-1]) / 2), []
    for _ in range(kinds - 1):
        cuts.append(min(free, key=lambda cut: impurity([*cuts, cut])))
        free.remove(cuts[-1])
    guess = shares(cuts).argmax(axis=1)[np.digitize(latent[test], sorted(cuts))]
    present = np.unique(values[test])
    return float(np.mean([np.mean(guess[values[test] == value] == value) for value in present]))


def test_sap_by_thresholds_equals_a_slow_search() -> None:
    """Of three values one is rare, and no row held out has it; one of these lies far away."""
    rng = np.random.default_rng(10)
    train, test = split(200, 0.25, 0)
    values = rng.choice(3, 200, p=[0.6, 0.3, 0.1])
    values[test] = np.minimum(values[test], 1)
    codes = rng.normal(size=(200, 3)) + values[:, None] * [0.3, 1.0, 2.5]
    codes[test[0]] = 1e12
    expected = [slow_thresholds(latent, values, train, test) for latent in codes.T]
    found = sap(codes, values[:, None], by="thresholds")
    assert_allclose(found.predictability[:, 0], expected)


def test_lasso_of_one_latent_has_a_closed_form() -> None:
    """|w| = max(0, |rho| - penalty) with rho over the rows to train on; R^2 over the others."""
    codes = np.hstack([noise(200, 1), np.zeros((200, 1))])
    factors = codes[:, [0, 0, 0, 0]] * [1, -0.5, 0.1, 0] + noise(200, 4, 1)
    train, test = split(200, 0.25, 0)
    factors[train, 3], factors[test, 3] = np.resize([-1, 1], 150), 0  # nothing to explain
    z = standardised(codes, like=codes[train])[:, 0]
    v = standardised(factors, like=factors[train])
    rho = z[train] @ v[train] / len(train)
    line = np.sign(rho) * np.maximum(0, abs(rho) - 0.01)
    left = ((v[test] - np.outer(z[test], line)) ** 2).sum(axis=0)
    spread = ((v[test] - v[test].mean(axis=0)) ** 2).sum(axis=0)
    explained = 1 - left[:3] / spread[:3]
    found = dci(codes, factors, model="lasso")
    assert_allclose(found.importance, [abs(line), np.zeros(4)], atol=1e-9)
    assert_allclose(found.held_out, [*np.maximum(0, explained), 0], atol=1e-9)
    assert explained[0] > 0.3


@pytest.mark.parametrize("model", ["trees", "lasso"])
def test_dci_fits_nothing_to_the_rows_held_out(model: Any) -> None:
    """What these rows say changes how well a factor is known, and not who serves it."""
    factors = grid((2, 3))
    codes = factors + 0.3 * noise(len(factors), 2)
    _, test = split(len(factors), 0.25, 0)
    shuffled, far = factors.copy(), codes.copy()
    shuffled[test] = np.random.default_rng(1).permutation(factors[test])
    far[test[0]] = 1e12
    one, other = dci(codes, factors, model=model), dci(far, shuffled, model=model)
    assert_allclose(one.importance, other.importance)
    assert np.all(one.held_out > other.held_out + 0.2)


def test_votes_are_tested_on_others_than_those_they_are_counted_in() -> None:
    """Forty latents of noise: sixty votes are learnt by heart, and tell nothing of others."""
    factors, codes = grid((2, 2), repeats=200), noise(800, 40)
    assert factor_vae_score(codes, factors, train_votes=60, test_votes=4000) < 0.56
    assert beta_vae_score(codes, factors, train_points=100, test_points=4000, batch_size=4) < 0.56


def test_votes_go_to_the_latent_that_stands_still_as_often_as_rows_have_its_value() -> None:
    """Each latent is constant while one factor has one value. The smallest group is a batch."""
    cells = np.array([[5, 5, 6], [8, 9, 10]])  # rows that have both values
    factors = np.random.default_rng(0).permutation(
        np.repeat(np.argwhere(cells), cells.ravel(), axis=0)
    )
    codes = np.where(factors[:, [0, 0, 1, 1, 1]] == [0, 1, 0, 1, 2], 0, noise(43, 5))
    groups = [Groups.of(values) for values in factors.T]
    votes = _votes(codes, groups, 13, 4000, np.random.default_rng(0))
    share = np.array([[16, 27, 0, 0, 0], [0, 0, 13, 14, 16]]) / (2 * 43)
    assert_allclose(votes / 4000, share, atol=0.03)
    assert not votes[share == 0].any()


def test_a_vote_picks_different_rows() -> None:
    """Groups of two: one row taken twice would vote for the first latent, which always varies."""
    pairs = np.arange(8) // 2
    codes = np.stack([np.arange(8.0), pairs], axis=1)
    votes = _votes(codes, [Groups.of(pairs)], 2, 100, np.random.default_rng(0))
    assert_array_equal(votes, [[0, 100]])


# --- factors that do not vary --------------------------------------------------------------------

WITH_CONSTANT = np.insert(FACTORS, 1, 5.0, axis=1)


@pytest.mark.parametrize(
    ("score", "options", "names"),
    [
        (mig, {}, ["gaps"]),
        (sap, {"by": "r2"}, ["gaps"]),
        (dci, {"model": "lasso"}, ["per_factor", "held_out"]),
    ],
)
def test_a_constant_factor_is_undefined_and_left_out(score: Any, options: Any, names: Any) -> None:
    found = score(FACTORS, WITH_CONSTANT, **options)
    for per_factor in (getattr(found, name) for name in names):
        assert_array_equal(np.isnan(per_factor), [False, True, False, False])
        assert_allclose(np.delete(per_factor, 1), 1, atol=2e-3)
    for name in ("score", "disentanglement", "completeness", "informativeness"):
        assert getattr(found, name, 1) == pytest.approx(1, abs=2e-3)


def test_a_constant_factor_is_never_held_fixed() -> None:
    few = {"seed": 0, "train_votes": 300, "test_votes": 300}
    assert factor_vae_score(FACTORS, WITH_CONSTANT, **few) == 1


# --- what cannot be scored -----------------------------------------------------------------------

TWO_ARGUMENTS = [mig, sap, dci, factor_vae_score, beta_vae_score]
BROKEN = np.where(np.arange(len(FACTORS))[:, None] == 3, np.nan, FACTORS)


@pytest.mark.parametrize("metric", TWO_ARGUMENTS)
@pytest.mark.parametrize(
    ("codes", "factors", "sentence"),
    [
        (FACTORS[:-1], FACTORS, "479 rows and factors has 480"),
        (FACTORS[:, 0], FACTORS, r"codes has the shape \[480\]"),
        (FACTORS, FACTORS[:, 0], r"factors has the shape \[480\]"),
        (FACTORS[:, :0], FACTORS, r"codes has the shape \[480, 0\]"),
        (BROKEN, FACTORS, r"codes\[3, 0\] is nan, one of 3"),
        (FACTORS, BROKEN, r"factors\[3, 0\] is nan"),
        (FACTORS.astype(str), FACTORS, "must hold real numbers"),
        (FACTORS * 1e200, FACTORS, "as large as 3e\\+200, whose squares overflow"),
        (FACTORS, np.ones_like(FACTORS), "0 of 3 factors take more than one value"),
        (FACTORS[:1], FACTORS[:1], "give at least 2"),
    ],
)
def test_tables_that_cannot_be_scored(metric: Any, codes: Any, factors: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        metric(codes, factors)


@pytest.mark.parametrize("metric", TWO_ARGUMENTS)
def test_fractions_are_binned_by_hand(metric: Any) -> None:
    factors = FACTORS.copy()
    factors[3, 0] = 0.5
    with pytest.raises(InputError, match=r"^factors\[3, 0\] is 0.5, .*vase\.metrics\.binned"):
        metric(FACTORS, factors)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mig(FACTORS, FACTORS, bins=1), "bins must be a whole number of at least 2, not 1"),
        (lambda: sap(FACTORS[:, :1], FACTORS), "one column"),
        (lambda: dci(FACTORS[:, :1], FACTORS), "one column"),
        (lambda: dci(FACTORS, FACTORS, model="forest"), "must be one of trees, lasso"),
        (lambda: sap(FACTORS, FACTORS, by="luck"), "must be one of svm, thresholds, r2"),
        (lambda: dci(FACTORS, FACTORS, test_share=1.0), "test_share is 1.0"),
        (lambda: split(2, 0, 0), "test_share is 0;"),
        (lambda: split(2, 0.1, 0), "^2 rows with test_share=0.1 leave nothing"),
        (lambda: split(2, 0.9, 0), "^2 rows with test_share=0.9 leave nothing"),
        (lambda: split(2, 0.5, -1), "^seed must be a whole number of at least 0, not -1"),
        (
            lambda: beta_vae_score(FACTORS, FACTORS + 9 * np.outer(np.arange(480) == 7, [0, 0, 1])),
            r"^1 rows have the value 12 in factors\[:, 2\], and 2 are needed",
        ),
        (lambda: beta_vae_score(FACTORS, FACTORS[:, :1]), "1 of 1 factors"),
        (lambda: dci(FACTORS, FACTORS[:, :1]), "1 of 1 factors"),
        (lambda: factor_vae_score(np.ones((480, 2)), FACTORS), "Every latent of codes is constant"),
        (lambda: udr([FACTORS]), "agreement needs two"),
        (lambda: udr([FACTORS, FACTORS[1:]]), r"codes\[1\] has 479 rows"),
        (lambda: udr([FACTORS, FACTORS], [[1, 1, 1]]), "kl is of 1 models and codes of 2"),
        (lambda: udr([FACTORS, FACTORS], [[1, 1, 1], [1]]), r"kl\[1\] must be 3 finite"),
        (lambda: udr([FACTORS, FACTORS], [[1, 1, None], [1, 1, 1]]), r"kl\[0\] must be 3 finite"),
        (lambda: udr([FACTORS, FACTORS[:, 0]]), r"^codes\[1\] has the shape"),
        (lambda: total_correlation(FACTORS[:, 0]), "^codes has the shape"),
        (lambda: binned(FACTORS[:, 0]), "^values has the shape"),
        (lambda: active_units(np.array([[1.0, np.inf]] * 2)), r"means\[0, 1\] is inf"),
    ],
)
def test_arguments_that_make_no_sense(call: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call()


def test_a_factor_that_only_the_held_out_rows_see_cannot_be_learnt() -> None:
    train, test = split(480, 0.25, seed=0)
    assert (len(train), len(test)) == (360, 120)
    assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(480))
    assert [len(side) for side in split(2, 0.5, seed=0)] == [1, 1]
    rare = FACTORS.copy()
    rare[:, 0] = 0
    rare[test[0], 0] = 1
    for score in (
        *(partial(sap, by=by) for by in ("svm", "thresholds")),
        *(partial(dci, model=model) for model in ("trees", "lasso")),
    ):
        with pytest.raises(InputError, match=r"^factors\[:, 0\] takes one value in the 360 rows"):
            score(FACTORS, rare)


@pytest.mark.parametrize(
    ("score", "least"),
    [
        (factor_vae_score, {"batch_size": 2, "train_votes": 1, "test_votes": 1, "seed": 0}),
        (beta_vae_score, {"batch_size": 1, "train_points": 100, "test_points": 1, "seed": 0}),
    ],
)
def test_the_least_counts_are_taken_and_none_below(score: Any, least: dict[str, int]) -> None:
    pair = FACTORS.copy()
    pair[:2, 0] = 2  # no value is rarer than a pair of rows has it
    assert score(FACTORS, pair, **least) in (0, 1)
    for name, count in least.items():
        sentence = f"^{name} must be a whole number of at least {count}, not {count - 1}"
        with pytest.raises(InputError, match=sentence):
            score(FACTORS, FACTORS, **{**least, name: count - 1})


# --- defaults, names and seeds -------------------------------------------------------------------

VOTES = {"batch_size": 64, "train_votes": 10_000, "test_votes": 5_000, "seed": 0}
POINTS = {"batch_size": 64, "train_points": 10_000, "test_points": 5_000, "seed": 0}


@pytest.mark.parametrize(
    ("score", "documented"),
    [
        (lambda codes, _, **given: binned(codes, **given), {"bins": 20}),
        (mig, {"bins": 20}),
        (sap, {"by": "svm", "test_share": 0.25, "seed": 0}),
        (dci, {"model": "trees", "test_share": 0.25, "seed": 0}),
        (factor_vae_score, VOTES),
        (beta_vae_score, POINTS),
    ],
)
def test_defaults_are_these_values_and_no_others(score: Any, documented: Any) -> None:
    """Most as in disentanglement_lib. Told by the score of noise, which other values change."""
    factors = grid((2, 2), repeats=40)
    one, other = (score(noise(160, 2), factors, **given) for given in ({}, documented))
    assert_equal(*(getattr(found, "__dict__", found) for found in (one, other)))


@pytest.mark.parametrize(
    "score",
    [
        *(partial(sap, by=by) for by in ("svm", "thresholds")),
        *(partial(dci, model=model) for model in ("trees", "lasso")),
        partial(factor_vae_score, batch_size=9, train_votes=9, test_votes=9),
        partial(beta_vae_score, batch_size=9, train_points=100, test_points=9),
    ],
)
def test_numpys_global_generator_is_left_as_it_is(score: Any) -> None:
    before = np.random.get_state()
    score(grid((2, 3)), grid((2, 3)))
    assert_equal(np.random.get_state(), before)


def test_a_metric_is_found_by_its_name() -> None:
    codes = FACTORS + noise(len(FACTORS), 3)
    assert metric("mig")(codes, FACTORS) == mig(codes, FACTORS).score
    assert metric("math:sqrt") is math.sqrt
    with pytest.raises(
        ConfigError, match=r"^There is no metric called 'mug'\. Did you mean 'mig'\?"
    ):
        metric("mug")
    with pytest.raises(ConfigError, match=r"^'math:pi' is not a metric: it cannot be called"):
        metric("math:pi")


def test_tensors_that_need_gradients_are_taken() -> None:
    codes = torch.rand(60, 3, requires_grad=True)
    factors = torch.arange(120).reshape(60, 2) % 3
    expected = mig(codes.detach().numpy(), factors.numpy(), bins=3)
    assert mig(codes, factors, bins=3).score == expected.score
    assert mig(codes.double() * 1, factors, bins=np.int64(3)).score == pytest.approx(expected.score)


# --- bins and scales -----------------------------------------------------------------------------


@given(st.integers(2, 30), st.integers(0, 1000))
def test_bins_are_those_of_a_histogram(bins: int, seed: int) -> None:
    values = noise(40, 2, seed)
    numbered = binned(values, bins)
    for n in range(2):
        expected, _ = np.histogram(values[:, n], bins)
        assert_array_equal(np.bincount(numbered[:, n], minlength=bins), expected)


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    assert_array_equal(binned([[0.0], [1.0], [2.0], [3.0], [4.0]], 4)[:, 0], [0, 1, 2, 3, 3])


def test_a_tiny_column_is_scaled_like_any_other() -> None:
    column = noise(50, 1)
    assert_allclose(standardised(column * 1e-200), standardised(column), atol=1e-12)
    assert_allclose(standardised(column).std(), 1)


# --- properties ----------------------------------------------------------------------------------

tables = st.integers(0, 10_000).map(lambda seed: noise(480, 3, seed) + FACTORS @ noise(3, 3, seed))


@settings(max_examples=15)
@given(tables, st.permutations(range(3)), st.permutations(range(480)))
def test_mig_is_a_share_and_sees_no_order(codes: Array, columns: Any, rows: Any) -> None:
    gaps = mig(codes, FACTORS).gaps
    assert np.all((gaps >= 0) & (gaps <= 1))
    names = 10 - 3 * FACTORS  # other numbers for the same values
    assert_allclose(mig(codes[rows][:, columns], names[rows]).gaps, gaps, atol=1e-12)
    assert_allclose(mig(codes, FACTORS[:, columns]).gaps, gaps[list(columns)], atol=1e-12)


@settings(max_examples=25)
@given(tables, arrays(np.float64, 3, elements=st.sampled_from([-1e6, -1.0, 1e-6, 3.0, 1e9])))
def test_total_correlation_sees_no_scale_and_is_never_negative(codes: Array, scale: Array) -> None:
    found = total_correlation(codes)
    assert found >= 0
    assert total_correlation(codes * scale + scale) == pytest.approx(found, abs=1e-9)


@settings(max_examples=25)
@given(tables, tables)
def test_udr_is_a_share_and_symmetric(one: Array, other: Array) -> None:
    found = udr([one, other])
    assert found.scores[0] == found.scores[1]
    assert 0 <= found.scores[0] <= 1


@settings(max_examples=50)
@given(arrays(np.float64, (4, 3), elements=st.floats(0, 100, allow_subnormal=False)))
def test_d_and_c_are_shares(importance: Array) -> None:
    assert -1e-12 <= disentanglement(importance) <= 1 + 1e-12
    assert -1e-12 <= completeness(importance) <= 1 + 1e-12


# --- beside another implementation ---------------------------------------------------------------


class TableOfRows:
    """What disent's FactorVAE score asks of a data set; a row of codes is its own image."""

    def __init__(self, codes: Array, factors: Array, seed: int) -> None:
        self.rows = {tuple(row): i for i, row in enumerate(factors)}
        self.codes, self.factors, self.rng = codes, factors, np.random.default_rng(seed)
        self.gt_data = self
        self.num_factors = factors.shape[1]

    def sample_factors(self, size: int) -> Array:
        return self.factors[self.rng.integers(len(self.factors), size=size)]

    def dataset_batch_from_factors(self, factors: Array, mode: str) -> torch.Tensor:
        return torch.from_numpy(self.codes[[self.rows[tuple(row)] for row in factors]])

    def dataset_sample_batch(self, size: int, mode: str) -> torch.Tensor:
        return torch.from_numpy(self.codes[self.rng.integers(len(self.codes), size=size)])


CROSS_FACTORS = grid((4, 5, 6, 10), repeats=1)
CROSS_CODES = {
    "factors": CROSS_FACTORS + 0.01 * noise(1200, 4),
    "noisy": standardised(CROSS_FACTORS) + 0.5 * noise(1200, 4),
    "mixed": standardised(CROSS_FACTORS) @ noise(4, 5, 1) + 0.2 * noise(1200, 5, 2),
    "noise": noise(1200, 5, 3),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CROSS_CODES)
def test_agrees_with_disent(name: str) -> None:
    """The same codes, the same split. disent's trees and machines draw from NumPy's global seed."""
    other = pytest.importorskip("disent.metrics", reason="the package disent is not installed")
    from disent.metrics import _dci, _mig, _sap, _unsupervised

    codes, factors = standardised(CROSS_CODES[name]), CROSS_FACTORS
    train, test = split(len(codes), 0.25, seed=0)
    four = codes[train].T, factors[train].T, codes[test].T, factors[test].T
    np.random.seed(0)

    ours_dci, theirs_dci = dci(codes, factors), _dci._compute_dci(*four)
    rows = TableOfRows(codes, factors, seed=1)
    few = {"batch_size": 64, "num_train": 2000, "num_eval": 2000}
    theirs_votes = other.metric_factor_vae(rows, lambda image: image, **few)
    found = {
        "mig": (mig(codes, factors).score, _mig._compute_mig(codes.T, factors.T), 1e-9),
        "dci d": (ours_dci.disentanglement, theirs_dci["dci.disentanglement"], 0.01),
        "dci c": (ours_dci.completeness, theirs_dci["dci.completeness"], 0.01),
        "dci i": (ours_dci.informativeness, theirs_dci["dci.informativeness_test"], 0.01),
        "sap svm": (sap(codes, factors).score, _sap._compute_sap(*four, False), 0.01),
        "sap r2": (
            sap(codes, factors, by="r2").score,
            _sap._compute_sap(codes.T, factors.T, codes.T, factors.T, True),
            1e-9,
        ),
        "total correlation": (
            total_correlation(codes),
            _unsupervised._gaussian_total_correlation(np.cov(codes.T)),
            1e-9,
        ),
        "factor_vae": (
            factor_vae_score(codes, factors, train_votes=2000, test_votes=2000),
            theirs_votes["factor_vae.eval_accuracy"],
            0.05,
        ),
    }
    for each, (ours, theirs, tolerance) in found.items():
        value = next(iter(theirs.values())) if isinstance(theirs, dict) else theirs
        print(f"{name:8} {each:18} ours {ours:.6f} disent {value:.6f}")
        assert ours == pytest.approx(value, abs=tolerance), each
