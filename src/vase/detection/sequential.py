"""A sequential test on scores: has the distribution changed? Pure functions.

Every batch has a score: how badly it fits its environment (`statistics.likelihood_ratio`). The
latest scores of learnt batches are the null distribution, whatever its shape: the rank r of a new
score among n of them, counted from the top, is equally likely to be 1 .. n + 1 while nothing has
changed, and the e-value

    e = (n + 1) / ( r H ),   H = 1 + 1/2 + ... + 1/(n + 1)

has a mean of exactly 1. The Shiryaev-Roberts statistic

    M_t = e_t ( M_{t-1} + 1 ),   alarm when M_t >= target_arl / OVERSHOOT

is an e-detector (Shin, Ramdas, Rinaldo 2022, arXiv 2203.03532): the average run length (ARL), the
mean time between false alarms, is at least the threshold, for any distribution of scores, since
M_t - t is a martingale. It is in fact larger by the overshoot of M when it crosses. The ranks'
distribution is known, and so is the overshoot: a factor of 2.6 (simulated in
`tests/test_detection.py`), so that the average run length *is* `target_arl`. Three batches that are
worse than 256 others raise the alarm at the default of 190,000, about the largest for which three
do; weak evidence adds up; one bad batch, however bad, does not raise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vase.settings import DetectionSettings

MIN_SCORES = 16  # null scores from which ranks are taken
GROSS = 4.0  # times the median of the null scores: an outlier whatever its rank


@dataclass(frozen=True)
class DetectorState:
    """The statistic M, the scores of the deferred batches, how many there are, and the alarm."""

    statistic: float = 0.0
    deferred: tuple[float, ...] = ()
    batches: int = 0
    alarm: bool = False


def rank(score: float, null: Sequence[float]) -> int:
    """The rank of a score among null scores, 1 if it is the largest: 1 + #{ null >= score }."""
    return 1 + int(np.sum(np.asarray(null) >= score))


def e_value(r: int, n: int) -> float:
    """e = (n + 1) / ( r H ), with mean 1 over the n + 1 ranks."""
    return (n + 1) / (r * harmonic(n + 1))


@lru_cache(maxsize=1024)
def harmonic(count: int) -> float:
    """1 + 1/2 + ... + 1/count."""
    return float(np.sum(1 / np.arange(1, count + 1)))


def next_state(
    state: DetectorState, score: float, null: Sequence[float], settings: DetectionSettings
) -> DetectorState:
    """Return the state after one more score.

    A batch is deferred, that is not learnt, when it is surprising by itself (its p-value is at most
    `hold_p_value`, it is worse than a full window, or a gross outlier), or when it speaks against
    the environment (e >= 1) and those before it did so strongly. Deferred batches change neither
    weights nor statistics. In an environment with hardly any scores only gross outliers count.
    """
    n, young = len(null), len(null) < MIN_SCORES
    gross = n > 1 and score > GROSS * float(np.median(null))
    if young and not gross:
        return DetectorState()
    r, n = (1, MIN_SCORES) if young else (rank(score, null), n)
    e = e_value(r, n)
    statistic = min(e * (state.statistic + 1), 10 * settings.threshold)
    surprising = gross or r / (n + 1) <= max(settings.hold_p_value, 1 / (1 + settings.window))
    if not (surprising or (e >= 1 and statistic >= np.sqrt(settings.threshold))):
        return DetectorState(statistic)
    deferred = (*state.deferred, score)[-settings.window :]
    alarm = statistic >= settings.threshold
    return DetectorState(statistic, deferred, state.batches + 1, alarm)
