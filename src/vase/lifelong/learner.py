"""The learner: `observe` takes one batch through the algorithm, in its order.

    detect, decide    detection/protocol.py   is it still the same domain? which environment is it?
    act               `_act`, `_move`         snapshot, a new record and mask, or the old record
    remember          `_to_learn`             the batch or, of frames that depend on one another, a
                                              sample of the working memory (working_memory.py)
    replay            lifelong/replay.py      images of past environments from the snapshot
    loss              lifelong/loss.py        L = L_MDL + L_past + w_s CE + own terms
    update            `update`                one step of Adam or Muon, and the moving average
    record            `_record`               moments and capacity of the environment

Only a batch of kind "same", or the first, is learnt. Any other is only evaluated, those included
from which a new environment begins. S, D, A in comments are the letters of the paper's ablations:
inferred environments, replay ("dreams"), masks by atypicality.

All state is explicit (`lifelong/learner_state.py`), all randomness is a function of (seed, step),
and a step is a transaction (`lifelong/transaction.py`). CUDA graphs and several processes wrap the
learner from outside (`training/cuda_graphs.py`, `training/data_parallel.py`): of an update, several
processes change `rows`, `joined`, `measured` and `descend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from vase.detection.protocol import deferred_batches
from vase.errors import VaseError
from vase.lifelong import evaluation, loss
from vase.lifelong.environments import updated
from vase.lifelong.learner_state import LearnerState
from vase.lifelong.loss import Batch, StepContext
from vase.lifelong.new_environment import (
    create_environment,
    first_environment,
    raise_if_skipped_or_invalid,
    typical_latents,
)
from vase.lifelong.replay import (
    LabelledBatch,
    PastEnvironments,
    ReplayBatch,
    generate,
    labelled,
)
from vase.lifelong.transaction import NotFiniteError, copy_weights, transaction
from vase.lifelong.update_result import UpdateResult
from vase.lifelong.weights import (
    optimizer_state,
    update_average,
)
from vase.lifelong.working_memory import uses_memory
from vase.objective.atypicality import atypicality
from vase.objective.capacity import grow
from vase.objective.moments import Moments
from vase.records import Decision, Event, EventKind, Observation, Posterior

MAX_SKIPPED = 8  # batches in a row that cannot be learnt
FOUND_INF_DEVICES = ("cpu", "cuda")  # where fused Adam heeds `found_inf`; on "mps" it does not


class Learner(LearnerState):
    """VASE, one batch at a time."""

    # ---- the algorithm -------------------------------------------------------------------------

    @transaction
    def observe(self, images: Tensor) -> Observation:
        """Take in one batch [B, C, H, W], float in [0, 1]; a step that fails changes nothing."""
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        first, result = not self.environments, None
        decision = self.detector.update(images)  # detect, decide
        raise_if_skipped_or_invalid(decision, self.environments, self.detector, self.step)
        moments, events = self._act(decision, images)
        if decision.kind == "same" or first:
            present = self._to_learn(images, decision.correlation_time)  # remember
            if present is not None:
                result = self.update(present)  # replay, loss, update
                if not result.finite:
                    raise NotFiniteError(result.not_finite)
                self.update_average()
                self._record(result, images)
                moments = result.moments
        events += self._refresh_snapshot(decision)
        return self._end_step(decision, moments, result, events)

    def _to_learn(self, images: Tensor, correlation_time: float) -> Tensor | None:
        """Return what a step learns from, [B, C, H, W]; None while too few frames are new.

        That is the batch itself or, where frames depend on one another, images out of the memory.
        """
        settings = self.settings.memory
        if not uses_memory(settings, correlation_time):
            self.memory = self.memory.emptied()
            return images
        if not images.isfinite().all():
            raise NotFiniteError("its images contain NaN or infinity")
        self.memory = self.memory.waiting_for_step(images)
        count = len(self.memory.waiting)
        if count < settings.frames_per_step:
            return None
        self.memory = self.memory.merged(self.generator)
        return self.memory.draw(count, self.generator)

    def update(self, images: Tensor) -> UpdateResult:
        """Replay, loss, and one step of Adam, of this process's rows of the batch.

        Nothing here waits for the device, except on "mps": Adam itself skips a step whose gradient
        is not finite, by its `found_inf`, as under a GradScaler.
        """
        context, rows = self.context(), self.rows(len(images))
        with self.autocast():
            noise = evaluation.draw_noise(self.networks, len(images), self.generator)
            count = self.settings.replay.count(len(images))
            replay = self.replay(count, context.past, self.rows(count))
            batch = Batch(images[rows], noise[rows], replay)
            forward = loss.forward_pass(self.networks, batch, context)
            terms = loss.loss_terms(forward, self.settings)
        means = self.joined(loss.mean_terms(terms))
        total = loss.total_loss(means, context, self.settings)
        with torch.no_grad():
            kl, moments = self.measured(forward.posterior, terms)
        del batch, replay, forward, terms  # backward frees the graph as it goes
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        finite = self.descend(total)
        return UpdateResult.pack({"loss": total, **means}, kl, moments, finite, len(images))

    def rows(self, count: int) -> slice:  # noqa: ARG002
        """Which of `count` rows are this process's: all, where there is one process."""
        return slice(None)

    def joined(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Means over the rows of all processes, of those over this one's."""
        return means

    def measured(self, posterior: Posterior, terms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Each latent's KL [N] and the moments [2, N + 2] of the whole batch."""
        kl = terms["kl"]
        return kl.mean(0), evaluation.batch_moments(posterior, terms["reconstruction"], kl.sum(1))

    def descend(self, total: Tensor) -> Tensor:
        """Clip the gradient and take a step of Adam if all is finite; return whether it is, []."""
        weights = self.optimizer.param_groups[0]["params"]  # a list; networks would be searched
        norm = torch.nn.utils.clip_grad_norm_(weights, self.settings.training.max_grad_norm)
        finite = total.isfinite() & norm.isfinite()
        heeded = self.device.type in FOUND_INF_DEVICES
        if heeded:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        if heeded or finite:
            self.optimizer.step()
        return finite

    def replay(
        self, count: int, past: PastEnvironments | None, rows: slice = slice(None)
    ) -> ReplayBatch | LabelledBatch | None:
        """Draw `count` images of the past, generated or stored ones; only `rows` of them."""
        if self.reservoir is not None:
            stored = self.reservoir.draw(count, self.environments.present, self.generator)
            return stored and stored.part(rows)
        if self.snapshot is None or past is None:
            return None
        if self.settings.replay.method == "proximity":
            return generate(self.snapshot, past, count, self.generator, rows)
        made, known = (
            generate(self.snapshot, past, count, self.generator),
            self.replayed_environments,
        )
        return labelled(made.images, made.environment, known, self.generator).part(rows)

    def context(self) -> StepContext:
        """Where images are seen, and what is replayed, on the device."""
        present, replayed = self.environments.present, self.replayed_environments
        source, fill = self.settings.replay.source, self.settings.masks.fill
        return StepContext(
            environment=present.index,
            mask=torch.as_tensor(present.mask, device=self.device),
            known=len(self.environments),
            capacity=present.capacity.nats,
            past=PastEnvironments.of(replayed, source, self.device, fill) if replayed else None,
            fill=fill,
            past_capacity=sum(k.capacity.nats for k in replayed) / max(1, len(replayed)),
            paired=self.paired,
            extended=self.extended,
        )

    @property
    def paired(self) -> bool:
        """Whether what is learnt now are pairs of frames, which the memory alone gives."""
        return self.settings.memory.pairs > 0 and len(self.memory.frames) > 0

    @property
    def extended(self) -> bool:
        """Whether the present environment has learnt enough for `objective.terms` to count."""
        return self.environments.present.batches >= self.settings.objective.terms_after

    def update_average(self) -> None:
        """Let the averaged weights follow the weights that are trained."""
        update_average(self.average, self.networks, self.ema_decay)

    # ---- recording -----------------------------------------------------------------------------

    def _record(self, result: UpdateResult, images: Tensor) -> None:
        """Let the present environment's record follow what was learnt."""
        settings, known = self.settings, self.environments.present
        known = updated(known, result.moments, result.kl)
        if settings.masks.enabled and not settings.detection.enabled:
            # Without S no environment begins at which masks could be judged.
            mask = typical_latents(known.moments, settings)
            known = known if np.array_equal(mask, known.mask) else replace(known, mask=mask)
        if settings.objective.kind == "capacity":
            capacity = grow(known.capacity, result.terms["kl"], settings.objective)
            known = replace(known, capacity=capacity)
        self.environments = self.environments.enter(known)
        if self.reservoir is not None:
            self.reservoir.add(images, self.generator)

    def _end_step(
        self,
        decision: Decision,
        moments: Moments | None,
        result: UpdateResult | None,
        events: list[Event],
    ) -> Observation:
        if not decision.provisional:
            self.rollback_optimizer = None
        self.skipped = 0
        self.step += 1
        size = self.architecture.latents
        alpha = [] if moments is None else atypicality(moments)[:size].tolist()
        return Observation(
            step=self.step - 1,
            decision=decision,
            terms=result.terms if result else {},
            capacity=self.environments.present.capacity.nats,
            kl_per_latent=result.kl if result else (),
            alpha=tuple(alpha),
            statistic=decision.statistic,
            events=tuple(events),
        )

    def skip(self, why: str) -> Observation:
        """Go on after a batch whose step was undone; too many in a row end the run.

        `transaction` calls it.
        """
        if self.skipped + 1 >= MAX_SKIPPED or not self.environments:
            which = f"batch of step {self.step} was skipped ({self.skipped + 1} in a row)"
            raise VaseError(
                f"The {which if self.environments else 'first batch was skipped'}: {why}. No "
                "weight was changed. Look at the images around this step and at loss terms of "
                "your own, or lower training.learning_rate."
            )
        self.skipped, self.step = self.skipped + 1, self.step + 1
        environment, capacity = self.environments.current, self.environments.present.capacity.nats
        decision = Decision("skipped", environment, f"skipped: {why}")
        event = _event(self.step - 1, decision)
        return Observation(self.step - 1, decision, {}, capacity, (), (), 0.0, (event,))

    def _refresh_snapshot(self, decision: Decision) -> list[Event]:
        """Take the snapshot that is due; on probation a roll-back needs the one before."""
        if not self.snapshot_due or decision.provisional:
            return []
        self.take_snapshot()
        reason = "the averaged weights were frozen"
        return [Event(self.step, "snapshot", self.environments.current, reason)]

    # ---- acting on a decision ------------------------------------------------------------------

    def _act(self, decision: Decision, images: Tensor) -> tuple[Moments | None, list[Event]]:
        """Carry out a decision: the moments of the batch, and the event if it is one.

        The moments are those that the averaged networks see in the environment until now; of a
        batch that is learnt the update gives them.
        """
        if decision.kind == "same":
            self.deferred = ()
            return None, []
        if not self.environments:
            first = first_environment(self.average, images, self.settings, self.generator)
            self.environments = self.environments.enter(first)
            return None, [_event(self.step, decision)]
        present = self.environments.present
        moments = evaluation.evaluate(self.average, images, present, self.generator)
        if not np.isfinite([moments.mean, moments.variance]).all():
            raise NotFiniteError("what the networks make of its images is not finite")
        self.deferred = deferred_batches(self.deferred, images, self.settings.detection)
        if decision.kind == "deferred":
            return moments, []
        outcome: dict[str, object] = {}
        if decision.kind != "undetermined":
            pooled = torch.cat(self.deferred[-decision.batches :])
            self.deferred = ()
            if decision.kind != "dismissed":
                outcome = self._move(decision, pooled)
        return moments, [_event(self.step, decision, outcome)]

    def _move(self, decision: Decision, images: Tensor) -> dict[str, object]:
        """Go to another environment: "returned", "new" or "reopened"; what came of it.

        images: those that the decision rests on, [B, C, H, W]. What is discarded rolls back to the
        snapshot from before it, with Adam's moments; without replay its weights stay.
        """
        left = self.environments.current
        self.memory = self.memory.emptied()  # of the environment that is left
        copy_weights(self)  # for `transaction`, which undoes a step that fails
        if decision.discards:
            self.roll_back()
        elif self.settings.replay.enabled:
            self.take_snapshot()
        if decision.kind == "returned":
            if not decision.discards:
                self.environments = replace(self.environments, current=decision.environment)
                return {}
            self.environments = self.environments.without(left, decision.environment)
            return {"discarded": left}
        rows = self.architecture.environments
        if decision.environment >= rows:  # ids have no gaps, so that twice as many suffice
            self.grow(2 * rows)
        opened = create_environment(
            self.average,
            self.environments,
            decision.environment,
            images,
            self.settings,
            self.generator,
        )
        if self.snapshot is not None and not decision.discards:
            self.rollback_optimizer = optimizer_state(self.optimizer, self.networks)
        self.environments = self.environments.enter(opened)
        return {"masked": np.flatnonzero(~opened.mask).tolist()}


def _event(step: int, decision: Decision, outcome: Mapping[str, object] | None = None) -> Event:
    """The event that a decision is, with what came of it added to its evidence."""
    evidence = {**decision.numbers, **(outcome or {})}
    return Event(
        step, cast(EventKind, decision.kind), decision.environment, decision.reason, evidence
    )
