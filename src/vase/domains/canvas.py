"""Sprites on a canvas: the MNIST family, moving or at rest, inverted or tinted.

A canvas domain draws one sprite per image at a place of its own, or in the centre. Position is
scaled to [0, 1] over the range of travel, so that a readout's error has the same unit for every
size of canvas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vase.domains.bouncing import Motion, bounced, lives
from vase.domains.sprites import Sprites
from vase.errors import ConfigError
from vase.records import GroundTruth

Floats = NDArray[np.float32]


class Domain(Protocol):
    """What the data is: renders images and, apart from them, the truth behind them."""

    @property
    def name(self) -> str:
        """What the schedule calls it."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        ...

    @property
    def label_kind(self) -> str:
        """What its labels number: the same word where the same label is the same class."""
        ...

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        """Render `count` images, float32 [B, C, H, W] in [0, 1]. All randomness is the argument."""
        ...


@dataclass(frozen=True, eq=False)
class CanvasDomain:
    """One sprite per image on a square canvas of `size` pixels.

    moving: at a random place, else in the centre. inverted: dark on light. columns: the share of
    the way from left to right that moving sprites keep to. brightness: what every pixel is
    multiplied by. channels: 1 or 3; with 3 the images are tinted in one `hue` in [0, 1), or each in
    a "random" one, which becomes a factor, or in "none": grey. motion: how sprites of a stream in
    order live and move.
    """

    name: str
    sprites: Sprites
    size: int = 64
    moving: bool = False
    inverted: bool = False
    columns: tuple[float, float] = (0.0, 1.0)
    brightness: float = 1.0
    channels: int = 1
    hue: float | Literal["random", "none"] = "random"
    motion: Motion = field(default_factory=Motion)

    def __post_init__(self) -> None:
        largest = max(self.sprites.pixels.shape[1:])
        if largest > self.size:
            raise ConfigError(
                f"Domain '{self.name}': sprites of {largest} pixels do not fit a canvas of "
                f"{self.size}. Set stream.size to at least {largest}."
            )
        if not 0 <= self.columns[0] <= self.columns[1] <= 1:
            raise ConfigError(
                f"Domain '{self.name}': columns must be a range within 0 and 1, not {self.columns}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    @property
    def label_kind(self) -> str:
        return self.sprites.label_kind

    @property
    def travel(self) -> tuple[int, int]:
        """How many pixels a sprite can move down and right."""
        height, width = self.sprites.pixels.shape[1:]
        return self.size - height, self.size - width

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        chosen = generator.integers(len(self.sprites.pixels), size=count)
        top, left = self._places(generator, count)
        random_hue = self.channels == 3 and self.hue == "random"
        return self._drawn(chosen, top, left, generator.random(count if random_hue else 0))

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:
        """Frames by their numbers: one sprite after another, bouncing if they are moving."""
        each = lives(self.motion, numbers, seed)
        chosen = (each.sprite * len(self.sprites.pixels)).astype(np.int64)
        down, right = self.travel
        if self.moving:
            first, last = self._columns()
            top = bounced(each.start[:, 0], each.path[:, 0], down + 1)
            left = first + bounced(each.start[:, 1], each.path[:, 1], last - first + 1)
        else:
            top, left = (np.full(len(numbers), way // 2) for way in (down, right))
        return self._drawn(chosen, top, left, each.hue)

    def _drawn(
        self,
        chosen: NDArray[np.int64],
        top: NDArray[np.int64],
        left: NDArray[np.int64],
        hue: NDArray[np.float64],
    ) -> tuple[Floats, GroundTruth]:
        """Images of the chosen sprites at their places, and the truth. hue: where it is random."""
        canvas = place(self.sprites.pixels[chosen], top, left, self.size)
        factors = self._factors(top, left)
        if self.inverted:
            canvas = 1 - canvas
        images = canvas[:, None] * np.float32(self.brightness)
        if self.channels == 3:
            if self.hue == "random":
                factors["hue"] = hue
            images = images * self._colours(hue, len(chosen))[:, :, None, None]
        return images, GroundTruth(self.name, self.sprites.labels[chosen], factors)

    def _places(
        self, generator: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        down, right = self.travel
        if not self.moving:
            return np.full(count, down // 2), np.full(count, right // 2)
        first, last = self._columns()
        top = generator.integers(down + 1, size=count)
        return top, generator.integers(first, last + 1, size=count)

    def _columns(self) -> tuple[int, int]:
        """The first and the last column, in pixels, at which a moving sprite may begin."""
        first, last = (round(share * self.travel[1]) for share in self.columns)
        return first, last

    def _colours(self, hue: NDArray[np.float64], count: int) -> Floats:
        """Colours [B, 3]."""
        if self.hue == "none":
            return np.ones((count, 3), dtype=np.float32)
        return tint(hue if self.hue == "random" else np.full(count, self.hue))

    def _factors(
        self, top: NDArray[np.int64], left: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        if not self.moving:
            return {}
        down, right = self.travel
        return {"x": left / max(right, 1), "y": top / max(down, 1)}


def place(
    sprites: NDArray[np.uint8], top: NDArray[np.int64], left: NDArray[np.int64], size: int
) -> Floats:
    """Put each sprite [B, h, w] with its corner at (top, left) on a canvas, [B, size, size]."""
    count, height, width = sprites.shape
    canvas = np.zeros((count, size, size), dtype=np.float32)
    rows = top[:, None, None] + np.arange(height)[None, :, None]
    columns = left[:, None, None] + np.arange(width)[None, None, :]
    canvas[np.arange(count)[:, None, None], rows, columns] = sprites * np.float32(1 / 255)
    return canvas


def tint(hue: NDArray[np.float64]) -> Floats:
    """Bright colours of the given hues in [0, 1), [B, 3]: cosines a third of a turn apart."""
    phase = 2 * np.pi * (hue[:, None] - np.arange(3) / 3)
    return (0.6 + 0.4 * np.cos(phase)).astype(np.float32)
