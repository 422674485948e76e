"""Windows: slices where the centre is a whole pixel, adjoints, gradients, bilinear everywhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vase.nets import Architecture, Networks, window

WHOLE, SIZE = (12, 10), (6, 4)
IMAGES = torch.rand(3, 2, *WHOLE, generator=torch.Generator().manual_seed(0)).double()
WINDOWS = torch.rand(3, 2, *SIZE, generator=torch.Generator().manual_seed(1)).double()

centres = st.floats(-1.2, 1.2, allow_subnormal=False)


def centre_of(top: float, left: float) -> torch.Tensor:
    """The centre of the window whose corner lies at (top, left), for all three images."""
    axes = [
        2 * (first + (side - 1) / 2) / (whole - 1) - 1
        for first, side, whole in zip((top, left), SIZE, WHOLE, strict=True)
    ]
    return torch.tensor([axes] * 3, dtype=torch.float64)


def test_on_whole_pixels_it_is_a_slice() -> None:
    found = window.cut(IMAGES, centre_of(2, 5), SIZE)
    torch.testing.assert_close(found, IMAGES[:, :, 2:8, 5:9])
    found = window.put(WINDOWS, centre_of(2, 5), WHOLE)
    torch.testing.assert_close(found, functional.pad(WINDOWS, (5, 1, 2, 4)))


def test_outside_there_is_nothing() -> None:
    found = window.cut(IMAGES, centre_of(-2, 0), SIZE)
    torch.testing.assert_close(found[:, :, 2:], IMAGES[:, :, :4, :4])
    assert found[:, :, :2].max() < 1e-12


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


def test_gradients_lead_to_where_it_is() -> None:
    """Between whole pixels the gradients are exact, in the centre too."""
    centre = (centre_of(2.3, 4.6) + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: window.cut(IMAGES, c, SIZE), (centre,))
    assert torch.autograd.gradcheck(lambda c: window.put(WINDOWS, c, WHOLE), (centre,))


@pytest.mark.parametrize("seed", range(4))
def test_a_fresh_encoder_looks_at_what_is_not_empty(seed: int) -> None:
    torch.manual_seed(seed)
    encoder = Networks(Architecture(height=32, width=32, encoder_channels=32)).encoder
    images = torch.zeros(2, 1, 32, 32)
    images[0, :, 2:12, 18:28] = 1  # its middle is at (-0.56, 0.47)
    images[1, :, 20:30, 4:14] = 1
    places = encoder.attended(encoder.first(images))
    expected = torch.tensor([[-0.56, 0.47], [0.56, -0.44]])
    assert (places * expected.sign() > 0.1).all()
    assert (places - expected).abs().max() < 0.5


def test_a_latent_moves_what_the_window_paints() -> None:
    """The first latent is a place at first: moved by one, the painted window follows it."""
    torch.manual_seed(0)
    decoder = Networks(Architecture(height=32, width=32)).decoder
    z = torch.zeros(2, decoder.what.in_features)
    z[1, 0] = 1.0
    middle, lower = decoder.centre(torch.erf(z / 2**0.5))
    torch.testing.assert_close(middle, torch.zeros(2))
    torch.testing.assert_close(lower, torch.tensor([0.3 * 0.6827, 0.0]), atol=1e-4, rtol=1e-4)
