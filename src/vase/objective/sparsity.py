"""Sparsity: a price of each latent in use, so that no two latents share a factor that one can hold.

    S = sum_n log( 1 + KL_n ),   KL_n = E_x[ KL( q(z_n|x) || N(0, 1) ) ] in nats.

The next nat costs 1 / (1 + KL_n), five times as much in a latent that carries nothing as in one of
four nats (the log-sum penalty of Candes, Wakin and Boyd 2008, "Enhancing sparsity by reweighted l1
minimization"). So nats move to the latents that carry many, and one that carries few gives up. By
the same price latents wake later: it belongs behind `objective.terms_after`.
"""

from __future__ import annotations

from torch import Tensor


def sparsity(kl: Tensor) -> Tensor:
    """S of the KL [B, N] of each image and latent, in nats, []; the mean is that of the batch."""
    return kl.mean(0).log1p().sum()
