"""Residual convolutional networks for photographs: their detail is everywhere.

Blocks of 2 x 2 pixels become channels, then three stages of residual blocks (He et al. 2016, arXiv
1512.03385), each of half the sides and up to four times the channels. The second convolution of a
block starts at zero, so that a deep network begins as a shallow one and needs no normalisation over
a batch (Zhang et al. 2019, arXiv 1901.09321): replayed and present images would share its
statistics. The decoder's blocks are conditioned by a scale and a shift (FiLM, Perez et al. 2018,
arXiv 1709.07871) computed from the latents and the environment. Sides that are no multiple of 16
are padded with zeros, and cut off afterwards.

Beside them a linear layer reads and paints the lowest frequencies, on a grid of 32 x 32 pixels at
most. It begins as a cosine transform (`cosines`), a latent a wave, and the blocks at zero, so that
the first reconstruction is that of a JPEG with as many coefficients, and learning sharpens it:

    mu = P (x - 1/2) + blocks(x),   P_k = w_k / sd_k,
    logits = Q z + blocks(z, s),    Q_k = 4 sd_k w_k,

with 4 the slope of the logit at a half. Both take their inputs over the root of how many there are,
so that weights are of order 1, and the first steps of Adam, all of one length, spoil nothing.

`model.encoder_channels` and `model.decoder_channels` are the channels of the first stage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad, relu

from vase.nets import cosines
from vase.nets.convolutional import ConvolutionalEncoder, padded_grid
from vase.nets.dense import EnvironmentDecoder
from vase.records import Posterior

if TYPE_CHECKING:
    from vase.nets.architecture import Architecture

BLOCK = 2  # pixels along a side of what becomes channels
WIDTHS = (1, 2, 4)  # channels of the stages, in those of the first
DEPTH = 2  # residual blocks of a stage
SLOPE = 4.0  # of the logit at 1/2
LOG_VARIANCE = -3.0  # of every latent at first: it says something from the start


class Residual(nn.Module):
    """x + W_2 * relu((1 + scale) (W_1 * relu(x)) + shift), for features [B, n, H, W].

    scale, shift: [B, n, 1, 1]; none in the encoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for each in self.second.parameters():
            nn.init.zeros_(each)

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        inner = self.first(relu(features))
        if condition is not None:
            scale, shift = condition.chunk(2, dim=1)
            inner = (1 + scale) * inner + shift
        changed: Tensor = features + self.second(relu(inner))
        return changed


class LowFrequencies(nn.Linear):
    """W x / sqrt(N) + b for inputs [B, N]; W / sqrt(N) begins as `first` [M, N], and b as 0."""

    def __init__(self, first: Tensor) -> None:
        super().__init__(first.shape[1], first.shape[0])
        with torch.no_grad():
            self.weight.copy_(math.sqrt(self.in_features) * first)
            self.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs / math.sqrt(self.in_features))


class ResidualEncoder(ConvolutionalEncoder):
    """q(z|x): images [B, C, H, W] in [0, 1] to a `Posterior` over [B, N]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        size, self.grid = architecture.latents, _grid(architecture)
        waves, deviations = cosines.lowest(architecture.channels, *self.grid, size)
        self.low = LowFrequencies(waves.flatten(1) / deviations[:, None])
        with torch.no_grad():
            self.posterior.weight.zero_()
            self.posterior.bias[:size], self.posterior.bias[size:] = 0.0, LOG_VARIANCE

    def forward(self, images: Tensor) -> Posterior:
        found = super().forward(images)
        low = self.low(adaptive_avg_pool2d(images, self.grid).flatten(1) - 0.5).float()
        return Posterior(found.mean + low, found.log_variance, found.features)

    def stages(self, architecture: Architecture) -> tuple[list[nn.Module], int]:
        widths = [each * architecture.encoder_channels for each in WIDTHS]
        inputs = (BLOCK**2 * architecture.channels, *widths)
        layers: list[nn.Module] = [nn.PixelUnshuffle(BLOCK)]
        for before, width in zip(inputs, widths, strict=False):
            layers.append(nn.Conv2d(before, width, 4, stride=2, padding=1))
            layers += [Residual(width) for _ in range(DEPTH)]
        return [*layers, nn.ReLU()], widths[-1]


class ResidualDecoder(EnvironmentDecoder):
    """p(x|z, s): latents [B, N] and environments [B] to pixel logits [B, C, H, W]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        (rows, columns), margins = padded_grid(architecture)
        self.inwards = tuple(-margin for margin in margins)
        hidden = architecture.hidden
        widths = [each * architecture.decoder_channels for each in WIDTHS[::-1]]
        self.cells = nn.Sequential(
            nn.Linear(hidden, widths[0] * rows * columns),
            nn.Unflatten(1, (widths[0], rows, columns)),
        )
        self.blocks = nn.ModuleList(Residual(width) for width in widths for _ in range(DEPTH))
        self.condition = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, 2 * width), nn.Unflatten(1, (2 * width, 1, 1)))
            for width in widths
            for _ in range(DEPTH)
        )
        outputs = (*widths[1:], BLOCK**2 * architecture.channels)
        self.larger = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
            for before, after in zip(widths, outputs, strict=True)
        )
        self.pixels = nn.PixelShuffle(BLOCK)
        for each in self.larger[-1].parameters():
            nn.init.zeros_(each)
        self.grid, self.sides = _grid(architecture), architecture.image[1:]
        waves, deviations = cosines.lowest(architecture.channels, *self.grid, architecture.latents)
        self.low = nn.Sequential(
            LowFrequencies(SLOPE * (waves.flatten(1) * deviations[:, None]).T),
            nn.Unflatten(1, waves.shape[1:]),
        )

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        what = relu(self.hidden(z, environment))
        features = self.cells(what)
        for stage, larger in enumerate(self.larger):
            for k in range(DEPTH * stage, DEPTH * (stage + 1)):
                features = self.blocks[k](features, self.condition[k](what))
            features = larger(relu(features))
        logits: Tensor = pad(self.pixels(features), self.inwards)
        low = interpolate(self.low(z), self.sides, mode="bilinear")
        return (logits + low).float()


def _grid(architecture: Architecture) -> tuple[int, int]:
    """Rows and columns of what is seen of the lowest frequencies."""
    return min(architecture.height, cosines.GRID), min(architecture.width, cosines.GRID)
