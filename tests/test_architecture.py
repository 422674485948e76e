"""The networks' arithmetic against the formula it stands for, and images of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck
from torch.nn.functional import pad

from vase import VASE, ConfigError
from vase.lifelong.weights import grown
from vase.nets import Architecture, Networks, register
from vase.nets.architecture import modulated
from vase.nets.dense import DenseDecoder, DenseEncoder


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


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "fold", "padded"),
    [((40, 56), 4, (48, 64)), ((30, 17), 2, (32, 24)), ((8, 11), 1, (8, 12)), ((64, 64), 4, None)],
)
def test_an_odd_size_is_seen_with_a_margin_and_painted_without(
    size: tuple[int, int], fold: int, padded: tuple[int, int] | None
) -> None:
    """Against networks of the padded size with the same weights, their images padded by hand."""
    whole = padded or size
    small, large = (
        Networks(Architecture(3, *sides, latents=4, features=8, hidden=16, cells=8, fold=fold))
        for sides in (size, whole)
    )
    large.load_state_dict(small.state_dict())
    images, z = torch.rand(2, 3, *size), torch.randn(2, 4)
    down, across = whole[0] - size[0], whole[1] - size[1]
    top, left = down // 2, across // 2
    framed = pad(images, (left, across - left, top, down - top))
    torch.testing.assert_close(small.encoder(images).mean, large.encoder(framed).mean)
    here = torch.zeros(2, dtype=torch.long)
    painted = large.decoder(z, here)[:, :, top : top + size[0], left : left + size[1]]
    torch.testing.assert_close(small.decoder(z, here), painted)


# --- networks of one's own --------------------------------------------------------------------


class Own(DenseDecoder):
    """A decoder that is told apart from the dense one by its type alone."""


def test_own_networks_are_made_kept_and_grown(tmp_path: Path) -> None:
    register("own", DenseEncoder, Own)
    register("own", DenseEncoder, Own)  # once more is the same
    options = {"model.nets": "own", "model.hidden": 8, "model.environments": 1}
    model = VASE(latents=3, accelerator="cpu", options=options)
    model.partial_fit(torch.rand(4, 8))
    assert isinstance(VASE.load(model.save(tmp_path / "model")).learner_.average.decoder, Own)
    larger = grown(model.learner_.networks, 5)
    assert isinstance(larger.decoder, Own)
    assert len(larger.decoder.environment.weight) == 5


def test_a_name_of_networks_has_one_meaning() -> None:
    with pytest.raises(ConfigError, match="networks called 'window' already"):
        register("window", DenseEncoder, DenseDecoder)
    with pytest.raises(ConfigError, match=r"no networks called 'windows', only window, dense"):
        Networks(Architecture(nets="windows"))


def test_dense_networks_take_images_too() -> None:
    networks = Networks(Architecture(channels=3, height=9, width=8, latents=2, nets="dense"))
    images = torch.rand(4, 3, 9, 8)
    z = networks.encoder(images).mean
    assert networks.decoder(z, torch.zeros(4, dtype=torch.long)).shape == images.shape
