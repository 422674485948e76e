"""How sprites move in a stream in order: from wall to wall, one life after another.

Life l is the frames [l L, (l + 1) L) of a stream. Each life draws its sprite, place and velocity
anew, so that lives are independent and a life time of 1 gives independent images. Within a life
the place is a closed form of the frame's age t:

    p(t) = triangle(p_0 + v m(t)),  m(t) = frames among the first t in which the sprite moves

Every number is a pure function of (seed, number of the frame).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats64 = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = 1024  # lives whose random numbers are drawn together
STRETCHES = 5  # of a life, in each of which the sprite moves or stands still
SPEEDS = (0.5, 1.5)  # of one sprite, as factors of the mean speed
SPRITE, HUE, TOP, LEFT, DIRECTION, PACE, PAUSES = range(7)  # what is drawn for a life
LIVES = 3  # sets these random numbers apart from those of independent batches


@dataclass(frozen=True)
class Motion:
    """lifetime: frames of one sprite. speed: mean, in pixels per frame. pause: share of the time.

    A life has stretches of a fifth of it; in each of them the sprite stands still with probability
    `pause`.
    """

    lifetime: int = 100
    speed: float = 1.0
    pause: float = 0.0


@dataclass(frozen=True, eq=False)
class Lives:
    """What was drawn for the sprites of some frames, and how far they have gone.

    sprite, hue [B] and start [B, 2] are in [0, 1): a share of all sprites, of the way round, and
    of the way down and right. path [B, 2] is what a sprite has covered down and right, in pixels.
    """

    sprite: Floats64
    hue: Floats64
    start: Floats64
    path: Floats64


def lives(motion: Motion, numbers: Integers, seed: int) -> Lives:
    """The lives of the sprites of frames [B]."""
    life, age = np.divmod(numbers, motion.lifetime)
    drawn = _drawn(life, seed)
    low, high = SPEEDS
    pace = motion.speed * (low + (high - low) * drawn[:, PACE])
    way = pace * moving_time(age, drawn[:, PAUSES:] >= motion.pause, motion.lifetime)
    angle = 2 * np.pi * drawn[:, DIRECTION]
    direction = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    start = drawn[:, [TOP, LEFT]]
    return Lives(drawn[:, SPRITE], drawn[:, HUE], start, way[:, None] * direction)


def moving_time(age: Integers, moves: NDArray[np.bool_], lifetime: int) -> Integers:
    """m(t) [B]: frames of an age [B] in which a sprite has moved; moves [B, STRETCHES]."""
    length = -(-lifetime // STRETCHES)
    begun = np.arange(STRETCHES) * length
    return np.asarray((moves * np.clip(age[:, None] - begun, 0, length)).sum(1))


def bounced(start: Floats64, path: Floats64, places: int) -> Integers:
    """The pixel in [0, places) where a sprite is that began at a share of the way and bounces.

    It moves in [0, places), so that every pixel is as likely as any other at any age:

        triangle(d) = W - |W - (d mod 2W)|,  W = places
    """
    distance = np.mod(start * places + path, 2 * places)
    at = places - np.abs(places - distance)
    return np.asarray(np.minimum(at.astype(np.int64), places - 1))


def _drawn(life: Integers, seed: int) -> Floats64:
    """Uniform random numbers of lives, [B, 6 + STRETCHES]."""
    block, row = np.divmod(life, BLOCK)
    drawn = np.empty((len(life), PAUSES + STRETCHES))
    for each in np.unique(block):
        here = block == each
        drawn[here] = _of_block(seed, int(each))[row[here]]
    return drawn


@lru_cache(maxsize=64)
def _of_block(seed: int, block: int) -> Floats64:
    return np.random.default_rng([seed, LIVES, block]).random((BLOCK, PAUSES + STRETCHES))
