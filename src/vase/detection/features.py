"""Random features: a fixed feature extractor that tells one domain from another.

Two convolutions whose weights are drawn once and never trained. Means and covariances of random
features identify a distribution much as the kernel they approximate does (Rahimi and Recht 2007;
of convolutional ones Saxe et al. 2011). Because the extractor never learns, the statistics of an
environment do not age, however far the encoder moves while that environment is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vase.isolation import private_weights

if TYPE_CHECKING:
    from vase.nets import Architecture

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

MIN_SIDE = 32  # pixels of the smaller side of the image from which features are taken
FIRST, SECOND, KERNEL, GRID = 16, 32, 5, 2


class RandomFeatures(nn.Module):
    """Images [B, C, H, W] to features [B, F]: texture all over the image, and coarsely where it is.

    The mean over the image of the second layer (32), and of the first over a 2 x 2 grid (16 x 4).
    """

    count = SECOND + FIRST * GRID**2

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        with private_weights(None):  # the layers' own first weights are overwritten
            first = nn.Conv2d(channels, FIRST, KERNEL, stride=2, padding=KERNEL // 2)
            second = nn.Conv2d(FIRST, SECOND, KERNEL, stride=2, padding=KERNEL // 2)
        self.first, self.second = _random(first, generator), _random(second, generator)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        coarse = max(1, min(images.shape[2:]) // MIN_SIDE)
        first = functional.relu(self.first(functional.avg_pool2d(images, coarse)))
        second = functional.relu(self.second(first))
        where = functional.adaptive_avg_pool2d(first, GRID)
        return torch.cat([second.mean((2, 3)), where.flatten(1)], dim=1)


class RandomVectorFeatures(nn.Module):
    """Vectors [B, D, 1, 1] to features [B, F]: two dense layers, the outputs of both."""

    count = RandomFeatures.count

    def __init__(self, length: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        with private_weights(None):
            first, second = (
                nn.Linear(length, self.count - SECOND),
                nn.Linear(self.count - SECOND, SECOND),
            )
        self.first, self.second = _random(first, generator), _random(second, generator)

    @torch.no_grad()
    def forward(self, vectors: Tensor) -> Tensor:
        first = functional.relu(self.first(vectors.flatten(1)))
        return torch.cat([functional.relu(self.second(first)), first], dim=1)


def random_features(architecture: Architecture) -> RandomFeatures | RandomVectorFeatures:
    """The feature extractor for images, or vectors, of an architecture."""
    if architecture.of_vectors:
        return RandomVectorFeatures(architecture.channels)
    return RandomFeatures(architecture.channels)


def _random(layer: Layer, generator: torch.Generator) -> Layer:
    """The layer with filters of unit norm that nothing will train."""
    filters = torch.randn(layer.weight.shape, generator=generator)
    norms = filters.flatten(1).norm(dim=1).reshape(-1, *[1] * (filters.ndim - 1))
    layer.requires_grad_(False)
    layer.weight.copy_(filters / norms)
    assert layer.bias is not None
    layer.bias.copy_(0.2 * torch.randn(len(filters), generator=generator))
    return layer
