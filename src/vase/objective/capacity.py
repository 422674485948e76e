"""Controlled capacity: how many nats an environment may use, and when it needs no more.

The penalty gamma (KL - C)^2 (Burgess et al. 2018) holds the information in the latents at C, which
grows slowly, so that factors arrive one after the other, the dearest first. Two changes
to it keep C from being forced above what the data needs, where a model spends the surplus on
shifted means, which looks like atypicality: only the excess KL > C is charged, and every nat has a
`price`, so that it is not spent on nothing. With a price of 1 the objective is the evidence lower
bound with a ceiling on the KL that rises until it no longer binds; then C stops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class CapacityRule:
    """How capacity is charged and how it grows.

    gamma: weight of the squared penalty, in 1/nats. start: nats a model begins with, so that its
    latents are not all pressed to nothing at first. growth: nats per step. limit: nats.
    price: nats of loss per nat of KL below C. slack: nats that C may lie above the KL and still
    grow. memory: steps over which the KL is averaged. two_sided: charge gamma (KL - C)^2 below C as
    well, at no price, as the source does.
    """

    gamma: float = 10.0
    start: float = 12.0
    growth: float = 0.02
    limit: float = 60.0
    price: float = 0.3
    slack: float = 1.0
    memory: float = 50.0
    two_sided: bool = False


@dataclass(frozen=True)
class Capacity:
    """An environment's capacity `nats` and the KL that is `used` of it, averaged, in nats."""

    nats: float = 0.0
    used: float = 0.0


def charge(kl_nats: Tensor, capacity: float | Tensor, rule: CapacityRule) -> Tensor:
    """price KL + gamma max(0, KL - C)^2, or gamma (KL - C)^2 if two-sided, for a batch's KL."""
    excess = kl_nats - capacity
    if rule.two_sided:
        return rule.gamma * excess.square()
    return rule.price * kl_nats + rule.gamma * excess.clamp(min=0).square()


def grow(capacity: Capacity, kl_nats: float, rule: CapacityRule) -> Capacity:
    """The capacity after one more step that used `kl_nats`: larger only while it is used up."""
    used = capacity.used + (kl_nats - capacity.used) / rule.memory
    if used < capacity.nats - rule.slack:
        return replace(capacity, used=used)
    return Capacity(min(rule.limit, capacity.nats + rule.growth), used)
