"""The pose of a sprite on a canvas, the effect of actions on it, and its rendering.

All functions are pure: a `Pose` and an action give a `Pose`; a sprite and a `Pose` give an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vase.domains.canvas import tint
from vase.errors import ConfigError

ActionKind = Literal["move", "turn", "rescale", "recolour"]

STAY = "stay"
ACTIONS: Mapping[ActionKind, tuple[str, ...]] = {
    "move": ("up", "down", "left", "right"),
    "turn": ("turn left", "turn right"),
    "rescale": ("smaller", "larger"),
    "recolour": ("next hue", "previous hue"),
}
TURN = 15  # degrees
GROWTH = 1.1
SIZES = (-4, 2)  # powers of GROWTH: 0.68 to 1.21 of a sprite's own size
HUES = 12  # steps around the colour circle

_MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


@dataclass(frozen=True)
class Pose:
    """Corner of the sprite in pixels, turns to the left, size and hue.

    turn: in steps of `TURN` degrees. size: in powers of `GROWTH`. hue: in steps of 1 / `HUES` of
    the colour circle; None while the sprite is white.
    """

    top: int
    left: int
    turn: int = 0
    size: int = 0
    hue: int | None = None


def kinds(channels: int) -> tuple[ActionKind, ...]:
    """Return the kinds of actions on a canvas with so many channels."""
    return tuple(kind for kind in ACTIONS if kind != "recolour" or channels == 3)


def actions(kinds: Sequence[ActionKind], channels: int) -> tuple[str, ...]:
    """Return the actions of some kinds; the first is to stay."""
    unknown = [kind for kind in kinds if kind not in ACTIONS]
    if unknown or not kinds:
        raise ConfigError(
            f"Actions are of the kinds {', '.join(ACTIONS)}; these are {list(kinds)}. Name some."
        )
    if channels == 1 and "recolour" in kinds:
        raise ConfigError("A grey canvas cannot be recoloured. Set channels to 3.")
    return (STAY, *(name for kind in kinds for name in ACTIONS[kind]))


def apply_action(pose: Pose, action: str, stride: int, travel: tuple[int, int]) -> Pose:
    """Return the pose after an action; at an edge or the end of a range nothing changes.

    stride: pixels per move. travel: pixels that the sprite can move down and right.
    """
    if action in _MOVES:
        down, right = (stride * way for way in _MOVES[action])
        top, left = np.clip((pose.top + down, pose.left + right), 0, travel).tolist()
        return replace(pose, top=top, left=left)
    rounds = 360 // TURN
    match action:
        case "turn left":
            return replace(pose, turn=(pose.turn + 1) % rounds)
        case "turn right":
            return replace(pose, turn=(pose.turn - 1) % rounds)
        case "smaller":
            return replace(pose, size=max(pose.size - 1, SIZES[0]))
        case "larger":
            return replace(pose, size=min(pose.size + 1, SIZES[1]))
        case "next hue":
            return replace(pose, hue=0 if pose.hue is None else (pose.hue + 1) % HUES)
        case "previous hue":
            return replace(pose, hue=HUES - 1 if pose.hue is None else (pose.hue - 1) % HUES)
    return pose


def render(sprite: NDArray[np.uint8], pose: Pose, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the sprite [h, w] in its pose on a square canvas, [size, size, channels]."""
    if pose.turn == pose.size == 0:
        height, width = sprite.shape
        canvas = np.zeros((size, size), dtype=np.uint8)
        canvas[pose.top : pose.top + height, pose.left : pose.left + width] = sprite
    else:
        canvas = _warped(sprite, pose, size)
    if channels == 1:
        return canvas[:, :, None]
    colour = np.ones(3) if pose.hue is None else tint(np.array([pose.hue / HUES]))[0]
    coloured: NDArray[np.uint8] = np.round(canvas[:, :, None] * colour).astype(np.uint8)
    return coloured


def _warped(sprite: NDArray[np.uint8], pose: Pose, size: int) -> NDArray[np.uint8]:
    """Return the sprite turned and scaled about its centre, with bilinear interpolation."""
    padded = np.pad(sprite, 1)  # so that the outermost pixels fade out
    height, width = padded.shape
    angle, scale = np.deg2rad(TURN * pose.turn), GROWTH**pose.size
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = pose.left - 1 + width / 2, pose.top - 1 + height / 2
    # Inverse transform, from a canvas pixel to the sprite: undo translation, rotation and scale.
    row = (c, -s, width / 2 - c * x + s * y)
    column = (s, c, height / 2 - s * x - c * y)
    turned = Image.fromarray(padded).transform(
        (size, size), Image.Transform.AFFINE, (*row, *column), Image.Resampling.BILINEAR
    )
    return np.asarray(turned)


def factors(pose: Pose, travel: tuple[int, int]) -> dict[str, float]:
    """Return the true factors: x, y in [0, 1] over the range of travel; the others as they are.

    angle: share of a full turn, in [0, 1). scale: relative to the sprite's own size. hue: share of
    the colour circle, in [0, 1). saturation: 0 while the sprite is white, then 1.
    """
    down, right = travel
    return {
        "x": pose.left / max(right, 1),
        "y": pose.top / max(down, 1),
        "angle": pose.turn * TURN / 360,
        "scale": GROWTH**pose.size,
        "hue": (pose.hue or 0) / HUES,
        "saturation": float(pose.hue is not None),
    }
