"""Random features: the fixed eye that tells one world from another.

Two convolutions whose weights are drawn once and never trained. Means and covariances of random
features identify a distribution much as the kernel they approximate does (Rahimi and Recht 2007;
of convolutional ones Saxe et al. 2011). Because the eye never learns, what it remembers of a world
never ages, however far the encoder has moved while that world was away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FINEST = 32  # pixels of the smaller side at which images are looked at
FIRST, SECOND, KERNEL, GRID = 16, 32, 5, 2


class RandomFeatures(nn.Module):
    """Images [B, C, H, W] to features [B, F]: texture all over the image, and coarsely where it is.

    The mean over the image of the second layer (32), and of the first over a 2 x 2 grid (16 x 4).
    """

    count = SECOND + FIRST * GRID**2

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = _random(channels, FIRST, generator)
        self.second = _random(FIRST, SECOND, generator)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        coarse = max(1, min(images.shape[2:]) // FINEST)
        first = functional.relu(self.first(functional.avg_pool2d(images, coarse)))
        second = functional.relu(self.second(first))
        where = functional.adaptive_avg_pool2d(first, GRID)
        return torch.cat([second.mean((2, 3)), where.flatten(1)], dim=1)


def _random(channels: int, width: int, generator: torch.Generator) -> nn.Conv2d:
    """A strided convolution with filters of unit norm that nothing will train."""
    with torch.random.fork_rng(devices=[]):  # its own first weights are overwritten
        layer = nn.Conv2d(channels, width, KERNEL, stride=2, padding=KERNEL // 2)
    filters = torch.randn(layer.weight.shape, generator=generator)
    biases = 0.2 * torch.randn(width, generator=generator)
    layer.requires_grad_(False)
    layer.weight.copy_(filters / filters.flatten(1).norm(dim=1)[:, None, None, None])
    layer.bias.copy_(biases)  # type: ignore[union-attr]
    return layer
