"""Domains whose frames have an order, for streams that show them one after another."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vase.domains.canvas import Domain, Floats
from vase.records import GroundTruth

SHUFFLE = 4  # sets these random numbers apart from those of independent batches


class FrameDomain(Domain, Protocol):
    """A domain that has an order, beside independent draws."""

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:
        """Frames by their numbers >= 0, float32 [B, C, H, W] in [0, 1].

        Each is a pure function of (seed, number).
        """
        ...


def reflected(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows in [0, count) for frames that go back and forth: 0, 1, ..., count - 1, ..., 1, 0, 1."""
    last = count - 1
    if last == 0:
        return np.zeros_like(numbers)
    return last - np.abs(last - numbers % (2 * last))


@lru_cache(maxsize=4)
def shuffled(seed: int, segment: int, first: int, end: int) -> NDArray[np.int64]:
    """The numbers of the frames [first, end) of a segment of the schedule, in random order."""
    order = np.random.default_rng([seed, SHUFFLE, segment]).permutation(np.arange(first, end))
    order.flags.writeable = False  # it is kept
    return order
