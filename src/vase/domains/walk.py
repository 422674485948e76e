"""How a rendered place changes from frame to frame: on a walk, or by one factor at a time.

On a walk every factor of the viewer and of the object's place is a sum of sines. Their periods have
no common multiple. It is scaled so that a walk covers the whole range of the factor:

    s(n) = sum_k a_k sin(2 pi n / T_k + phi_k),  factor = (s - min s) / (max s - min s)

The object becomes another, in kind and hue, every so many frames. A door slides open and shut.

In moves, one factor changes at a time. Each move draws a factor and a new value from its whole
range, and takes the factor there in equal steps. Hue takes the shorter way around its circle. The
kind has no values in between: it changes in the first frame of its move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vase.domains.scenery import KINDS, RANGES

PERIODS = 120.0, 1000.0  # frames, the shortest and the longest
AMPLITUDES = (0.5, 0.3, 0.2)
DOOR_PERIOD = 1130.0  # frames from one opening of the door to the next
DOOR_LEVEL, DOOR_PACE = 0.2, 5.0  # it is open while a sine is above, and takes some 40 frames

Floats64 = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """`count` frames of a walk, with another object every `change` frames."""

    count: int
    change: int
    seed: int

    def described(self) -> str:
        """All that a walk is made of: whoever changes one of these has another walk."""
        return f"{self} {PERIODS} {AMPLITUDES} {DOOR_PERIOD} {DOOR_LEVEL} {DOOR_PACE}"


@dataclass(frozen=True)
class Moves:
    """`count` frames in which one factor moves at a time, each for `span` frames."""

    count: int
    span: int
    seed: int

    def described(self) -> str:
        """All that the moves are made of."""
        return str(self)


def moved(moves: Moves) -> tuple[dict[str, Floats64], NDArray[np.int64]]:
    """The factors in [0, 1] and the kind of the object of every frame, [count] each."""
    generator = np.random.default_rng(moves.seed)
    frame = np.arange(moves.count)
    move, age = np.divmod(frame, moves.span)
    count = int(move[-1]) + 1
    names = (*RANGES, "hue", "kind")
    moving = generator.integers(len(names), size=count)
    factors = {}
    for number, name in enumerate(names):
        drawn = generator.random(count + 1)  # the first is where it stands before all moves
        last = np.maximum.accumulate(np.where(moving == number, np.arange(1, count + 1), 0))
        after = drawn[last]
        before = np.concatenate([drawn[:1], after[:-1]])
        way = after - before
        if name == "hue":
            way = (way + 0.5) % 1 - 0.5
        gone = 1.0 if name == "kind" else (age + 1) / moves.span
        factors[name] = before[move] + way[move] * gone
    factors["hue"] %= 1
    kinds = (factors.pop("kind") * len(KINDS)).astype(np.int64)
    return factors, kinds


def walked(walk: Walk, *, door: bool) -> tuple[dict[str, Floats64], NDArray[np.int64]]:
    """The factors in [0, 1] and the kind of the object of every frame, [count] each.

    door: how far it is open, where there is one.
    """
    generator = np.random.default_rng(walk.seed)
    frame = np.arange(walk.count)
    factors = {name: _covering(_sines(generator, frame)) for name in RANGES}
    turn = frame // walk.change
    objects = int(turn[-1]) + 1
    factors["hue"] = generator.random(objects)[turn]
    kinds = generator.integers(len(KINDS), size=objects)[turn]
    if door:
        swing = np.sin(2 * np.pi * (frame / DOOR_PERIOD + generator.random()))
        factors["door"] = np.clip(0.5 + DOOR_PACE * (swing - DOOR_LEVEL), 0, 1)
    return factors, kinds


def _sines(generator: np.random.Generator, frame: NDArray[np.int64]) -> Floats64:
    """A sum of sines over frames; periods are uniform in their logarithm, and so incommensurate."""
    count = len(AMPLITUDES)
    periods = np.exp(generator.uniform(np.log(PERIODS[0]), np.log(PERIODS[1]), count))
    phases = generator.uniform(0, 2 * np.pi, count)
    waves = np.sin(2 * np.pi * frame[:, None] / periods + phases)
    return np.asarray(waves @ np.array(AMPLITUDES))


def _covering(values: Floats64) -> Floats64:
    """Values scaled to [0, 1]."""
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low))
