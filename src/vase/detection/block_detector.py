"""The change detector for consecutive frames, and for independent images alike.

    features   <- random features of the batch, which never learn         detection/features.py
    chunks     <- 32 consecutive frames, whatever the size of batches
    G          <- likelihood ratio of a chunk; large where it fits badly  detection/blocks.py
    test       <- e-values of chunks and of whole blocks, or an alarm     detection/block_test.py
    after an alarm: evidence, and a decision              detection/block_identification.py

It needs no setting for how frames depend on one another: it learns each environment's correlation
time, and what blocks of its frames differ by. It never asks the networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vase.detection import block_identification as identification
from vase.detection.block_test import BlockTest, Chunk, Verdict, next_test, usual_step
from vase.detection.blocks import (
    CHUNK,
    FIRST_BLOCK,
    Array,
    Axes,
    BlockStatistics,
    described,
    largest_step,
    likelihood_ratio,
    log_density,
    mean_square,
    with_chunks,
)
from vase.detection.features import random_features
from vase.detection.protocol import ModelView
from vase.records import Decision
from vase.settings import DetectionSettings

PART = 4.0  # correlation time up to which what passes after an alarm is no part of a scene
OTHER = 4.0  # times the worst deferred ratio: something else again
CUT = 2.0  # times the usual largest step: a cut beyond doubt
FROZEN = 1e-9  # squared step between features, up to which two frames are the same
STRAY = 2.0  # times the usual ratio: a chunk that is not of the environment that is back


@dataclass(frozen=True, eq=False)
class Wait:
    """What is deferred: chunks of features [32, F] each, the latest, their ratios G and steps.

    batches, images: how many were deferred so far. alarm, gradual: whether the alarm was raised
    meanwhile, and by whole blocks. reported: whether it was said that it takes long. cut: whether
    the chunks begin after a clear cut. seen: how many chunks there were, not only the latest.
    squares: the mean squared distances of their frames from each comparable environment, in order,
    summed over all chunks but the first.
    """

    chunks: tuple[Array, ...] = ()
    ratios: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    batches: int = 0
    images: int = 0
    alarm: bool = False
    gradual: bool = False
    reported: bool = False
    cut: bool = False
    seen: int = 0
    squares: tuple[float, ...] = ()


class BlockDetector:
    """Rule `blocks`: blocks of consecutive frames; see `docs/detection.md`.

    environments: what is kept of each, by id. current: the present one. opened_from: where the
    newest began. test: the sequential test. pending: features [< 32, F] of a chunk that is not
    complete. last: the frame before it, [F]. unsettled: the first chunk of a block of two. wait:
    what is deferred.
    """

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        self.settings = settings
        self.feature_extractor = random_features(model.architecture).to(model.device)
        self.environments: dict[int, BlockStatistics] = {}
        self.current = self.opened_from = 0
        self.test = BlockTest()
        self.statistic = 0.0
        self.pending: Array = np.zeros((0, self.feature_extractor.count))
        self.last: Array | None = None
        self.unsettled: tuple[Array, ...] = ()
        self.wait = Wait()

    def update(self, images: Tensor) -> Decision:
        """Detect, and after an alarm decide."""
        features = self.feature_extractor(images).cpu().double().numpy()
        if not np.isfinite(features).all():
            reason = "its images contain NaN or infinity"
            return Decision("skipped", self.current, reason, statistic=self.statistic)
        first = not self.environments
        if first:
            self.environments = {0: BlockStatistics()}
        self.pending = np.concatenate([self.pending, features])
        run_length = self.settings.frames_between_alarms(len(images))
        while len(self.pending) >= CHUNK:
            chunk, self.pending = self.pending[:CHUNK], self.pending[CHUNK:]
            self._take(chunk, run_length)
        if first:
            return Decision("new", 0, "the first images of the stream")
        decision = self._decision(len(images))
        return replace(
            decision,
            provisional=self.on_probation,
            statistic=self.statistic * self.settings.threshold,
            correlation_time=self.environments[self.current].correlation_time,
        )

    @property
    def on_probation(self) -> bool:
        """Whether the present environment is so new that it can still be discarded."""
        known, newest = self.environments[self.current], self.current == len(self.environments) - 1
        return self.current > 0 and newest and known.effective_images < self.settings.max_transition

    # ---- detecting -----------------------------------------------------------------------------

    def _take(self, chunk: Array, run_length: float) -> None:
        """Take in one chunk of features [32, F]: it is recorded, or deferred."""
        known = self.environments[self.current]
        step, self.last = largest_step(chunk, self.last), chunk[-1]
        if not known.comparable:
            self._record((chunk,), (step,))
            return
        if step <= FROZEN and not self.wait.chunks and not self.wait.alarm:
            return  # one frame again and again: a stuck camera tells nothing of the scene
        assert known.axes is not None
        descriptor = described(chunk, known.axes)
        ratio = float(likelihood_ratio(known, descriptor))
        seen = Chunk(descriptor, ratio, step, self._advantage(chunk, descriptor))
        self.test, verdict = next_test(self.test, known, seen, run_length, self.settings)
        self.statistic = verdict.statistic
        chunks = (*self.unsettled, chunk)
        if self._defers(verdict):
            if not verdict.block_improbable:
                self._record(self.unsettled)
                chunks = (chunk,)
            self.unsettled = ()
            self._defer(chunks, (ratio, step), verdict)
        elif known.block == FIRST_BLOCK and not verdict.complete and not self.wait.chunks:
            self.unsettled = chunks  # its block decides
            self._record((), (step,))
        else:
            self._end_wait()
            self.unsettled = ()
            self._record(chunks, (step,))

    def _advantage(self, chunk: Array, descriptor: Array) -> float | None:
        """Log of the mean over other environments of p_k / p of a chunk; None without any.

        descriptor: of the chunk in the present environment.
        """
        others = [
            float(log_density(each, described(chunk, each.axes)))
            for key, each in self.environments.items()
            if key != self.current and each.axes is not None and each.comparable
        ]
        if not others:
            return None
        here = float(log_density(self.environments[self.current], descriptor))
        return float(np.logaddexp.reduce(others)) - math.log(len(others)) - here

    def _defers(self, verdict: Verdict) -> bool:
        wait = self.wait
        going_on = bool(wait.chunks) and not verdict.complete and verdict.suspicious
        # An alarm is decided about, even if its block ends before there are chunks enough.
        going_on |= wait.alarm and len(wait.chunks) < identification.needed_chunks(cut=wait.cut)
        return verdict.improbable or verdict.block_improbable or verdict.alarm or going_on

    def _defer(
        self, chunks: tuple[Array, ...], judged: tuple[float, float], verdict: Verdict
    ) -> None:
        wait, (ratio, step) = self.wait, judged
        known = self.environments[self.current]
        if wait.chunks and ratio > OTHER * max(wait.ratios):  # what was deferred is not of this
            wait = replace(wait, chunks=(), ratios=(), steps=(), seen=0, squares=())
        if step > CUT * max((usual_step(known), *wait.steps)):  # this chunk is of both sides
            wait = Wait(batches=wait.batches, images=wait.images, reported=wait.reported, cut=True)
            chunks = ()
        most = max(identification.MIN_CHUNKS, self.settings.max_pooled_images // CHUNK)
        self.wait = replace(
            wait,
            chunks=(*wait.chunks, *chunks)[-most:],
            ratios=(*wait.ratios, *[ratio] * len(chunks))[-most:],
            steps=(*wait.steps, step)[-most:],
            alarm=wait.alarm or verdict.alarm,
            gradual=wait.gradual or verdict.gradual,
            seen=wait.seen + len(chunks),
            squares=self._squares(wait, chunks if wait.seen else chunks[1:]),
        )

    def _squares(self, wait: Wait, chunks: tuple[Array, ...]) -> tuple[float, ...]:
        """Those of a wait, and of more chunks."""
        every = [each.axes for each in self.environments.values() if each.axes is not None]
        return tuple(
            before + sum(float(mean_square(described(chunk, axes))) for chunk in chunks)
            for axes, before in zip(every, wait.squares or [0.0] * len(every), strict=True)
        )

    def _end_wait(self) -> None:
        """What was deferred has passed: noise, or a part of the scene, like one who walks through.

        With independent images, what raised the alarm was of something else, and so much that it
        would hide the next change; it is left out.
        """
        known = self.environments[self.current]
        if not self.wait.alarm or known.correlation_time > PART:
            self._record(self.wait.chunks, self.wait.steps)
        self.wait = Wait()

    def _record(self, chunks: tuple[Array, ...], steps: tuple[float, ...] = ()) -> None:
        known = self.environments[self.current]
        stacked = np.stack(chunks) if chunks else np.zeros((0, CHUNK, self.pending.shape[1]))
        known = with_chunks(known, stacked, steps)
        self.environments = {**self.environments, self.current: known}

    # ---- deciding ------------------------------------------------------------------------------

    def decide(self, evidence: identification.BlockEvidence) -> Decision:
        """Decide after an alarm; a class of your own may decide otherwise."""
        return identification.identify(evidence, self.settings)

    def _decision(self, count: int) -> Decision:
        """The decision on a batch of `count` images, of which all chunks were taken in."""
        if not self.wait.chunks and not self.wait.alarm:
            return Decision("same", self.current)
        wait = replace(self.wait, batches=self.wait.batches + 1, images=self.wait.images + count)
        self.wait = wait
        if not wait.alarm or not wait.chunks:
            return Decision("deferred", self.current, "surprising: more frames are needed")
        decision = self.decide(self._evidence(count))
        if decision.kind != "deferred":
            return self._carry_out(decision)
        if wait.reported or wait.images < self.settings.max_wait * identification.NOMINAL:
            return decision
        self.wait = replace(wait, reported=True)  # once; the wait goes on
        reason = f"nothing was learnt from the last {wait.images} images: {decision.reason}"
        return replace(decision, kind="undetermined", reason=reason)

    def _evidence(self, count: int) -> identification.BlockEvidence:
        settings, known, wait = self.settings, self.environments, self.wait
        comparable = {key: each for key, each in known.items() if each.axes is not None}
        # No more batches than there are pooled chunks: these are what the learner learns from.
        covered = -(-(len(wait.chunks) * CHUNK + len(self.pending)) // count)
        evidence = identification.BlockEvidence(
            candidates=self._candidates(comparable),
            current=self.current,
            images=len(wait.chunks) * CHUNK,
            batches=max(1, min(wait.batches, covered)),
            waited=wait.images / identification.NOMINAL,
            gradual=wait.gradual,
            agree=identification.agreeing(wait.chunks, settings.max_f_ratio),
            cut=wait.cut,
            dependent=known[self.current].correlation_time > PART,
            brief=self._brief(),
            most=max(1, settings.max_pooled_images // count),
        )
        nearest = evidence.nearest
        if nearest.distance <= settings.tolerance and nearest.fits(settings):
            return evidence
        absent = {key: each for key, each in comparable.items() if key != self.current}
        mixture = identification.between(
            known[self.current], absent, wait.chunks, settings.tolerance
        )
        return replace(evidence, between=mixture)

    def _candidates(
        self, comparable: dict[int, BlockStatistics]
    ) -> tuple[identification.Candidate, ...]:
        wait = self.wait
        # Where waiting began with version 1.0, nothing is known of single frames.
        squares = [square / max(1, wait.seen - 1) for square in wait.squares]
        return tuple(
            identification.candidate(
                key,
                each,
                identification.Deferred(wait.chunks, wait.images // CHUNK, wait.seen, square),
                self.settings,
            )
            for (key, each), square in zip(
                comparable.items(), squares or [0.0] * len(comparable), strict=True
            )
        )

    def _brief(self) -> str:
        """Why the present environment is discarded if it is left now; empty if it is kept."""
        known = self.environments[self.current]
        if not self.on_probation:
            return ""
        if known.effective_images < self.settings.min_visit:
            return f"lasted for {known.effective_images:.1f} effective images only"
        before = self.environments[self.opened_from]
        divergence = identification.transition_divergence(before, known, self.wait.chunks)
        return "was a transition" if divergence <= self.settings.tolerance else ""

    def _carry_out(self, decision: Decision) -> Decision:
        """Apply a decision to the records: absorb, switch, open or discard; return it completed."""
        pool, steps, clear = self.wait.chunks, self.wait.steps, self.wait.cut
        discards = bool(self._brief())
        self.test, self.unsettled, self.statistic, self.wait = BlockTest(), (), 0.0, Wait()
        if decision.kind == "dismissed":
            self._record(pool, steps)
            return decision
        left = self.current
        if discards and decision.kind == "new":  # it takes the place of one that did not last
            decision = replace(decision, kind="reopened", environment=left)
        if discards:
            self.environments = {k: e for k, e in self.environments.items() if k != left}
        self.current = decision.environment
        if decision.kind == "returned":
            pool = _of(self.environments[self.current], pool)
        else:
            self.opened_from = self.opened_from if discards else left
            self.environments = {**self.environments, self.current: BlockStatistics()}
            pool = pool if clear else pool[1:]  # the first may begin before the change
        known = replace(self.environments[self.current], partial=())
        self.environments = {**self.environments, self.current: known}
        self._record(pool, steps[1:])  # without the change itself
        return replace(decision, discards=discards)

    # ---- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "current": self.current,
            "opened_from": self.opened_from,
            "statistic": self.statistic,
            "test": _saved(self.test),
            "pending": _tensors(self.pending),
            "last": _tensors(self.last),
            "unsettled": _tensors(self.unsettled),
            "wait": _saved(self.wait),
            "feature_extractor": self.feature_extractor.state_dict(),
            "environments": {str(key): _saved(each) for key, each in self.environments.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current, self.opened_from = state["current"], state["opened_from"]
        self.statistic = state["statistic"]
        self.test = BlockTest(**_loaded(state["test"]))
        self.wait = Wait(**_loaded(state["wait"]))
        self.pending = _array(state["pending"])
        self.last = None if state["last"] is None else _array(state["last"])
        self.unsettled = tuple(_array(chunk) for chunk in state["unsettled"])
        self.feature_extractor.load_state_dict(state["feature_extractor"])
        self.environments = {
            int(key): BlockStatistics(**_loaded(each))
            for key, each in state["environments"].items()
        }


def _of(known: BlockStatistics, chunks: tuple[Array, ...]) -> tuple[Array, ...]:
    """Those chunks of features that are of the environment that is back; the first may not be."""
    assert known.axes is not None
    ratios = likelihood_ratio(known, described(np.stack(chunks), known.axes))
    usual = max(float(np.median(ratios)), known.blocks.shape[1])
    return tuple(chunks[k] for k in np.flatnonzero(ratios <= STRAY * usual))


def _saved(record: BlockTest | BlockStatistics | Wait) -> dict[str, Any]:
    """The fields of a record, arrays as tensors that share their memory."""
    return {each.name: _tensors(getattr(record, each.name)) for each in fields(record)}


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # Files want strides of their own kind, which NumPy does not give to what is empty.
        return torch.from_numpy(value) if value.size else torch.zeros(value.shape).double()
    if isinstance(value, Axes):
        return [torch.from_numpy(each) for each in (value.mean, value.scaled, value.noise)]
    if isinstance(value, tuple):
        if value and isinstance(value[0], float):  # hundreds of them, at every step
            return list(value)
        return [_tensors(each) for each in value]
    return value


def _loaded(saved: dict[str, Any]) -> dict[str, Any]:
    """What `_saved` made, as arrays again."""
    found = {name: _arrays(value) for name, value in saved.items()}
    if found.get("axes") is not None:
        found["axes"] = Axes(*found["axes"])
    return found


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu().numpy()
    if isinstance(value, list | tuple):
        return tuple(_arrays(each) for each in value)
    return value


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.cpu().numpy()
    return found
