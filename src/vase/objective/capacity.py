"""Controlled capacity: how many nats an environment may use, and when it needs no more.

The penalty gamma (KL - C)^2 (Burgess et al. 2018) holds the information in the latents at C, which
grows slowly, so that factors arrive one after the other, the most valuable first. Two changes keep
C from rising above what the data needs, where a model spends the surplus on shifted means, which
looks like atypicality: only the excess KL > C is charged, and every nat costs `beta`. With beta = 1
the objective is the evidence lower bound with a ceiling on the KL that rises until it no longer
binds; then C stops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from vase.settings import ObjectiveSettings


@dataclass(frozen=True)
class Capacity:
    """An environment's capacity C (`nats`) and the averaged KL that is `used` of it, in nats."""

    nats: float = 0.0
    used: float = 0.0


def capacity_penalty(
    kl_nats: Tensor, capacity: float | Tensor, settings: ObjectiveSettings
) -> Tensor:
    """beta KL + gamma max(0, KL - C)^2, or gamma (KL - C)^2 if two-sided, in nats.

    kl_nats: the mean KL of a batch, []. capacity: C in nats.
    """
    excess = kl_nats - capacity
    if settings.two_sided:
        return settings.gamma * excess.square()
    return settings.beta * kl_nats + settings.gamma * excess.clamp(min=0).square()


def grow(capacity: Capacity, kl_nats: float, settings: ObjectiveSettings) -> Capacity:
    """Return the capacity after one more step that used `kl_nats`: larger while it is used up.

    With `c_growth` "steady" it is larger in any case. It never exceeds `c_max`.
    """
    used = capacity.used + (kl_nats - capacity.used) / settings.ema_steps
    if settings.c_growth == "used" and used < capacity.nats - settings.c_slack:
        return replace(capacity, used=used)
    return Capacity(min(settings.c_max, capacity.nats + settings.c_increment), used)
