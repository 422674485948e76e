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


def total_correlation(posterior: Posterior, z: Tensor) -> Tensor:
    """Estimate log q(z_i) - sum_n log q(z_in) of each image from its batch, in nats, [B].

    z: samples of the posterior, [B, N]. q(z) is taken to be the mixture of the batch,
    1/B sum_j q(z|x_j), as in minibatch-weighted sampling, which differs from this by a constant. A
    latent that is at the prior for all images adds nothing.
    """
    mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
    apart = (z.float()[:, None] - mean).square() * (-log_variance).exp()  # [B, B, N]
    density = -0.5 * (apart + log_variance + math.log(2 * math.pi))
    count = math.log(len(z))
    together = torch.logsumexp(density.sum(2), dim=1) - count
    alone = torch.logsumexp(density, dim=1) - count
    return together - alone.sum(1)
