"""Which environment is it? One comparison of all that is known, and of what is not: pure functions.

The batches that are held after an alarm are pooled and compared with the signature of every known
environment, the present one included. A distance is the excess of the likelihood ratio over what is
usual in that environment, in nats per image,

    d_s = ( G_s - median of its own scores ) / ( 2 n B / (n + B) )

and the spread of those scores says how certain it is. The environment with the smallest distance is
the one, if that is within `tolerance`; else it is a new one. While the distance is too near to the
tolerance to tell, while the batches do not agree with each other, or while they look like a mixture
of the present environment and a known one, they are held and the verdict waits for more. So it does
while the present environment fits badly but not very: the batches that raised an alarm are the
worst among many, and so are biased against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vase.lifelong.memory import Environment, Memory
from vase.objective import signature
from vase.objective.signature import Signature
from vase.records import Verdict, VerdictKind

KNOWN_SCORES = 8  # from which on an environment's own scores say what is usual
DOUBT = 2.0  # times the tolerance: up to there the present environment is not given up at once


@dataclass(frozen=True)
class IdentificationRule:
    """When is a verdict passed, and which?

    tolerance: nats per image within which an environment is taken for the same. certainty: standard
    deviations that a distance must lie from it. batches, patience: how many batches and images must
    have been held, at the least, before anything is opened. pool: the latest held images on which a
    verdict rests, at the most; with that many the nearest guess is taken. agree: F ratio to which
    held batches are taken to be of one world. longest: batches after which a mixture is taken for a
    world of its own. trial: batches that a new environment must last to be kept for good.
    """

    tolerance: float = 0.6
    certainty: float = 3.0
    batches: int = 3
    patience: int = 192
    pool: int = 512
    agree: float = 3.0
    longest: int = 64
    trial: int = 64


@dataclass(frozen=True)
class Candidate:
    """A known environment: how far it is from the held images, in nats per image.

    deviation: the standard deviation of that.
    """

    index: int
    distance: float
    deviation: float


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    candidates: one per known environment. images, batches: how many agree with one another.
    waited: batches held so far.
    between: the known environment that the images look like a mixture with, and its share.
    on_trial: whether the present environment is still new.
    """

    candidates: tuple[Candidate, ...]
    current: int
    images: int
    batches: int
    waited: int
    between: tuple[int, float] | None = None
    on_trial: bool = False

    @property
    def nearest(self) -> Candidate:
        return min(self.candidates, key=lambda candidate: candidate.distance)

    @property
    def here(self) -> Candidate:
        return next(known for known in self.candidates if known.index == self.current)


Identify = Callable[[Evidence, IdentificationRule], Verdict]  # as `identify` below, or another


def weigh(
    memory: Memory, held: Sequence[Tensor], waited: int, rule: IdentificationRule
) -> Evidence:
    """Compare held batches of features [B_i, F], oldest first, with all that is known.

    waited: batches held so far, of which `held` are the latest.
    """
    together = agreeing(held, rule.agree)
    features = torch.cat(list(together))
    evidence = Evidence(
        candidates=tuple(compare(features, known) for known in memory.environments),
        current=memory.current,
        images=len(features),
        batches=len(together),
        waited=waited,
        on_trial=memory.current > 0 and memory.here.batches < rule.trial,
    )
    if evidence.nearest.distance <= rule.tolerance:
        return evidence
    return replace(evidence, between=_between(memory, features, rule.tolerance))


def agreeing(held: Sequence[Tensor], limit: float) -> Sequence[Tensor]:
    """The newest batches, as many as are of one world with one another."""
    start = len(held) - 1
    while start > 0 and signature.disagreement(held[start - 1 :]) <= limit:
        start -= 1
    return held[start:]


def compare(features: Tensor, known: Environment) -> Candidate:
    """How far features [B, F] are from an environment, and how certain that is."""
    usual, spread = usual_score(known)
    return _candidate(known.index, features, known.signature, usual, spread)


def usual_score(known: Environment) -> tuple[float, float]:
    """Median and robust standard deviation of an environment's own scores.

    Until there are some, those of chi-squares: 2 F, and twice the square root of it.
    """
    size = len(known.signature.mean)
    if len(known.scores) < KNOWN_SCORES:
        return 2.0 * size, 2.0 * float(np.sqrt(2 * size))
    median = float(np.median(known.scores))
    return median, 1.4826 * float(np.median(np.abs(np.array(known.scores) - median)))


def identify(evidence: Evidence, rule: IdentificationRule) -> Verdict:
    """A verdict of kind "held", "kept", "back", "revised" or "new", and why."""
    nearest = evidence.nearest
    known, numbers = nearest.distance <= rule.tolerance, _numbers(evidence, rule)

    def verdict(kind: VerdictKind, environment: int, reason: str) -> Verdict:
        return Verdict(kind, environment, reason, numbers)

    if evidence.batches < rule.batches:
        return verdict("held", evidence.current, "the held batches do not agree with one another")
    selected = rule.tolerance < evidence.here.distance < DOUBT * rule.tolerance
    if selected and evidence.batches < 2 * rule.batches:
        return verdict("held", evidence.current, "perhaps only the worst of many ordinary batches")
    unsure = abs(nearest.distance - rule.tolerance) < rule.certainty * nearest.deviation
    if unsure and evidence.images < rule.pool - evidence.images // evidence.batches:
        return verdict("held", evidence.current, f"too near to tell: {_distances(evidence, rule)}")
    if known and nearest.index == evidence.current:
        return verdict("kept", nearest.index, f"still the same: {_distances(evidence, rule)}")
    if known:
        reason = f"known from before: {_distances(evidence, rule)}"
        return verdict("back", nearest.index, reason)
    if evidence.between is not None and evidence.waited < rule.longest:
        other, share = evidence.between
        reason = f"on the way to environment {other}: {share:.0%} of the images look like it"
        return verdict("held", evidence.current, reason)
    if evidence.images < rule.patience:
        return verdict("held", evidence.current, "like nothing known; too few images to learn it")
    if evidence.on_trial:
        reason = f"founded anew, having lasted too short: {_distances(evidence, rule)}"
        return verdict("revised", evidence.current, reason)
    reason = f"like nothing known: {_distances(evidence, rule)}"
    return verdict("new", len(evidence.candidates), reason)


def _between(memory: Memory, features: Tensor, tolerance: float) -> tuple[int, float] | None:
    """The absent environment whose mixture with the present one fits, and its share."""
    usual, spread = usual_score(memory.here)
    for known in memory.elsewhere:
        blend, share = signature.mixture(memory.here.signature, known.signature, features)
        fit = _candidate(known.index, features, blend, usual, spread)
        if 0 < share < 1 and fit.distance <= tolerance:
            return known.index, share
    return None


def _candidate(
    index: int, features: Tensor, known: Signature, usual: float, spread: float
) -> Candidate:
    worth = 2 * signature.images_compared(len(features), known)
    ratio = signature.likelihood_ratio(features, known)
    return Candidate(index, (ratio - usual) / worth, spread / worth)


def _numbers(evidence: Evidence, rule: IdentificationRule) -> dict[str, Any]:
    return {
        "images": evidence.images,
        "batches": evidence.batches,
        "tolerance_nats": rule.tolerance,
        "distance_nats": {str(c.index): round(c.distance, 3) for c in evidence.candidates},
        "deviation_nats": {str(c.index): round(c.deviation, 3) for c in evidence.candidates},
    }


def _distances(evidence: Evidence, rule: IdentificationRule) -> str:
    """The two nearest environments, and the tolerance, in words."""
    ranked = sorted(evidence.candidates, key=lambda candidate: candidate.distance)[:2]
    parts = [f"{c.distance:.2f} nats from environment {c.index}" for c in ranked]
    return f"{', '.join(parts)} ({rule.tolerance:g} are allowed)"
