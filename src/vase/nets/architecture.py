"""Encoder, decoder and environment head.

Space is folded into channels first (`fold`): a 64x64 image becomes 16 channels of 16x16, and two
strided convolutions do what four would do on the full canvas, at a fifth of their cost. Sides that
cannot be folded and halved twice are padded with zeros on the way in and cut off on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, leaky_relu_, pad

from vase.errors import ConfigError, InputError
from vase.nets import window
from vase.nets.dense import LEAK, MAX_LOG_VARIANCE, DenseDecoder, DenseEncoder
from vase.records import Posterior

HINT = 0.3  # images' half sides by which the first two latents move the decoder's window at first
REACH = 4.0  # of the centre beside the hidden units: a step across the image is a step in a latent
LEAST = 8  # pixels of a side
FOLDS = (8, 4, 2, 1)
DEFAULT = "window"


@dataclass(frozen=True)
class Architecture:
    """The shapes of the networks.

    channels, height, width: of an image; of a vector of D numbers D, 1, 1. latents: N. features,
    hidden: widths of the encoder's convolutions and of the dense layers. cells: width of the
    decoder's grid. fold: side of the pixel blocks that become channels.
    environments: rows of the environment tables, which grow when they are full. nets: the name of
    the encoder and decoder, as it was given to `register`; vectors have dense ones by default.
    """

    channels: int = 1
    height: int = 64
    width: int = 64
    latents: int = 24
    features: int = 64
    hidden: int = 256
    cells: int = 64
    fold: int = 4
    environments: int = 16
    nets: str = DEFAULT

    def __post_init__(self) -> None:
        if not self.of_vectors and min(self.height, self.width) < LEAST:
            raise InputError(
                f"Images of {self.height} x {self.width} pixels are too small: both sides must "
                f"have at least {LEAST}. Enlarge them, or pad them."
            )

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
        return self.channels * self.fold**2

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what the networks see: the next multiples of four folds."""
        block = 4 * self.fold
        return -(-self.height // block) * block, -(-self.width // block) * block

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the folded image: the cells on which the decoder broadcasts."""
        return self.padded[0] // self.fold, self.padded[1] // self.fold

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
        return self.features * (self.grid[0] // 4) * (self.grid[1] // 4)


def fold_for(height: int, width: int) -> int:
    """The largest fold that leaves the decoder a grid of at least 16 x 16 cells, else 1."""
    return next((fold for fold in FOLDS if min(height, width) >= 16 * fold), 1)


class Encoder(nn.Module):
    """q(z|x): images [B, C, H, W] in [0, 1] to a `Posterior` over [B, N].

    The whole image is looked at, and from it a place is chosen at which a window of half its sides
    is looked at more closely. What a thing is can so be told wherever it is. The place is the mean
    of the cells' coordinates, weighted by how much each cell attracts (spatial softmax, Finn et al.
    2016, arXiv 1509.06113).
    """

    coordinates: Tensor

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        width = shape.features
        self.window, self.margins = shape.window, shape.margins
        self.first = nn.Sequential(
            nn.PixelUnshuffle(shape.fold),
            nn.Conv2d(shape.folded_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.interest = nn.Conv2d(width, 1, 1, bias=False)
        nn.init.ones_(self.interest.weight)  # what is not empty attracts, to begin with
        rows, columns = shape.grid
        self.register_buffer("coordinates", _coordinates(rows // 2, columns // 2), persistent=False)
        self.whole = nn.Sequential(
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(shape.flat, shape.hidden),
            nn.ReLU(),
        )
        self.close = nn.Sequential(
            nn.PixelUnshuffle(shape.fold),
            nn.Conv2d(shape.folded_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(shape.flat, shape.hidden),
            nn.ReLU(),
        )
        self.both = nn.Sequential(nn.Linear(2 * shape.hidden, shape.hidden), nn.ReLU())
        self.posterior = nn.Linear(shape.hidden + 2, 2 * shape.latents)

    def forward(self, images: Tensor) -> Posterior:
        images = pad(images, self.margins)
        features = self.first(images)
        seen = self.whole(features)
        centre = self.attended(features)
        closer = self.close(window.cut(images, centre, self.window))
        known = torch.cat([self.both(torch.cat([seen, closer], 1)), REACH * centre], 1)
        mean, log_variance = self.posterior(known).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12.0, MAX_LOG_VARIANCE))

    def attended(self, features: Tensor) -> Tensor:
        """Where to look: the mean coordinates (y, x) under a softmax over the cells, [B, 2]."""
        attraction = self.interest(features).flatten(1).float().softmax(1)
        place: Tensor = attraction @ self.coordinates
        return place


class Decoder(nn.Module):
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

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        width = shape.cells
        self.size, self.grid = shape.padded, shape.grid
        self.inwards = tuple(-margin for margin in shape.margins)
        self.what = nn.Linear(shape.latents, shape.hidden)
        self.environment = nn.Embedding(shape.environments, shape.hidden)
        nn.init.zeros_(self.environment.weight)
        self.condition = nn.Linear(shape.hidden, 5 * width)
        self.latents = nn.Linear(shape.latents, width)
        self.place = nn.Linear(2, width)
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.register_buffer("coordinates", _coordinates(*shape.grid), persistent=False)
        self.paint = nn.Linear(width, shape.folded_channels)
        self.unfold = nn.PixelShuffle(shape.fold)
        self.centre = nn.Linear(shape.latents, 2, bias=False)
        with torch.no_grad():  # a hint: y and x begin in the first two latents
            nn.init.eye_(self.centre.weight).mul_(HINT)
        self.close = nn.Sequential(
            nn.Linear(shape.hidden, shape.hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(shape.hidden, shape.channels * shape.window[0] * shape.window[1]),
            nn.Unflatten(1, (shape.channels, *shape.window)),
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


class EnvironmentHead(nn.Module):
    """q(s|x), read from the posterior alone: log-probabilities over the first `known` environments.

    It sees neither pixels nor texture, so it cannot tell a dream from a photograph, and its input
    is detached: naming a place never moves a latent.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * shape.latents, 64), nn.ReLU(), nn.Linear(64, shape.environments)
        )

    def forward(self, posterior: Posterior, known: int) -> Tensor:
        inputs = torch.cat([posterior.mean, posterior.log_variance], dim=1).detach()
        return torch.log_softmax(self.body(inputs)[:, :known].float(), dim=1)


Maker = Callable[[Architecture], nn.Module]

KNOWN: dict[str, tuple[Maker, Maker]] = {
    DEFAULT: (Encoder, Decoder),
    "dense": (DenseEncoder, DenseDecoder),
}


BUILT_IN = frozenset(KNOWN)


def register(name: str, encoder: Maker, decoder: Maker) -> None:
    """Make networks of your own known as `model.nets=NAME`; a name has one meaning for good.

    encoder: called with an `Architecture`, a module from images [B, C, H, W] to a `Posterior`.
    decoder: from latents [B, N] and environments [B] to logits [B, C, H, W]; its table of
    environments is an `nn.Embedding` called `environment`, zero at first, which grows as needed.
    A checkpoint holds the name: register again before it is loaded.
    """
    if KNOWN.setdefault(name, (encoder, decoder)) != (encoder, decoder):
        raise ConfigError(f"There are networks called '{name}' already. Choose another name.")


def _found(name: str) -> tuple[Maker, Maker]:
    if name not in KNOWN:
        raise ConfigError(
            f"There are no networks called '{name}', only {', '.join(KNOWN)}. Register those of "
            "your own first: vase.nets.register."
        )
    return KNOWN[name]


class Networks(nn.Module):
    """The three networks of one model, so that they are saved, averaged and moved together."""

    TABLES = ("decoder.environment.weight", "head.body.2.weight", "head.body.2.bias")

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.shape = shape
        encoder, decoder = _found(
            "dense" if shape.of_vectors and shape.nets == DEFAULT else shape.nets
        )
        self.encoder = encoder(shape)
        self.decoder = decoder(shape)
        self.head = EnvironmentHead(shape)
