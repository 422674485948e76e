"""Diagonal Gaussians: divergences and sampling.

Written with `mean` and `log_variance` because that is what an encoder gives; every divergence is
per latent and per sample, so that masks and sums segment with the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vase.records import Posterior


def kl_to_prior(posterior: Posterior) -> Tensor:
    """KL( q || N(0, 1) ) = (mu^2 + sigma^2 - 1 - log sigma^2) / 2, in nats, [B, N]."""
    mean, log_variance = posterior.mean, posterior.log_variance
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def kl(p: Posterior, q: Posterior) -> Tensor:
    """KL( p || q ) of two diagonal Gaussians, in nats, [B, N].

    KL = ( log s_q^2 - log s_p^2 + ( s_p^2 + (mu_p - mu_q)^2 ) / s_q^2 - 1 ) / 2.
    """
    log_ratio = q.log_variance - p.log_variance
    spread = p.log_variance.exp() + (p.mean - q.mean).square()
    return (log_ratio + spread * (-q.log_variance).exp() - 1) / 2


def wasserstein(p: Posterior, q: Posterior) -> Tensor:
    """Squared 2-Wasserstein distance W_2^2 = (mu_p - mu_q)^2 + (s_p - s_q)^2, [B, N]."""
    deviation = (p.log_variance / 2).exp() - (q.log_variance / 2).exp()
    return (p.mean - q.mean).square() + deviation.square()


def sample(posterior: Posterior, noise: Tensor) -> Tensor:
    """The reparameterisation z = mu + sigma * noise, with noise ~ N(0, 1) of shape [B, N]."""
    return posterior.mean + (posterior.log_variance / 2).exp() * noise


def masked(posterior: Posterior, mask: Tensor) -> Posterior:
    """The posterior with masked latents (mask 0) replaced by the prior N(0, 1).

    They then cost no KL, and no gradient reaches them: `torch.where` passes none to the branch
    that was not taken.
    """
    keep = mask.bool()
    return Posterior(
        torch.where(keep, posterior.mean, 0.0), torch.where(keep, posterior.log_variance, 0.0)
    )


def over_environments(posterior: Posterior, probability: Tensor, masks: Tensor) -> Posterior:
    """Moments of q(z|x) = sum_s q(s|x) q(z|x, s), where a latent that s masks is at the prior.

        p = sum_s q(s|x) a_s,   mean = p mu,   variance = p sigma^2 + (1 - p) + p (1 - p) mu^2

    which is E_s[variance_s] + Var_s[mean_s], for each latent, [B, N]. probability: q(s|x), [B, E].
    masks: a, [E, N].
    """
    p = 1 - probability @ (1 - masks.to(probability))  # exactly 1 where all use it
    p = p.clamp(0, 1)
    mean, variance = posterior.mean, posterior.log_variance.exp()
    spread = p * variance + (1 - p) + p * (1 - p) * mean.square()
    return Posterior(p * mean, spread.log())
