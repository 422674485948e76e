"""The record with which an environment begins: what is known of it from its first images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vase.lifelong.memory import Environment, Memory
from vase.lifelong.settings import Settings
from vase.lifelong.witness import Witness
from vase.objective import signature
from vase.objective.atypicality import atypicality, foreign, typical
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments


def first(witness: Witness, images: Tensor, features: Tensor, settings: Settings) -> Environment:
    """The first environment of a stream, from images [B, C, H, W] and their features [B, F]."""
    everything = np.ones(witness.average.shape.latents, dtype=bool)
    capacity = Capacity(settings.capacity.start)
    blank = Environment(0, everything, Moments(np.zeros(1), np.ones(1), 1.0), capacity)
    seen, kl = witness.moments(images, blank), witness.kl(images, everything)
    return replace(blank, moments=seen, signature=signature.of(features), kl=kl)


def further(
    witness: Witness,
    memory: Memory,
    index: int,
    images: Tensor,
    features: Tensor,
    settings: Settings,
) -> Environment:
    """A new environment, from pooled images [B, C, H, W] and their features [B, F].

    Its mask is from what is typical of the images, its capacity from what they use.
    """
    before = witness.moments(images, memory.here)
    strange = foreign(before, memory.carried(index), settings.atypical)
    judged = settings.masks and not strange
    latents = witness.average.shape.latents
    mask = typical_latents(before, latents, settings) if judged else np.ones(latents, bool)
    draft = Environment(index, mask, before, Capacity())
    seen = witness.moments(images, draft)
    start = min(float(seen.mean[-1]), settings.capacity.limit)
    return replace(
        draft,
        moments=seen,
        capacity=Capacity(start, start),
        signature=signature.of(features),
        kl=witness.kl(images, mask),
        foreign=strange,
    )


def typical_latents(seen: Moments, latents: int, settings: Settings) -> NDArray[np.bool_]:
    """[N], the latents that are typical where the moments were seen."""
    return typical(atypicality(seen)[:latents], settings.atypical)
