"""Several processes, one learner: each learns its rows of a batch, and all decide alike.

The rows of all processes are brought together before anything is decided, so that detection and
evaluation see the whole batch, in every process alike. What is learnt is a function of means over
the whole batch; its gradient is the mean of the processes' gradients if each takes the others' rows
for given:

    m = mean_r( m_r ),   dL/dw = mean_r( L'(m) dm_r/dw )

which holds for any L, so also for the capacity penalty, which is not linear in the mean. All
processes hold equal weights, records and random numbers, and so they stay equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from vase.lifelong import evaluation
from vase.lifelong.learner import Learner
from vase.records import Observation, Posterior


class ProcessGroup(Protocol):
    """The processes that share the work: how many, which one this is, and what they exchange.

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


def local_rows(group: ProcessGroup, rows: int) -> slice:
    """Which of the rows of all processes are this one's."""
    each = rows // group.count
    return slice(group.rank * each, (group.rank + 1) * each)


def all_reduce_means(means: Mapping[str, Tensor], group: ProcessGroup) -> dict[str, Tensor]:
    """Turn means over this process's rows into means over all, with the gradient of its own."""
    here = torch.stack(list(means.values()))
    everywhere = group.mean(here.detach()) + (here - here.detach())
    return dict(zip(means, everywhere, strict=True))


def average_gradients(weights: Iterable[Tensor], group: ProcessGroup) -> None:
    """Put the mean over processes in place of each gradient, in one exchange."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    mean = group.mean(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class DataParallelLearner(Learner):
    """A learner that shares every batch with the other processes of a group."""

    def __init__(self, *arguments: Any, group: ProcessGroup, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.group = group

    def observe(self, images: Tensor) -> Observation:
        """Take in this process's rows of a batch, [B, C, H, W]."""
        return super().observe(self.group.gather(images))

    def rows(self, count: int) -> slice:
        return local_rows(self.group, count)

    def joined(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        return all_reduce_means(means, self.group)

    def measured(self, posterior: Posterior, terms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        kl = self.group.mean(terms["kl"].mean(0))
        losses = torch.stack([terms["reconstruction"], terms["kl"].sum(1)], dim=1)
        mine = torch.cat([posterior.mean, posterior.log_variance, losses], dim=1)
        sizes = [len(kl), len(kl), 2]
        mean, log_variance, losses = torch.split(self.group.gather(mine), sizes, dim=1)
        return kl, evaluation.batch_moments(Posterior(mean, log_variance), *losses.T)

    def descend(self, total: Tensor) -> Tensor:
        average_gradients(self.optimizer.param_groups[0]["params"], self.group)
        return super().descend(total)
