"""Muon orthogonalises the steps of hidden weights; Adam moves all other weights.

    m <- b m + (1 - b) g,    u = b m + (1 - b) g                          (Nesterov)
    w <- w - r sqrt(max(1, rows / columns)) O(u)

O(u) keeps the singular vectors of u and brings its singular values near 1, so that a step moves
all directions of a weight alike (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).
Here each block of `BLOCK` rows (of columns, where these are fewer) is made orthogonal by itself:
a tenth of the arithmetic of the whole, and as good (docs/lab-log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vase.nets import Networks
from vase.settings import OptimizerSettings

BLOCK = 32  # rows that are made orthogonal together
SMALLEST = 128  # side of a weight that is moved so: nothing is won by smaller ones
MOMENTUM = 0.95
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # p(s) = a s + b s^3 + c s^5: steepest at 0, near 1 at 1
SYNCHRONOUS = ("cpu",)  # devices for which nobody waits who reads a value of theirs
TINY = 1e-30  # as good as 0: what is smaller counts as 0, and 0 is divided by this


class Muon(torch.optim.Adam):
    """Adam, with `matrices` [rows, columns] among its weights that are moved as above.

    rate: r, the length of a step of theirs in each direction. Like fused Adam it takes no step, of
    whatever weight, where its `found_inf` is not 0. Everything is captured by CUDA graphs.
    """

    def __init__(
        self, weights: Iterable[Tensor], matrices: Sequence[Tensor], lr: float, rate: float
    ) -> None:
        super().__init__(weights, lr=lr, fused=True)
        self.matrices, self.rate = matrices, rate

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all weights that have a gradient."""
        gradients = [(weight, weight.grad) for weight in self.matrices]
        for weight, _ in gradients:
            weight.grad = None  # Adam leaves them where they are
        loss = super().step(closure)
        for weight, gradient in gradients:
            weight.grad = gradient
            if gradient is not None:
                self._move(weight, gradient)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum, length = state["momentum"], self.rate
        length *= max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
        skipped = getattr(self, "found_inf", None)
        if skipped is None or weight.device.type in SYNCHRONOUS:
            if not skipped:
                # Without a gradient it would halve down to denormal numbers, which slow a CPU.
                momentum.copy_(functional.hardshrink(momentum.lerp_(gradient, 1 - MOMENTUM), TINY))
                weight.sub_(orthogonalised(gradient.lerp(momentum, MOMENTUM)), alpha=length)
            return
        # Decided on the device, for which a step never waits.
        gradient = torch.where(skipped > 0, momentum, gradient)
        momentum.lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalised(gradient.lerp(momentum, MOMENTUM))
        weight.sub_(direction * (length * (skipped == 0)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """O(u): each block of a matrix [rows, columns] with its singular values near 1.

    They are brought there by `ITERATIONS` times `QUINTIC`, from 0.01 of the largest on to within
    0.6 and 1.3. With G = X X^T, X <- (a I + b G + c G^2) X; since all these factors commute, G
    alone is iterated, which is small, and X is multiplied once.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T).T
    rows, columns = matrix.shape
    missing = -rows % BLOCK
    whole = functional.pad(matrix, (0, 0, 0, missing)) if missing else matrix
    blocks = whole.reshape(-1, BLOCK, columns)
    a, b, c = QUINTIC
    gram = blocks @ blocks.mT
    squared = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + TINY  # |X|^2
    gram = gram / squared
    identity = torch.eye(BLOCK, dtype=gram.dtype, device=gram.device)
    product = identity / squared.sqrt()
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product, gram = factor @ product, factor @ gram @ factor
    return (product @ blocks).reshape(-1, columns)[:rows]


def hidden_matrices(networks: nn.Module) -> list[Tensor]:
    """Weights with at least `SMALLEST` rows and columns, but no tables of environments."""
    return [
        weight
        for name, weight in networks.named_parameters()
        if name not in Networks.TABLES and weight.ndim == 2 and min(weight.shape) >= SMALLEST
    ]


def optimizer(networks: Networks, settings: OptimizerSettings) -> torch.optim.Adam:
    """The optimizer of networks that `training.optimizer` names."""
    weights, rate = networks.parameters(), settings.learning_rate
    if settings.optimizer == "adam":
        return torch.optim.Adam(weights, lr=rate, fused=True)
    return Muon(weights, hidden_matrices(networks), rate, settings.muon_rate)
