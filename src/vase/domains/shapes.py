"""Procedural sprites that need no download: solid shapes and pen strokes, five classes each.

They stand in for clothes and digits in tests and in the `toy` preset: two families that differ in
ink and outline, with variation within each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vase.domains.sprites import Sprites

Family = Literal["solids", "strokes"]
Field = NDArray[np.float64]


def _disc(x: Field, y: Field, r: float, s: float) -> Field:
    return np.hypot(x, y * s) - r


def _box(x: Field, y: Field, r: float, s: float) -> Field:
    return np.maximum(np.abs(x), np.abs(y * s)) - r


def _diamond(x: Field, y: Field, r: float, s: float) -> Field:
    return np.abs(x) + np.abs(y * s) - r


def _wedge(x: Field, y: Field, r: float, s: float) -> Field:
    return np.maximum(2 * np.abs(x) + y * s - r, -y * s - r)


def _band(x: Field, y: Field, r: float, s: float) -> Field:
    return np.maximum(np.abs(x) - r, np.abs(y * s) - r / 2.5)


def _bar(x: Field, y: Field, r: float, s: float) -> Field:
    return np.maximum(np.abs(x + 0.3 * (s - 1) * y), np.abs(y) - r)


def _cross(x: Field, y: Field, r: float, s: float) -> Field:
    return np.minimum(_bar(x, y, r, s), _bar(y, -x, r * 0.7, s))


def _ring(x: Field, y: Field, r: float, s: float) -> Field:
    return np.abs(np.hypot(x, y * s) - r * 0.7)


def _hook(x: Field, y: Field, r: float, s: float) -> Field:
    lower = np.maximum(np.abs(y * s - r * 0.8), np.abs(x) - r * 0.6)
    return np.minimum(_bar(x - r * 0.6, y, r, 1.0), lower)


def _seven(x: Field, y: Field, r: float, s: float) -> Field:
    upper = np.maximum(np.abs(y * s + r * 0.8), np.abs(x) - r * 0.6)
    return np.minimum(_bar(x + 0.4 * y - 0.2 * r, y, r, 1.0), upper)


_OUTLINES: dict[Family, tuple[Callable[[Field, Field, float, float], Field], ...]] = {
    "solids": (_disc, _box, _diamond, _wedge, _band),
    "strokes": (_bar, _cross, _ring, _hook, _seven),
}
_PEN: dict[Family, float] = {"solids": 0.0, "strokes": 0.12}


def sprites(family: Family, count: int, side: int, seed: int) -> Sprites:
    """Draw `count` sprites of `side` pixels: equal shares of five classes, each one varied."""
    generator = np.random.default_rng([seed, sorted(_OUTLINES).index(family)])
    identity = np.arange(count) % len(_OUTLINES[family])
    radii = generator.uniform(0.55, 0.85, count)
    squeezes = generator.uniform(0.85, 1.5, count)
    pixels = np.stack(
        [
            _draw(family, int(kind), side, radius, squeeze)
            for kind, radius, squeeze in zip(identity, radii, squeezes, strict=True)
        ]
    )
    return Sprites(pixels, identity.astype(np.int64), family)


def _draw(family: Family, kind: int, side: int, radius: float, squeeze: float) -> NDArray[np.uint8]:
    """One sprite from its signed distance field, with an edge one pixel soft."""
    axis = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(axis, axis)
    distance = _OUTLINES[family][kind](x, y, radius, squeeze) - _PEN[family]
    ink = np.clip(0.5 - distance * side / 2, 0, 1)
    return np.round(ink * 255).astype(np.uint8)
