"""The loss, written once more image by image and latent by latent, against the package's."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vase.errors import ConfigError
from vase.lifelong.loss import (
    Batch,
    ForwardPass,
    StepContext,
    forward_pass,
    loss_term,
    loss_terms,
    mean_terms,
    total_loss,
)
from vase.lifelong.replay import LabelledBatch, ReplayBatch
from vase.nets import Architecture, Networks
from vase.objective.gaussian import kl_to_prior, masked
from vase.objective.pairs import shared
from vase.objective.sparsity import sparsity
from vase.objective.total_correlation import total_correlation
from vase.records import Posterior
from vase.settings import LearnerSettings

SHAPE = Architecture(channels=7, height=1, width=1, latents=3, hidden=5, environments=4)
MASK = torch.tensor([True, False, True])
HERE, KNOWN, CAPACITY, PAST_CAPACITY = 2, 3, 0.5, 0.2
PRESENT, REPLAYED = 3, 4


def spread_of_logits(forward: ForwardPass) -> Tensor:
    """A term of one's own, [B]."""
    return forward.logits.flatten(1).std(1)


def drift(forward: ForwardPass) -> Tensor:
    """A term of replayed images, [R]."""
    return forward.replay_posterior.mean.square().mean(1)


def whole_batch(forward: ForwardPass) -> Tensor:
    return forward.posterior.mean.abs().sum()


def of_latents(forward: ForwardPass) -> Tensor:
    return forward.posterior.mean.abs()


def a_number(_: ForwardPass) -> float:
    return 1.0


NOT_A_TERM = 3


def given(kind: str) -> tuple[Networks, Batch]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    networks = Networks(SHAPE)
    with torch.no_grad():
        for each in networks.parameters():
            each.copy_(draw(*each.shape) / each.shape[-1] ** 0.5)
    replay: Any = None
    where = torch.tensor([0, 1, 1, 0])
    if kind == "generated":
        posterior = Posterior(draw(REPLAYED, 3), draw(REPLAYED, 3))
        logits = draw(REPLAYED, 7, 1, 1)
        replay = ReplayBatch(logits.sigmoid(), draw(REPLAYED, 3), where, posterior, logits)
    elif kind == "data":
        masks = torch.tensor([[True, True, False], [False, True, True]])[where]
        replay = LabelledBatch(draw(REPLAYED, 7, 1, 1).sigmoid(), where, masks, draw(REPLAYED, 3))
    return networks, Batch(draw(PRESENT, 7, 1, 1).sigmoid(), draw(PRESENT, 3), replay)


def settings(past: str, **objective: Any) -> LearnerSettings:
    method = "replay" if past == "data" else "proximity"
    replay = {"encoder_weight": 0.7, "decoder_weight": 1.3, "ratio": 0.75}
    return LearnerSettings.model_validate({
        "objective": {"classifier_weight": 0.4, **objective},
        "replay": {**replay, "method": method, "distance": "wasserstein"},
    })  # fmt: skip


def bernoulli(logit: float, x: float) -> float:
    """-log p(x) of a pixel, in nats."""
    p = 1 / (1 + math.exp(-logit))
    return -x * math.log(p) - (1 - x) * math.log(1 - p)


class Image:
    """One image through the networks, in an environment with a mask."""

    def __init__(self, networks: Networks, x: Tensor, where: int, mask: Tensor) -> None:
        both = networks.encoder(x[None])
        self.mean, self.log_variance = both.mean[0].tolist(), both.log_variance[0].tolist()
        self.networks, self.x, self.where, self.mask = networks, x.flatten().tolist(), where, mask
        scores = networks.classifier(both, SHAPE.environments)[0, :KNOWN].exp()
        self.classifier = -math.log(scores[where] / scores.sum())

    def sampled(self, noise: Tensor) -> Tensor:
        pairs = zip(self.mean, self.log_variance, noise.tolist(), self.mask.tolist(), strict=True)
        return torch.tensor([(m + math.exp(v / 2) * e) * on for m, v, e, on in pairs])

    def logits(self, z: Tensor) -> list[float]:
        decoded = self.networks.decoder(z[None], torch.tensor([self.where]))
        return list(decoded.flatten().tolist())

    def distortion(self, z: Tensor) -> float:
        return sum(bernoulli(o, x) for o, x in zip(self.logits(z), self.x, strict=True))

    def kl(self) -> list[float]:
        triples = zip(self.mean, self.log_variance, self.mask.tolist(), strict=True)
        return [(m**2 + math.exp(v) - 1 - v) / 2 * on for m, v, on in triples]


def average(values: list[float]) -> float:
    return sum(values) / len(values)


@torch.no_grad()
def naive_terms(networks: Networks, batch: Batch) -> dict[str, list[float]]:
    """Every term, image by image."""
    present = [Image(networks, x, HERE, MASK) for x in batch.images]
    z = [image.sampled(e) for image, e in zip(present, batch.noise, strict=True)]
    found = {
        "reconstruction": [i.distortion(each) for i, each in zip(present, z, strict=True)],
        "kl": [sum(image.kl()) for image in present],
    }
    again: list[Image] = []
    replay = batch.replay
    if isinstance(replay, ReplayBatch):
        found |= {"encoder_proximity": [], "decoder_proximity": []}
        for k in range(REPLAYED):
            image = Image(networks, replay.images[k], int(replay.environment[k]), MASK)
            old, old_variance = replay.posterior.mean[k], replay.posterior.log_variance[k]
            apart = [
                (m - o) ** 2 + (math.exp(v / 2) - math.exp(w / 2)) ** 2
                for m, v, o, w in zip(
                    image.mean, image.log_variance, old.tolist(), old_variance.tolist(), strict=True
                )
            ]
            pairs = zip(replay.logits[k].flatten().tolist(), image.logits(replay.z[k]), strict=True)
            divergence = 0.0
            for before, now in pairs:
                p = 1 / (1 + math.exp(-before))
                divergence += bernoulli(now, p) - bernoulli(before, p)
            found["encoder_proximity"].append(sum(apart))
            found["decoder_proximity"].append(divergence)
            again.append(image)
    elif isinstance(replay, LabelledBatch):
        again = [
            Image(networks, replay.images[k], int(replay.environment[k]), replay.mask[k])
            for k in range(REPLAYED)
        ]
        z = [image.sampled(e) for image, e in zip(again, replay.noise, strict=True)]
        found["replay_kl"] = [sum(image.kl()) for image in again]
        distortions = [i.distortion(each) for i, each in zip(again, z, strict=True)]
        found["replay_reconstruction"] = distortions
    return {**found, "classifier": [image.classifier for image in [*present, *again]]}


def naive_length(distortion: float, rate: float, capacity: float, kind: str) -> float:
    if kind == "vae":
        return distortion + rate
    if kind == "two-sided":
        return distortion + 10 * (rate - capacity) ** 2
    return distortion + 0.3 * rate + 10 * max(0.0, rate - capacity) ** 2


OBJECTIVES = {"capacity": {}, "vae": {"kind": "vae"}, "two-sided": {"two_sided": True}}


@pytest.mark.parametrize("kind", ["none", "generated", "data"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_the_sum_over_images_and_latents_that_is_documented(
    kind: str, objective: str
) -> None:
    networks, batch = given(kind)
    own = f"{__name__}:spread_of_logits"
    chosen = settings(kind, terms={own: -1.7}, **OBJECTIVES[objective])
    context = StepContext(HERE, MASK, KNOWN, CAPACITY, None, PAST_CAPACITY)
    forward = forward_pass(networks, batch, context)
    terms = loss_terms(forward, chosen)
    expected = naive_terms(networks, batch)
    expected[own] = [float(each.std()) for each in forward.logits.detach()]
    assert terms["kl"].shape == (PRESENT, 3)
    rates = {**terms, "kl": terms["kl"].sum(1)}
    assert set(rates) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(
            rates[name],
            torch.tensor(values),
            rtol=1e-4,
            atol=1e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    means = mean_terms(terms)
    assert list(means)[:3] == ["reconstruction", "kl", "classifier"]  # as logs show them
    mean = {name: average(values) for name, values in expected.items()}
    for name, value in mean.items():
        assert means[name].item() == pytest.approx(value, rel=1e-4)
    total = naive_length(mean["reconstruction"], mean["kl"], CAPACITY, objective)
    total += 0.4 * mean["classifier"] - 1.7 * mean[own]
    if kind == "generated":
        total += 0.7 * mean["encoder_proximity"] + 1.3 * mean["decoder_proximity"]
    if kind == "data":
        distortion, rate = mean["replay_reconstruction"], mean["replay_kl"]
        total += 0.75 * naive_length(distortion, rate, PAST_CAPACITY, objective)
    assert total_loss(means, context, chosen).item() == pytest.approx(total, rel=1e-4)


def test_a_term_of_ones_own_sees_what_the_networks_make_of_present_and_replayed_images() -> None:
    networks, batch = given("data")
    replay: Any = batch.replay
    forward = forward_pass(networks, batch, StepContext(HERE, MASK, KNOWN, CAPACITY))
    assert forward.batch is batch
    assert forward.context.environment == HERE
    alone, again = networks.encoder(batch.images), networks.encoder(replay.images)
    for found, expected in ((forward.posterior, alone), (forward.replay_posterior, again)):
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.log_variance, expected.log_variance)
    for part in (forward.used.mean, forward.used.log_variance, forward.z):
        assert not part[:, ~MASK].any()  # the prior, and no latent
        assert part[:, MASK].all()
    deviation = (forward.used.log_variance / 2).exp()
    torch.testing.assert_close(forward.z, (forward.used.mean + deviation * batch.noise) * MASK)
    painted = networks.decoder(forward.z, torch.full((PRESENT,), HERE))
    torch.testing.assert_close(forward.logits, painted)
    assert forward.replay_logits.shape == replay.images.shape
    assert forward.log_environment.shape == (PRESENT + REPLAYED,)


def test_pairs_are_decoded_from_what_they_share() -> None:
    """The KL is that of what is shared, and a masked latent stays at the prior."""
    networks, _ = given("none")
    images = torch.rand(4, 7, 1, 1, generator=torch.Generator().manual_seed(1))
    batch = Batch(images, torch.zeros(4, 3))
    context = StepContext(HERE, MASK, KNOWN, CAPACITY, paired=True)
    forward = forward_pass(networks, batch, context)
    expected = shared(masked(networks.encoder(images), MASK))
    torch.testing.assert_close(forward.used.mean, expected.mean)
    torch.testing.assert_close(forward.z, expected.mean)
    assert not forward.z[:, 1].any()
    torch.testing.assert_close(forward.posterior.mean, networks.encoder(images).mean)
    kl = loss_terms(forward, LearnerSettings())["kl"]
    torch.testing.assert_close(kl, kl_to_prior(expected))
    same = (expected.mean[0::2] == expected.mean[1::2]).sum(1)
    assert ((same >= 1) & (same < 3)).all()  # the masked one at least, and never all


def test_masked_latents_may_be_noise_for_the_decoder_and_cost_nothing_all_the_same() -> None:
    networks, batch = given("data")
    replay: Any = batch.replay
    context = StepContext(HERE, MASK, KNOWN, CAPACITY, fill="prior")
    forward, plain = (
        forward_pass(networks, batch, each) for each in (context, replace(context, fill="zero"))
    )
    for images, mask, noise, where, logits in (
        (batch.images, MASK, batch.noise, torch.full((PRESENT,), HERE), forward.logits),
        (
            replay.images,
            replay.mask.bool(),
            replay.noise,
            replay.environment,
            forward.replay_logits,
        ),
    ):
        seen = networks.encoder(images)
        z = torch.where(mask, seen.mean + (seen.log_variance / 2).exp() * noise, noise)
        torch.testing.assert_close(networks.decoder(z, where), logits)
    torch.testing.assert_close(
        loss_terms(forward, settings("data"))["kl"], loss_terms(plain, settings("data"))["kl"]
    )


def test_a_term_is_found_by_its_name_or_refused_in_a_sentence() -> None:
    assert loss_term(f"{__name__}:spread_of_logits") is spread_of_logits
    with pytest.raises(ConfigError, match="is not a loss term: it cannot be called"):
        loss_term(f"{__name__}:NOT_A_TERM")
    with pytest.raises(ConfigError, match="no loss term called 'spread'"):
        loss_term("spread")


def test_a_term_has_one_number_per_image_or_is_refused() -> None:
    """A scalar would be charged as if it were a mean, and [B, N] divided by N."""
    networks, batch = given("generated")
    forward = forward_pass(networks, batch, StepContext(HERE, MASK, KNOWN, CAPACITY))
    for name, words in (
        ("whole_batch", r"'.*:whole_batch' returns a tensor of shape \[\]\. .* \[3\] .* \[4\] of"),
        ("of_latents", r"shape \[3, 3\]"),
        ("a_number", "returns float"),
    ):
        with pytest.raises(ConfigError, match=words):
            loss_terms(forward, settings("generated", terms={f"{__name__}:{name}": 1.0}))


def test_a_term_of_replayed_images_counts_nothing_while_there_are_none() -> None:
    own = {f"{__name__}:drift": 2.0}
    for past, count in (("none", 0), ("generated", REPLAYED)):
        networks, batch = given(past)
        forward = forward_pass(networks, batch, StepContext(HERE, MASK, KNOWN, CAPACITY))
        terms = loss_terms(forward, settings(past, terms=own))
        (name,) = own
        assert terms[name].shape == (count,)
        expected = forward.replay_posterior.mean.square().sum() / max(1, 3 * count)
        torch.testing.assert_close(3 * mean_terms(terms)[name], 3 * expected)


def test_the_total_correlation_is_charged_by_its_name_on_what_is_decoded() -> None:
    networks, batch = given("")
    context = StepContext(HERE, MASK, KNOWN, CAPACITY)
    forward = forward_pass(networks, batch, context)
    charged, plain = settings("", terms={"total_correlation": 5.0}), settings("")
    terms = loss_terms(forward, charged)
    order = batch.noise[:, [2, 0, 1]].argsort(0)
    expected = total_correlation(forward.used, forward.z, order)
    torch.testing.assert_close(terms["total_correlation"], expected)
    means = mean_terms(terms)
    more = total_loss(means, context, charged) - total_loss(means, context, plain)
    torch.testing.assert_close(more, 5 * expected.mean())
    expected.mean().backward()
    assert all(each.grad.isfinite().all() for each in networks.encoder.parameters())


def test_sparsity_is_charged_by_its_name_on_what_latents_carry_where_they_are_not_masked() -> None:
    networks, batch = given("generated")
    forward = forward_pass(networks, batch, StepContext(HERE, MASK, KNOWN, CAPACITY))
    terms = loss_terms(forward, settings("generated", terms={"latent_sparsity": 1.0}))
    expected = sparsity(kl_to_prior(networks.encoder(batch.images))[:, MASK])
    torch.testing.assert_close(terms["latent_sparsity"], expected.expand(PRESENT))


def test_terms_that_do_not_count_yet_are_shown_and_cost_nothing() -> None:
    networks, batch = given("")
    context = StepContext(HERE, MASK, KNOWN, CAPACITY, extended=False)
    charged, plain = settings("", terms={"latent_sparsity": 5.0}), settings("")
    means = mean_terms(loss_terms(forward_pass(networks, batch, context), charged))
    assert means["latent_sparsity"] > 0
    assert total_loss(means, context, charged) == total_loss(means, context, plain)
    counted = total_loss(means, replace(context, extended=True), charged)
    assert counted > total_loss(means, context, charged)
