"""Pairs of frames: what has not changed from one to the other is seen alike in both.

Frames that are near one another in time differ in few factors. Of the latents of a pair, with

    d_n = KL( q(z_n|x_2) || q(z_n|x_1) ),   tau = ( max_n d_n + min_n d_n ) / 2,

those with d_n < tau are taken for factors that both share, and get one posterior, of which both are
reconstructed (the adaptive group VAE of Locatello et al. 2020, arXiv 2002.02886):

    N( (mu_1 + mu_2) / 2, (sigma_1^2 + sigma_2^2) / 2 ).

Which factors have changed, and how many, nobody says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vase.objective import gaussian
from vase.records import Posterior


def shared(posterior: Posterior) -> Posterior:
    """The posteriors [B, N] of pairs in rows 2k and 2k + 1, with what a pair shares averaged."""
    one, other = (
        Posterior(posterior.mean[row::2], posterior.log_variance[row::2]) for row in (0, 1)
    )
    same = unchanged(one, other)
    mean = (one.mean + other.mean) / 2
    log_variance = torch.logaddexp(one.log_variance, other.log_variance) - math.log(2)
    rows = [
        Posterior(
            torch.where(same, mean, each.mean), torch.where(same, log_variance, each.log_variance)
        )
        for each in (one, other)
    ]
    return Posterior(
        torch.stack([each.mean for each in rows], 1).flatten(0, 1),
        torch.stack([each.log_variance for each in rows], 1).flatten(0, 1),
    )


@torch.no_grad()
def unchanged(one: Posterior, other: Posterior) -> Tensor:
    """d_n < tau for each pair and latent, [P, N]."""
    nats = gaussian.kl(other, one)
    threshold = (nats.amax(1, keepdim=True) + nats.amin(1, keepdim=True)) / 2
    return nats < threshold
