"""Sprites on a canvas: the MNIST family, moving or at rest, inverted or tinted.

A canvas world draws one sprite per image at a place of its own, or in the centre. Position is
scaled to [0, 1] over the range of travel, so that a readout's error has the same unit for every
size of canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vase.errors import ConfigError
from vase.records import Truth

Floats = NDArray[np.float32]


class World(Protocol):
    """What the data is: renders images and, apart from them, the truth behind them."""

    @property
    def name(self) -> str:
        """What the schedule calls it."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        ...

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, Truth]:
        """Render `count` images, float32 [B, C, H, W] in [0, 1]. All randomness is the argument."""
        ...


@dataclass(frozen=True, eq=False)
class Sprites:
    """Small grey images to be placed: `pixels` uint8 [N, h, w], `identity` [N]."""

    pixels: NDArray[np.uint8]
    identity: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CanvasWorld:
    """One sprite per image on a square canvas of `size` pixels.

    moving: at a random place, else in the centre. inverted: dark on light. channels: 1 or 3; with
    3 each image is tinted with a random hue, which becomes a factor.
    """

    name: str
    sprites: Sprites
    size: int = 64
    moving: bool = False
    inverted: bool = False
    channels: int = 1

    def __post_init__(self) -> None:
        largest = max(self.sprites.pixels.shape[1:])
        if largest > self.size:
            raise ConfigError(
                f"World '{self.name}': sprites of {largest} pixels do not fit a canvas of "
                f"{self.size}. Set stream.size to at least {largest}."
            )
        if self.channels not in (1, 3):
            raise ConfigError(f"World '{self.name}': channels must be 1 or 3, not {self.channels}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    @property
    def travel(self) -> tuple[int, int]:
        """How many pixels a sprite can move down and right."""
        height, width = self.sprites.pixels.shape[1:]
        return self.size - height, self.size - width

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, Truth]:
        chosen = generator.integers(len(self.sprites.pixels), size=count)
        top, left = self._places(generator, count)
        canvas = place(self.sprites.pixels[chosen], top, left, self.size)
        factors = self._factors(top, left)
        if self.inverted:
            canvas = 1 - canvas
        images = canvas[:, None]
        if self.channels == 3:
            hue = generator.random(count)
            images = images * tint(hue)[:, :, None, None]
            factors["hue"] = hue
        return images, Truth(self.name, self.sprites.identity[chosen], factors)

    def _places(
        self, generator: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        down, right = self.travel
        if not self.moving:
            return np.full(count, down // 2), np.full(count, right // 2)
        return generator.integers(down + 1, size=count), generator.integers(right + 1, size=count)

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
