"""Which environment is it? A comparison with all known ones, and with a new one: pure functions.

After an alarm the deferred batches are pooled and compared with the feature statistics of every
known environment, the present one included. A distance is the excess of the likelihood ratio over
its usual value in that environment, in nats per image,

    d_s = ( G_s - median of its own scores ) / ( 2 n B / (n + B) )

and the spread of those scores gives its standard deviation. The decision is the environment with
the smallest distance, if that is within `tolerance`; else a new one. While the distance is too near
to the tolerance to tell, while the batches do not agree with each other, or while they look like a
mixture of the present environment and a known one, they are deferred and the decision waits for
more. So it does while the present environment fits badly but not very badly: the batches that
raised an alarm are the worst among many, and so are biased against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vase.detection import statistics
from vase.detection.statistics import FeatureStatistics
from vase.records import Decision, DecisionKind
from vase.settings import DetectionSettings

MIN_OWN_SCORES = 8  # from which on an environment's own scores say what is usual
DOUBT = 2.0  # times the tolerance: up to there the present environment needs twice the batches


@dataclass(frozen=True)
class EnvironmentStatistics:
    """What is kept of one environment's features.

    scores: the latest null scores, oldest first. batches: how many of its own were seen.
    """

    statistics: FeatureStatistics
    scores: tuple[float, ...] = ()
    batches: int = 0


@dataclass(frozen=True)
class Candidate:
    """A known environment: how far it is from the deferred images, in nats per image.

    deviation: the standard deviation of that distance.
    """

    environment: int
    distance: float
    deviation: float


@dataclass(frozen=True)
class Comparison:
    """Deferred images against every known environment: what any decision rests on.

    candidates: one per known environment. current: the present environment. images, batches: how
    many deferred ones were compared.
    """

    candidates: tuple[Candidate, ...]
    current: int
    images: int
    batches: int

    @property
    def nearest(self) -> Candidate:
        """The candidate with the smallest distance."""
        return min(self.candidates, key=lambda candidate: candidate.distance)

    @property
    def present(self) -> Candidate:
        """The present environment as a candidate."""
        return next(known for known in self.candidates if known.environment == self.current)

    def numbers(self, tolerance: float) -> dict[str, Any]:
        """The evidence of an event, in nats per image."""
        each = self.candidates
        return {
            "images": self.images,
            "batches": self.batches,
            "tolerance_nats": tolerance,
            "distance_nats": {str(c.environment): round(c.distance, 3) for c in each},
            "deviation_nats": {str(c.environment): round(c.deviation, 3) for c in each},
        }


@dataclass(frozen=True)
class Evidence(Comparison):
    """What a decision of rule `feature-statistics` rests on.

    images, batches: those that agree with one another. waited: batches deferred so far. between:
    the known environment with which the images look like a mixture, and its share. on_probation:
    whether the present environment is so new that it can still be discarded.
    """

    waited: int
    between: tuple[int, float] | None = None
    on_probation: bool = False


def collect_evidence(
    environments: Mapping[int, EnvironmentStatistics],
    current: int,
    deferred: Sequence[Tensor],
    waited: int,
    settings: DetectionSettings,
) -> Evidence:
    """Compare deferred batches of features [B_i, F], oldest first, with every known environment.

    environments: by id. current: the present one. waited: batches deferred so far, of which
    `deferred` are the latest.
    """
    together = agreeing(deferred, settings.max_f_ratio)
    features = torch.cat(list(together))
    present = environments[current]
    evidence = Evidence(
        candidates=tuple(compare(features, key, known) for key, known in environments.items()),
        current=current,
        images=len(features),
        batches=len(together),
        waited=waited,
        on_probation=current > 0 and present.batches < settings.probation,
    )
    if evidence.nearest.distance <= settings.tolerance:
        return evidence
    absent = {key: known for key, known in environments.items() if key != current}
    return replace(evidence, between=_between(present, absent, features, settings.tolerance))


def agreeing(deferred: Sequence[Tensor], limit: float) -> Sequence[Tensor]:
    """Return the newest batches that are of one domain: their F ratio is within the limit."""
    start = len(deferred) - 1
    while start > 0 and statistics.f_ratio(deferred[start - 1 :]) <= limit:
        start -= 1
    return deferred[start:]


def compare(features: Tensor, environment: int, known: EnvironmentStatistics) -> Candidate:
    """Return how far features [B, F] are from an environment, and how certain that is."""
    usual, spread = usual_score(known)
    return _candidate(environment, features, known.statistics, usual, spread)


def usual_score(known: EnvironmentStatistics) -> tuple[float, float]:
    """Return the median and robust standard deviation of an environment's own scores.

    Until there are enough, those of chi-squares: 2 F, and twice the square root of it.
    """
    size = len(known.statistics.mean)
    if len(known.scores) < MIN_OWN_SCORES:
        return 2.0 * size, 2.0 * float(np.sqrt(2 * size))
    median = float(np.median(known.scores))
    return median, 1.4826 * float(np.median(np.abs(np.array(known.scores) - median)))


def identify(evidence: Evidence, settings: DetectionSettings) -> Decision:
    """Decide: "deferred", "dismissed", "returned", "reopened" or "new", and why."""
    nearest, present = evidence.nearest, evidence.current
    known, numbers = nearest.distance <= settings.tolerance, evidence.numbers(settings.tolerance)
    distances = _distances(evidence, settings)

    def deferred(reason: str) -> Decision:
        return Decision("deferred", present, reason, batches=evidence.batches, numbers=numbers)

    if evidence.batches < settings.min_batches:
        return deferred("the deferred batches do not agree with one another")
    selected = settings.tolerance < evidence.present.distance < DOUBT * settings.tolerance
    if selected and evidence.batches < 2 * settings.min_batches:
        return deferred("perhaps only the worst of many ordinary batches")
    unsure = abs(nearest.distance - settings.tolerance) < settings.z_threshold * nearest.deviation
    pool = settings.max_pooled_images - evidence.images // evidence.batches
    if unsure and evidence.images < pool:
        return deferred(f"too near to tell: {distances}")
    started = "it did not outlast its probation" if evidence.on_probation else ""
    waits = evidence.between if evidence.waited < settings.max_wait else None
    return concluded(evidence, known, waits, started, distances, settings)


def concluded(
    evidence: Comparison,
    known: bool,
    between: tuple[int, float] | None,
    discarded: str,
    distances: str,
    settings: DetectionSettings,
) -> Decision:
    """Decide on images that were compared for long enough.

    known: whether they are of the nearest environment. between: the environment, and its share, of
    a mixture whose end is still waited for. discarded: why the present environment does not stay.
    distances: in words.
    """
    nearest, present = evidence.nearest.environment, evidence.current
    numbers = evidence.numbers(settings.tolerance)

    def decision(kind: DecisionKind, environment: int, reason: str) -> Decision:
        return Decision(kind, environment, reason, batches=evidence.batches, numbers=numbers)

    if known and nearest == present:
        return decision("dismissed", present, f"still the same: {distances}")
    if known:
        return decision("returned", nearest, f"known from before: {distances}")
    if between is not None:
        other, share = between
        reason = f"on the way to environment {other}: {share:.0%} of the images look like it"
        return decision("deferred", present, reason)
    if evidence.images < settings.min_images:
        return decision("deferred", present, "like no known environment; too few images to learn")
    if discarded:
        return decision("reopened", present, f"started again, since {discarded}: {distances}")
    return decision("new", len(evidence.candidates), f"like no known environment: {distances}")


def _between(
    present: EnvironmentStatistics,
    absent: Mapping[int, EnvironmentStatistics],
    features: Tensor,
    tolerance: float,
) -> tuple[int, float] | None:
    """The absent environment whose mixture with the present one fits, and its share."""
    usual, spread = usual_score(present)
    for environment, known in absent.items():
        mixture, share = statistics.nearest_mixture(present.statistics, known.statistics, features)
        fit = _candidate(environment, features, mixture, usual, spread)
        if 0 < share < 1 and fit.distance <= tolerance:
            return environment, share
    return None


def _candidate(
    environment: int, features: Tensor, known: FeatureStatistics, usual: float, spread: float
) -> Candidate:
    images = 2 * statistics.effective_images(len(features), known)
    ratio = statistics.likelihood_ratio(features, known)
    return Candidate(environment, (ratio - usual) / images, spread / images)


def _distances(evidence: Evidence, settings: DetectionSettings) -> str:
    """The two nearest environments, and the tolerance, in words."""
    ranked = sorted(evidence.candidates, key=lambda candidate: candidate.distance)[:2]
    parts = [f"{c.distance:.2f} nats from environment {c.environment}" for c in ranked]
    return f"{', '.join(parts)} ({settings.tolerance:g} are allowed)"
