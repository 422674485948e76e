"""Plain convolutional networks, as the method was published with.

Four convolutions of 4 x 4 with stride 2 and 32, 32, 64 and 64 channels, a dense layer, and the
mirror image of both (Burgess et al. 2018, arXiv 1804.03599). There is no window and no hint: where
an object is has to be found out. Sides that are no multiple of 16 are padded with zeros, and cut
off afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from vase.nets.dense import MAX_LOG_VARIANCE, EnvironmentDecoder
from vase.records import Posterior

if TYPE_CHECKING:
    from vase.nets.architecture import Architecture

CHANNELS = (32, 32, 64, 64)
HALVED = 2 ** len(CHANNELS)  # how many times smaller the last grid is


class ConvolutionalEncoder(nn.Module):
    """q(z|x): images [B, C, H, W] in [0, 1] to a `Posterior` over [B, N]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        (rows, columns), self.margins = padded_grid(architecture)
        stages, width = self.stages(architecture)
        self.features = architecture.hidden
        self.layers = nn.Sequential(
            *stages, nn.Flatten(), nn.Linear(width * rows * columns, self.features), nn.ReLU()
        )
        self.posterior = nn.Linear(self.features, 2 * architecture.latents)

    def stages(self, architecture: Architecture) -> tuple[list[nn.Module], int]:
        """Layers down to the last grid, and its channels."""
        inputs = (architecture.channels, *CHANNELS[:-1])
        layers: list[nn.Module] = [
            layer
            for before, after in zip(inputs, CHANNELS, strict=True)
            for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU())
        ]
        return layers, CHANNELS[-1]

    def forward(self, images: Tensor) -> Posterior:
        features = self.layers(pad(images, self.margins))
        mean, log_variance = self.posterior(features).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12.0, MAX_LOG_VARIANCE), features)


class ConvolutionalDecoder(EnvironmentDecoder):
    """p(x|z, s): latents [B, N] and environments [B] to pixel logits [B, C, H, W]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        (rows, columns), margins = padded_grid(architecture)
        self.inwards = tuple(-margin for margin in margins)
        outputs = (*CHANNELS[-2::-1], architecture.channels)
        convolutions = [
            layer
            for before, after in zip(CHANNELS[::-1], outputs, strict=True)
            for layer in (nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU())
        ]
        self.layers = nn.Sequential(
            nn.Linear(architecture.hidden, CHANNELS[-1] * rows * columns),
            nn.ReLU(),
            nn.Unflatten(1, (CHANNELS[-1], rows, columns)),
            *convolutions[:-1],  # the last layer gives logits
        )

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        what = relu(self.hidden(z, environment))
        return pad(self.layers(what), self.inwards).float()


def padded_grid(architecture: Architecture) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The last grid, and the pixels that are added left, right, above and below."""
    rows, columns = (-(-side // HALVED) for side in (architecture.height, architecture.width))
    down, across = HALVED * rows - architecture.height, HALVED * columns - architecture.width
    return (rows, columns), (across // 2, across - across // 2, down // 2, down - down // 2)
