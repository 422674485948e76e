"""The records of one step: what was decided of a batch, and what learning it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vase.lifelong.dream import Past
from vase.lifelong.look import Here, to_moments
from vase.objective.moments import Moments
from vase.records import Event, Verdict


@dataclass(frozen=True, eq=False)
class Situation:
    """What steps have in common, on their device: where images are seen, and what is dreamed of."""

    here: Here
    past: Past | None


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


@dataclass(frozen=True, eq=False)
class Told:
    """What a step down the loss has to tell, still on its device, so that it is fetched once.

    names: of its terms. packed: [K], whether the weights were changed, the terms, KL per latent
    [N], `channels` [2, N + 2]. images: how many were learnt.
    """

    names: tuple[str, ...]
    packed: Tensor
    images: int

    @staticmethod
    def of(
        terms: Mapping[str, Tensor], kl: Tensor, table: Tensor, sound: Tensor, images: int
    ) -> Told:
        """terms: in nats, [] each. kl: [N]. table: `channels` of all images. sound: [], bool."""
        parts = [torch.stack([sound.float(), *terms.values()]), kl, table.flatten()]
        return Told(tuple(terms), torch.cat(parts).detach(), images)

    def read(self) -> Learnt | None:
        """Wait for the device; None where the loss or its gradient was not a number."""
        values, first = self.packed.cpu(), 1 + len(self.names)
        if not values[0]:
            return None
        table = first + (len(values) - first - 4) // 3
        return Learnt(
            dict(zip(self.names, values[1:first].tolist(), strict=True)),
            tuple(values[first:table].tolist()),
            to_moments(values[table:].view(2, -1), self.images),
        )
