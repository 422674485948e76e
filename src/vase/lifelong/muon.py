"""Muon orthogonalises the steps of hidden weights; Adam moves all other weights.

    m <- b m + (1 - b) g,    u = b m + (1 - b) g                          (Nesterov)
    w <- w - r sqrt(max(1, rows / columns)) O(u)

O(u) keeps the singular vectors of u and brings its singular values near 1, so that a step moves
all directions of a weight alike (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).
Here each block of `BLOCK` rows (of columns, where these are fewer) is made orthogonal by itself:
a tenth of the arithmetic of the whole, and as good (docs/lab-log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        self._move({weight: weight.grad for weight, _ in gradients if weight.grad is not None})
        return loss

    def _move(self, gradients: Mapping[Tensor, Tensor]) -> None:
        """Move weights by their gradients, which are not changed."""
        skipped: Tensor | None = getattr(self, "found_inf", None)
        if skipped is not None and skipped.device.type in SYNCHRONOUS:
            if skipped:
                return
            skipped = None
        if not gradients:
            return
        directions = []
        for weight, gradient in gradients.items():
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"]
            # Another device decides by itself: a step never waits for it.
            used = gradient if skipped is None else torch.where(skipped > 0, momentum, gradient)
            # Without a gradient it would decay to denormal numbers, which slow a CPU.
            momentum.copy_(functional.hardshrink(momentum.lerp_(used, 1 - MOMENTUM), TINY))
            directions.append(used.lerp(momentum, MOMENTUM))
        for weight, direction in zip(gradients, orthogonalised(directions), strict=True):
            length = self.rate * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
            if skipped is None:
                weight.sub_(direction, alpha=length)
            else:
                weight.sub_(direction * (length * (skipped == 0)))


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """O(u): each block of matrices [rows, columns] with its singular values near 1.

    They are brought there by `ITERATIONS` times `QUINTIC`, from 0.01 of the largest on to within
    0.6 and 1.3. With G = X X^T, X <- (a I + b G + c G^2) X; since all these factors commute, G
    alone is iterated, which is small, of all blocks at once, and X is multiplied once.
    """
    wide = [each.T if each.shape[0] > each.shape[1] else each for each in matrices]
    blocks = [_blocks(each) for each in wide]
    a, b, c = QUINTIC
    gram = torch.cat([each @ each.mT for each in blocks])
    squared = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + TINY  # |X|^2
    gram = gram / squared
    identity = torch.eye(BLOCK, dtype=gram.dtype, device=gram.device)
    product = identity / squared.sqrt()
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product, gram = factor @ product, factor @ gram @ factor
    products = torch.split(product, [len(each) for each in blocks])
    found = [
        (product @ each).flatten(0, 1)[: len(matrix)]
        for product, each, matrix in zip(products, blocks, wide, strict=True)
    ]
    return [
        each if each.shape == matrix.shape else each.T
        for each, matrix in zip(found, matrices, strict=True)
    ]


def _blocks(matrix: Tensor) -> Tensor:
    """[blocks, `BLOCK`, columns] of a matrix [rows, columns], the last one filled up with 0."""
    missing = -len(matrix) % BLOCK
    whole = functional.pad(matrix, (0, 0, 0, missing)) if missing else matrix
    return whole.reshape(-1, BLOCK, matrix.shape[1])


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
