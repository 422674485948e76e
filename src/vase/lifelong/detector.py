"""When has the world changed? A sequential test on how badly batches fit their environment.

Every batch is scored against the signature its environment is remembered by
(`objective.signature.likelihood_ratio`). The latest scores of learnt batches are the null
distribution, whatever its shape: the rank r of a new score among n of them, counted from the top,
is equally likely to be 1 .. n + 1 while nothing has changed, and

    e = (n + 1) / ( r H ),   H = 1 + 1/2 + ... + 1/(n + 1)

has a mean of exactly 1. The Shiryaev-Roberts sum

    M_t = e_t ( M_{t-1} + 1 ),   alarm when M_t >= run_length / OVERSHOOT

is an e-detector (Shin, Ramdas, Rinaldo 2022, arXiv 2203.03532): the mean time between false alarms
is at least the threshold, for any distribution of scores, since M_t - t is a martingale. It is in
fact larger by what M overshoots when it crosses. The ranks' distribution being known, so is the
overshoot: a factor of 2.6 (simulated: `tests/test_detector.py`), so that the mean number of batches
between false alarms *is* `run_length`. Three batches that are worse than 256 others raise the
alarm at the default of 190,000, about the largest for which three do; weak evidence adds up; one
bad batch, however bad, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERSHOOT = 2.6
FEWEST = 16  # null scores from which ranks are taken
GROSS = 4.0  # times the median of null scores: grossly out of place, whatever the rank


@dataclass(frozen=True)
class DetectorRule:
    """How scores become suspicion.

    run_length: batches between false alarms, on average. window: null scores that are kept.
    span: images over which a signature is averaged. surprise: p-value at or under which a batch is
    held at once.
    """

    run_length: float = 190_000.0
    window: int = 256
    span: int = 8192
    surprise: float = 0.01

    @property
    def threshold(self) -> float:
        """The value of M at which the alarm is raised."""
        return self.run_length / OVERSHOOT


@dataclass(frozen=True)
class Suspicion:
    """The e-detector's value M, the scores of the batches that are held back, and how many."""

    value: float = 0.0
    held: tuple[float, ...] = ()
    batches: int = 0
    alarm: bool = False


def rank(score: float, null: Sequence[float]) -> int:
    """The rank of a score among null scores, 1 if it is the largest: 1 + #{ null >= score }."""
    return 1 + int(np.sum(np.asarray(null) >= score))


def e_value(r: int, n: int) -> float:
    """e = (n + 1) / ( r H ), with mean 1 over the n + 1 ranks."""
    return (n + 1) / (r * float(np.sum(1 / np.arange(1, n + 2))))


def suspect(state: Suspicion, score: float, null: Sequence[float], rule: DetectorRule) -> Suspicion:
    """The suspicion after one more score.

    A batch is held, that is not learnt, when it is surprising by itself (as rare as
    `rule.surprise`, worse than a full window, or grossly out of place), or when it speaks against
    the environment (e >= 1) and those before it did so strongly. What is held poisons nothing. In
    an environment so young that there are hardly any scores, only what is grossly out of place
    counts.
    """
    n, young = len(null), len(null) < FEWEST
    gross = n > 1 and score > GROSS * float(np.median(null))
    if young and not gross:
        return Suspicion()
    r, n = (1, FEWEST) if young else (rank(score, null), n)
    e = e_value(r, n)
    value = min(e * (state.value + 1), 10 * rule.threshold)
    surprising = gross or r / (n + 1) <= max(rule.surprise, 1 / (1 + rule.window))
    if not (surprising or (e >= 1 and value >= np.sqrt(rule.threshold))):
        return Suspicion(value)
    held = (*state.held, score)[-rule.window :]
    return Suspicion(value, held, state.batches + 1, alarm=value >= rule.threshold)
