"""Vectors whose correlation in time is known: a first-order autoregressive process, AR(1).

    x_t = phi x_{t-1} + sqrt(1 - phi^2) e_t,  e_t ~ N(0, I)

has mean 0, variance 1 and autocorrelation phi^k at lag k. Vectors are 0.5 + 0.1 (x_t + shift),
clipped to [0, 1]. Noise is drawn chunk by chunk from (seed, chunk), and the state at the start of a
chunk is what the chunks before it leave behind, so that frame n is a pure function of (seed, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.domains.canvas import Floats
from vase.errors import ConfigError
from vase.records import GroundTruth

CHUNK = 4096  # frames whose noise is drawn together
KEPT = 32  # chunks in memory
SCALE = 0.1  # of a standard deviation, in the range of an image's pixels
MOST_PHI, MOST_SIZE, MOST_SHIFT = 0.999, 128, 3.0
NEGLIGIBLE = 1e-12  # weight of a chunk's state that is left out
NOISE = 5  # sets these random numbers apart from those of independent batches

Floats64 = NDArray[np.float64]


@dataclass(frozen=True)
class AutoregressiveDomain:
    """Vectors of `size` numbers as images [size, 1, 1], and no truth but the domain.

    phi: the correlation of a frame with the next. shift: of every number's mean, in standard
    deviations.
    """

    name: str
    phi: float = 0.9
    size: int = 16
    shift: float = 0.0

    label_kind = ""  # what its labels number: nothing

    def __post_init__(self) -> None:
        limits: tuple[tuple[str, Any, tuple[type, ...], float, float], ...] = (
            ("phi", self.phi, (int, float), -MOST_PHI, MOST_PHI),
            ("size", self.size, (int,), 1, MOST_SIZE),
            ("shift", self.shift, (int, float), -MOST_SHIFT, MOST_SHIFT),
        )
        for what, value, kinds, low, high in limits:  # options of a file may be of any type
            if type(value) not in kinds or not low <= value <= high:
                number = "a number" if float in kinds else "a whole number"
                raise ConfigError(
                    f"Domain '{self.name}': {what} must be {number} from {low} to {high}, not "
                    f"{value!r}. Correct its options."
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """A vector is an image of one pixel."""
        return self.size, 1, 1

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        """Independent draws from the same distribution, float32 [B, size, 1, 1]."""
        return self._vectors(generator.standard_normal((count, self.size)))

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:
        """Frames of the process by their numbers, float32 [B, size, 1, 1]."""
        chunk, row = np.divmod(numbers, CHUNK)
        states = np.empty((len(numbers), self.size))
        for each in np.unique(chunk):
            here = chunk == each
            states[here] = _states(float(self.phi), self.size, seed, int(each))[row[here]]
        return self._vectors(states)

    def _vectors(self, states: Floats64) -> tuple[Floats, GroundTruth]:
        vectors = np.clip(0.5 + SCALE * (states + self.shift), 0, 1).astype(np.float32)
        truth = GroundTruth(self.name, np.zeros(len(states), dtype=np.int64), {})
        return vectors[:, :, None, None], truth


@lru_cache(maxsize=KEPT)
def _states(phi: float, size: int, seed: int, chunk: int) -> Floats64:
    """x_t of the frames of a chunk, [CHUNK, size], unit variance."""
    from scipy.signal import lfilter  # a second to import, and no other domain needs it

    before = np.zeros(size)
    for back in range(_chunks_back(phi)):
        before += phi ** (CHUNK * back) * _left_behind(phi, size, seed, chunk - 1 - back)
    noise = np.sqrt(1 - phi**2) * _noise(size, seed, chunk)
    states: Floats64 = lfilter([1.0], [1.0, -phi], noise, axis=0, zi=phi * before[None])[0]
    return states


@lru_cache(maxsize=KEPT)
def _left_behind(phi: float, size: int, seed: int, chunk: int) -> Floats64:
    """What a chunk that begins at 0 ends at: sum_k phi^k sqrt(1 - phi^2) e_(last - k), [size]."""
    weights = phi ** np.arange(CHUNK - 1, -1, -1)
    return np.asarray(np.sqrt(1 - phi**2) * weights @ _noise(size, seed, chunk))


@lru_cache(maxsize=2)
def _noise(size: int, seed: int, chunk: int) -> Floats64:
    """e_t of a chunk, [CHUNK, size]; the chunks before frame 0 have negative numbers."""
    past = int(chunk < 0)
    return np.random.default_rng([seed, NOISE, past, abs(chunk)]).standard_normal((CHUNK, size))


def _chunks_back(phi: float) -> int:
    """How many chunks before it the state at the start of a chunk depends on, to `NEGLIGIBLE`."""
    return ceil(log(NEGLIGIBLE) / (CHUNK * log(abs(phi)))) if phi else 1
