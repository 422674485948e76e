"""The decoder's arithmetic against the formula it stands for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import grad, gradcheck

from vase.nets.architecture import modulated


def inputs() -> tuple[Tensor, ...]:
    """Cells [B, K, n], W [m, n], scale and shift [B, 1, m], in double precision."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5, 4), (6, 4), (3, 1, 6), (3, 1, 6)]
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )


def by_cells(cells: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The formula as it stands: every cell is mapped, then scaled, then shifted."""
    return (1 + scale) * (cells @ weight.t()) + shift


def test_scaled_weights_do_what_scaled_cells_do() -> None:
    given = inputs()
    fast, slow = modulated(*given), by_cells(*given)
    torch.testing.assert_close(fast, slow)
    probe = torch.linspace(-1, 1, fast.numel(), dtype=torch.float64).view_as(fast)
    for a, b in zip(
        grad((fast * probe).sum(), given), grad((slow * probe).sum(), given), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_the_gradient_is_that_of_finite_differences() -> None:
    assert gradcheck(modulated, inputs())
