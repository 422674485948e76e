"""When has the world changed? An e-detector over the scores of batches.

Every batch is scored against the moments its environment is remembered by: T = sum of the
likelihood ratios G over all channels, that is N latents, distortion and rate. The latest scores of
learnt batches are the null distribution, whatever its shape: the rank of T among them is a p-value
p, and e = 1 / (2 sqrt p) is an e-value (its mean is at most 1 while nothing has changed). The
Shiryaev-Roberts sum

    M_t = e_t ( M_{t-1} + 1 ),   alarm when M_t >= run_length

then has a mean time between false alarms of at least `run_length` batches (Shin, Ramdas, Rinaldo
2022, "E-detectors", arXiv 2203.03532, for exchangeable scores). Evidence adds up over batches and
noise does not; a single bad batch, however bad, can never raise the alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vase.objective.moments import Moments, likelihood_ratio

LARGEST = 1e300  # of the detector's value, while it waits for enough images


@dataclass(frozen=True)
class DetectorRule:
    """How scores become suspicion.

    run_length: batches between false alarms, on average, at the least. window: null scores that
    are kept. warmup: batches of a new environment that are learnt before it is watched.
    span: batches over which remembered moments are averaged. surprise: p-value at or under which a
    batch is held at once. patience: images that are pooled for a verdict, at the least.
    """

    run_length: float = 100_000.0
    window: int = 256
    warmup: int = 300
    span: int = 20
    surprise: float = 0.01
    patience: int = 256


@dataclass(frozen=True)
class Suspicion:
    """The e-detector's value M, and the scores of the batches that are being held back."""

    value: float = 0.0
    held: tuple[float, ...] = ()
    alarm: bool = False


def score(batch: Moments, memory: Moments) -> float:
    """T = sum_k G_k: how badly a batch fits the remembered moments, over all channels."""
    return float(likelihood_ratio(batch, memory).sum())


def p_value(value: float, null: Sequence[float]) -> float:
    """The rank of a score among null scores: ( 1 + #{ null >= value } ) / ( 1 + #null )."""
    return (1 + int(np.sum(np.asarray(null) >= value))) / (1 + len(null))


def e_value(p: float) -> float:
    """e = 1 / (2 sqrt p), with E[e] <= 1 under the null since the integral of e over [0,1] is 1."""
    return float(0.5 / np.sqrt(p))


def suspect(state: Suspicion, value: float, null: Sequence[float], rule: DetectorRule) -> Suspicion:
    """The suspicion after one more score.

    A batch is held, that is not learnt, when it is surprising by itself (as rare as
    `rule.surprise`, or worse than a full window), or when it speaks against the environment
    (e >= 1) and those before it did so strongly. What is held poisons nothing.
    """
    p = p_value(value, null)
    e = e_value(p)
    total = min(e * (state.value + 1), LARGEST)
    surprising = p <= max(rule.surprise, 1 / (1 + rule.window))
    hold = surprising or (e >= 1 and total >= np.sqrt(rule.run_length))
    held = (*state.held, value) if hold else ()
    return Suspicion(total, held, alarm=bool(held) and total >= rule.run_length)
