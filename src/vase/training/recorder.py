"""The recorder: writes what a run should leave behind, at the steps where it should.

It consumes observations and changes nothing in the learner, so that a run that is recorded more
often is the same run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from torch import Tensor

from vase.domains.stream import Schedule
from vase.errors import RunError
from vase.lifelong.learner import Learner
from vase.lifelong.state import averaged_weights, restore, state
from vase.records import Observation
from vase.training import checkpoint
from vase.training.checkpoint import DamagedError
from vase.training.folder import RunFolder, append_lines, keep_lines
from vase.training.tracker import Name, trackers

MAX_LINES, MAX_MILESTONES = 10_000, 100  # of one run, however long it is

Saved = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and what JSON holds


def milestone_steps(schedule: Schedule, per_segment: int) -> frozenset[int]:
    """Steps (counted from 1) after which weights are kept: `per_segment`, evenly, in every segment.

    Where that makes more than MAX_MILESTONES, as many of them, evenly, the last among them; and in
    any case the end of each domain's first segment, against which forgetting is measured.
    """
    steps = sorted(
        {
            segment.start + math.ceil((segment.end - segment.start) * k / per_segment)
            for segment in schedule.segments
            for k in range(1, per_segment + 1)
        }
    )
    kept = min(len(steps), MAX_MILESTONES)
    even = {steps[-1 - k * len(steps) // kept] for k in range(kept)}
    first = {segment.domain: segment.end for segment in reversed(schedule.segments)}
    return frozenset(even | set(first.values()))


def stride(step: int, log_every: int) -> int:
    """Steps between the lines of a log that has come to `step`: doubled when it gets too long.

    A function of the step alone, and every stride divides the next: so a log that was thinned out,
    cut back to a checkpoint and written on becomes that of a run that never stopped as soon as it
    has passed the doubling again.
    """
    doublings = (step // (MAX_LINES * log_every)).bit_length()
    return log_every << doublings


class Recorder:
    """Logs, checkpoints and milestones of one run."""

    def __init__(
        self,
        folder: RunFolder,
        learner: Learner,
        *,
        log_every: int,
        checkpoint_every: int,
        milestones: frozenset[int],
        tracker: Name = "none",
    ) -> None:
        self.folder, self.learner = folder, learner
        self.log_every, self.checkpoint_every = log_every, checkpoint_every
        self.milestones = milestones
        self.trackers = trackers(tracker, folder, learner.step)
        self.latest: Observation | None = None  # that learnt

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tracker in self.trackers:
            tracker.close()

    def record(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """Pass observations on, having written what is due."""
        for observation in observations:
            self.write(observation)
            yield observation

    def write(self, observation: Observation) -> None:
        """Write what is due after a step."""
        self._log(observation)
        done = observation.step + 1
        if done in self.milestones:
            self.keep_milestone()
        if done % self.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        earlier = self.folder.earlier
        checkpoint.write(self.folder.checkpoint, *state(self.learner), earlier=earlier)

    def keep_milestone(self) -> None:
        """Keep the averaged weights and the memory as they are now."""
        record = {
            "step": self.learner.step,
            "environments": self.learner.environments.to_json(),
        }
        path = self.folder.milestone(self.learner.step)
        checkpoint.write(path, averaged_weights(self.learner), record)

    def _log(self, observation: Observation) -> None:
        if observation.events:
            append_lines(self.folder.events, [event.to_json() for event in observation.events])
            for event in observation.events:
                text = f"{event.kind} {event.environment}: {event.reason}"
                for tracker in self.trackers:
                    tracker.text("events", text, event.step)
        between = stride(observation.step, self.log_every)
        if observation.step and between > stride(observation.step - 1, self.log_every):
            keep_lines(self.folder.metrics, lambda step: step % between == 0)
        self.latest = observation if observation.learnt else self.latest
        if observation.step % between == 0:
            line = with_terms(observation, self.latest)
            append_lines(self.folder.metrics, [line.to_json()])
            self._track(line)

    def _track(self, observation: Observation) -> None:
        scalars = {
            **observation.terms,
            "capacity": observation.capacity,
            "statistic": math.log1p(observation.statistic),
            "environment": observation.decision.environment,
        }
        for tracker in self.trackers:
            tracker.scalars(scalars, observation.step)


def with_terms(observation: Observation, latest: Observation | None) -> Observation:
    """Return what is logged of a step: of a batch that waits to be learnt, what was learnt last.

    Small batches wait in the working memory until they are enough for a step. Without this, a log
    of every tenth step could miss every step that learns.
    """
    decision = observation.decision
    if observation.learnt or latest is None or decision.kind != "same":
        return observation
    if latest.decision.environment != decision.environment:
        return observation
    return replace(
        observation,
        terms=latest.terms,
        kl_per_latent=latest.kl_per_latent,
        alpha=latest.alpha,
    )


def resume(folder: RunFolder, learner: Learner) -> str:
    """Put a fresh learner where the run's checkpoint is, and cut the logs back to that step.

    Where that one is damaged the one before is taken, and what is returned says so. A run that was
    stopped before its first checkpoint starts again.
    """
    message = ""
    if folder.checkpoint.exists() or folder.earlier.exists():
        saved, message = _newest(folder)
        _put_back(folder, learner, saved)
    for log in (folder.metrics, folder.events):
        keep_lines(log, lambda step: step < learner.step)
    for path in folder.milestones():
        if path > folder.milestone(learner.step):
            path.unlink()
    return message


def follow(folder: RunFolder, learner: Learner) -> None:
    """Put a fresh learner of another process where the one that leads has just been put."""
    if folder.checkpoint.exists():
        _put_back(folder, learner, checkpoint.read(folder.checkpoint))


def _put_back(folder: RunFolder, learner: Learner, saved: Saved) -> None:
    with checkpoint.understood(folder.checkpoint):
        restore(learner, *saved)


def _newest(folder: RunFolder) -> tuple[Saved, str]:
    """The newest whole checkpoint, and what is to be said of it.

    One that is damaged is put aside, or the next to be saved would make it the one before.
    """
    try:
        return checkpoint.read(folder.checkpoint), ""
    except DamagedError as error:
        if not folder.earlier.exists():
            raise
        saved, damaged = checkpoint.read(folder.earlier), folder.checkpoint.with_suffix(".damaged")
        try:
            if folder.checkpoint.exists():
                folder.checkpoint.replace(damaged)
            folder.earlier.replace(folder.checkpoint)
        except OSError as failure:
            raise RunError(
                f"'{folder.path}' cannot be written to: {failure.strerror or failure}."
            ) from None
        return saved, f"{error} The one before it is gone on with."
