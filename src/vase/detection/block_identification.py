"""Which environment is it? Deferred chunks against the blocks of every known one: pure functions.

After an alarm the deferred chunks are compared with every known environment, the present one
included. A distance is the excess of the likelihood ratio over its usual value there,

    d = median over chunks of (G - median of the environment's own) / (2 n B / (n + B))

in nats per image. Frames that depend on one another say less: the standard deviation of d falls
with the number of chunks over their integrated autocorrelation time, or over the length of a block,
if that is more. Where chunks tell little, single frames may exclude an environment
(`frame_excess`). The decision is the nearest one that is not excluded, if d is within `tolerance`,
or within `z_threshold` standard deviations, whichever is more; else a new one. So what an
environment's own chunks differ by is no reason to leave it; with independent frames that is the
tolerance.

The decision waits for more chunks while the distance is too near to a border, while the chunks do
not agree with each other, or while they look like a mixture of the present environment and a known
one. It also waits while the present environment fits badly but not very badly: the batches that
raised an alarm are the worst among many, and so are biased against it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from vase.detection.blocks import (
    CHUNK,
    FIRST_BLOCK,
    Array,
    Axes,
    BlockStatistics,
    described,
    integrated_time,
    likelihood_ratio,
    mean_square,
    variance_along,
)
from vase.records import Decision, DecisionKind
from vase.settings import DetectionSettings

MIN_CHUNKS = 3  # before any decision
MIN_BLOCKS = 16  # of an environment, before it is said how far single frames are
MIN_OWN_RATIOS = 8  # from which on an environment's own ratios say what is usual
DOUBT = 2.0  # times the tolerance: up to there the present environment needs twice the batches
DEPENDENT = 4.0  # correlation time within chunks from which their means need not agree
NOMINAL = 64  # images of a batch, in `max_wait`
VAGUE = 10.0  # nats: where more are allowed, as between moving clothes and digits, frames are asked
SELDOM = 1.645  # deviations that one in twenty exceeds
LEAST_SPREAD = 0.1  # of log S: blocks of a clip that is repeated are nearly the same
NO_SQUARE = 1e-12  # so that there is a logarithm
FAR = ", but single frames are too far"
LEAST, MOST = 0.02, 0.98  # share of an environment in a mixture


@dataclass(frozen=True)
class Candidate:
    """A known environment: how far it is from the deferred images, in nats per image.

    deviation: the standard deviation of that distance. excluded: whether single frames are too far
    from it, where chunks tell little. doubtful: whether they are farther than they mostly are.
    """

    environment: int
    distance: float
    deviation: float
    excluded: bool = False
    doubtful: bool = False

    def allowed(self, settings: DetectionSettings) -> float:
        """The distance up to which it fits."""
        return max(settings.tolerance, settings.z_threshold * self.deviation)

    def fits(self, settings: DetectionSettings) -> bool:
        """Whether the deferred images may be of it."""
        return self.distance <= self.allowed(settings) and not self.excluded


@dataclass(frozen=True, eq=False)
class Deferred:
    """What is compared: chunks of features [32, F], the latest of `waited`.

    seen: how many chunks were deferred since what is deferred began. square: the mean squared
    distance of their frames from the environment in question, of all chunks but the first, which
    may begin before the change.
    """

    chunks: tuple[Array, ...]
    waited: int
    seen: int = 0
    square: float = 0.0


@dataclass(frozen=True)
class BlockEvidence:
    """What a decision of rule `blocks` rests on.

    candidates: one per known environment. current: the present environment. images, batches: how
    many deferred ones were compared. waited: deferred so far, in batches of 64 images. gradual:
    whether the alarm was raised by whole blocks. agree: whether the chunks are of one domain. cut:
    whether all follow a clear cut. dependent: whether frames of the present environment are.
    between: the absent environment with whose mixture the chunks fit, and its share. brief: whether
    the present environment, a new one, is discarded if it is left now, and why. most: batches that
    can be pooled at once: of large ones few.
    """

    candidates: tuple[Candidate, ...]
    current: int
    images: int
    batches: int
    waited: float
    gradual: bool
    agree: bool
    cut: bool = False
    dependent: bool = False
    between: tuple[int, float] | None = None
    brief: str = ""
    most: int = 2**31

    @property
    def nearest(self) -> Candidate:
        """The candidate with the smallest distance, of those that are not excluded, if any."""
        left = [known for known in self.candidates if not known.excluded] or self.candidates
        return min(left, key=lambda known: known.distance)

    @property
    def present(self) -> Candidate:
        """The present environment as a candidate."""
        return next(known for known in self.candidates if known.environment == self.current)

    def numbers(self, tolerance: float) -> dict[str, Any]:
        """The evidence of an event, in nats per image."""
        each = self.candidates
        excluded = [known.environment for known in each if known.excluded]
        return {
            "images": self.images,
            "batches": self.batches,
            "tolerance_nats": tolerance,
            "distance_nats": {str(c.environment): round(c.distance, 3) for c in each},
            "deviation_nats": {str(c.environment): round(c.deviation, 3) for c in each},
            **({"excluded_by_frames": excluded} if excluded else {}),
        }


def candidate(
    environment: int,
    known: BlockStatistics,
    deferred: Deferred,
    settings: DetectionSettings,
) -> Candidate:
    """How far what is deferred is from an environment, and how certain that is."""
    assert known.axes is not None
    chunks = deferred.chunks
    ratios = likelihood_ratio(known, described(np.stack(chunks), known.axes))
    usual, spread = usual_ratio(known)
    images = 2 * effective_images(known)
    together = max(integrated_time(known.ratios), known.block / FIRST_BLOCK)
    independent = max(1.0, deferred.waited / together, len(chunks) / together)
    deviation = float(spread / images / np.sqrt(independent))
    found = Candidate(environment, (float(np.median(ratios)) - usual) / images, deviation)
    longest = settings.max_wait * NOMINAL // CHUNK  # what the decision can wait for
    if settings.z_threshold * deviation <= VAGUE or known.block >= longest:
        return found
    doubt, exclusion = frame_excess(known, deferred, settings.z_threshold)
    return replace(found, excluded=exclusion > 1, doubtful=doubt > 1)


def frame_excess(
    known: BlockStatistics, deferred: Deferred, z_threshold: float
) -> tuple[float, float]:
    """How far single frames are from an environment: log( S / S_own ), over two of its limits.

    S is the mean squared Mahalanobis distance of the deferred frames, S_own that of the median
    block. The first limit is what one block in twenty exceeds: beyond it there is doubt. The second
    is as improbable as `z_threshold` deviations of a normal variable, by Student's t: beyond it the
    environment is excluded, from one deferred block on. With m of them, and n known ones,

        var( log S - log S_own ) = sigma^2 ( 1 / m + pi / (2 n) ),

    for a median varies pi / 2 times as much as a mean. (0, 0) while few blocks are known.

    A chunk in which little moves is as far from the mean as one frame is, and so G of such chunks
    varies so much that it says little. But few frames of its own are as far as another domain's.
    """
    count = len(known.blocks)
    if count < MIN_BLOCKS or deferred.seen < 2:
        return 0.0, 0.0
    median, deviation = median_and_deviation(np.log(mean_square(known.blocks) + NO_SQUARE))
    excess = math.log(deferred.square + NO_SQUARE) - median
    excess /= max(deviation, LEAST_SPREAD)
    if deferred.seen < known.block:
        return excess / SELDOM, 0.0
    varies = known.block / deferred.seen + math.pi / (2 * count)
    most = -float(stdtrit(count - 1, ndtr(-z_threshold))) * math.sqrt(varies)
    return excess / SELDOM, excess / most


def median_and_deviation(values: Array) -> tuple[float, float]:
    """The median, and the standard deviation upwards, by what is robust to outliers."""
    median = float(np.median(values))
    upwards = (float(np.quantile(values, 0.95)) - median) / SELDOM
    return median, max(1.4826 * float(np.median(np.abs(values - median))), upwards)


def usual_ratio(known: BlockStatistics) -> tuple[float, float]:
    """The median of an environment's own ratios, and their standard deviation upwards."""
    size = known.blocks.shape[1]
    if len(known.ratios) < MIN_OWN_RATIOS:
        return float(size), max((2 * float(np.sqrt(size)), *known.ratios))
    return median_and_deviation(np.array(known.ratios))


def effective_images(known: BlockStatistics) -> float:
    """n B / (n + B) of a chunk."""
    return CHUNK * known.span / (CHUNK + known.span)


def agreeing(chunks: Sequence[Array], limit: float) -> bool:
    """Whether chunks of features [32, F] are of one domain.

    By an analysis of variance, whose F ratio is larger by the correlation time where frames depend
    on one another. Where each hardly differs from the next, that they follow one another is all
    that can be asked of them.
    """
    time = time_within(chunks)
    return time > DEPENDENT or f_ratio(chunks) / time <= limit


def f_ratio(chunks: Sequence[Array]) -> float:
    """Return the F ratio of chunks of features [B, F]: about 1 if they are of one domain.

    The F ratio of a one-way analysis of variance, mean square between over mean square within
    chunks, averaged over features; 0 for a single chunk, where it is undefined.
    """
    number, size = len(chunks), len(chunks[0])
    if number < 2:
        return 0.0
    means = np.mean(chunks, 1)
    centre = means.mean(0)
    within = size * np.var(chunks, 1).sum(0) / (number * (size - 1))
    between = size * ((means - centre) ** 2).sum(0) / (number - 1)
    smallest = 1e-9 + 1e-6 * (centre**2).mean()
    return float(((between + smallest) / (within + smallest)).mean())


def time_within(chunks: Sequence[Array]) -> float:
    """Correlation time of frames within chunks, from steps between neighbours; at least 1.

    tau = (1 + rho) / (1 - rho), rho = 1 - mean squared step / (2 variance), as of an AR(1) process.
    """
    steps = np.mean([(np.diff(chunk, axis=0) ** 2).sum(1).mean() for chunk in chunks])
    variance = np.mean([chunk.var(0, ddof=1).sum() for chunk in chunks])
    rho = 1 - float(steps) / (2 * float(variance) + 1e-12)
    return max(1.0, (1 + rho) / max(1 - rho, 1e-6))


# ---- mixtures ---------------------------------------------------------------------------------


def between(
    present: BlockStatistics,
    absent: Mapping[int, BlockStatistics],
    chunks: Sequence[Array],
    tolerance: float,
) -> tuple[int, float] | None:
    """The absent environment whose mixture with the present one fits chunks, and its share."""
    assert present.axes is not None
    descriptors = described(np.stack(chunks), present.axes)
    usual, _ = usual_ratio(present)
    size = len(present.axes.mean)
    for environment, known in absent.items():
        other = moments_along(present.axes, known)
        share = _share(present.moments[:size], other[:size], descriptors.mean(0)[:size])
        if not LEAST < share < MOST:
            continue
        mixture = replace(present, moments=(1 - share) * present.moments + share * other)
        ratios = likelihood_ratio(mixture, descriptors)
        distance = (float(np.median(ratios)) - usual) / (2 * effective_images(present))
        if distance <= tolerance:
            return environment, share
    return None


def transition_divergence(
    before: BlockStatistics, present: BlockStatistics, chunks: Sequence[Array]
) -> float:
    """How far an environment is from a mixture of the one before it and what follows it, in nats.

    KL( mixture || present ) of Gaussians along its axes; infinite where hardly any of one of the
    two is in it, or where what was before lasted for too short to be known.
    """
    assert present.axes is not None
    if before.axes is None:
        return math.inf
    size = len(present.axes.mean)
    first = moments_along(present.axes, before)
    last = described(np.stack(chunks), present.axes).mean(0)
    share = _share(first[:size], last[:size], present.moments[:size])
    if not LEAST < share < MOST:
        return math.inf
    mixed = (1 - share) * first + share * last
    own, both = (variance_along(each, present.axes) for each in (present.moments, mixed))
    apart = (mixed[:size] - present.moments[:size]) ** 2
    return float(((both + apart) / own - 1 - np.log(both / own)).sum()) / 2


def moments_along(axes: Axes, known: BlockStatistics) -> Array:
    """Mean of a and of a^2, [2 F], of an environment along the axes of another."""
    assert known.axes is not None
    size = len(axes.mean)
    length = np.sqrt((known.axes.scaled**2).sum(0))
    directions = known.axes.scaled / length
    mean = known.axes.mean + (known.moments[:size] / length) @ directions.T
    variance = np.maximum(known.moments[size:] - known.moments[:size] ** 2, 0) / length**2
    along, shift = directions.T @ axes.scaled, (mean - axes.mean) @ axes.scaled
    return np.concatenate([shift, variance @ along**2 + shift**2])


def _share(first: Array, second: Array, mean: Array) -> float:
    """How far `mean` is on the way from `first`, 0, to `second`, 1; [F] each."""
    apart = second - first
    return float((mean - first) @ apart / max(float(apart @ apart), 1e-12))


# ---- the decision -----------------------------------------------------------------------------


def identify(evidence: BlockEvidence, settings: DetectionSettings) -> Decision:
    """Decide: "deferred", "dismissed", "returned", "reopened" or "new", and why."""
    nearest, present = evidence.nearest, evidence.current
    margin = settings.z_threshold * nearest.deviation
    known = nearest.fits(settings)
    numbers = evidence.numbers(settings.tolerance)
    distances = _distances(evidence, settings)

    def decided(kind: DecisionKind, environment: int, reason: str) -> Decision:
        return Decision(kind, environment, reason, batches=evidence.batches, numbers=numbers)

    def deferred(reason: str) -> Decision:
        return decided("deferred", present, reason)

    # A bad batch is one; of frames that depend on one another a batch is no more than a moment.
    batches = 1 if evidence.dependent else min(settings.min_batches, evidence.most)
    back = known and nearest.environment != present
    few = evidence.batches < batches
    few |= evidence.images < CHUNK * needed_chunks(cut=evidence.cut, back=back)
    if few or not evidence.agree:
        return deferred("the deferred batches do not agree with one another")
    tolerance, sure = settings.tolerance, evidence.images >= settings.max_pooled_images
    selected = tolerance < evidence.present.distance < DOUBT * tolerance
    twice = min(2 * settings.min_batches, evidence.most)
    if selected and evidence.batches < twice and margin < tolerance:
        return deferred("perhaps only the worst of many ordinary batches")
    unsure = abs(nearest.distance - tolerance) < margin < tolerance
    unsure |= max(tolerance, margin) < nearest.distance < DOUBT * margin
    # Its own blocks speak against the present environment, but what they differ by is large.
    disputed = evidence.gradual and nearest.environment == present and nearest.distance > tolerance
    disputed = known and (disputed or nearest.doubtful) and evidence.waited < settings.max_wait
    if (unsure and not sure) or disputed:
        return deferred(f"too near to tell: {distances}")
    if known and nearest.environment == present:
        return decided("dismissed", present, f"still the same: {distances}")
    if known:
        return decided("returned", nearest.environment, f"known from before: {distances}")
    if evidence.between is not None and evidence.waited < settings.max_wait:
        other, share = evidence.between
        return deferred(
            f"on the way to environment {other}: {share:.0%} of the images look like it"
        )
    if evidence.images < settings.min_images:
        return deferred("like no known environment; too few images to learn")
    if evidence.brief:
        reason = f"started again, since what was opened {evidence.brief}: {distances}"
        return decided("reopened", present, reason)
    return decided("new", len(evidence.candidates), f"like no known environment: {distances}")


def needed_chunks(*, cut: bool, back: bool = False) -> int:
    """Chunks that a decision needs; after a clear cut all of them are of what follows it.

    back: whether they are of another known environment; then one tells as much as many. To stay,
    or to leave for what is new, takes more: of few chunks much can be said to be the present one.
    """
    return 1 if cut and back else MIN_CHUNKS - cut


def _distances(evidence: BlockEvidence, settings: DetectionSettings) -> str:
    """The nearest environment, the next one, and what is allowed, in words."""
    others = [known for known in evidence.candidates if known != evidence.nearest]
    ranked = [evidence.nearest, *sorted(others, key=lambda each: each.distance)[:1]]
    parts = [
        f"{each.distance:.2f} nats from environment {each.environment} "
        f"({each.allowed(settings):.2g} are allowed{FAR if each.excluded else ''})"
        for each in ranked
    ]
    return ", ".join(parts)
