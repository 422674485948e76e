"""Windows: cutting is bilinear interpolation wherever it is, putting in is its adjoint."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vase.nets import window

WHOLE, SIZE = (12, 10), (6, 4)
IMAGES = torch.rand(3, 2, *WHOLE, generator=torch.Generator().manual_seed(0)).double()
WINDOWS = torch.rand(3, 2, *SIZE, generator=torch.Generator().manual_seed(1)).double()

centres = st.floats(-1.2, 1.2, allow_subnormal=False)


@given(centres, centres)
def test_putting_in_is_the_adjoint_of_cutting_out(y: float, x: float) -> None:
    """<cut(x), w> = <x, put(w)>."""
    centre = torch.tensor([[y, x]] * 3, dtype=torch.float64)
    one = (window.cut(IMAGES, centre, SIZE) * WINDOWS).sum()
    other = (IMAGES * window.put(WINDOWS, centre, WHOLE)).sum()
    torch.testing.assert_close(one, other)


@given(centres, centres)
def test_it_interpolates_as_grid_sample_does(y: float, x: float) -> None:
    centre = torch.tensor([[y, x]] * 3, dtype=torch.float64)
    reach = torch.tensor([(s - 1) / (w - 1) for s, w in zip(SIZE, WHOLE, strict=True)])
    rows = y + torch.linspace(-1, 1, SIZE[0]).double() * reach[0]
    columns = x + torch.linspace(-1, 1, SIZE[1]).double() * reach[1]
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([across, down], dim=-1).expand(3, -1, -1, -1)
    expected = functional.grid_sample(IMAGES, grid, align_corners=True)
    torch.testing.assert_close(window.cut(IMAGES, centre, SIZE), expected, atol=1e-6, rtol=1e-5)


scales = st.floats(0.3, 3.0, allow_subnormal=False)


@given(centres, centres, scales)
def test_a_scaled_window_is_put_in_by_the_adjoint_of_cutting_it_out(
    y: float, x: float, s: float
) -> None:
    """s^2 <cut(x), w> = <x, put(w)>."""
    centre = torch.tensor([[y, x]] * 3, dtype=torch.float64)
    scale = torch.full((3,), s, dtype=torch.float64)
    one = (window.cut(IMAGES, centre, SIZE, scale) * WINDOWS).sum()
    other = (IMAGES * window.put(WINDOWS, centre, WHOLE, scale)).sum()
    torch.testing.assert_close(s**2 * one, other)


@given(centres, centres)
def test_a_scale_of_one_changes_nothing(y: float, x: float) -> None:
    centre = torch.tensor([[y, x]] * 3, dtype=torch.float64)
    scale = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(
        window.cut(IMAGES, centre, SIZE, scale), window.cut(IMAGES, centre, SIZE)
    )


@given(centres, centres, st.floats(0.3, 1.0, allow_subnormal=False))
def test_it_looks_more_closely_as_grid_sample_does(y: float, x: float, s: float) -> None:
    """Up to a scale of 1; beyond it, rows are averaged that grid_sample would skip."""
    centre = torch.tensor([[y, x]] * 3, dtype=torch.float64)
    reach = torch.tensor([s * (n - 1) / (w - 1) for n, w in zip(SIZE, WHOLE, strict=True)])
    rows = y + torch.linspace(-1, 1, SIZE[0]).double() * reach[0]
    columns = x + torch.linspace(-1, 1, SIZE[1]).double() * reach[1]
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([across, down], dim=-1).expand(3, -1, -1, -1)
    expected = functional.grid_sample(IMAGES, grid, align_corners=True)
    found = window.cut(IMAGES, centre, SIZE, torch.full((3,), s, dtype=torch.float64))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_window_of_one_value_keeps_it_whatever_its_scale() -> None:
    """Where the window covers the image whole: each pixel is a mean of the window's."""
    ones = torch.ones(1, 1, 40, 40).double()
    for s in (0.35, 0.5, 0.8, 1.0, 1.7, 2.5):
        image = window.put(ones, torch.zeros(1, 2).double(), (10, 10), torch.tensor([s]).double())
        torch.testing.assert_close(image, torch.ones(1, 1, 10, 10).double(), atol=0.1, rtol=0)


def test_a_scale_can_be_learnt() -> None:
    """Its gradient is that of finite differences."""
    centre = torch.tensor([[0.13, -0.21]] * 3, dtype=torch.float64)
    for s in (0.61, 1.43):
        scale = torch.full((3,), s, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda s: window.put(WINDOWS, centre, WHOLE, s), scale)
        assert torch.autograd.gradcheck(lambda s: window.cut(IMAGES, centre, SIZE, s), scale)
