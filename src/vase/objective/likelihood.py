"""The pixel likelihood: independent Bernoullis, summed over pixels, in nats per image.

Summed, never averaged: gamma and C only mean something when the reconstruction has the same unit
as the KL. Pixels between 0 and 1 are taken as expected values of Bernoulli draws (cross-entropy).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def reconstruction(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(x | z) in nats per image, [B], for logits and images of shape [B, C, H, W]."""
    pixels = functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
    return pixels.flatten(1).sum(1)


def bernoulli_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL( p || q ) between the pixel distributions of two decoders, in nats per image, [B].

    Per pixel KL = p (l_p - l_q) - softplus(l_p) + softplus(l_q), with p = sigmoid(l_p).
    """
    pixels = (
        torch.sigmoid(p_logits) * (p_logits - q_logits)
        - functional.softplus(p_logits)
        + functional.softplus(q_logits)
    )
    return pixels.flatten(1).sum(1)
