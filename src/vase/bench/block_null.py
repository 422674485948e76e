"""How often blocks of frames of one domain raise a false alarm, against how often was asked.

The detector stays where it is: every chunk is recorded, and after an alarm the test begins anew.
The e-values do not depend on the rate, so that all rates are measured in one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from vase.detection.block_test import (
    BlockTest,
    Chunk,
    Evidence,
    accumulated,
    alarm_threshold,
    evidence_of,
    weighted,
)
from vase.detection.blocks import (
    CHUNK,
    Array,
    BlockStatistics,
    described,
    likelihood_ratio,
    with_chunks,
)


@dataclass(frozen=True)
class RunLength:
    """asked: mean number of blocks between false alarms. alarms, blocks: counted.

    early: alarms in the frames before anything was counted.
    """

    asked: float
    alarms: int
    blocks: int
    early: int = 0

    @property
    def ratio(self) -> float:
        """Measured over asked; what was measured is a lower bound while there is no alarm."""
        return self.blocks / max(1, self.alarms) / self.asked


def run_lengths(
    chunks: Iterator[Array], asked: Sequence[float], most: int = 100, warmup: int = 0
) -> tuple[list[RunLength], BlockStatistics]:
    """Count false alarms in chunks of features [32, F] of one domain, after `warmup` frames.

    Stops when each rate has had `most` alarms, or the chunks end.
    """
    known = BlockStatistics()
    tests = [BlockTest() for _ in asked]
    found = [RunLength(rate, 0, 0) for rate in asked]
    last: Array | None = None
    while any(each.alarms < most for each in found):
        block = list(islice(chunks, known.block if known.comparable else 1))
        if not block:
            break
        steps = steps_of(block, last)
        if known.comparable and len(block) == known.block:
            evidence = evidence_of_block(known, np.stack(block), max(steps))
            for k, each in enumerate(found):
                if each.alarms >= most:
                    continue
                tests[k], alarm = _after_block(tests[k], evidence, alarm_threshold(each.asked))
                if known.frames < warmup:
                    found[k] = replace(each, early=each.early + alarm)
                else:
                    found[k] = replace(each, alarms=each.alarms + alarm, blocks=each.blocks + 1)
        known = with_chunks(known, np.stack(block), steps)
        last = block[-1][-1]
    return found, known


def evidence_of_block(known: BlockStatistics, chunks: Array, step: float = 0.0) -> Evidence:
    """The e-values at the end of a block of chunks [m, 32, F], whose largest step is given."""
    assert known.axes is not None
    descriptors = described(chunks, known.axes)
    ratios = likelihood_ratio(known, descriptors)
    before = BlockTest(chunks=tuple(descriptors[:-1]), worst=float(ratios[:-1].max(initial=0.0)))
    return evidence_of(before, known, Chunk(descriptors[-1], float(ratios[-1]), step))


def steps_of(chunks: Sequence[Array], last: Array | None) -> list[float]:
    """The largest step within each chunk [32, F], the one into it included."""
    frames = np.concatenate(chunks)
    before = frames[:1] if last is None else last[None]
    squared = (np.diff(np.concatenate([before, frames]), axis=0) ** 2).sum(1)
    largest: list[float] = squared.reshape(len(chunks), -1).max(1).tolist()
    return largest


def _after_block(test: BlockTest, evidence: Evidence, threshold: float) -> tuple[BlockTest, bool]:
    """The test after a block, and whether the alarm was raised within it, or at its end."""
    gradual, abrupt = accumulated(test, evidence, threshold)
    within = weighted(test.gradual, abrupt) >= threshold  # the worst chunk may have come early
    if within or weighted(gradual, abrupt) >= threshold:
        return BlockTest(), True
    return BlockTest(gradual, abrupt), False


def chunks_of(parts: Iterable[Array]) -> Iterator[Array]:
    """Features in parts of any length, [n, F], as chunks [32, F]."""
    left: Array | None = None
    for part in parts:
        every = part if left is None else np.concatenate([left, part])
        whole = len(every) // CHUNK * CHUNK
        yield from every[:whole].reshape(-1, CHUNK, every.shape[1])
        left = every[whole:]


def autoregressive(phi: float, size: int, seed: int, part: int = 1 << 16) -> Iterator[Array]:
    """Endless features [part, size] of x_t = phi x_{t-1} + sqrt(1 - phi^2) e_t, of variance 1."""
    from scipy.signal import lfilter

    generator = np.random.default_rng(seed)
    state = phi * generator.standard_normal((1, size))
    while True:
        noise = np.sqrt(1 - phi**2) * generator.standard_normal((part, size))
        series, state = lfilter([1.0], [1.0, -phi], noise, axis=0, zi=state)
        yield series
