"""Belief in context: what an image is taken for depends on the images around it.

The head names an environment for one image, as if all were equally likely before it was seen. The
images around it say which are likely, and Bayes' rule puts the two together (Saerens, Latinne,
Decaestecker 2002, Adjusting the outputs of a classifier to new a priori probabilities).
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 100  # of expectation and maximisation, which by then have settled


def shares(beliefs: Tensor) -> Tensor:
    """How likely each environment is where these images are, [E], of their beliefs [B, E].

        pi_s = (1 + sum_i q(s|x_i) pi_s / sum_t q(t|x_i) pi_t) / (E + B)

    One image of every environment is counted on top, so that nothing becomes impossible, and
    without any image all are equally likely.
    """
    count, known = beliefs.shape
    pi = beliefs.new_full((known,), 1 / known)
    for _ in range(ROUNDS):
        pi = (1 + in_context(beliefs, pi).sum(0)) / (known + count)
    return pi


def in_context(beliefs: Tensor, pi: Tensor) -> Tensor:
    """q(s|x) pi_s / sum_t q(t|x) pi_t of beliefs [B, E] and shares [E]."""
    weighed = beliefs * pi
    return weighed / weighed.sum(1, keepdim=True).clamp(min=torch.finfo(weighed.dtype).tiny)
