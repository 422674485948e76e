"""Encoder, decoder and environment head.

Pixel blocks become channels first (`space_to_depth`): a 64x64 image becomes 16 channels of 16x16,
and two strided convolutions do what four would do on the full canvas, at a fifth of their cost.
Sides that cannot be divided so and halved twice are padded with zeros, and cut off afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, leaky_relu_, pad

from vase import registry
from vase.errors import ConfigError, InputError
from vase.nets import window
from vase.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from vase.nets.dense import LEAK, MAX_LOG_VARIANCE, DenseDecoder, DenseEncoder
from vase.records import Posterior
from vase.settings import ModelSettings

POSITION_INIT = 0.3  # half sides of the image: how far the first two latents move the window
POSITION_SCALE = 4.0  # of the centre beside the hidden units: across the image is a step of z
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
        """Height and width of the folded image: the cells on which the decoder broadcasts."""
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
    """Return the largest block that leaves the decoder a grid of 16 x 16 cells or more, else 1."""
    return next((block for block in SPACE_TO_DEPTH if min(height, width) >= 16 * block), 1)


class WindowEncoder(nn.Module):
    """q(z|x): images [B, C, H, W] in [0, 1] to a `Posterior` over [B, N].

    The encoder looks at the whole image, and chooses a place in it at which it looks at a window of
    half the sides. So it recognises an object wherever it is. The place is the mean
    of the cells' coordinates, weighted by how much each cell attracts (spatial softmax, Finn et al.
    2016, arXiv 1509.06113).
    """

    coordinates: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.encoder_channels
        self.window, self.margins = architecture.window, architecture.margins
        self.first = nn.Sequential(
            nn.PixelUnshuffle(architecture.space_to_depth),
            nn.Conv2d(architecture.folded_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.interest = nn.Conv2d(width, 1, 1, bias=False)
        nn.init.ones_(self.interest.weight)  # what is not empty attracts, to begin with
        rows, columns = architecture.grid
        self.register_buffer("coordinates", _coordinates(rows // 2, columns // 2), persistent=False)
        self.whole = nn.Sequential(
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(architecture.flat, architecture.hidden),
            nn.ReLU(),
        )
        self.close = nn.Sequential(
            nn.PixelUnshuffle(architecture.space_to_depth),
            nn.Conv2d(architecture.folded_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(architecture.flat, architecture.hidden),
            nn.ReLU(),
        )
        self.both = nn.Sequential(
            nn.Linear(2 * architecture.hidden, architecture.hidden), nn.ReLU()
        )
        self.features = architecture.hidden + 2
        self.posterior = nn.Linear(self.features, 2 * architecture.latents)

    def forward(self, images: Tensor) -> Posterior:
        images = pad(images, self.margins)
        features = self.first(images)
        seen = self.whole(features)
        centre = self.attended(features)
        closer = self.close(window.cut(images, centre, self.window))
        known = torch.cat([self.both(torch.cat([seen, closer], 1)), POSITION_SCALE * centre], 1)
        mean, log_variance = self.posterior(known).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12.0, MAX_LOG_VARIANCE), known)

    def attended(self, features: Tensor) -> Tensor:
        """Where to look: the mean coordinates (y, x) under a softmax over the cells, [B, 2]."""
        attraction = self.interest(features).flatten(1).float().softmax(1)
        place: Tensor = attraction @ self.coordinates
        return place


class WindowDecoder(nn.Module):
    """p(x|z, s): latents [B, N] and environments [B] to pixel logits [B, C, H, W].

    A sum of two pictures. One is a spatial broadcast decoder (Watters et al. 2019, arXiv
    1901.07017): every cell of a grid gets the latents and its own coordinates, and paints one block
    of pixels, so that "where" is a shift of coordinates and falls into latents of its own. What is
    painted is conditioned layer by layer, by a scale and a shift (FiLM, Perez et al. 2018, arXiv
    1709.07871) computed from the latents and the environment. The other is a window of half the
    sides, painted whole and put where the latents say, W erf(z / sqrt 2): each latent moves it on a
    path of its own, evenly if the latent is normal, so that a square is covered by two latents
    along its sides sooner than by two along its diagonals. The environment enters as an embedding,
    which is the same as a one-hot input, and starts at zero: a new environment begins from what all
    have in common.
    """

    coordinates: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.decoder_channels
        self.size, self.grid = architecture.padded, architecture.grid
        self.inwards = tuple(-margin for margin in architecture.margins)
        self.what = nn.Linear(architecture.latents, architecture.hidden)
        self.environment = nn.Embedding(architecture.environments, architecture.hidden)
        nn.init.zeros_(self.environment.weight)
        self.condition = nn.Linear(architecture.hidden, 5 * width)
        self.latents = nn.Linear(architecture.latents, width)
        self.place = nn.Linear(2, width)
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.register_buffer("coordinates", _coordinates(*architecture.grid), persistent=False)
        self.paint = nn.Linear(width, architecture.folded_channels)
        self.unfold = nn.PixelShuffle(architecture.space_to_depth)
        self.centre = nn.Linear(architecture.latents, 2, bias=False)
        with torch.no_grad():  # a hint: y and x begin in the first two latents
            nn.init.eye_(self.centre.weight).mul_(POSITION_INIT)
        self.close = nn.Sequential(
            nn.Linear(architecture.hidden, architecture.hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(
                architecture.hidden,
                architecture.channels * architecture.window[0] * architecture.window[1],
            ),
            nn.Unflatten(1, (architecture.channels, *architecture.window)),
        )

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        what = leaky_relu(self.what(z) + self.environment(environment), LEAK)
        centre = self.centre(torch.erf(z / 2**0.5))  # of a standard normal: uniform in [-1, 1]
        logits = self._everywhere(z, what) + window.put(self.close(what), centre, self.size)
        return pad(logits, self.inwards).float()

    def _everywhere(self, z: Tensor, what: Tensor) -> Tensor:
        """The broadcast picture [B, C, H, W]."""
        shift, scale_1, shift_1, scale_2, shift_2 = self.condition(what)[:, None].chunk(5, dim=2)
        where = self.place(self.coordinates)
        cells = leaky_relu_(self.latents(z)[:, None] + shift + where, LEAK)  # [B, cells, width]
        cells = leaky_relu_(modulated(cells, self.first.weight, scale_1, shift_1), LEAK)
        cells = leaky_relu_(modulated(cells, self.second.weight, scale_2, shift_2), LEAK)
        blocks = self.paint(cells).transpose(1, 2).reshape(z.shape[0], -1, *self.grid)
        picture: Tensor = self.unfold(blocks)
        return picture


def modulated(cells: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale) * (W c) + shift for every cell c of [B, cells, n]: W [m, n], the rest [B, 1, m].

    The scale goes into the weights, m * n numbers an image, and not into every cell: one matrix
    product, and no pass over the cells in either direction.
    """
    return torch.baddbmm(shift, cells, (1 + scale) * weight.t())


def _coordinates(height: int, width: int) -> Tensor:
    """Row and column of every cell in [-1, 1], [height * width, 2]."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.cartesian_prod(rows, columns)


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
    "convolutional": ConvolutionalEncoder,
    "dense": DenseEncoder,
}
DECODERS: dict[str, NetworkClass] = {
    DEFAULT: WindowDecoder,
    "convolutional": ConvolutionalDecoder,
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
