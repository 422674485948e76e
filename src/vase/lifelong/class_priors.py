"""Class priors: which environment an image is of depends on the images around it.

The classifier names an environment for one image, as if all were equally probable before it was
seen. The images around it say how probable each is, and Bayes' rule puts the two together (Saerens,
Latinne, Decaestecker 2002, Adjusting the outputs of a classifier to new a priori probabilities).
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 100  # of expectation and maximisation, which have converged by then


def class_priors(probability: Tensor) -> Tensor:
    """Return how probable each environment is among images, [E], of their q(s|x) [B, E].

        pi_s = (1 + sum_i q(s|x_i) pi_s / sum_t q(t|x_i) pi_t) / (E + B)

    One image of every environment is counted on top, so that none becomes impossible, and without
    any image all are equally probable.
    """
    count, known = probability.shape
    pi = probability.new_full((known,), 1 / known)
    for _ in range(ITERATIONS):
        pi = (1 + with_priors(probability, pi).sum(0)) / (known + count)
    return pi


def with_priors(probability: Tensor, pi: Tensor) -> Tensor:
    """Return q(s|x) pi_s / sum_t q(t|x) pi_t, [B, E], of probabilities [B, E] and priors [E]."""
    weighted = probability * pi
    return weighted / weighted.sum(1, keepdim=True).clamp(min=torch.finfo(weighted.dtype).tiny)
