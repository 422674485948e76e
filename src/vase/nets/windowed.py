"""Networks that look at an image whole, and at a window in it more closely.

Pixel blocks become channels first (`space_to_depth`): a 64x64 image becomes 16 channels of 16x16,
and two strided convolutions do what four would do on the full canvas, at a fifth of their cost.
Sides that cannot be divided so and halved twice are padded with zeros, and cut off afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, leaky_relu_, pad

from vase.errors import ConfigError
from vase.nets import window
from vase.nets.dense import LEAK, MAX_LOG_VARIANCE, EnvironmentDecoder
from vase.records import Posterior

if TYPE_CHECKING:
    from vase.nets.architecture import Architecture

Place = Callable[[Tensor], Tensor]  # puts windows [B, n, h, w] into black images [B, n, H, W]

POSITION_INIT = 0.3  # half sides of the image: how far the first two latents move the window
POSITION_SCALE = 4.0  # of the centre beside the hidden units: across the image is a step of z
SCALE_INIT = 0.35  # how far the third latent changes the log of the window's scale, if it does
PLACING = 3  # latents that place a scaled window
MAX_LOG_SCALE = 1.6  # a factor of 5, on either side
SPREAD = -0.9  # log deviation of the place at which the window has half the image's sides


class WindowEncoder(nn.Module):
    """q(z|x): images [B, C, H, W] in [0, 1] to a `Posterior` over [B, N].

    The encoder looks at the whole image, and chooses a place in it at which it looks at a window of
    half the sides. So it recognises an object wherever it is. The place is the mean
    of the cells' coordinates, weighted by how much each cell attracts (spatial softmax, Finn et al.
    2016, arXiv 1509.06113).
    """

    coordinates: Tensor
    WHERE = 2  # numbers that say where it looks

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
        self.features = architecture.hidden + self.WHERE
        self.posterior = nn.Linear(self.features, 2 * architecture.latents)

    def forward(self, images: Tensor) -> Posterior:
        images = with_margins(images, self.margins)
        features = self.first(images)
        seen = self.whole(features)
        where, closer = self.look(images, self.attraction(features))
        both = self.both(torch.cat([seen, self.close(closer)], 1))
        known = torch.cat([both, POSITION_SCALE * where], 1)
        mean, log_variance = self.posterior(known).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12.0, MAX_LOG_VARIANCE), known)

    def attraction(self, features: Tensor) -> Tensor:
        """How much each cell attracts, a softmax over the cells, [B, cells]."""
        interest = (features * self.interest.weight[0]).sum(1)  # the same, faster than convolved
        attraction: Tensor = interest.flatten(1).float().softmax(1)
        return attraction

    def look(self, images: Tensor, attraction: Tensor) -> tuple[Tensor, Tensor]:
        """Where to look, the mean coordinates (y, x), [B, 2], and what is seen there."""
        centre = attraction @ self.coordinates
        return centre, window.cut(images, centre, self.window)


class WindowDecoder(EnvironmentDecoder):
    """p(x|z, s): latents [B, N] and environments [B] to pixel logits [B, C, H, W].

    A sum of two pictures. One is a spatial broadcast decoder (Watters et al. 2019, arXiv
    1901.07017): every cell of a grid gets the latents and its own coordinates, and paints its own
    pixels, so that "where" is a shift of coordinates and falls into latents of its own. What is
    painted is conditioned layer by layer, by a scale and a shift (FiLM, Perez et al. 2018, arXiv
    1709.07871) computed from the latents and the environment. The other is a window of half the
    sides, painted whole and put where the latents say, W erf(z / sqrt 2): each latent moves it on a
    path of its own, evenly if the latent is normal, so that a square is covered by two latents
    along its sides sooner than by two along its diagonals. The environment enters as an embedding,
    which is the same as a one-hot input, and starts at zero: a new environment begins from what all
    have in common.
    """

    coordinates: Tensor
    CELL = 1  # blocks along a side of a cell
    OPACITY = 0  # channels of the window that say how much it hides of the picture behind it

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        width, block = architecture.decoder_channels, self.CELL * architecture.space_to_depth
        rows, columns = architecture.padded
        self.size, self.grid = architecture.padded, (rows // block, columns // block)
        self.cell = (architecture.channels, block, block)
        self.inwards = tuple(-margin for margin in architecture.margins)
        self.condition = nn.Linear(architecture.hidden, 5 * width)
        self.latents = nn.Linear(architecture.latents, width)
        self.place = nn.Linear(2, width)
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.register_buffer("coordinates", _coordinates(*self.grid), persistent=False)
        self.paint = nn.Linear(width, math.prod(self.cell))
        self.centre = nn.Linear(architecture.latents, 2, bias=False)
        with torch.no_grad():  # a hint: y and x begin in the first two latents
            nn.init.eye_(self.centre.weight).mul_(POSITION_INIT)
        painted = (architecture.channels + self.OPACITY, *architecture.window)
        self.close = nn.Sequential(
            nn.Linear(architecture.hidden, architecture.hidden),
            nn.LeakyReLU(LEAK),
            nn.Linear(architecture.hidden, math.prod(painted)),
            nn.Unflatten(1, painted),
        )

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        centre = self.centre(torch.erf(z / 2**0.5))  # of a standard normal: uniform in [-1, 1]
        return self.drawn(z, environment, centre)

    def drawn(
        self, z: Tensor, environment: Tensor, centre: Tensor, scale: Tensor | None = None
    ) -> Tensor:
        """Both pictures in one, [B, C, H, W], with the window around [B, 2], of scale [B]."""
        what = leaky_relu(self.hidden(z, environment), LEAK)
        place = partial(window.put, centre=centre, size=self.size, scale=scale)
        logits = self.combined(self._everywhere(z, what), self.close(what), place)
        return with_margins(logits, self.inwards).float()

    def combined(self, behind: Tensor, painted: Tensor, place: Place) -> Tensor:
        """The sum of the picture behind [B, C, H, W] and of what is painted [B, C, h, w]."""
        return behind + place(painted)

    def _everywhere(self, z: Tensor, what: Tensor) -> Tensor:
        """The broadcast picture [B, C, H, W]."""
        shift, scale_1, shift_1, scale_2, shift_2 = self.condition(what)[:, None].chunk(5, dim=2)
        where = self.place(self.coordinates)
        cells = leaky_relu_(self.latents(z)[:, None] + shift + where, LEAK)  # [B, cells, width]
        cells = leaky_relu_(modulated(cells, self.first.weight, scale_1, shift_1), LEAK)
        cells = leaky_relu_(modulated(cells, self.second.weight, scale_2, shift_2), LEAK)
        painted = self.paint(cells).unflatten(2, self.cell).unflatten(1, self.grid)
        picture: Tensor = painted.permute(0, 3, 1, 4, 2, 5).reshape(
            z.shape[0], self.cell[0], *self.size
        )
        return picture


class ScaledWindowEncoder(WindowEncoder):
    """A `WindowEncoder` that also chooses how closely it looks.

    The log of the standard deviation of the place at which it looks, in half sides of the image, is
    one more number that the posterior is computed from. The scale of the window is exp(w (log
    deviation - `SPREAD`) + b), so that a small object and a large one fill it alike. w is 1 and b
    is 0 to begin with.
    """

    WHERE = 3

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.scale = nn.Linear(1, 1)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def look(self, images: Tensor, attraction: Tensor) -> tuple[Tensor, Tensor]:
        """Place and log deviation, [B, 3], and what is seen there."""
        centre = attraction @ self.coordinates
        variance = attraction @ self.coordinates.square() - centre.square()
        spread = (variance.sum(1, keepdim=True) + 1e-6).log() / 2 - SPREAD
        scale = self.scale(spread)[:, 0].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
        seen = window.cut(images, centre, self.window, scale)
        return torch.cat([centre, spread], 1), seen


class ScaledWindowDecoder(WindowDecoder):
    """A `WindowDecoder` in which three latents place the window and all others paint.

    The first three latents say how far down the window is, how far across, and how large. With
    e = w erf(z / sqrt 2), its centre is (e_0, e_1) and its scale is exp(e_2). All other latents
    paint what is in the window, and the picture behind it. So position and size fall
    into latents of their own (spatial transformers, Jaderberg et al. 2015, arXiv 1506.02025; with
    latents that only move and turn, Bepler et al. 2019, arXiv 1909.11663).

    The picture behind the window is painted in cells of twice the sides, a quarter as many: the
    window has what needs fine detail.
    """

    CELL = 2

    def __init__(self, architecture: Architecture) -> None:
        painting = architecture.latents - PLACING
        if painting < 1:
            raise ConfigError(
                f"model.decoder={architecture.decoder} has {PLACING} latents for the place and "
                f"size of its window, and others paint: set model.latents to {PLACING + 1} or "
                f"more, not {architecture.latents}."
            )
        super().__init__(architecture.model_copy(update={"latents": painting}))
        del self.centre
        self.reach = nn.Parameter(torch.tensor([POSITION_INIT, POSITION_INIT, SCALE_INIT]))

    def forward(self, z: Tensor, environment: Tensor) -> Tensor:
        placing, painting = z[:, :PLACING], z[:, PLACING:]
        place = self.reach * torch.erf(placing / 2**0.5)
        scale = place[:, 2].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
        return self.drawn(painting, environment, place[:, :2], scale)


class CompositedWindowDecoder(ScaledWindowDecoder):
    """A `ScaledWindowDecoder` with an opacity: the window hides the picture behind it.

    The window has one more channel. Its sigmoid is the opacity a of the window. b are the logits of
    the picture behind, w those of the window. The result is (1 - a) b + a w: the operator "over"
    (Porter and Duff 1984). With a sum, b + w, the window of the same object depends on the picture
    behind it, because it must also remove that picture.
    """

    OPACITY = 1

    def combined(self, behind: Tensor, painted: Tensor, place: Place) -> Tensor:
        """(1 - a) b + a w; a is 0 where the window is not."""
        opacity = painted[:, -1:].sigmoid()
        placed = place(torch.cat([opacity * painted[:, :-1], opacity], 1))
        return (1 - placed[:, -1:]) * behind + placed[:, :-1]


def modulated(cells: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale) * (W c) + shift for every cell c of [B, cells, n]: W [m, n], the rest [B, 1, m].

    One product for all images, and one pass over the cells. A product for each image, with the
    scale in its weights, saves the pass, but products so small take longer.
    """
    return torch.addcmul(shift, 1 + scale, cells @ weight.t())


def with_margins(images: Tensor, margins: tuple[int, ...]) -> Tensor:
    """Images with zeros around them, or cut where margins are negative; not copied for nothing."""
    return pad(images, margins) if any(margins) else images


def _coordinates(height: int, width: int) -> Tensor:
    """Row and column of every cell in [-1, 1], [height * width, 2]."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.cartesian_prod(rows, columns)
