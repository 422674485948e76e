"""The objective against closed forms, torch.distributions, autograd and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Categorical,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from vase.objective import gaussian, likelihood, pairs
from vase.objective.atypicality import atypicality, out_of_distribution, typical
from vase.objective.capacity import Capacity, capacity_penalty, grow
from vase.objective.moments import Moments, pool, update_moments
from vase.objective.proximity import encoder_proximity
from vase.objective.sparsity import sparsity
from vase.objective.total_correlation import total_correlation
from vase.records import Posterior
from vase.settings import ObjectiveSettings

floats = st.floats(-3, 3, allow_subnormal=False)  # denormals are flushed here


def posterior(seed: int, shape: tuple[int, int] = (5, 4)) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    return Posterior(
        torch.randn(shape, generator=generator, dtype=torch.float64),
        torch.randn(shape, generator=generator, dtype=torch.float64),
    )


def normal(of: Posterior) -> Normal:
    return Normal(of.mean, (of.log_variance / 2).exp())


def test_kl_to_prior_equals_torch_distributions() -> None:
    p = posterior(0)
    expected = kl_divergence(normal(p), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian.kl_to_prior(p), expected)


def test_kl_equals_torch_distributions_and_is_zero_for_equal_posteriors() -> None:
    p, q = posterior(0), posterior(1)
    torch.testing.assert_close(gaussian.kl(p, q), kl_divergence(normal(p), normal(q)))
    torch.testing.assert_close(gaussian.kl(p, p), torch.zeros_like(p.mean))


def test_wasserstein_equals_the_distance_of_sorted_samples() -> None:
    """In one dimension W_2^2 is the mean squared difference of quantiles."""
    p = Posterior(torch.tensor([[0.5]]), torch.tensor([[0.2]]))
    q = Posterior(torch.tensor([[-1.0]]), torch.tensor([[-0.7]]))
    levels = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    quantiles = [normal(side).icdf(levels[:, None]) for side in (p, q)]
    expected = (quantiles[0] - quantiles[1]).square().mean()
    assert gaussian.wasserstein(p, q).item() == pytest.approx(expected.item(), rel=1e-3)


def test_over_environments_has_the_moments_of_the_mixture() -> None:
    """Against the mixture that torch.distributions makes of one Gaussian per environment."""
    p, masks = posterior(3), torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    belief = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    belief /= belief.sum(1, keepdim=True)
    each = [gaussian.masked(p, mask) for mask in masks]
    mean, deviation = (
        torch.stack([getattr(normal(q), name) for q in each], dim=2) for name in ("mean", "stddev")
    )
    weights = Categorical(belief[:, None].expand(5, 4, 3))
    whole = MixtureSameFamily(weights, Normal(mean, deviation))
    found = gaussian.over_environments(p, belief, masks)
    torch.testing.assert_close(found.mean, whole.mean)
    torch.testing.assert_close(found.log_variance.exp(), whole.variance)
    torch.testing.assert_close(found.log_variance[:, 0], p.log_variance[:, 0])  # used everywhere


def test_over_environments_a_sharp_latent_that_all_use_stays_as_it_is() -> None:
    """Probabilities in single precision add up to a little more than 1 in some rows."""
    belief = torch.randn(4000, 24, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert (belief.sum(1) > 1).any()
    sharp = Posterior(torch.full((4000, 1), 6.0), torch.full((4000, 1), -12.0))
    found = gaussian.over_environments(sharp, belief, torch.ones(24, 1))
    assert found.log_variance.isfinite().all()
    torch.testing.assert_close(found.log_variance, sharp.log_variance, atol=1e-3, rtol=0)


def orders(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)).argsort(0)


def test_total_correlation_is_that_of_the_batch_s_mixture() -> None:
    """Against densities of torch.distributions, image by image and latent by latent."""
    p = posterior(4)
    z = gaussian.sample(p, posterior(5).mean)
    order = orders(5, 4)
    expected = []
    for i in range(5):
        together = shuffled = 0.0
        for j in range(5):
            own = other = 1.0
            for n in range(4):
                a, b = order[i, n], order[j, n]
                own *= normal(p).log_prob(z[i]).exp()[j, n].item()
                other *= normal(p).log_prob(z[a]).exp()[b, n].item()
            together, shuffled = together + own, shuffled + other
        expected.append(math.log(together / shuffled))
    found = total_correlation(p, z, order)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def places(independent: bool, seed: int, count: int, deviation: float) -> Posterior:
    """Sharp posteriors of two latents at four places each, and of one at the prior."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(4, (count, 2), generator=generator)
    if not independent:
        chosen[:, 1] = chosen[:, 0]
    mean = torch.cat([2.0 * chosen - 3, torch.zeros(count, 1)], 1)
    spread = torch.tensor([deviation, deviation, 1.0]).expand_as(mean)
    return Posterior(mean, 2 * spread.log())


@pytest.mark.parametrize("count", [16, 64])
@pytest.mark.parametrize(("independent", "nats"), [(True, 0.0), (False, math.log(4))])
def test_total_correlation_is_nothing_for_independent_latents_in_a_small_batch(
    independent: bool, nats: float, count: int
) -> None:
    """The bias of the plain estimate is nats; latents that say the same share log 4 of them.

    Of these a batch of 16 shows 69 %, one of 64 shows 92 %.
    """
    means = []
    for seed in range(200):
        p = places(independent, seed, count, 0.05)
        noise = torch.randn(p.mean.shape, generator=torch.Generator().manual_seed(1000 + seed))
        found = total_correlation(p, gaussian.sample(p, noise), orders(count, 3, seed))
        means.append(found.mean())
    found = torch.stack(means).mean()
    assert found.item() == pytest.approx(nats * {16: 0.69, 64: 0.92}[count], abs=0.06)


def test_sparsity_is_a_price_of_each_latent_that_falls_with_what_it_carries() -> None:
    """The sum as it is written, of means over images; the price of a nat by autograd."""
    kl = gaussian.kl_to_prior(posterior(4))
    nats = [sum(kl[:, n].tolist()) / 5 for n in range(4)]
    expected = sum(math.log(1 + each) for each in nats)
    assert sparsity(kl).item() == pytest.approx(expected, rel=1e-5)
    kl.requires_grad_()
    (price,) = torch.autograd.grad(sparsity(kl), kl)
    for n, each in enumerate(nats):
        assert price[:, n].tolist() == pytest.approx([1 / (1 + each) / 5] * 5, rel=1e-5)
    together, apart = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert sparsity(together) < sparsity(apart)


def test_a_masked_latent_costs_nothing_and_gets_no_gradient() -> None:
    p = posterior(2)
    p.mean.requires_grad_()
    p.log_variance.requires_grad_()
    mask = torch.tensor([1, 0, 1, 0])
    used = gaussian.masked(p, mask)
    cost = gaussian.kl_to_prior(used)
    assert (cost[:, [1, 3]] == 0).all()
    (cost.sum() + gaussian.sample(used, torch.ones_like(p.mean)).sum()).backward()
    for grad in (p.mean.grad, p.log_variance.grad):
        assert grad is not None
        assert (grad[:, [1, 3]] == 0).all()
        assert (grad[:, [0, 2]] != 0).all()


def images(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) * 3
    other = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) * 3
    return logits, other, torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64)


def test_reconstruction_is_the_negative_log_likelihood_summed_over_pixels() -> None:
    logits, _, _ = images(0)
    binary = torch.bernoulli(torch.full_like(logits, 0.5))
    expected = -Bernoulli(logits=logits).log_prob(binary).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.reconstruction(logits, binary), expected)


def test_reconstruction_is_at_least_the_entropy_of_grey_pixels() -> None:
    logits, _, grey = images(1)
    best = likelihood.reconstruction(torch.logit(grey), grey)
    torch.testing.assert_close(best, Bernoulli(probs=grey).entropy().sum(dim=(1, 2, 3)))
    assert (likelihood.reconstruction(logits, grey) >= best).all()


def test_bernoulli_kl_equals_torch_distributions() -> None:
    p, q, _ = images(2)
    expected = kl_divergence(Bernoulli(logits=p), Bernoulli(logits=q)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.bernoulli_kl(p, q), expected)


# ---- capacity ----------------------------------------------------------------------------------


def test_below_capacity_a_nat_costs_beta_and_above_it_the_squared_excess_too() -> None:
    rule = ObjectiveSettings(gamma=10, beta=1)
    assert capacity_penalty(torch.tensor(3.0), 5.0, rule).item() == pytest.approx(3)
    assert capacity_penalty(torch.tensor(6.0), 5.0, rule).item() == pytest.approx(6 + 10)


def test_two_sided_is_the_published_penalty() -> None:
    rule = ObjectiveSettings(gamma=10, beta=1, two_sided=True)
    assert capacity_penalty(torch.tensor(3.0), 5.0, rule).item() == pytest.approx(40)


def test_capacity_grows_from_just_within_the_slack() -> None:
    settings = ObjectiveSettings(c_slack=1.0, c_increment=0.5, ema_steps=1.0, c_max=20.0)
    known = Capacity(nats=10.0, used=0.0)
    assert grow(known, 9.0, settings) == Capacity(10.5, 9.0)
    assert grow(known, 8.99, settings) == Capacity(10.0, 8.99)
    steady = settings.model_copy(update={"c_growth": "steady"})
    assert grow(known, 0.0, steady) == Capacity(10.5, 0.0)
    assert grow(Capacity(19.9), 0.0, steady) == Capacity(20.0, 0.0)


def test_a_sample_is_the_mean_and_noise_times_the_deviation() -> None:
    posterior = Posterior(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 4.0]]).log1p())
    noise = torch.tensor([[0.5, -1.0]])
    expected = torch.tensor([[1.5, -2.0 - 5**0.5]])
    torch.testing.assert_close(gaussian.sample(posterior, noise), expected)


def test_proximity_is_a_number_for_each_image() -> None:
    """Of two latents one and two prior deviations off: (1 + 4) / 2 nats, or 1 + 4 squared units."""
    zero = torch.zeros(3, 2)
    snapshot, present = Posterior(zero, zero), Posterior(zero + torch.tensor([1.0, 2.0]), zero)
    torch.testing.assert_close(encoder_proximity(snapshot, present, "kl"), torch.full((3,), 2.5))
    far = encoder_proximity(snapshot, present, "wasserstein")
    torch.testing.assert_close(far, torch.full((3,), 5.0))


def test_capacity_grows_while_it_is_used_and_stops_when_it_is_not() -> None:
    rule = ObjectiveSettings(c_increment=0.1, c_slack=1.0, ema_steps=10, c_max=100)
    state = Capacity()
    for _ in range(2000):
        state = grow(state, min(state.nats, 8.0), rule)
    assert 8 <= state.nats <= 9.2
    for _ in range(2000):
        state = grow(state, state.nats, ObjectiveSettings(c_increment=0.1, c_max=12))
    assert state.nats == 12


# ---- moments -----------------------------------------------------------------------------------


def of(samples: np.ndarray) -> Moments:
    return Moments(samples.mean(0), samples.var(0), len(samples))


def test_pooled_moments_are_those_of_all_samples_together() -> None:
    generator = np.random.default_rng(0)
    parts = [generator.normal(k, 1 + k, size=(20 + 10 * k, 3)) for k in range(4)]
    together = of(np.concatenate(parts))
    pooled = pool([of(part) for part in parts])
    np.testing.assert_allclose(pooled.mean, together.mean)
    np.testing.assert_allclose(pooled.variance, together.variance)
    assert pooled.count == together.count


def test_remembered_moments_follow_a_drift_within_their_span() -> None:
    known = Moments(np.zeros(1), np.ones(1), 1)
    for _ in range(200):
        known = update_moments(known, Moments(np.full(1, 3.0), np.full(1, 2.0), 10), span=100)
    assert known.mean[0] == pytest.approx(3, abs=1e-3)
    assert known.variance[0] == pytest.approx(2, abs=1e-3)


# ---- atypicality -------------------------------------------------------------------------------


def test_a_latent_at_the_prior_is_typical_and_never_masked() -> None:
    assert atypicality(Moments(np.zeros(2), np.ones(2), 64)) == pytest.approx([0, 0])
    assert typical(np.array([0.0, 0.49, 0.5, 2.0]), 0.5).tolist() == [True, True, False, False]


def test_atypicality_against_numbers_worked_out_by_hand() -> None:
    """(m^2 + v - 1 - log v) / 2 at (3, 1), (0, 1), (-1, e) and (0, 0): the last at the least v."""
    moments = Moments(np.array([3.0, 0, -1, 0]), np.array([1.0, 1, np.e, 0]), 8.0)
    expected = [4.5, 0, (np.e - 1) / 2, (1e-6 - 1 - np.log(1e-6)) / 2]
    np.testing.assert_allclose(atypicality(moments), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("mean", "variance", "far"),
    [(0.0, 1e-3, False), (0.5, 0.05, False), (0.95, 0.05, False), (0.999, 0.02, True),
     (1.2, 0.05, True), (-1.2, 0.05, True), (0.0, 4.0, True), (-0.6, 0.05, False)],
)  # fmt: skip
def test_overdispersed_is_what_lies_farther_out_than_the_prior(
    mean: float, variance: float, far: bool
) -> None:
    """m^2 + v > 1, of a latent that carries all of the code; each of these is atypical."""
    marginal = Moments(np.array([mean, 0, 0]), np.array([variance, 1, 1]), 64.0)
    assert not typical(atypicality(marginal), 0.5)[0]
    assert out_of_distribution(marginal, np.array([4.0]), 0.5) == far


def test_as_far_out_as_the_prior_is_not_overdispersed() -> None:
    marginal = Moments(np.array([0.75, 0, 0]), np.array([0.4375, 1, 1]), 64.0)  # 9/16 + 7/16 = 1
    assert not typical(atypicality(marginal), 0.3)[0]
    assert not out_of_distribution(marginal, np.array([4.0]), 0.3)


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], False),  # as ever
        ([0.0, 0.1, 0.3], [0.02, 0.02, 0.05], False),  # everything is at rest
        ([0.0, 0.0, 3.0], [0.02, 1.0, 1.0], False),  # what is far out carried next to nothing
        ([0.4, 0.0, 0.0], [1.20, 1.0, 1.0], False),  # farther out than the prior, but typical
        ([2.5, 0.0, 0.0], [0.20, 0.1, 0.1], True),  # half of the code is far out
        ([2.5, 0.0, 0.0], [0.20, 1.0, 1.0], True),  # also if the rest is typical
    ],
)
def test_images_are_out_of_distribution_where_much_of_the_code_is_far_out(
    mean: list[float], variance: list[float], expected: bool
) -> None:
    carried = np.array([3.0, 3.0, 0.2])
    assert (
        out_of_distribution(Moments(np.array(mean), np.array(variance), 64), carried, 0.5)
        is expected
    )


def test_images_cannot_be_out_of_distribution_to_a_code_that_carries_nothing() -> None:
    assert not out_of_distribution(Moments(np.full(2, 9.0), np.ones(2), 64), np.zeros(2), 0.5)


def test_atypicality_is_a_lower_bound_of_the_mixture_s_divergence() -> None:
    """Against numerical integration of KL( mixture || N(0, 1) ) of a bimodal marginal."""
    means, deviation = np.array([-2.0, 2.0]), 0.3
    grid = np.linspace(-8, 8, 20_001)
    density = np.mean(
        [
            np.exp(-(((grid - m) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
            for m in means
        ],
        axis=0,
    )
    prior = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    integrand = np.where(density > 1e-300, density * np.log(density / prior + 1e-300), 0)
    exact = np.trapezoid(integrand, grid)
    marginal = Moments(np.array([means.mean()]), np.array([means.var() + deviation**2]), 2)
    bound = atypicality(marginal)[0]
    assert 0 < bound < exact


# ---- pairs of frames -----------------------------------------------------------------------------


def test_a_pair_shares_what_has_changed_less_than_half_way_between_least_and_most() -> None:
    """By hand: KL of unit Gaussians is half the squared distance, 0, 0.125, 0.5 and 2."""
    mean = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.5, 1.0, 2.0]])
    found = pairs.shared(Posterior(mean, torch.zeros(2, 4)))
    expected = torch.tensor([[1.0, 0.25, 0.5, 0.0], [1.0, 0.25, 0.5, 2.0]])
    torch.testing.assert_close(found.mean, expected)
    torch.testing.assert_close(found.log_variance, torch.zeros(2, 4))


def test_the_variance_that_a_pair_shares_is_the_mean_of_both() -> None:
    log_variance = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    mean = torch.tensor([[0.0, -50.0], [0.0, 50.0]])
    found = pairs.shared(Posterior(mean, log_variance))
    variance = (math.exp(2.0) + math.exp(-1.0)) / 2
    torch.testing.assert_close(found.log_variance[:, 0].exp(), torch.full((2,), variance))
    torch.testing.assert_close(found.mean[:, 1], mean[:, 1])


def test_pairs_do_not_see_one_another_and_equal_frames_stay_as_they_are() -> None:
    one, other = posterior(0, (6, 4)), posterior(1, (4, 4))
    both = Posterior(
        torch.cat([one.mean, other.mean]), torch.cat([one.log_variance, other.log_variance])
    )
    found = pairs.shared(both)
    for part, rows in ((one, slice(0, 6)), (other, slice(6, 10))):
        alone = pairs.shared(part)
        torch.testing.assert_close(found.mean[rows], alone.mean)
        torch.testing.assert_close(found.log_variance[rows], alone.log_variance)
    twice = Posterior(one.mean.repeat_interleave(2, 0), one.log_variance.repeat_interleave(2, 0))
    torch.testing.assert_close(pairs.shared(twice).mean, twice.mean)


def test_what_a_pair_shares_sends_its_gradient_to_both() -> None:
    mean = torch.tensor([[0.0, 0.0], [0.1, 3.0]], requires_grad=True)
    pairs.shared(Posterior(mean, torch.zeros(2, 2))).mean[0].sum().backward()
    torch.testing.assert_close(mean.grad, torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
