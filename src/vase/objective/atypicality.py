"""Atypicality: how far a latent's marginal over a batch lies from the prior.

alpha_n = KL( E_x[ q(z_n | x) ] || N(0, 1) ). The marginal is a mixture of B Gaussians; its
moment-matched Gaussian gives a closed form which is a lower bound, because among all densities
with given mean and variance the Gaussian has the largest entropy. A latent that is not used stays
at the prior and has alpha = 0: spare capacity is never masked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vase.objective.moments import Moments

Array = NDArray[np.float64]

MAX_OVERDISPERSED_SHARE = 0.2  # of a code's nats: measured 0 on digits after clothes, 0.4 in a room


def atypicality(marginal: Moments) -> Array:
    """alpha = (m^2 + v - 1 - log v) / 2 of the moment-matched marginal, in nats, per channel."""
    mean, variance = marginal.mean, marginal.variance
    alpha: Array = (mean**2 + variance - 1 - np.log(variance)) / 2
    return alpha


def typical(alpha: Array, threshold: float) -> NDArray[np.bool_]:
    """The mask a_n = [alpha_n < lambda]: which latents make sense here."""
    return np.asarray(alpha) < threshold


def out_of_distribution(marginal: Moments, kl: Array, threshold: float) -> bool:
    """Whether images are so far from what the encoder knows that no latent can be judged by them.

    kl: [N], nats that each latent carried before. An atypical marginal is either narrow, because
    its factor is at rest here, or overdispersed: farther out than the prior, m^2 + v > 1, because
    the encoder does not know what it sees. Out of distribution: sum_overdispersed kl > 0.2 sum kl.
    """
    size = len(kl)
    atypical = ~typical(atypicality(marginal)[:size], threshold)
    overdispersed = atypical & ((marginal.mean**2 + marginal.variance)[:size] > 1)
    return bool(kl[overdispersed].sum() > MAX_OVERDISPERSED_SHARE * kl.sum())
