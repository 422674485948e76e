"""Several processes, one learner: each learns its rows of a batch, all decide alike.

The rows of all processes are brought together before anything is decided, so that detection sees
the whole batch. What is learnt is a function of means over the whole batch; its gradient is the
mean of the processes' gradients if each takes the others' rows for given:

    m = mean_r( m_r ),   dL/dw = mean_r( L'(m) dm_r/dw )

which holds for any L, so also for the price of capacity, which is not linear in the mean. All
processes hold equal weights, memories and random numbers, and so they stay equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Ranks(Protocol):
    """The processes that share the work: how many, which of them this is, and what they exchange.

    Every process has as many rows as any other, and all call the same methods in the same order.
    """

    @property
    def rank(self) -> int: ...
    @property
    def count(self) -> int: ...

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, [count B, ...], in the order of their ranks."""
        ...

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes, elementwise."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process: all rows are its own."""

    rank: int = 0
    count: int = 1

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def mean(self, values: Tensor) -> Tensor:
        return values


ALONE = Alone()


def own(ranks: Ranks, rows: int) -> slice:
    """Which of the rows of all processes are this one's."""
    each = rows // ranks.count
    return slice(ranks.rank * each, (ranks.rank + 1) * each)


def joined(terms: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Means over this process's rows as means over all, with the gradient of its own."""
    if ranks.count == 1:
        return dict(terms)
    here = torch.stack(list(terms.values()))
    everywhere = ranks.mean(here.detach()) + (here - here.detach())
    return dict(zip(terms, everywhere, strict=True))


def share_gradients(weights: Iterable[Tensor], ranks: Ranks) -> None:
    """Put the mean over processes in place of each gradient, in one exchange."""
    if ranks.count == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    mean = ranks.mean(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
