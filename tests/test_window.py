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
