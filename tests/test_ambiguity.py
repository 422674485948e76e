"""Class priors, psychometric curves, variance under an uncertain environment, calibration."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.lifelong.class_priors import class_priors, with_priors
from vase.probes import ambiguity as probe
from vase.probes import calibration
from vase.records import Posterior

Array = NDArray[np.float64]


# --- class priors -------------------------------------------------------------------------------


def test_the_shares_of_images_that_leave_no_doubt_are_counted() -> None:
    """pi_s = (1 + n_s) / (E + B)."""
    beliefs = torch.eye(3)[[0, 0, 0, 1]]
    torch.testing.assert_close(class_priors(beliefs), torch.tensor([4 / 7, 2 / 7, 1 / 7]))


def test_without_any_image_all_are_equally_likely() -> None:
    torch.testing.assert_close(class_priors(torch.empty(0, 4)), torch.full((4,), 0.25))


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=20))
def test_shares_are_a_fixed_point_of_their_equation(first: list[float]) -> None:
    beliefs = torch.tensor([[p, 1 - p] for p in first], dtype=torch.float64)
    pi = class_priors(beliefs)
    again = (1 + with_priors(beliefs, pi).sum(0)) / (2 + len(first))
    torch.testing.assert_close(again, pi, atol=1e-6, rtol=0)
    assert float(pi.sum()) == pytest.approx(1)


def test_context_moves_the_odds_by_its_own() -> None:
    beliefs = torch.tensor([[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]])
    moved = with_priors(beliefs, torch.tensor([0.8, 0.2]))
    odds = moved[:2, 0] / moved[:2, 1]
    torch.testing.assert_close(odds, torch.tensor([0.3 / 0.7, 1.0]) * 4)
    torch.testing.assert_close(moved[2], torch.tensor([1.0, 0.0]))


# --- morphs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", probe.MORPHS)
def test_a_path_leads_from_one_image_to_the_other(kind: str) -> None:
    first, second = np.random.default_rng(0).random((2, 3, 1, 8, 8)).astype(np.float32)
    morph = probe.MORPHS[kind]
    np.testing.assert_array_equal(morph(first, second, 0.0), first)
    np.testing.assert_array_equal(morph(first, second, 1.0), second)


def test_half_of_each_is_a_mean_or_both() -> None:
    first, second = (np.array([row], np.float32) for row in ([1, 0, 0.6], [0, 1, 0.2]))
    np.testing.assert_allclose(probe.mixture(first, second, 0.5), [[0.5, 0.5, 0.4]])
    np.testing.assert_allclose(probe.overlay(first, second, 0.5), [[1, 1, 0.6]])
    np.testing.assert_allclose(probe.overlay(first, second, 0.75), [[0.5, 1, 0.3]])
    np.testing.assert_allclose(probe.side_by_side(first, second, 1 / 3), [[1, 0, 0.2]])


def test_a_context_holds_its_share_of_the_second_domain() -> None:
    first, second = np.zeros((64, 1, 2, 2), np.float32), np.ones((64, 1, 2, 2), np.float32)
    assert probe.mix_images(first, second, 0.25).mean() == 0.25
    assert len(probe.mix_images(first, second, 1.0)) == 64


# --- psychometric curves ------------------------------------------------------------------------


def test_a_logistic_curve_has_the_equality_and_the_width_it_was_made_with() -> None:
    """p = 1 / (1 + exp(-k (w - w0))) is 1/2 at w0, and 2 ln 9 / k wide from 1/10 to 9/10."""
    levels, slopes, middles = np.linspace(0, 1, 401), np.array([20.0, 50.0]), np.array([0.3, 0.6])
    belief = 1 / (1 + np.exp(-slopes * (levels[:, None] - middles)))
    curve = probe.fit_psychometric_curves(levels, belief)
    np.testing.assert_allclose(curve.equal, middles, atol=1e-3)
    np.testing.assert_allclose(curve.high - curve.low, 2 * math.log(9) / slopes, atol=1e-3)


def test_a_path_that_never_gets_there_ends_at_its_end() -> None:
    levels = np.linspace(0, 1, 11)
    curve = probe.fit_psychometric_curves(
        levels, np.stack([0.4 * levels, 0.6 + 0 * levels], axis=1)
    )
    assert curve.equal.tolist() == [1.0, 0.0]


def test_only_paths_that_change_sides_are_kept() -> None:
    second = np.array([[0.1, 0.2, 0.7], [0.9, 0.3, 0.9]])
    beliefs = np.stack([1 - second, second], axis=-1)
    numbers = np.zeros((2, 3, 4))
    path = probe.MorphPath(np.array([0.0, 1.0]), beliefs, numbers, numbers + 1)
    assert path.crossing.tolist() == [True, False, False]
    assert path.crossing_paths().beliefs.shape == (2, 1, 2)


# --- how sure ---------------------------------------------------------------------------------


def test_uncertainty_is_read_where_belief_changes_sides_and_of_shared_latents() -> None:
    """One path: variances 1/4, 1, 1/2 at levels 0, 1/2, 1, and belief that is even at 1/2."""
    levels, second = np.array([0.0, 0.5, 1.0]), np.array([[0.0], [0.5], [1.0]])
    mean = np.full((3, 1, 3), 2.0)
    variance = np.broadcast_to(np.array([0.25, 1.0, 0.5])[:, None, None], mean.shape)
    path = probe.MorphPath(levels, np.stack([1 - second, second], -1), mean, variance)
    masks = np.array([[True, True, False], [True, False, True]])
    found = probe.posterior_variance(path, masks, probe.fit_psychometric_curves(levels, second))
    assert found["latents"] == [0]
    assert found["curve"] == [0.25, 1.0, 0.5]
    assert (found["ends"], found["equality"]) == ([[0.25], [0.5]], [1.0])
    assert found["ratios"] == [4.0, 2.0]


def test_without_a_shared_latent_there_is_nothing_to_be_unsure_of() -> None:
    numbers = np.ones((2, 1, 1))
    path = probe.MorphPath(np.array([0.0, 1.0]), np.zeros((2, 1, 2)), numbers, numbers)
    curve = probe.fit_psychometric_curves(path.levels, np.array([[0.0], [1.0]]))
    found = probe.posterior_variance(path, np.array([[True], [False]]), curve)
    assert (found["latents"], found["curve"], found["ratios"]) == ([], [], [])


def test_bins_hold_as_many_images_each_and_rank_them() -> None:
    predicted = np.array([4.0, 1.0, 3.0, 2.0])
    errors = np.array([40.0, 10.0, 30.0, 20.0])
    assert calibration.quantile_bins(predicted, errors, 2) == [
        {"predicted": 1.5, "error": 15.0},
        {"predicted": 3.5, "error": 35.0},
    ]


def test_the_ways_of_showing_do_what_they_say() -> None:
    images = np.full((200, 1, 8, 8), 0.5, np.float32)
    generator = np.random.default_rng(0)
    shown = {way: show(images, generator) for way, show in calibration.CORRUPTIONS.items()}
    np.testing.assert_array_equal(shown["as they are"], images)
    np.testing.assert_allclose(shown["dimmed to 10 %"], 0.05)
    assert shown["noise of 0.1"].std() == pytest.approx(0.1, rel=0.05)
    assert shown["noise of 0.3"].min() >= 0


class Blurry(torch.nn.Module):
    """An encoder whose mean is the thing's place and whose deviation is 0.1, dim or not."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encoder(self, images: torch.Tensor) -> Posterior:
        weights = images[:, 0].clamp(min=1e-6)
        places = torch.linspace(0, 1, images.shape[3])
        mass = weights.sum((1, 2))
        x = (weights.sum(1) * places).sum(1) / mass
        y = (weights.sum(2) * places).sum(1) / mass
        mean = torch.stack([x, y], 1)
        return Posterior(mean, torch.full_like(mean, 2 * math.log(0.1)))


def test_the_predicted_variance_is_that_of_a_linear_readout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """f(z) = 2 z reads with a variance of 4 * 0.1^2, whatever the image."""

    class Twice:
        def position(self, codes: Array) -> Array:
            return 2 * codes

    monkeypatch.setattr(calibration, "IMAGES", 400)
    domain = CanvasDomain("w", sprites("solids", 50, 8, 0), 16, moving=True)
    networks: Any = Blurry()
    readout: Any = Twice()
    show = calibration.CORRUPTIONS["as they are"]
    _, spread = calibration._errors_and_variances(
        networks, readout, domain, show, np.random.default_rng(0)
    )
    assert spread.mean() == pytest.approx(4 * 0.01, rel=0.05)
