"""A sequential test on blocks of frames: has the distribution changed? Pure functions.

E-detectors (Shin, Ramdas, Rinaldo 2022) of the Shiryaev-Roberts kind, M <- e (M + 1), of which the
alarm takes the weighted sum: M - t is a martingale for each while nothing changes, and so for all
together, whatever they have to do with one another.

gradual    once per block: e = (n + 1) / (r H), H = 1 + 1/2 + ... + 1/(n + 1), of the block's rank
           r among the n latest ones. While nothing changes every rank is equally likely, if blocks
           are exchangeable, of any distribution: the mean of e is exactly 1. Many weak signs add
           up.
abrupt     at every chunk, for hard cuts: e = 1 / (p log(q / SMALLEST)) for p < q, of the worst
           chunk of the block so far. Among n values, the j-th largest stands for the rank,
           q = j / (n + 1), and beyond it the tail is taken to fall like a power,
           p = q (g / g_j) ** -TAIL. Two values are judged so, and their e-values averaged: the
           ratio g of the worst chunk, among the worst ones of the n latest blocks, of which a few
           may be outliers; and the largest step from one frame to the next, beyond that of the n
           latest chunks, j = 1, and beyond what any two frames of the environment differ by, with
           p times the chunks of a block: an environment may have cuts of its own, however seldom.
           Real cuts are far beyond; one or two chunks decide.

returned   at every chunk, where other environments are known: M <- e (M + 1/b), b the chunks of a
           block, e = (mean over the others of p_k / p)^(1/b), of the densities with which they and
           the present environment predict the chunk's mean (`blocks.log_density`). While the
           present one is right, the mean of p_k / p is 1 at most; chunks of one block may depend on
           one another, hence the root (by Hoelder's inequality the mean of a product of such roots
           is 1 at most too). So what is known from before is known again where by itself it would
           be nothing improbable, since the present environment is vague.

The assumptions beyond exchangeable blocks are those densities, those tails, and that the largest
steps of chunks are exchangeable. The tail makes the abrupt part conservative where it is lighter,
which is why it gets a quarter of the weight only; what has returned gets another quarter, from the
gradual part. An alarm by a cut is but a question: what follows it decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vase.detection.blocks import (
    CHUNK,
    FIRST_BLOCK,
    Array,
    BlockStatistics,
    rank_among,
    total_variance,
)
from vase.settings import OVERSHOOT, DetectionSettings

TAIL = 4.0  # power at which the ratios' tail falls, at least
SMALLEST = 1e-8  # p-values are not believed beyond
ABRUPT = 0.25  # weight of the abrupt part
RETURNED = 0.25  # and of what has returned, where other environments are known
SHARE = 16  # one in so many of the worst ratios may be an outlier
MIN_RANKED = 3  # blocks from which ranks are taken, and steps judged
OWN_CUT = 6.0  # times the total variance: thrice the mean squared step to any frame of its own
STEP_TAIL = 8.0  # and of the steps
IMPROBABLE = 0.003  # p-value of a chunk that is deferred at once


@dataclass(frozen=True, eq=False)
class BlockTest:
    """gradual, abrupt, returned: the statistics M. chunks, worst, step: of the block so far."""

    gradual: float = 0.0
    abrupt: float = 0.0
    returned: float = 0.0
    chunks: tuple[Array, ...] = ()
    worst: float = 0.0
    step: float = 0.0


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a chunk is judged by: its descriptor [2 F], its ratio G, and its largest step.

    advantage: log of the mean over other environments of p_k / p, in nats; None without any.
    """

    descriptor: Array
    ratio: float
    step: float = 0.0
    advantage: float | None = None


@dataclass(frozen=True)
class Verdict:
    """On a chunk.

    improbable: by itself. block_improbable: its block is, which it ends, or the block speaks
    against the environment after others that did so strongly. suspicious: whether those did.
    alarm: whether it is raised. gradual: whether the gradual part alone would raise it. complete:
    whether the chunk ends a block. statistic: the weighted sum of both M, over the threshold.
    """

    improbable: bool
    block_improbable: bool
    suspicious: bool
    alarm: bool
    gradual: bool
    complete: bool
    statistic: float


def next_test(
    test: BlockTest,
    known: BlockStatistics,
    chunk: Chunk,
    run_length: float,
    settings: DetectionSettings,
) -> tuple[BlockTest, Verdict]:
    """Return the test after one more chunk, and the verdict.

    run_length: the mean number of frames between false alarms.
    """
    threshold = alarm_threshold(run_length / (known.block * CHUNK))
    evidence = evidence_of(test, known, chunk)
    gradual, abrupt = accumulated(test, evidence, threshold)
    e, returned = return_e_value(known, chunk), None
    if e is not None:
        returned = min(e * (test.returned + 1 / known.block), largest(threshold))
    unlikely = False
    if evidence.p is not None:
        least = max(settings.hold_p_value, 1 / (1 + settings.window))
        unlikely = known.block == FIRST_BLOCK and evidence.p <= least
        unlikely |= evidence.gradual >= 1 and gradual >= np.sqrt(threshold)
    statistic = weighted(gradual, abrupt, returned)
    least = min(tail_probability(known, chunk.ratio), step_probability(known, chunk.step))
    verdict = Verdict(
        improbable=least <= IMPROBABLE or (e is not None and e >= 1 / IMPROBABLE),
        block_improbable=unlikely,
        suspicious=gradual >= np.sqrt(threshold),
        alarm=statistic >= threshold,
        gradual=gradual >= threshold,
        complete=evidence.complete,
        statistic=statistic / threshold,
    )
    returned = returned or 0.0
    if evidence.complete:
        return BlockTest(gradual, abrupt, returned), verdict
    now = (evidence.chunks, evidence.worst, evidence.step)
    return BlockTest(test.gradual, test.abrupt, returned, *now), verdict


@dataclass(frozen=True, eq=False)
class Evidence:
    """The e-values after a chunk. chunks, worst, step: of the block. p: of it, if it is ranked.

    gradual is 1 where no block was ranked.
    """

    chunks: tuple[Array, ...]
    worst: float
    step: float
    complete: bool
    abrupt: float
    gradual: float = 1.0
    p: float | None = None


def evidence_of(test: BlockTest, known: BlockStatistics, chunk: Chunk) -> Evidence:
    """The e-values of a block with one more chunk."""
    chunks, complete = (*test.chunks, chunk.descriptor), len(test.chunks) + 1 >= known.block
    worst, step = max(test.worst, chunk.ratio), max(test.step, chunk.step)
    abrupt = abrupt_e_value(known, worst, step)
    if not complete or len(known.blocks) < MIN_RANKED:
        return Evidence(chunks, worst, step, complete, abrupt)
    rank, count = rank_among(known, np.mean(chunks, 0))
    e = e_value(rank, count)
    return Evidence(chunks, worst, step, complete, abrupt, e, rank / (count + 1))


def e_value(r: int, n: int) -> float:
    """e = (n + 1) / ( r H ), with mean 1 over the n + 1 ranks."""
    return (n + 1) / (r * harmonic(n + 1))


@lru_cache(maxsize=1024)
def harmonic(count: int) -> float:
    """1 + 1/2 + ... + 1/count."""
    return float(np.sum(1 / np.arange(1, count + 1)))


def accumulated(test: BlockTest, evidence: Evidence, threshold: float) -> tuple[float, float]:
    """Both statistics M <- e (M + 1), the gradual one only where a block was ranked."""
    most, gradual = largest(threshold), test.gradual
    if evidence.p is not None:
        gradual = min(evidence.gradual * (gradual + 1), most)
    return gradual, min(evidence.abrupt * (test.abrupt + 1), most)


def largest(threshold: float) -> float:
    """What a statistic is cut off at, far above the alarm, so that it stays a number."""
    return 10 * threshold / ABRUPT


def weighted(gradual: float, abrupt: float, returned: float | None = None) -> float:
    """The statistic of which the alarm is raised. returned: None without other environments."""
    if returned is None:
        return (1 - ABRUPT) * gradual + ABRUPT * abrupt
    return (1 - ABRUPT - RETURNED) * gradual + ABRUPT * abrupt + RETURNED * returned


def return_e_value(known: BlockStatistics, chunk: Chunk) -> float | None:
    """e of a chunk as one of another environment, (mean p_k / p)^(1/b); None without any."""
    if chunk.advantage is None:
        return None
    return float(np.exp(min(chunk.advantage / known.block, -np.log(SMALLEST))))


def alarm_threshold(blocks: float) -> float:
    """The threshold for a mean number of blocks between false alarms."""
    return max(10.0, blocks) / OVERSHOOT


def abrupt_e_value(known: BlockStatistics, worst: float, step: float = 0.0) -> float:
    """e of the worst ratio and the largest step of a block so far."""
    ratio = _tail_e_value(tail_probability(known, worst), _tail_share(len(known.worst)))
    steps = _tail_e_value(step_probability(known, step), 1 / (len(known.steps) + 1))
    return (ratio + steps) / 2


def _tail_e_value(p: float, q: float) -> float:
    """1 / (p log(q / SMALLEST)) for p < q, whose mean is 1 for uniform p; else 0."""
    return 1 / (max(p, SMALLEST) * float(np.log(q / SMALLEST))) if p < q else 0.0


def tail_probability(known: BlockStatistics, ratio: float) -> float:
    """p of a chunk's ratio among the worst ones of blocks."""
    # Not below what independent frames give: where nothing moves, any move would be improbable.
    start = max(_start(known.worst), 1.25 * known.blocks.shape[1])
    return _beyond(ratio, start, _tail_share(len(known.worst)))


def step_probability(known: BlockStatistics, step: float) -> float:
    """p of a block's largest step among those of blocks; 1 while there are few."""
    return _beyond(step, usual_step(known), 1 / (len(known.steps) + 1), STEP_TAIL)


def usual_step(known: BlockStatistics) -> float:
    """The largest step within the latest blocks; infinite while few are known."""
    if len(known.steps) < MIN_RANKED:
        return float("inf")
    return max(*known.steps, *known.partial_steps, OWN_CUT * total_variance(known))


def _start(values: Sequence[float]) -> float:
    """The j-th largest of the values, at which the tail begins."""
    return sorted(values)[-1 - len(values) // SHARE]


def _beyond(value: float, start: float, share: float, tail: float = TAIL) -> float:
    """q (value / start) ** -tail beyond the start of the tail of a `share` q of values; else 1."""
    return share * (value / start) ** -tail if value > start else 1.0


def _tail_share(count: int) -> float:
    return (1 + count // SHARE) / (count + 1)
