"""Sprites: the small grey images that canvas domains place, and what can be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vase.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Sprites:
    """Small grey images to be placed: `pixels` uint8 [N, h, w], `identity` [N].

    label_kind: what the labels number, such as "mnist"; empty where nobody has said.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_kind: str = ""


def only(sprites: Sprites, classes: Sequence[int]) -> Sprites:
    """The sprites of some classes; a `ConfigError` where there is none."""
    chosen = np.isin(sprites.labels, list(classes))
    if not chosen.any():
        raise ConfigError(
            f"No sprite is of the classes {list(classes)}; there are "
            f"{np.unique(sprites.labels).tolist()}. Correct the domain's `classes`."
        )
    return replace(sprites, pixels=sprites.pixels[chosen], labels=sprites.labels[chosen])


def turned(sprites: Sprites, quarters: int) -> Sprites:
    """Every sprite turned to the left by `quarters` times 90 degrees."""
    return replace(sprites, pixels=np.rot90(sprites.pixels, quarters, axes=(1, 2)).copy())


def shrunk(sprites: Sprites, factor: int) -> Sprites:
    """Every sprite `factor` times smaller: each block of pixels becomes its mean."""
    count, height, width = sprites.pixels.shape
    if height % factor or width % factor:
        raise ConfigError(
            f"Sprites of {height}x{width} pixels cannot be shrunk by {factor}: both sides must be "
            "multiples of it. Correct the domain's `shrink`."
        )
    blocks = sprites.pixels.reshape(count, height // factor, factor, width // factor, factor)
    return replace(sprites, pixels=np.round(blocks.mean((2, 4))).astype(np.uint8))
