"""What one step down the loss returns, still on its device, so that it is fetched once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vase.lifelong.evaluation import to_moments
from vase.objective.moments import Moments


@dataclass(frozen=True, eq=False)
class UpdateResult:
    """The result of one update of the weights; to read any of it waits for the device.

    names: of the terms. packed: [K]: whether the weights were changed, the terms, the KL per latent
    [N], `batch_moments` [2, N + 2]. images: how many were learnt.
    """

    names: tuple[str, ...]
    packed: Tensor
    images: int

    @staticmethod
    def pack(
        terms: Mapping[str, Tensor], kl: Tensor, moments: Tensor, finite: Tensor, images: int
    ) -> UpdateResult:
        """terms: in nats, [] each. kl: [N]. moments: [2, N + 2]. finite: [], bool."""
        parts = [torch.stack([finite.float(), *terms.values()]), kl, moments.flatten()]
        return UpdateResult(tuple(terms), torch.cat(parts).detach(), images)

    @cached_property
    def values(self) -> Tensor:
        return self.packed.cpu()

    @property
    def finite(self) -> bool:
        """Whether loss and gradient were finite, and so the weights changed."""
        return bool(self.values[0])

    @property
    def terms(self) -> dict[str, float]:
        """The mean terms and the loss by name, in nats per image."""
        return dict(zip(self.names, self.values[1 : self._kl].tolist(), strict=True))

    @property
    def not_finite(self) -> str:
        """What of a step that changed no weight is not finite, in words."""
        odd = [name for name, value in self.terms.items() if not math.isfinite(value)]
        return f"not finite: {', '.join(odd) or 'the gradient'}"

    @property
    def kl(self) -> tuple[float, ...]:
        """Mean KL of each latent, in nats, N numbers."""
        return tuple(self.values[self._kl : self._moments].tolist())

    @property
    def moments(self) -> Moments:
        """Moments of the N latents, distortion and rate over the batch."""
        return to_moments(self.values[self._moments :].view(2, -1), self.images)

    @property
    def _kl(self) -> int:
        return 1 + len(self.names)

    @property
    def _moments(self) -> int:
        return self._kl + (len(self.values) - self._kl - 4) // 3
