"""The change detector: has the domain changed, and which environment is it now?

    features   <- random features of the batch, which never learn      detection/features.py
    score      <- log-likelihood ratio; large where the batch fits badly  detection/statistics.py
    state      <- sequential test: same, deferred, or an alarm         detection/sequential.py
    after an alarm: evidence, and a decision                           detection/identification.py

It never asks the networks, which move while they learn.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from vase.detection.features import random_features
from vase.detection.identification import (
    EnvironmentStatistics,
    Evidence,
    collect_evidence,
    identify,
)
from vase.detection.protocol import ModelView
from vase.detection.sequential import DetectorState, next_state
from vase.detection.statistics import (
    FeatureStatistics,
    feature_statistics,
    likelihood_ratio,
    update_statistics,
)
from vase.records import Decision
from vase.settings import DetectionSettings


class FeatureStatisticsDetector:
    """Rule `feature-statistics`: feature statistics and e-values of ranks; see `docs/detection.md`.

    environments: what is kept of each, by id. current: the present one. state: of the sequential
    test. deferred: features [B_i, F] of the latest batches that wait for a decision.
    """

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        self.settings = settings
        self.feature_extractor = random_features(model.architecture).to(model.device)
        self.environments: dict[int, EnvironmentStatistics] = {}
        self.current = 0
        self.state = DetectorState()
        self.deferred: tuple[Tensor, ...] = ()

    def update(self, images: Tensor) -> Decision:
        """Detect, and after an alarm decide."""
        features = self.feature_extractor(images).cpu().double()
        if not features.isfinite().all():
            reason = "its images contain NaN or infinity"
            return Decision("skipped", self.current, reason, statistic=self.state.statistic)
        if not self.environments:
            first = EnvironmentStatistics(feature_statistics(features), batches=1)
            self.environments = {0: first}
            return Decision("new", 0, "the first images of the stream")
        decision = self._detect(features)
        # Of the environment after the decision.
        provisional, statistic = self.on_probation, self.state.statistic
        return replace(decision, provisional=provisional, statistic=statistic)

    def score(self, features: Tensor) -> float:
        """Return how badly features [B, F] fit the present environment."""
        return likelihood_ratio(features, self.environments[self.current].statistics)

    def decide(self, evidence: Evidence) -> Decision:
        """Decide after an alarm; a class of your own may decide otherwise."""
        return identify(evidence, self.settings)

    def prepare(self) -> None:
        """Compute what the next `update` needs; a learner on a GPU calls it while that works."""
        _ = self.environments[self.current].statistics.whitening

    @property
    def on_probation(self) -> bool:
        """Whether the present environment is so new that it can still be discarded."""
        known = self.environments[self.current]
        return self.current > 0 and known.batches < self.settings.probation

    def _detect(self, features: Tensor) -> Decision:
        before, known = self.state, self.environments[self.current]
        score = self.score(features)
        self.state = next_state(before, score, known.scores, self.settings)
        if not self.state.deferred:
            self._end_wait(before)
            self._record(features, score, learnt=True)
            return Decision("same", self.current)
        self.deferred = deferred_batches(self.deferred, features, self.settings)
        if self.state.alarm:
            waited = self.state.batches
            decision = self.decide(
                collect_evidence(
                    self.environments, self.current, self.deferred, waited, self.settings
                )
            )
        else:
            decision = Decision("deferred", self.current, "surprising: more batches are needed")
        return self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> Decision:
        """Apply a decision to the records: absorb, switch, open or discard; return it completed."""
        if decision.kind == "deferred":
            if self.state.batches != self.settings.max_wait:  # reported once; the wait goes on
                return decision
            reason = f"nothing was learnt from the last {self.state.batches} batches"
            return replace(decision, kind="undetermined", reason=f"{reason}: {decision.reason}")
        together = self.deferred[-decision.batches :]
        self.state, self.deferred = DetectorState(), ()
        if decision.kind == "dismissed":
            for features in together:
                self._record(features, self.score(features))
            return decision
        discards = self.on_probation  # of the environment that is left
        if discards:  # a new environment takes the place of one that did not last
            if decision.kind == "new":
                decision = replace(decision, kind="reopened", environment=self.current)
            self.environments = {
                key: known for key, known in self.environments.items() if key != self.current
            }
        self.current = decision.environment
        if decision.kind != "returned":
            opened = EnvironmentStatistics(feature_statistics(torch.cat(together)))
            self.environments = {**self.environments, self.current: opened}
        return replace(decision, discards=discards)

    def _end_wait(self, before: DetectorState) -> None:
        """Take the deferred batches for noise: not learnt, but part of the null distribution.

        Not those of a wait that had raised the alarm: they were of something else, and so many that
        they would hide the next change.
        """
        self.deferred = ()
        if before.deferred and not before.alarm:
            known = self.environments[self.current]
            scores = (*known.scores, *before.deferred)[-self.settings.window :]
            self.environments = {**self.environments, self.current: replace(known, scores=scores)}

    def _record(self, features: Tensor, score: float, *, learnt: bool = False) -> None:
        """Let the present environment's statistics follow a batch [B, F], and keep its score."""
        known = recorded(self.environments[self.current], features, score, self.settings)
        known = replace(known, batches=known.batches + learnt)
        self.environments = {**self.environments, self.current: known}

    # ---- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "current": self.current,
            "state": asdict(self.state),
            "deferred": list(self.deferred),
            "feature_extractor": self.feature_extractor.state_dict(),
            "environments": {
                str(key): {
                    "mean": known.statistics.mean,
                    "covariance": known.statistics.covariance,
                    "count": known.statistics.count,
                    "scores": known.scores,
                    "batches": known.batches,
                }
                for key, known in self.environments.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved = state["state"]
        self.current = state["current"]
        self.state = DetectorState(**{**saved, "deferred": tuple(saved["deferred"])})
        self.deferred = tuple(features.cpu() for features in state["deferred"])
        self.feature_extractor.load_state_dict(state["feature_extractor"])
        self.environments = {
            int(key): EnvironmentStatistics(
                FeatureStatistics(each["mean"].cpu(), each["covariance"].cpu(), each["count"]),
                tuple(each["scores"]),
                each["batches"],
            )
            for key, each in state["environments"].items()
        }


def recorded(
    known: EnvironmentStatistics, features: Tensor, score: float, settings: DetectionSettings
) -> EnvironmentStatistics:
    """Return what is kept of an environment after one more batch of features [B, F] of its own.

    While an environment is young only the newer three quarters of its scores are kept: against
    statistics of few images every batch fits badly, and such scores would hide a change.
    """
    kept = min(settings.window, 1 + 3 * known.batches // 4)
    return replace(
        known,
        statistics=update_statistics(known.statistics, features, settings.span),
        scores=(*known.scores, score)[-kept:],
    )


def deferred_batches(
    before: tuple[Tensor, ...], batch: Tensor, settings: DetectionSettings
) -> tuple[Tensor, ...]:
    """Return the latest deferred batches, this one included, as many as a decision can rest on.

    The detector keeps features so, and the learner images: the same batches.
    """
    return latest((*before, batch), settings.max_pooled_images, 2 * settings.min_batches)


def latest(batches: tuple[Tensor, ...], most: int, least: int = 1) -> tuple[Tensor, ...]:
    """Return the newest batches with at most `most` images in all, but at least `least` batches."""
    kept: list[Tensor] = []
    total = 0
    for batch in reversed(batches):
        total += len(batch)
        if len(kept) >= least and total > most:
            break
        kept.append(batch)
    return tuple(reversed(kept))
