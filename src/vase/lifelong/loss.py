"""The loss: a pure function of (networks, batch, context) to named terms, weighted in one place.

    L = L_MDL + L_past + w_s CE + sum_k w_k term_k

    L_MDL  = -log p(x|z,s) + penalty( KL( q(z|x) || N(0, 1) ) )               present images
    L_past = w_e D( q', q ) + w_d KL( p' || p )                               replayed images
    CE     = -log q(s|x)                                                      both

    penalty(K) = beta K + gamma max(0, K - C)^2                 `objective.capacity`

Primes are of the frozen snapshot: L_past distils it on replayed images. w_s is
`objective.classifier_weight`, w_e and w_d are `replay.encoder_weight` and `replay.decoder_weight`,
w_k are the weights in `objective.terms`, 0 until an environment has learnt `objective.terms_after`
batches. Every term is in nats per image (the Wasserstein distance is in squared latent units) and
stays unreduced until `mean_terms`. A term of your own is a function from a `ForwardPass` to a
tensor [B], or [R] of replayed images, named in `objective.terms`: see docs/extend/loss.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vase import registry
from vase.errors import ConfigError
from vase.lifelong.replay import LabelledBatch, PastEnvironments, ReplayBatch
from vase.nets import Networks
from vase.objective import gaussian, pairs
from vase.objective.capacity import capacity_penalty
from vase.objective.likelihood import reconstruction
from vase.objective.proximity import decoder_proximity, encoder_proximity
from vase.objective.sparsity import sparsity
from vase.objective.total_correlation import total_correlation
from vase.records import Posterior
from vase.settings import Fill, LearnerSettings


@dataclass(frozen=True, eq=False)
class Batch:
    """What is learnt in one step: present images [B, C, H, W], noise [B, N], replayed images."""

    images: Tensor
    noise: Tensor
    replay: ReplayBatch | LabelledBatch | None = None


@dataclass(frozen=True, eq=False)
class StepContext:
    """Where the present images are seen.

    environment: the id. mask: [N], bool, True where a latent is in use. known: how many
    environments the classifier tells apart. capacity: C in nats. past, past_capacity: what is
    replayed, and its mean capacity in nats. fill: what the decoder gets of a masked latent. paired:
    present images are pairs of frames, in rows 2k and 2k + 1 (`objective/pairs.py`). extended:
    whether the terms in `objective.terms` count yet.
    """

    environment: int
    mask: Tensor
    known: int
    capacity: float | Tensor
    past: PastEnvironments | None = None
    past_capacity: float = 0.0
    fill: Fill = "zero"
    paired: bool = False
    extended: bool = True

    def decoded(self, used: Posterior, noise: Tensor, mask: Tensor) -> Tensor:
        """Latents to decode, [B, N], of posteriors whose masked latents are at the prior.

        z = a (mu + sigma noise), or without the a where masked latents are noise.
        """
        z = gaussian.sample(used, noise)
        return z * mask if self.fill == "zero" else z


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What the networks make of a batch, with gradients.

    posterior: of the present images, unmasked, [B, N]; used: with masked latents at the
    prior, and what pairs share averaged.
    z: [B, N], masked latents 0 or noise. logits: [B, C, H, W]. replay_posterior, replay_logits: the
    same of the replayed images, [R, ...], R = 0 without any. log_environment: log q(s|x) of the
    environment that an image is of, [B + R].
    """

    batch: Batch
    context: StepContext
    posterior: Posterior
    used: Posterior
    z: Tensor
    logits: Tensor
    log_environment: Tensor
    replay_posterior: Posterior
    replay_logits: Tensor


LossTerm = Callable[[ForwardPass], Tensor]


def forward_pass(networks: Networks, batch: Batch, context: StepContext) -> ForwardPass:
    """Pass present and replayed images through the networks, both in one pass."""
    count, mask, replay = len(batch.images), context.mask, batch.replay
    inputs = batch.images if replay is None else torch.cat([batch.images, replay.images])
    both = networks.encoder(inputs)
    posterior = Posterior(both.mean[:count], both.log_variance[:count])
    again = Posterior(both.mean[count:], both.log_variance[count:])

    used = gaussian.masked(posterior, mask)
    used = pairs.shared(used) if context.paired else used
    z = z_present = context.decoded(used, batch.noise, mask)
    environment = torch.full((count,), context.environment, device=inputs.device)
    if replay is not None:
        z = torch.cat([z, _replayed_latents(replay, again, context)])
        environment = torch.cat([environment, replay.environment])
    logits = networks.decoder(z, environment)

    log_probability = networks.classifier(both, context.known)
    return ForwardPass(
        batch=batch,
        context=context,
        posterior=posterior,
        used=used,
        z=z_present,
        logits=logits[:count],
        log_environment=log_probability.gather(1, environment[:, None])[:, 0],
        replay_posterior=again,
        replay_logits=logits[count:],
    )


def _replayed_latents(
    replay: ReplayBatch | LabelledBatch, again: Posterior, context: StepContext
) -> Tensor:
    """The latents an image was generated from or, where it is learnt, those that are seen in it."""
    if isinstance(replay, ReplayBatch):
        return replay.z
    return context.decoded(gaussian.masked(again, replay.mask), replay.noise, replay.mask)


def loss_terms(forward: ForwardPass, settings: LearnerSettings) -> dict[str, Tensor]:
    """Return the terms by name, unreduced: [B], those of replayed images [R], classifier [B + R].

    kl: of each image and latent, [B, N]; its sum over latents is the rate.
    """
    terms = {
        "reconstruction": reconstruction(forward.logits, forward.batch.images),
        "kl": gaussian.kl_to_prior(forward.used),
        **_replay_terms(forward, settings),
        "classifier": -forward.log_environment,
    }
    for name in settings.objective.terms:
        terms[name] = loss_term(name)(forward)
        refuse_misshapen(name, terms[name], len(forward.logits), len(forward.replay_logits))
    return terms


def refuse_misshapen(name: str, values: object, present: int, replayed: int) -> None:
    """Raise a `ConfigError` unless a term of one's own has one number per image."""
    given = f"a tensor of shape {list(values.shape)}" if isinstance(values, Tensor) else None
    if given and tuple(values.shape) in {(present,), (replayed,)}:  # type: ignore[attr-defined]
        return
    raise ConfigError(
        f"The loss term '{name}' returns {given or type(values).__name__}. It has to be a tensor "
        f"with one number per image: [{present}] of the present ones, or [{replayed}] of the "
        "replayed ones."
    )


def _replay_terms(forward: ForwardPass, settings: LearnerSettings) -> dict[str, Tensor]:
    """L_past: proximity to the snapshot or, where the past is learnt as data, L_MDL of it."""
    again, logits = forward.replay_posterior, forward.replay_logits
    match forward.batch.replay:
        case ReplayBatch() as replay:
            distance = settings.replay.distance
            return {
                "encoder_proximity": encoder_proximity(replay.posterior, again, distance),
                "decoder_proximity": decoder_proximity(replay.logits, logits),
            }
        case LabelledBatch() as replay:
            return {
                "replay_kl": gaussian.kl_to_prior(gaussian.masked(again, replay.mask)).sum(1),
                "replay_reconstruction": reconstruction(logits, replay.images),
            }
    return {}


def mean_terms(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of each term over its images, [], in nats per image; of no images 0."""
    leading = ("reconstruction", "kl", "classifier")
    names = [*leading, *(name for name in terms if name not in leading)]
    rates = {**terms, "kl": terms["kl"].sum(1)}
    return {name: rates[name].mean() if len(rates[name]) else rates[name].sum() for name in names}


def total_loss(
    means: Mapping[str, Tensor], context: StepContext, settings: LearnerSettings
) -> Tensor:
    """Weight the mean terms: L = L_MDL + L_past + w_s CE, in nats per image, [].

    The one place where terms are weighted. `replay.ratio` is replayed images per present image, so
    that each replayed image that is learnt as data weighs as much as a present one; its capacity is
    the mean of the past environments'.
    """
    objective, replay = settings.objective, settings.replay
    distortion, rate = means["reconstruction"], means["kl"]
    present = _description_length(distortion, rate, context.capacity, settings)
    loss = present + objective.classifier_weight * means["classifier"]
    if "encoder_proximity" in means:
        loss = loss + replay.encoder_weight * means["encoder_proximity"]
        loss = loss + replay.decoder_weight * means["decoder_proximity"]
    if "replay_reconstruction" in means:
        distortion, rate = means["replay_reconstruction"], means["replay_kl"]
        past = _description_length(distortion, rate, context.past_capacity, settings)
        loss = loss + replay.ratio * past
    if context.extended:
        for name, weight in objective.terms.items():
            loss = loss + weight * means[name]
    return loss


def _description_length(
    distortion: Tensor, rate: Tensor, capacity: float | Tensor, settings: LearnerSettings
) -> Tensor:
    """L_MDL = distortion + capacity_penalty(rate); a plain VAE pays the rate itself."""
    if settings.objective.kind == "vae":
        return distortion + rate
    return distortion + capacity_penalty(rate, capacity, settings.objective)


def latent_correlation(forward: ForwardPass) -> Tensor:
    """The term `total_correlation`, in nats, [B]: of the latents that are decoded.

    The orders are those of the noise of another latent each, so that they depend on the step alone.
    """
    order = forward.batch.noise.roll(1, dims=1).argsort(0)
    return total_correlation(forward.used, forward.z, order)


def latent_sparsity(forward: ForwardPass) -> Tensor:
    """The term `latent_sparsity`, in nats, the same for each image, [B]."""
    return sparsity(gaussian.kl_to_prior(forward.used)).expand(len(forward.logits))


TERMS: Mapping[str, LossTerm] = {
    "total_correlation": latent_correlation,
    "latent_sparsity": latent_sparsity,
}


def loss_term(name: str) -> LossTerm:
    """Return the function that a key of `objective.terms` names."""
    return registry.resolve(name, TERMS, "loss term", registry.lacks_call)
