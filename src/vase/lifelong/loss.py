"""The loss of a look: named terms in nats per image, weighted once, here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vase.lifelong.look import Look
from vase.lifelong.settings import Settings
from vase.objective.capacity import charge


def terms(seen: Look) -> dict[str, Tensor]:
    """The terms before they are weighted, each a scalar: the mean over images, in nats."""
    return {
        "reconstruction": seen.distortion.mean(),
        "kl": seen.rate.mean(),
        "belief": seen.belief,
        **seen.past,
    }


def total(
    means: Mapping[str, Tensor],
    capacity: float | Tensor,
    settings: Settings,
    replayed: float,
) -> Tensor:
    """L = L_MDL + L_past + cross-entropy of the environment head, in nats per image.

    means: the `terms` of a look. capacity: of the present environment, in nats. L_past is proximity
    to the snapshot on dreams or, where the past is replayed as data, L_MDL of the replayed images,
    each weighing as much as a present one. replayed: their capacity.
    """
    present = _minimum(means["reconstruction"], means["kl"], capacity, settings)
    loss = present + settings.belief * means["belief"]
    rule = settings.dream
    if "encoder_proximity" in means:
        loss = loss + rule.encoder * means["encoder_proximity"]
        loss = loss + rule.decoder * means["decoder_proximity"]
    if "replay_reconstruction" in means:
        distortion, rate = means["replay_reconstruction"], means["replay_kl"]
        loss = loss + rule.share * _minimum(distortion, rate, replayed, settings)
    return loss


def _minimum(
    distortion: Tensor, rate: Tensor, capacity: float | Tensor, settings: Settings
) -> Tensor:
    """L_MDL: distortion, and the rate as the objective charges it."""
    paid = rate if settings.entangled else charge(rate, capacity, settings.capacity)
    return distortion + paid
