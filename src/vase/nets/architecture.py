"""The shapes of the networks, which encoder and decoder a setting names, the environment head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from vase import registry
from vase.errors import ConfigError, InputError
from vase.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from vase.nets.dense import DenseDecoder, DenseEncoder
from vase.nets.residual import ResidualDecoder, ResidualEncoder
from vase.nets.windowed import (
    CompositedWindowDecoder,
    ScaledWindowDecoder,
    ScaledWindowEncoder,
    WindowDecoder,
    WindowEncoder,
)
from vase.records import Posterior
from vase.settings import ModelSettings

MIN_SIDE = 8  # pixels
SPACE_TO_DEPTH = (8, 4, 2, 1)
DEFAULT = "window"
NO_FEATURES = (
    "model.classifier=features reads the encoder's features, and here are only means and "
    "variances. This works with model.classifier=posterior."
)


class Architecture(ModelSettings):
    """The shapes of the networks: their settings, and the shape of an image.

    channels, height, width: of an image; of a vector of D numbers D, 1, 1, for which the default
    networks are dense.
    """

    channels: PositiveInt = 1
    height: PositiveInt = 64
    width: PositiveInt = 64

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.of_vectors and min(self.height, self.width) < MIN_SIDE:
            raise InputError(
                f"Images of {self.height} x {self.width} pixels are too small: both sides must "
                f"have at least {MIN_SIDE}. Enlarge them, or pad them."
            )

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.channels, self.height, self.width

    @property
    def of_vectors(self) -> bool:
        """Whether what is learnt are vectors, which are one pixel with many channels."""
        return self.height == self.width == 1

    @property
    def values(self) -> int:
        """Numbers in an image or vector."""
        return self.channels * self.height * self.width

    @property
    def folded_channels(self) -> int:
        return self.channels * self.space_to_depth**2

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what the networks see: the next multiples of four blocks."""
        block = 4 * self.space_to_depth
        return -(-self.height // block) * block, -(-self.width // block) * block

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the folded image, in blocks."""
        return self.padded[0] // self.space_to_depth, self.padded[1] // self.space_to_depth

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window that is looked at more closely, in pixels."""
        return self.padded[0] // 2, self.padded[1] // 2

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels that are added left, right, above and below."""
        down, across = self.padded[0] - self.height, self.padded[1] - self.width
        return across // 2, across - across // 2, down // 2, down - down // 2

    @property
    def flat(self) -> int:
        """Features that enter the encoder's dense layer, the grid having been halved twice."""
        return self.encoder_channels * (self.grid[0] // 4) * (self.grid[1] // 4)


def space_to_depth_for(height: int, width: int) -> int:
    """Return the largest block of which an image has 16 x 16 or more, else 1."""
    return next((block for block in SPACE_TO_DEPTH if min(height, width) >= 16 * block), 1)


class EnvironmentClassifier(nn.Module):
    """q(s|x): log-probabilities over the first `known` environments.

    Read from the posterior alone it sees neither pixels nor texture, so it cannot tell a replayed
    image from a real one, and its input is detached: its loss moves no latent. Read from the
    encoder's features (`model.classifier=features`, as published), its loss trains the encoder too.

    features: how many there are; None where it reads the posterior.
    """

    def __init__(self, architecture: Architecture, features: int | None = None) -> None:
        super().__init__()
        self.of_features = features is not None
        self.inputs = features or 2 * architecture.latents
        self.body = nn.Sequential(
            nn.Linear(self.inputs, 64),
            nn.ReLU(),
            nn.Linear(64, architecture.environments),
        )

    def forward(self, posterior: Posterior, known: int) -> Tensor:
        inputs = torch.cat([posterior.mean, posterior.log_variance], dim=1).detach()
        if self.of_features:
            if posterior.features is None:
                raise ConfigError(NO_FEATURES)
            inputs = posterior.features
        return torch.log_softmax(self.body(inputs)[:, :known].float(), dim=1)


NetworkClass = Callable[[Architecture], nn.Module]

ENCODERS: dict[str, NetworkClass] = {
    DEFAULT: WindowEncoder,
    "scaled-window": ScaledWindowEncoder,
    "convolutional": ConvolutionalEncoder,
    "residual": ResidualEncoder,
    "dense": DenseEncoder,
}
DECODERS: dict[str, NetworkClass] = {
    DEFAULT: WindowDecoder,
    "scaled-window": ScaledWindowDecoder,
    "composited-window": CompositedWindowDecoder,
    "convolutional": ConvolutionalDecoder,
    "residual": ResidualDecoder,
    "dense": DenseDecoder,
}


def encoder_class(architecture: Architecture) -> NetworkClass:
    """Return the encoder that `model.encoder` names; for vectors the default is dense."""
    name = _named(architecture, architecture.encoder)
    return registry.resolve(name, ENCODERS, "encoder", registry.lacks_call)


def decoder_class(architecture: Architecture) -> NetworkClass:
    """Return the decoder that `model.decoder` names; for vectors the default is dense."""
    name = _named(architecture, architecture.decoder)
    return registry.resolve(name, DECODERS, "decoder", registry.lacks_call)


def _named(architecture: Architecture, name: str) -> str:
    return "dense" if architecture.of_vectors and name == DEFAULT else name


class Networks(nn.Module):
    """The three networks of one model, so that they are saved, averaged and moved together."""

    TABLES = ("decoder.environment.weight", "classifier.body.2.weight", "classifier.body.2.bias")

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = encoder_class(architecture)(architecture)
        self.decoder = decoder_class(architecture)(architecture)
        read = None
        if architecture.classifier == "features":
            read = getattr(self.encoder, "features", None)
            if not isinstance(read, int):
                raise ConfigError(
                    "model.classifier=features needs an encoder that says how many features it "
                    f"has: {type(self.encoder).__name__} has no number `features`."
                )
        self.classifier = EnvironmentClassifier(architecture, read)

    @property
    def capturable(self) -> bool:
        """Whether a step can be captured as a CUDA graph: unless a network says `capturable=False`.

        A network that waits for the device or branches on what it sees has to say so.
        """
        return all(getattr(part, "capturable", True) for part in (self.encoder, self.decoder))
