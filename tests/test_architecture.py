"""The networks' arithmetic against the formula it stands for, and images of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck
from torch.nn.functional import pad

from vase import VASE, CheckpointError, ConfigError
from vase.lifelong.weights import grown
from vase.nets import ENCODERS, Architecture, Networks
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
        Networks(
            Architecture(
                channels=3,
                height=sides[0],
                width=sides[1],
                latents=4,
                encoder_channels=8,
                hidden=16,
                decoder_channels=8,
                space_to_depth=fold,
            )
        )
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


NUMBER = 3  # no encoder


class Own(DenseDecoder):
    """A decoder that is told apart from the dense one by its type alone."""


def test_own_networks_are_made_kept_and_grown(tmp_path: Path) -> None:
    options = {
        "model.decoder": f"{__name__}:Own",
        "model.hidden": 8,
        "model.environments": 1,
    }
    model = VASE(latents=3, accelerator="cpu", options=options)
    model.partial_fit(torch.rand(4, 8))
    saved = model.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=rf"names code to run: {__name__}:Own"):
        VASE.load(saved)
    assert isinstance(VASE.load(saved, trust_code=True).learner_.average.decoder, Own)
    assert isinstance(model.learner_.average.encoder, DenseEncoder)  # the default for vectors
    larger = grown(model.learner_.networks, 5)
    assert isinstance(larger.decoder, Own)
    assert len(larger.decoder.environment.weight) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("windoww", r"no encoder called 'windoww'\. Did you mean 'window'"),
        ("no_such_module:Encoder", r"cannot be imported: there is no module 'no_such_module'"),
        (f"{__name__}:Missing", r"does not exist: module '.*' has no 'Missing'"),
        (f"{__name__}:NUMBER", r"is not an encoder: it cannot be called"),
    ],
)
def test_a_name_that_leads_to_no_encoder_is_refused_in_a_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Networks(Architecture(encoder=name))


def test_the_built_in_networks_have_names() -> None:
    assert list(ENCODERS) == ["window", "dense"]


def test_dense_networks_take_images_too() -> None:
    networks = Networks(
        Architecture(channels=3, height=9, width=8, latents=2, encoder="dense", decoder="dense")
    )
    images = torch.rand(4, 3, 9, 8)
    z = networks.encoder(images).mean
    assert networks.decoder(z, torch.zeros(4, dtype=torch.long)).shape == images.shape
