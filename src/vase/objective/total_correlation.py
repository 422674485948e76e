"""Total correlation: how far the latents of all images together are from being independent.

    TC = KL( q(z) || prod_n q(z_n) ),   q(z) = E_x[ q(z|x) ],

is the part of the KL that pays for latents that share what they say (Chen et al. 2018,
arXiv 1802.04942; Kim and Mnih 2018, arXiv 1802.05983). Charged on top of it, it parts factors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vase.records import Posterior


def total_correlation(posterior: Posterior, z: Tensor, order: Tensor) -> Tensor:
    """Estimate log q(z_i) - log prod_n q(z_in) of each image from its batch, in nats, [B].

    z: samples of the posterior, [B, N]. order: [B, N], a random order of the rows for each latent.
    q(z) is taken to be the mixture of the batch, 1/B sum_j q(z|x_j). That alone would be far too
    large in a small batch, since each z lies under its own posterior (minibatch-weighted sampling
    has the same bias). So the same is taken of latents put in `order`, each by itself, which are
    independent:

        log q(z_i) - log q~(z~_i)

    Its mean is 0 for independent latents, in a batch of any size; for others it is too small in a
    small one. A latent that is at the prior for all images adds nothing.
    """
    shuffled = Posterior(posterior.mean.gather(0, order), posterior.log_variance.gather(0, order))
    return _density(posterior, z) - _density(shuffled, z.gather(0, order))


def _density(posterior: Posterior, z: Tensor) -> Tensor:
    """log 1/B sum_j q(z_i|x_j), in nats, [B]."""
    mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
    apart = (z.float()[:, None] - mean).square() * (-log_variance).exp()  # [B, B, N]
    each = -0.5 * (apart + log_variance + math.log(2 * math.pi))
    return torch.logsumexp(each.sum(2), dim=1) - math.log(len(z))
