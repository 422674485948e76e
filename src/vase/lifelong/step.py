"""The records of one step: what was decided of a batch, and what learning it showed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vase.objective.moments import Moments
from vase.records import Event, Verdict


@dataclass(frozen=True, eq=False)
class Step:
    """A step that was begun: what was decided of a batch, before anything is learnt.

    learns: whether the batch is learnt. seen: its moments, where it is not.
    """

    images: Tensor
    verdict: Verdict
    learns: bool
    events: tuple[Event, ...] = ()
    seen: Moments | None = None


@dataclass(frozen=True, eq=False)
class Learnt:
    """What one step down the loss showed: its terms and the KL per latent, in nats; moments."""

    numbers: dict[str, float]
    kl: tuple[float, ...]
    moments: Moments
