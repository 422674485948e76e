"""Feature statistics: closed forms, slow references, and what a comparison can and cannot see."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vase.detection import RandomFeatures, statistics
from vase.detection.statistics import FeatureStatistics


def drawn(count: int, seed: int, size: int = 4, shift: float = 0.0) -> Tensor:
    """Correlated Gaussian features."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([[1.0, 0.9, 0, 0], [0, 0.3, 0, 0], [0, 0, 2, 1], [0, 0, 0, 0.1]])[:size]
    return (torch.randn(count, size, generator=generator) @ spread + shift).double()


def test_following_in_parts_equals_all_at_once() -> None:
    features = drawn(300, 0)
    whole = statistics.feature_statistics(features)
    parts = statistics.feature_statistics(features[:100])
    for part in features[100:].split(50):
        parts = statistics.update_statistics(parts, part, span=1e9)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.covariance, whole.covariance)
    assert parts.count == 300


def test_a_span_forgets_what_is_older() -> None:
    memory = statistics.feature_statistics(drawn(1000, 0))
    for seed in range(40):
        memory = statistics.update_statistics(memory, drawn(100, seed, shift=5), span=400)
    torch.testing.assert_close(memory.mean, torch.full((4,), 5.0), atol=0.3, rtol=0)
    assert memory.count == 500


def test_the_likelihood_ratio_is_that_of_two_gaussian_samples_on_the_principal_axes() -> None:
    """Against log-likelihoods written out, for independent features."""
    memory, batch = torch.randn(500, 3).double() * torch.tensor([1, 2, 3]), torch.randn(60, 3)
    known = statistics.feature_statistics(memory)
    axes, _ = known.whitening
    old, new = (memory - known.mean) @ axes, (batch.double() - known.mean) @ axes

    def log_likelihood(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -0.5 * (variance.log() + (x - mean) ** 2 / variance).sum()

    def fitted(x: Tensor) -> Tensor:
        return sum(log_likelihood(c, c.mean(), c.var(correction=0)) for c in x.T)  # type: ignore

    both = torch.cat([old, new])
    expected = 2 * (fitted(old) + fitted(new) - fitted(both))
    assert statistics.likelihood_ratio(batch.double(), known) == pytest.approx(
        float(expected), rel=0.01
    )


@pytest.mark.parametrize(("remembered", "count"), [(8192, 64), (500, 64), (500, 500), (8192, 512)])
def test_it_is_about_chi_square_with_two_degrees_per_axis(remembered: int, count: int) -> None:
    """For Gaussian features and any sizes of memory and batch: mean 2 F, variance 4 F."""
    ratios = [
        statistics.likelihood_ratio(
            drawn(count, 1000 + k), statistics.feature_statistics(drawn(remembered, 5000 + k))
        )
        for k in range(300)
    ]
    assert np.mean(ratios) == pytest.approx(8, rel=0.15)
    assert np.var(ratios) == pytest.approx(16, rel=0.4)


def test_a_change_of_correlation_alone_is_seen() -> None:
    """The features' own means and variances stay as they are."""
    known = statistics.feature_statistics(drawn(4000, 0))
    batch = drawn(200, 1)
    shuffled = torch.stack([column[torch.randperm(200)] for column in batch.T], dim=1)
    assert statistics.likelihood_ratio(batch, known) < 30
    assert statistics.likelihood_ratio(shuffled, known) > 200


def test_one_strange_image_does_not_speak_for_its_batch() -> None:
    known, batch = statistics.feature_statistics(drawn(4000, 0)), drawn(64, 1)
    usual = statistics.likelihood_ratio(batch, known)
    batch[0] = 1e6
    strange = statistics.likelihood_ratio(batch, known)
    batch[0] = 1e9
    assert statistics.likelihood_ratio(batch, known) == pytest.approx(strange)
    assert strange < usual + 150


def test_a_constant_batch_has_a_finite_score() -> None:
    known = statistics.feature_statistics(drawn(400, 0))
    assert np.isfinite(statistics.likelihood_ratio(torch.zeros(64, 4).double(), known))
    black = statistics.feature_statistics(torch.zeros(64, 4).double())
    assert np.isfinite(statistics.likelihood_ratio(drawn(64, 0), black))


def test_a_mixture_is_found_with_its_share() -> None:
    first, second = (
        statistics.feature_statistics(drawn(4000, 0)),
        statistics.feature_statistics(drawn(4000, 1, shift=10)),
    )
    mixed = torch.cat([drawn(700, 2), drawn(300, 3, shift=10)])
    blend, share = statistics.nearest_mixture(first, second, mixed)
    assert share == pytest.approx(0.3, abs=0.01)
    exact = statistics.feature_statistics(mixed)
    torch.testing.assert_close(blend.mean, exact.mean, atol=0.2, rtol=0)
    torch.testing.assert_close(blend.covariance, exact.covariance, atol=0.6, rtol=0.1)


def test_disagreement_is_the_f_ratio_of_an_analysis_of_variance() -> None:
    from scipy.stats import f_oneway

    groups = [drawn(30, 0), drawn(50, 1, shift=0.5), drawn(20, 2)]
    ratios = f_oneway(*[group.numpy() for group in groups]).statistic
    assert statistics.f_ratio(groups) == pytest.approx(float(np.mean(ratios)), rel=1e-4)
    assert statistics.f_ratio(groups[:1]) == 0


def test_batches_of_one_domain_agree_and_others_do_not() -> None:
    same = [statistics.f_ratio([drawn(64, 3 * k + j) for j in range(3)]) for k in range(100)]
    assert np.mean(same) == pytest.approx(1, abs=0.15)
    assert statistics.f_ratio([drawn(64, 0), drawn(64, 1, shift=3), drawn(64, 2)]) > 50


# ---- the features ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (40, 56), (256, 200)])
def test_the_eye_takes_images_of_every_size(channels: int, size: tuple[int, int]) -> None:
    features = RandomFeatures(channels)(torch.rand(3, channels, *size))
    assert features.shape == (3, RandomFeatures.count)
    assert torch.isfinite(features).all()
    assert (features.std(0) > 0).sum() > RandomFeatures.count / 2


def test_the_eye_is_the_same_whenever_it_is_made() -> None:
    torch.manual_seed(1)
    first = RandomFeatures(1)
    before = torch.random.get_rng_state()
    second = RandomFeatures(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(first(images), second(images), rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_statistics_are_kept_in_single_precision() -> None:
    known = statistics.feature_statistics(drawn(50, 0))
    assert isinstance(known, FeatureStatistics)
    assert known.mean.dtype == known.covariance.dtype == torch.float32
