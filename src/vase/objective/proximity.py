"""Proximity: keep today's encoder and decoder close to the snapshot's, on replayed images.

L_past = E[ D_enc( q', q ) + D_dec( p', p ) ] with primes for the frozen snapshot. The encoder term
runs over all latents, masked ones too: that is what keeps an atypical latent where it was.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vase.objective import gaussian
from vase.objective.likelihood import bernoulli_kl
from vase.records import Posterior
from vase.settings import Distance

_DISTANCES: dict[Distance, Callable[[Posterior, Posterior], Tensor]] = {
    "kl": gaussian.kl,
    "wasserstein": gaussian.wasserstein,
}


def encoder_proximity(snapshot: Posterior, present: Posterior, distance: Distance) -> Tensor:
    """D_enc( q', q ) summed over all latents, [B].

    "wasserstein" is W_2^2 in squared latent units, as in the source. "kl" is KL( q' || q ) in nats:
    it weighs an error by the latent's own precision, so that positions, which are encoded sharply,
    are kept sharply.
    """
    return _DISTANCES[distance](snapshot, present).sum(1)


def decoder_proximity(snapshot_logits: Tensor, logits: Tensor) -> Tensor:
    """D_dec( p', p ) = KL( p'(x|z) || p(x|z) ) summed over pixels, in nats, [B]."""
    return bernoulli_kl(snapshot_logits, logits)
