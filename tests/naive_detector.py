"""Rule `blocks`, written naively from docs/detection.md: slow, plain, and by another road.

It shares constants, settings and records with the package, and no function but the random features:
correlations are summed lag by lag instead of by a Fourier transform, statistics are lists, and what
the package does for many chunks at once is done axis by axis. `tests/test_blocks.py` holds the two
to each other, frame by frame. Whoever changes the rule changes it here too.
"""

from __future__ import annotations

import itertools
import math
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from vase.detection import block_detector as d
from vase.detection import block_identification as i
from vase.detection import block_test as t
from vase.detection import blocks as b
from vase.detection.features import random_features
from vase.settings import OVERSHOOT, DetectionSettings

DOUBT = 2.0


def largest_of(values: list[float], count: int) -> list[float]:
    """The largest of every `count` of the newest values."""
    values = values[len(values) % count :]
    return [max(values[k : k + count]) for k in range(0, len(values), count)]


class Environment:
    """What is kept of an environment: lists, and moments along its axes."""

    def __init__(self) -> None:
        self.frames = self.chunks = 0
        self.axes: tuple[Any, Any, Any] | None = None  # mean, directions to unit variance, noise
        self.moments = self.spread = None
        self.time, self.block = 1.0, b.FIRST_BLOCK
        self.settled = False  # whether the axes stay
        self.first, self.blocks, self.worst, self.ratios, self.partial = [], [], [], [], []
        self.steps, self.partial_steps = [], []

    @property
    def span(self) -> int:
        many = b.SPAN_BLOCKS * self.block * b.CHUNK
        return min(self.frames, many if many > b.SPAN else b.SPAN)

    @property
    def effective(self) -> float:
        return self.frames / self.time if self.time > 1 else float(self.frames)

    def log_density(self, chunk: Any) -> float:
        """Log density of a chunk's mean: Student's t along every axis, and the axes' volume."""
        means, _ = self.describe(chunk)
        time = max(1.0, self.time)
        count = max(2.0, self.frames / time)
        freedom, total = count - 1, 0.0
        for k, variance in enumerate(self.variance(self.moments)):
            wide = variance * (time / b.CHUNK if time < b.CHUNK else 1.0) + self.axes[2][k]
            scale = math.sqrt(wide + wide / count)
            x = (means[k] - self.moments[0][k]) / scale
            total += math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
            total -= math.log(freedom * math.pi) / 2 + math.log(scale)
            total -= (freedom + 1) / 2 * math.log1p(x * x / freedom)
        return total + sum(math.log(abs(r)) for r in np.diag(np.linalg.qr(self.axes[1])[1]))

    # ---- a chunk

    def describe(self, chunk: Any) -> tuple[Any, Any]:
        """Mean of a, and of a^2, along every axis."""
        mean, directions, _ = self.axes
        rows = (np.asarray(chunk) - mean) @ directions
        rows = np.clip(rows, -b.MAX_DEVIATION, b.MAX_DEVIATION)
        return rows.mean(0), (rows * rows).mean(0)

    def variance(self, moments: tuple[Any, Any]) -> Any:
        return np.array([
            max(square - mean * mean, 0) + noise
            for mean, square, noise in zip(*moments, self.axes[2], strict=True)
        ])  # fmt: skip

    def log_ratio(self, moments: tuple[Any, Any]) -> Any:
        return np.log(self.variance(moments)) - np.log(self.variance(self.moments))

    def ratio(self, moments: tuple[Any, Any]) -> float:
        """G of a chunk: both have moments of their own, over they share them; axis by axis."""
        total, n, c = 0.0, self.span, b.CHUNK
        own, logs = self.variance(self.moments), self.log_ratio(moments)
        for k in range(len(own)):
            log = float(logs[k])
            mean, square = self.spread[0][k], self.spread[1][k]
            usual = mean - 2 * math.sqrt(max(square - mean * mean, 0)) - 4 / max(1, self.chunks)
            if log <= 0:
                log = min(log - min(usual, 0), 0)
            within = c * math.exp(log) * own[k]
            apart = float(moments[0][k] - self.moments[0][k])
            both = (within + n * own[k] + c * n / (c + n) * apart**2) / (c + n)
            total += (c + n) * math.log(both) - c * (log + math.log(own[k])) - n * math.log(own[k])
        return total

    # ---- recording

    def record(self, chunks: list[Any], steps: list[float]) -> None:
        self.partial_steps = [*self.partial_steps, *steps]
        while len(self.partial_steps) >= self.block:
            self.steps.append(max(self.partial_steps[: self.block]))
            self.partial_steps = self.partial_steps[self.block :]
        self.steps = self.steps[-b.KEPT :]
        if self.settled and chunks:
            self.follow(chunks)
            return
        for chunk in chunks:
            learning = not self.settled
            if self.axes is None:
                self.frames += b.CHUNK
            else:
                self.follow([chunk])
            if not learning:
                continue
            self.first.append(chunk.astype(np.float32).astype(float))
            if self.frames in [2**k for k in range(6, 15)]:
                self.learn_axes()
            # After 64 blocks the axes stay, but not before 4,096 frames, and not after 16,384.
            if self.frames >= 4096 and self.frames >= min(64 * 32 * self.block, 16384):
                self.settled, self.first = True, []

    def follow(self, chunks: list[Any]) -> None:
        """Moments and blocks after chunks that are judged together, by what was known before."""
        found = [self.describe(chunk) for chunk in chunks]
        ratios = [self.ratio(each) for each in found]
        self.frames += b.CHUNK * len(chunks)
        share = min(1.0, b.CHUNK * len(chunks) / self.span)
        self.moments = tuple(
            (1 - share) * self.moments[k] + share * sum(each[k] for each in found) / len(found)
            for k in (0, 1)
        )
        self.follow_spread(found)
        self.collect(found, ratios)

    def follow_spread(self, found: list[Any]) -> None:
        logs = [self.log_ratio(each) for each in found]
        self.chunks += len(found)
        share = min(1.0, len(found) / min(self.chunks, b.KEPT))
        now = sum(logs) / len(logs), sum(log * log for log in logs) / len(logs)
        self.spread = tuple((1 - share) * self.spread[k] + share * now[k] for k in (0, 1))

    def collect(self, found: list[Any], ratios: list[float]) -> None:
        self.ratios = [*self.ratios, *ratios][-b.KEPT :]
        for each, ratio in zip(found, ratios, strict=True):
            self.partial.append((np.concatenate(each), ratio))
            if len(self.partial) == self.block:
                self.blocks.append(sum(vector for vector, _ in self.partial) / self.block)
                self.worst.append(max(ratio for _, ratio in self.partial))
                self.blocks, self.worst = self.blocks[-b.KEPT :], self.worst[-b.KEPT :]
                self.partial = []
                self.lengthen()

    def learn_axes(self) -> None:
        half = len(self.first) // 2 if len(self.first) >= 8 else len(self.first)
        every = np.concatenate(self.first)
        learnt = every[: half * b.CHUNK]
        mean = sum(learnt) / len(learnt)
        covariance = sum(np.outer(frame - mean, frame - mean) for frame in learnt) / len(learnt)
        values, vectors = np.linalg.eigh(covariance)
        noise = max(b.REGULARISATION * sum(values), b.SENSOR_NOISE)
        total = np.array([max(value, 0) + noise for value in values])
        self.axes = mean, vectors / np.sqrt(total), noise / total
        self.time = self.correlation_time(every, total)
        shorter = self.block
        while self.block < min(2 * self.time / b.CHUNK, b.LONGEST_BLOCK):
            self.block *= 2
        self.steps = largest_of(self.steps, self.block // shorter)
        found = [self.describe(chunk) for chunk in self.first]
        self.moments = tuple(sum(each[k] for each in found) / len(found) for k in (0, 1))
        self.spread = np.zeros((2, len(mean)))
        self.chunks, self.blocks, self.worst, self.ratios, self.partial = 0, [], [], [], []
        self.follow_spread(found)
        later = found[half:]
        later = later[len(later) % self.block :]
        self.collect(later, [self.ratio(each) for each in later])

    def correlation_time(self, every: Any, total: Any) -> float:
        """1 + 2 sum of the autocorrelations of the four axes of most variance."""
        slow = sorted(range(len(total)), key=lambda k: -total[k])[: b.SLOW_AXES]
        along = (every - every.mean(0)) @ self.axes[1][:, slow] * np.sqrt(total[slow])
        along, count = along / math.sqrt(along.var(0).sum() or 1), len(every)
        time = 1.0
        if not along.any():
            return time
        for lag in range(1, max(2, count // 2)):
            rho = float((along[lag:] * along[:-lag]).sum()) / count
            if rho < max(0.05, 3 / math.sqrt(count)):
                break
            time += 2 * rho
        return time

    # ---- blocks

    def lengthen(self) -> None:
        count, seen = len(self.blocks), self.frames // (self.block * b.CHUNK)
        if count < b.MIN_BLOCKS or seen % b.ASKED or self.block >= b.LONGEST_BLOCK:
            return
        if not self.dependent(seen):
            return
        newest = self.blocks[count % 2 :]
        self.blocks = [(newest[k] + newest[k + 1]) / 2 for k in range(0, len(newest), 2)]
        self.worst, self.steps = largest_of(self.worst, 2), largest_of(self.steps, 2)
        self.block *= 2

    def dependent(self, seen: int) -> bool:
        count, table = len(self.blocks), np.array(self.blocks)
        errors = math.sqrt(16 + 8 * math.log(max(1.0, seen / b.KEPT)))
        correlations = []
        for column in table.T:
            scaled = (column - column.mean()) / (column.std() + 1e-9)
            correlations.append(sum(scaled[k] * scaled[k + 1] for k in range(count - 1)))
        mean = sum(correlations) / len(correlations) / (count - 1)
        if mean > b.MAX_CORRELATION or mean > b.MAX_ERRORS / math.sqrt(count):
            return True
        scores = conformal(self.blocks)
        ranks = np.array([
            sum(other < score for other in scores) + sum(other == score for other in scores) / 2
            for score in scores
        ])  # fmt: skip
        ranks = (ranks - ranks.mean()) / (ranks.std() or 1)
        if sum(ranks[k] * ranks[k + 1] for k in range(count - 1)) / (
            count - 1
        ) > errors / math.sqrt(count):
            return True
        fours = [sum(ranks[k : k + 4]) for k in range(0, count - 3, 4)]
        return count >= 64 and np.var(fours) / 4 > 1 + errors * math.sqrt(4.5 / count)

    def rank(self, block: Any) -> tuple[int, int]:
        scores = conformal([*self.blocks, block])
        return 1 + sum(score >= scores[-1] for score in scores[:-1]), len(self.blocks)

    # ---- what is usual

    def usual_ratio(self) -> tuple[float, float]:
        size = 2 * len(self.axes[0])
        if len(self.ratios) < 8:
            return size, max([2 * math.sqrt(size), *self.ratios])
        return middle_and_spread(self.ratios)

    def usual_step(self) -> float:
        if len(self.steps) < t.MIN_RANKED:
            return math.inf
        lengths = (self.axes[1] ** 2).sum(0)
        total = sum(self.variance(self.moments) / lengths)
        return max([*self.steps, *self.partial_steps, t.OWN_CUT * total])

    def in_features(self) -> tuple[Any, Any]:
        """Mean and covariance of its frames, in features."""
        mean, directions, _ = self.axes
        lengths = np.sqrt((directions**2).sum(0))
        spread = np.maximum(self.moments[1] - self.moments[0] ** 2, 0) / lengths**2
        unit = directions / lengths
        return mean + unit @ (self.moments[0] / lengths), unit @ np.diag(spread) @ unit.T

    def moments_of(self, other: Environment) -> tuple[Any, Any]:
        """Moments of another environment along these axes."""
        mean, covariance = other.in_features()
        shift = self.axes[1].T @ (mean - self.axes[0])
        return shift, np.diag(self.axes[1].T @ covariance @ self.axes[1]) + shift**2


def conformal(blocks: list[Any]) -> list[float]:
    """Mean squared deviation of every block, in units of all but the worst twentieth."""

    def deviations(among: list[Any]) -> list[float]:
        mean = sum(among) / len(among)
        variance = sum((each - mean) ** 2 for each in among) / len(among) + 1e-6
        return ((np.array(blocks) - mean) ** 2 / variance).mean(1).tolist()

    scores = deviations(blocks)
    if len(blocks) < 20:
        return scores
    worst = sorted(scores)[int(0.95 * (len(scores) - 1))]
    return deviations([each for each, score in zip(blocks, scores, strict=True) if score <= worst])


class NaiveDetector:
    """The rule, chunk by chunk. `decisions` are dicts of what a `Decision` says but its words."""

    def __init__(self, settings: DetectionSettings, architecture: Any) -> None:
        self.settings = settings
        self.features = random_features(architecture)
        self.environments: dict[int, Environment] = {}
        self.current = self.opened_from = 0
        self.statistic = 0.0
        self.pending: list[Any] = []
        self.last = None
        self.unsettled: list[Any] = []
        self.forget_test()
        self.forget_wait()

    def forget_test(self) -> None:
        self.gradual = self.abrupt = self.returned = 0.0
        self.begin_block()

    def begin_block(self) -> None:
        self.block, self.worst, self.step = [], 0.0, 0.0

    def forget_wait(self) -> None:
        self.chunks, self.ratios, self.steps = [], [], []
        self.batches = self.images = 0
        self.alarm = self.by_blocks = self.reported = self.cut = False
        self.seen: list[Any] = []

    @property
    def present(self) -> Environment:
        return self.environments[self.current]

    @property
    def provisional(self) -> bool:
        newest = self.current > 0 and self.current == max(self.environments)
        return newest and self.present.effective < self.settings.max_transition

    def update(self, images: Any) -> dict[str, Any]:
        features = self.features(images).double().numpy()
        if np.isnan(features).any() or np.isinf(features).any():
            return {"kind": "skipped", "environment": self.current, "statistic": self.statistic}
        first = not self.environments
        if first:
            self.environments[0] = Environment()
        self.pending += list(features)
        while len(self.pending) >= b.CHUNK:
            chunk = np.array(self.pending[: b.CHUNK])
            self.pending = self.pending[b.CHUNK :]
            self.take(chunk, self.settings.frames_between_alarms(len(images)))
        if first:
            return {"kind": "new", "environment": 0}
        found = self.decision(len(images))
        return {
            **found,
            "provisional": self.provisional,
            "statistic": self.statistic * self.settings.threshold,
            "correlation_time": self.present.time,
        }

    # ---- detecting

    def take(self, chunk: Any, run_length: float) -> None:
        known = self.present
        frames = [*([] if self.last is None else [self.last]), *chunk]
        step = max([0.0, *(sum((y - x) ** 2) for x, y in itertools.pairwise(frames))])
        self.last = chunk[-1]
        if known.axes is None or not known.worst:
            known.record([chunk], [step])
            return
        if step <= d.FROZEN and not self.chunks and not self.alarm:
            return
        described = known.describe(chunk)
        ratio = known.ratio(described)
        threshold = max(10.0, run_length / (known.block * b.CHUNK)) / OVERSHOOT
        self.block.append(np.concatenate(described))
        self.worst, self.step = max(self.worst, ratio), max(self.step, step)
        complete = len(self.block) >= known.block
        alone = min(self.p_of_ratio(ratio), self.p_of_step(step))
        abrupt = min(self.cut_e_value() * (self.abrupt + 1), 10 * threshold / t.ABRUPT)
        gradual, unlikely = self.gradual, False
        if complete and len(known.blocks) >= t.MIN_RANKED:
            rank, count = known.rank(sum(self.block) / len(self.block))
            e = (count + 1) / rank / sum(1 / k for k in range(1, count + 2))
            gradual = min(e * (gradual + 1), 10 * threshold / t.ABRUPT)
            least = max(self.settings.hold_p_value, 1 / (1 + self.settings.window))
            unlikely = known.block == 2 and rank / (count + 1) <= least
            unlikely = unlikely or (e >= 1 and gradual >= math.sqrt(threshold))
        statistic = 0.75 * gradual + 0.25 * abrupt
        e = self.return_e_value(chunk)
        if e is not None:
            self.returned = e * self.returned + e / known.block
            self.returned = min(self.returned, 10 * threshold / t.ABRUPT)
            statistic = (2 * gradual + abrupt + self.returned) / 4
        self.statistic = statistic / threshold
        if complete:
            self.gradual, self.abrupt = gradual, abrupt
            self.begin_block()
        alarm = statistic >= threshold
        going_on = self.chunks and not complete and gradual >= math.sqrt(threshold)
        if self.alarm and len(self.chunks) < (2 if self.cut else 3):
            going_on = True
        back = e is not None and e * t.IMPROBABLE >= 1
        if alone <= t.IMPROBABLE or back or unlikely or alarm or going_on:
            chunks = [*self.unsettled, chunk]
            if not unlikely:
                known.record(self.unsettled, [])
                chunks = [chunk]
            self.unsettled = []
            self.defer(chunks, ratio, step, alarm, gradual >= threshold)
        elif known.block == 2 and not complete and not self.chunks:
            self.unsettled.append(chunk)
            known.record([], [step])
        else:
            if (self.chunks or self.steps) and (not self.alarm or known.time > d.PART):
                known.record(self.chunks, self.steps)
            self.forget_wait()
            waiting, self.unsettled = self.unsettled, []
            known.record([*waiting, chunk], [step])

    def return_e_value(self, chunk: Any) -> float | None:
        """(mean of the others' densities / the present one) ** (1 / b), at most 1 / SMALLEST."""
        others = [
            known.log_density(chunk)
            for known in self.environments.values()
            if known is not self.present and known.axes is not None and known.worst
        ]
        if not others:
            return None
        most = max(others)
        mean = most + math.log(sum(math.exp(each - most) for each in others) / len(others))
        power = (mean - self.present.log_density(chunk)) / self.present.block
        return 1 / t.SMALLEST if power > -math.log(t.SMALLEST) else math.exp(power)

    def p_of_ratio(self, ratio: float) -> float:
        worst = sorted(self.present.worst, reverse=True)
        outliers = len(worst) // t.SHARE
        start = max(worst[outliers], 1.25 * 2 * len(self.present.axes[0]))
        share = (outliers + 1) / (len(worst) + 1)
        return share * (start / ratio) ** t.TAIL if ratio > start else 1.0

    def p_of_step(self, step: float) -> float:
        usual = self.present.usual_step()
        if step <= usual:
            return 1.0
        return (usual / step) ** t.STEP_TAIL / (len(self.present.steps) + 1)

    def cut_e_value(self) -> float:
        """The mean of two, each 1 / (p log(q / SMALLEST)) in the tail."""
        count = len(self.present.worst)
        total = 0.0
        for p, q in (
            (self.p_of_ratio(self.worst), (count // t.SHARE + 1) / (count + 1)),
            (self.p_of_step(self.step), 1 / (len(self.present.steps) + 1)),
        ):
            if p < q:
                total += 1 / (max(p, t.SMALLEST) * (math.log(q) - math.log(t.SMALLEST)))
        return total / 2

    def defer(self, chunks: list[Any], ratio: float, step: float, alarm: bool, slow: bool) -> None:
        if self.chunks and ratio > d.OTHER * max(self.ratios):
            self.chunks, self.ratios, self.steps, self.seen = [], [], [], []
        if step > d.CUT * max([0.0, self.present.usual_step(), *self.steps]):
            kept = self.batches, self.images, self.reported
            self.forget_wait()
            self.batches, self.images, self.reported = kept
            self.cut, chunks = True, []
        most = max(3, self.settings.max_pooled_images // b.CHUNK)
        self.chunks, self.seen = [*self.chunks, *chunks][-most:], [*self.seen, *chunks]
        self.ratios = [*self.ratios, *[ratio for _ in chunks]][-most:]
        self.steps = [*self.steps, step][-most:]
        self.alarm, self.by_blocks = self.alarm or alarm, self.by_blocks or slow

    # ---- deciding

    def decision(self, count: int) -> dict[str, Any]:
        if not self.chunks and not self.alarm:
            return {"kind": "same", "environment": self.current}
        self.batches, self.images = self.batches + 1, self.images + count
        if not self.alarm or not self.chunks:
            return {"kind": "deferred", "environment": self.current}
        found = self.identified(count)
        if found["kind"] != "deferred":
            return self.carried_out(found)
        if self.images >= 64 * self.settings.max_wait and not self.reported:
            self.reported = True
            return {**found, "kind": "undetermined"}
        return found

    def candidates(self) -> dict[int, tuple[float, float, bool, bool]]:
        """Distance and its deviation, in nats per image, by environment.

        And whether single frames exclude it, or make it doubtful.
        """
        found = {}
        for key, known in self.environments.items():
            if known.axes is None:
                continue
            usual, spread = known.usual_ratio()
            images = 2 * b.CHUNK * known.span / (b.CHUNK + known.span)
            together = max(integrated_time(known.ratios), known.block / 2)
            many = max(1.0, self.images // b.CHUNK / together, len(self.chunks) / together)
            ratios = [known.ratio(known.describe(chunk)) for chunk in self.chunks]
            deviation, far, farther = spread / images / math.sqrt(many), False, False
            longest = 2 * self.settings.max_wait
            if self.settings.z_threshold * deviation > 10 and known.block < longest:
                farther, far = self.frames_are_far(known)
            found[key] = (median(ratios) - usual) / images, deviation, far, farther
        return found

    def frames_are_far(self, known: Environment) -> tuple[bool, bool]:
        """Whether frames are farther than in most blocks, and whether so far that it is not it."""
        size, count = len(known.axes[0]), len(known.blocks)
        if count < 16 or len(self.seen) < 2:
            return False, False
        own = [math.log(sum(block[size:])) for block in known.blocks]
        usual, spread = middle_and_spread(own)
        squares = [sum(known.describe(chunk)[1]) for chunk in self.seen]
        z = (math.log(sum(squares[1:]) / (len(squares) - 1)) - usual) / max(spread, 0.1)
        tail = stats.norm.cdf(-self.settings.z_threshold)
        varies = known.block / len(squares) + math.pi / (2 * count)
        farther = stats.t.sf(z / math.sqrt(varies), count - 1) < tail
        return z > 1.645, bool(farther) and len(squares) >= known.block

    def identified(self, count: int) -> dict[str, Any]:
        s, candidates = self.settings, self.candidates()
        distance, _, out, _ = candidates[nearest_of(candidates)]
        images, near = b.CHUNK * len(self.chunks), distance <= s.tolerance and not out
        covered = math.ceil((images + len(self.pending)) / count)
        batches = max(1, min(self.batches, covered))
        far = [k for k, each in candidates.items() if each[2]]
        kind, environment, _ = decided(
            s, candidates, self.current, images, batches, self.images / 64, agree=self.agree(),
            cut=self.cut, smooth=self.present.time > d.PART, by_blocks=self.by_blocks,
            mixed=not near and self.mixed(), brief=self.discarded(),
            most=max(1, s.max_pooled_images // count),
        )  # fmt: skip
        return {
            "kind": kind,
            "environment": environment,
            "batches": batches,
            "numbers": {
                "images": images,
                "batches": batches,
                "tolerance_nats": s.tolerance,
                "distance_nats": {str(k): round(x[0], 3) for k, x in candidates.items()},
                "deviation_nats": {str(k): round(x[1], 3) for k, x in candidates.items()},
                **({"excluded_by_frames": far} if far else {}),
            },
        }

    def agree(self) -> bool:
        """By the F ratio over the correlation time, which steps between neighbours tell."""
        time = time_within(self.chunks)
        return time > i.DEPENDENT or f_ratio(self.chunks) <= self.settings.max_f_ratio * time

    def mixed(self) -> bool:
        absent = [e for k, e in self.environments.items() if k != self.current and e.axes]
        found = [mixture(self.present, each, self.chunks) for each in absent]
        return any(distance <= self.settings.tolerance for _, distance in found)

    def discarded(self) -> bool:
        """Whether the present environment was too short, or but a transition."""
        if not self.provisional:
            return False
        present, before = self.present, self.environments[self.opened_from]
        if present.effective < self.settings.min_visit:
            return True
        if before.axes is None:
            return False
        return divergence(before, present, self.chunks) <= self.settings.tolerance

    def carried_out(self, found: dict[str, Any]) -> dict[str, Any]:
        discards = self.discarded() and found["kind"] != "dismissed"
        chunks, steps, cut, left = self.chunks, self.steps, self.cut, self.current
        self.forget_test()
        self.forget_wait()
        self.unsettled, self.statistic = [], 0.0
        if found["kind"] == "dismissed":
            self.present.record(chunks, steps)
            return found
        if discards:
            del self.environments[left]
        self.current = found["environment"]
        if found["kind"] == "returned":
            known = self.present
            ratios = [known.ratio(known.describe(chunk)) for chunk in chunks]
            usual = max(median(ratios), 2 * len(known.axes[0]))
            pairs = zip(chunks, ratios, strict=True)
            chunks = [chunk for chunk, ratio in pairs if ratio <= d.STRAY * usual]
        else:
            self.opened_from = self.opened_from if discards else left
            self.environments[self.current] = Environment()
            chunks = chunks if cut else chunks[1:]
        self.present.partial = []
        self.present.record(chunks, steps[1:])
        return {**found, "discards": discards}


def time_within(chunks: list[Any]) -> float:
    """Correlation time of frames within chunks, by the steps between neighbours."""
    steps, variances = [], []
    for chunk in chunks:
        steps.append(np.mean([sum((y - x) ** 2) for x, y in itertools.pairwise(chunk)]))
        variances.append(sum(np.var(column, ddof=1) for column in chunk.T))
    rho = 1 - np.mean(steps) / (2 * np.mean(variances) + 1e-12)
    return float(max(1.0, (1 + rho) / max(1 - rho, 1e-6)))


def mixture(present: Environment, other: Environment, chunks: list[Any]) -> tuple[float, float]:
    """The share of another environment in chunks, and how far these are from such a mixture."""
    found = [present.describe(chunk) for chunk in chunks]
    mean = sum(first for first, _ in found) / len(found)
    own, along = present.moments, present.moments_of(other)
    share = on_the_way(own[0], along[0], mean)
    present.moments = tuple((1 - share) * own[k] + share * along[k] for k in (0, 1))
    ratios = [present.ratio(each) for each in found]
    present.moments = own
    images = 2 * b.CHUNK * present.span / (b.CHUNK + present.span)
    distance = (median(ratios) - present.usual_ratio()[0]) / images
    return share, distance if i.LEAST < share < i.MOST else math.inf


def f_ratio(chunks: list[Any]) -> float:
    """Mean square between chunks over that within them, averaged over features; 0 for one chunk."""
    if len(chunks) == 1:
        return 0.0
    count, every = len(chunks), np.concatenate(chunks)
    centre, ratios = every.mean(0), []
    smallest = 1e-9 + 1e-6 * sum(c * c for c in centre) / len(centre)
    for k in range(every.shape[1]):
        means = [chunk[:, k].mean() for chunk in chunks]
        among = b.CHUNK * sum((mean - centre[k]) ** 2 for mean in means) / (count - 1)
        inside = sum(((c[:, k] - c[:, k].mean()) ** 2).sum() for c in chunks)
        ratios.append((among + smallest) / (inside / (len(every) - count) + smallest))
    return float(sum(ratios) / len(ratios))


def decided(
    s: DetectionSettings, candidates: dict[int, tuple[float, float, bool, bool]], current: int,
    images: int, batches: int, waited: float, *, agree: bool, cut: bool, smooth: bool,
    by_blocks: bool, mixed: bool, brief: bool, most: int = 10**9,
) -> tuple[str, int, str]:  # fmt: skip
    """What is decided, about which environment, and the beginning of why."""
    nearest = nearest_of(candidates)
    distance, deviation, out, doubtful = candidates[nearest]
    own, here, margin = candidates[current][0], nearest == current, s.z_threshold * deviation
    known = not out and (distance <= s.tolerance or distance <= margin)
    chunks = 3 - cut if here or not known else 1 if cut else 3
    needed = min(s.min_batches, most)
    if batches < (1 if smooth else needed) or images < b.CHUNK * chunks or not agree:
        return "deferred", current, "the deferred batches do not agree with one another"
    sharp = margin < s.tolerance
    if sharp and s.tolerance < own < 2 * s.tolerance and batches < min(2 * s.min_batches, most):
        return "deferred", current, "perhaps only the worst of many ordinary batches"
    near = sharp and s.tolerance - margin < distance < s.tolerance + margin
    near = near or (distance > s.tolerance and margin < distance < 2 * margin)
    disputed = known and (doubtful or (by_blocks and here and distance > s.tolerance))
    if (near and images < s.max_pooled_images) or (disputed and waited < s.max_wait):
        return "deferred", current, "too near to tell: "
    if known:
        return ("dismissed", current, "still the same: ") if here else (
            "returned", nearest, "known from before: ")  # fmt: skip
    if mixed and waited < s.max_wait:
        return "deferred", current, "on the way to environment "
    if images < s.min_images:
        return "deferred", current, "like no known environment; too few images to learn"
    if brief:
        return "reopened", current, "started again, since what was opened "
    return "new", len(candidates), "like no known environment: "


def nearest_of(candidates: dict[int, tuple[float, float, bool, bool]]) -> int:
    """The environment with the smallest distance of those that frames do not exclude, if any."""
    return min(candidates, key=lambda key: candidates[key][0] + 1e9 * candidates[key][2])


def divergence(before: Environment, present: Environment, chunks: list[Any]) -> float:
    """Of a mixture of what was before and of what follows, from what is present; in nats."""
    first = present.moments_of(before)
    found = [present.describe(chunk) for chunk in chunks]
    last = tuple(sum(each[k] for each in found) / len(found) for k in (0, 1))
    share = on_the_way(first[0], last[0], present.moments[0])
    mixed = tuple((1 - share) * first[k] + share * last[k] for k in (0, 1))
    own, both, nats = present.variance(present.moments), present.variance(mixed), 0.0
    for k in range(len(own)):
        apart = (mixed[0][k] - present.moments[0][k]) ** 2
        nats += ((both[k] + apart) / own[k] - 1 - math.log(both[k] / own[k])) / 2
    return nats if i.LEAST < share < i.MOST else math.inf


def middle_and_spread(values: list[float]) -> tuple[float, float]:
    middle = median(values)
    upwards = (np.quantile(values, 0.95) - middle) / 1.645
    return middle, max(1.4826 * median(abs(x - middle) for x in values), upwards)


def integrated_time(values: list[float]) -> float:
    if len(values) < 8:
        return 4.0
    logs = [math.log(max(1, value)) for value in values]
    mean, time = sum(logs) / len(logs), 1.0
    total = sum((x - mean) ** 2 for x in logs)
    for lag in range(1, max(2, len(logs) // 4)):
        pairs = zip(logs, logs[lag:], strict=False)
        rho = sum((x - mean) * (y - mean) for x, y in pairs) / (total + 1e-12)
        if rho < 2 / math.sqrt(len(logs)):
            break
        time += 2 * rho
    return time


def on_the_way(first: Any, last: Any, here: Any) -> float:
    """How far `here` is from `first` to `last`, between 0 and 1."""
    apart = sum((y - x) ** 2 for x, y in zip(first, last, strict=True))
    along = sum((h - x) * (y - x) for x, y, h in zip(first, last, here, strict=True))
    return min(1.0, max(0.0, along / max(apart, 1e-12)))
