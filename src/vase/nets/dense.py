"""Networks of dense layers: for vectors, which have no neighbours and no place.

A vector of D numbers goes through the model as an image of one pixel with D channels, so that
only the networks and the feature extractor differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from vase.records import Posterior

if TYPE_CHECKING:
    from vase.nets.architecture import Architecture

MAX_LOG_VARIANCE = 6.0
LEAK = 0.1  # slope of the decoder below zero


class DenseEncoder(nn.Module):
    """q(z|x): vectors [B, D, 1, 1], or images, in [0, 1] to a `Posterior` over [B, N]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.features = architecture.hidden
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(architecture.values, self.features),
            nn.ReLU(),
            nn.Linear(self.features, self.features),
            nn.ReLU(),
            nn.Linear(self.features, 2 * architecture.latents),
        )

    def forward(self, vectors: Tensor) -> Posterior:
        features = self.layers[:-1](vectors)
        mean, log_variance = self.layers[-1](features).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12.0, MAX_LOG_VARIANCE), features)


class EnvironmentDecoder(nn.Module):
    """What every decoder here begins with: W z + e_s, [B, hidden].

    The environment enters as an embedding, which is the same as a one-hot input beside the latents,
    and starts at zero, so that a new environment begins from what all have in common.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.what = nn.Linear(architecture.latents, architecture.hidden)
        self.environment = nn.Embedding(architecture.environments, architecture.hidden)
        nn.init.zeros_(self.environment.weight)

    def hidden(self, z: Tensor, environment: Tensor) -> Tensor:
        """Latents [B, N] and environments [B] to W z + e_s, [B, hidden]."""
        found: Tensor = self.what(z) + self.environment(environment)
        return found


class DenseDecoder(EnvironmentDecoder):
    """p(x|z, s): latents [B, N] and environments [B] to logits [B, D, 1, 1], or of images."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.layers = nn.Sequential(
            nn.Linear(architecture.hidden, architecture.hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(architecture.hidden, architecture.values),
            nn.Unflatten(1, (architecture.channels, architecture.height, architecture.width)),
        )

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        what = leaky_relu(self.hidden(z, environment), LEAK)
        logits: Tensor = self.layers(what)
        return logits.float()
