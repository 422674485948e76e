"""The learner: one `observe` per batch, which reads like the algorithm.

    look at the batch -> is it suspicious? -> decide where we are, or learn it -> remember

Detection comes before the update: a suspicious batch is held, not learnt. All state is explicit
(`lifelong.state`); all randomness is a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vase.errors import VaseError
from vase.lifelong import detector, events, founding
from vase.lifelong.detector import Suspicion
from vase.lifelong.dream import Dream, Past, dream
from vase.lifelong.identify import Identify, identify, weigh
from vase.lifelong.look import Here, Look, look, shown
from vase.lifelong.loss import terms, total
from vase.lifelong.memory import Environment, Memory, latest, recognise, released, remember
from vase.lifelong.ranks import ALONE, Ranks, joined, own, share_gradients
from vase.lifelong.replay import Replay, Reservoir, labelled
from vase.lifelong.settings import Settings
from vase.lifelong.step import Learnt, Situation, Step, Told
from vase.lifelong.weights import follow, frozen, grown, grown_optimizer
from vase.lifelong.witness import Witness
from vase.nets import Architecture, Networks, random_features
from vase.objective.atypicality import atypicality
from vase.objective.capacity import grow
from vase.objective.moments import Moments
from vase.objective.signature import likelihood_ratio
from vase.records import Event, Observation, Verdict

MOST_SKIPPED = 8  # batches in a row that cannot be learnt
HEEDED = ("cpu", "cuda")  # where fused Adam heeds `found_inf`: on Apple's GPUs it need not


class Learner:
    """VASE. Holds the networks, their moving average, the snapshot, and the memory."""

    def __init__(
        self,
        shape: Architecture,
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        identify: Identify = identify,
        ranks: Ranks = ALONE,
    ) -> None:
        torch.set_flush_denormal(True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.networks = Networks(shape).to(device)
        self.shape, self.settings, self.seed = shape, settings, seed
        self.device, self.autocast, self.identify, self.ranks = device, autocast, identify, ranks
        self.eye = random_features(shape).to(device)
        self.average = frozen(self.networks)
        self.snapshot: Networks | None = None
        self.optimizer = torch.optim.Adam(
            self.networks.parameters(), lr=settings.learning_rate, fused=True
        )
        self.generator = torch.Generator(device)
        self.memory = Memory()
        self.reservoir = Reservoir(settings.dream.stored) if settings.stores else None
        self.suspicion = Suspicion()
        self.held: tuple[Tensor, ...] = ()
        self.seen: tuple[Tensor, ...] = ()
        self.step = self.skipped = 0

    # ---- the algorithm -------------------------------------------------------------------------

    def observe(self, images: Tensor) -> Observation:
        """Take in [B, C, H, W] float in [0, 1], all of a batch or this process's rows of it."""
        step = self.begin(self.ranks.gather(images))
        return self.finish(step, self.learn(step.images) if step.learns else None)

    def begin(self, images: Tensor, features: Tensor | None = None) -> Step:
        """Decide where we are, before anything is learnt.

        features: what the eye sees in the images, [B, F], where that is known already.
        """
        torch.set_flush_denormal(True)  # holds for the calling thread only
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        if features is None:
            features = self.ranks.gather(self.eye(images[own(self.ranks, len(images))]))
        features = features.cpu().double()
        if not features.isfinite().all():
            return self._skip(images, "its images are not numbers throughout (NaN or infinity)")
        if not self.memory.environments:
            verdict = Verdict("new", 0, "the first images of the stream")
            found = founding.first(self.witness(), images, features, self.settings)
            self.memory = Memory().enter(found)
            return Step(images, verdict, learns=True, events=(events.of_verdict(0, verdict),))
        verdict = self._decide(images, features)
        if verdict.kind == "same":
            return Step(images, verdict, learns=True)
        seen = self.witness().moments(images, self.memory.here)
        tape: list[Event] = []
        if verdict.kind != "held":
            tape.append(self._act(verdict))
        elif self.suspicion.batches == self.settings.identification.longest:
            tape.append(events.adrift(self.step, verdict, self.suspicion.batches))
        return Step(images, verdict, learns=False, events=tuple(tape), seen=seen)

    def finish(self, step: Step, learnt: Learnt | None) -> Observation:
        """Remember what was learnt, and go on to the next step."""
        if step.learns and learnt is None:
            left_out = self._skip(step.images, "its loss or gradient is not a number")
            step = replace(left_out, events=(*step.events, *left_out.events))
        if step.verdict.kind != "skipped":
            self.skipped = 0
        if learnt is not None:
            self._remember(learnt)
            self._store(step.images)
        tape = list(step.events)
        if self._refresh_due():
            tape.append(self._take_snapshot())
        seen = learnt.moments if learnt is not None else step.seen
        return self._advance(step.verdict, learnt, seen, tape)

    def witness(self) -> Witness:
        """The averaged networks as they see images now."""
        source = self.settings.dream.source
        return Witness(self.average, self.snapshot, source, self.generator, self.ranks)

    def situation(self) -> Situation:
        """Where this is, and what it dreams of."""
        memory, past, source = self.memory, self.past, self.settings.dream.source
        return Situation(
            Here.of(memory.here, len(memory.environments), self.device),
            Past.of(past, source, self.device) if past else None,
        )

    def material(self, present: int, past: Past | None) -> tuple[Tensor, Dream | Replay | None]:
        """Noise [B, N] for this process's rows of `present` images, and what is rehearsed."""
        noise = self.witness().noise(present)[own(self.ranks, present)]
        return noise, self._rehearsal(self.settings.dream.count(present), past)

    def _look(self, images: Tensor, now: Situation) -> Look:
        with self.autocast():
            noise, rehearsed = self.material(len(images), now.past)
            mine, distance = images[own(self.ranks, len(images))], self.settings.dream.distance
            return look(self.networks, mine, now.here, noise, rehearsed, distance)

    def _rehearsal(self, count: int, past: Past | None) -> Dream | Replay | None:
        """This process's rows of `count` images of the past: dreams, or images that were stored."""
        rows = own(self.ranks, count)
        if self.reservoir is not None:
            stored = self.reservoir.draw(count, self.memory.here, self.generator)
            return stored and stored.part(rows)
        if self.snapshot is None or past is None:
            return None
        if self.settings.dream.method == "proximity":
            return dream(self.snapshot, past, count, self.generator, rows)
        dreamed = dream(self.snapshot, past, count, self.generator)
        return labelled(dreamed.images, dreamed.environment, self.past, self.generator).part(rows)

    @property
    def past(self) -> tuple[Environment, ...]:
        """What is dreamed of: every environment but this one (without S, the one there is)."""
        if not self.settings.dreams:
            return ()
        return self.memory.elsewhere if self.settings.infer else self.memory.environments

    # ---- learning ------------------------------------------------------------------------------

    def learn(self, images: Tensor) -> Learnt | None:
        """One step down the loss; None, and no weight is changed, where that is no number."""
        learnt = self.descend(images, self.situation(), self.memory.here.capacity.nats).read()
        if learnt is not None:
            follow(self.average, self.networks, self.averaging)
        return learnt

    def descend(self, images: Tensor, now: Situation, capacity: float | Tensor) -> Told:
        """The step of the weights that learn. On `HEEDED` devices nothing in it waits for them.

        capacity: of the present environment, in nats. Whether a step is taken is then decided on
        the device, by what PyTorch has for gradients that overflow in mixed precision.
        """
        seen, ranks = self._look(images, now), self.ranks
        means = joined(terms(seen), ranks)
        loss = total(means, capacity, self.settings, self.past_capacity)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        weights = self.optimizer.param_groups[0]["params"]  # a list; networks would be searched
        share_gradients(weights, ranks)
        norm = torch.nn.utils.clip_grad_norm_(weights, self.settings.clip)
        sound = loss.isfinite() & norm.isfinite()
        heeded = self.device.type in HEEDED
        if heeded:
            self.optimizer.found_inf = (~sound).float()  # type: ignore[attr-defined]
        if heeded or sound:
            self.optimizer.step()
        nats = ranks.mean(seen.kl.detach().mean(0))
        return Told.of({"loss": loss, **means}, nats, shown(seen, ranks), sound, len(images))

    def _skip(self, images: Tensor, why: str) -> Step:
        """Leave out a batch that would spoil the weights or the record; too many end the run."""
        self.skipped += 1
        if self.skipped >= MOST_SKIPPED or not self.memory.environments:
            raise VaseError(
                f"The batch of step {self.step} was left out, the {self.skipped}. in a row: {why}. "
                "No weight was changed. Look at the images around this step, or lower "
                "training.learning_rate."
            )
        verdict = Verdict("skipped", self.memory.current, f"left out: {why}")
        return Step(images, verdict, False, (events.of_verdict(self.step, verdict),))

    @property
    def averaging(self) -> float:
        """Share of the old in the moving average: less in the first steps, which know nothing."""
        return min(self.settings.averaging, (1 + self.step) / (10 + self.step))

    @property
    def past_capacity(self) -> float:
        """The mean capacity of the environments that are dreamed of, in nats."""
        return sum(known.capacity.nats for known in self.past) / max(1, len(self.past))

    def _remember(self, learnt: Learnt) -> None:
        """Let the record follow what was learnt."""
        here = remember(self.memory.here, learnt.moments, learnt.kl)
        if self.settings.masks and not self.settings.infer:
            mask = founding.typical_latents(here.moments, self.shape.latents, self.settings)
            here = here if np.array_equal(mask, here.mask) else replace(here, mask=mask)
        if not self.settings.entangled:
            used = learnt.numbers["kl"]
            here = replace(here, capacity=grow(here.capacity, used, self.settings.capacity))
        self.memory = self.memory.enter(here)

    def _store(self, images: Tensor) -> None:
        if self.reservoir is not None:
            self.reservoir.add(images, self.generator)

    def _recognise(self, features: Tensor, score: float) -> None:
        rule = self.settings.detector
        here = recognise(self.memory.here, features, score, span=rule.span, window=rule.window)
        self.memory = self.memory.enter(here)

    # ---- deciding ------------------------------------------------------------------------------

    def _decide(self, images: Tensor, features: Tensor) -> Verdict:
        """Same, held, or, after an alarm, the verdict of the identification."""
        here = self.memory.here
        score = likelihood_ratio(features, here.signature)
        if not self.settings.infer:
            return self._same(features, score)
        if self.settings.kappa is not None:
            self.held, self.seen = (images,), (features,)
            verdict = self.settings.kappa.identify(self.witness().guess(images, self.memory))
            if verdict.kind != "same":
                return verdict
            self.held, self.seen = (), ()
            return self._same(features, score)
        before = self.suspicion
        self.suspicion = detector.suspect(before, score, here.scores, self.settings.detector)
        if not self.suspicion.held:
            self._release(before)
            return self._same(features, score)
        rule = self.settings.identification
        self.held = latest((*self.held, images), rule.pool, 2 * rule.batches)
        self.seen = latest((*self.seen, features), rule.pool, 2 * rule.batches)
        if not self.suspicion.alarm:
            return Verdict("held", here.index, "surprising: held back until more has been seen")
        return self.identify(weigh(self.memory, self.seen, self.suspicion.batches, rule), rule)

    def _same(self, features: Tensor, score: float) -> Verdict:
        self._recognise(features, score)
        return Verdict("same", self.memory.current, "")

    def _release(self, before: Suspicion) -> None:
        """What was held was noise after all: not learnt, but part of the null distribution."""
        self.held, self.seen = (), ()
        if before.held:
            here = released(self.memory.here, before, self.settings.detector.window)
            self.memory = self.memory.enter(here)

    # ---- acting on a verdict -------------------------------------------------------------------

    def _act(self, verdict: Verdict) -> Event:
        """Carry out a verdict of kind "kept", "back", "revised" or "new"."""
        images, features = self._witnessed(verdict)
        self.held, self.seen, self.suspicion = (), (), Suspicion()
        if verdict.kind == "kept":
            self._reconsider(features)
            return events.of_verdict(self.step, verdict)
        left = self.memory.current
        dissolved = self._on_trial()
        if dissolved:
            self._step_back()
        elif self.settings.dreams:
            self._take_snapshot()
        if verdict.kind == "back":
            known = self.memory.environments[verdict.environment]
            current = known.index
            self.memory = (
                self.memory.without(left, current) if dissolved else self.memory.enter(known)
            )
            return events.of_verdict(self.step, verdict, {"dissolved": left} if dissolved else {})
        index = verdict.environment
        self._make_room(index)
        environment = founding.further(
            self.witness(), self.memory, index, images, torch.cat(features), self.settings
        )
        self.memory = self.memory.enter(environment)
        masked = np.flatnonzero(~environment.mask).tolist()
        return events.of_verdict(self.step, verdict, {"masked": masked})

    def _witnessed(self, verdict: Verdict) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The held images and features that agree with one another, and so are what it rests on."""
        count = int(verdict.evidence.get("batches", 1))
        return torch.cat(self.held[-count:]), self.seen[-count:]

    def _on_trial(self) -> bool:
        """Whether the present environment was opened too recently to be kept if it ends now."""
        here, rule = self.memory.here, self.settings.identification
        watched = self.settings.kappa is None
        return watched and here.index > 0 and here.batches < rule.trial

    def _step_back(self) -> None:
        """Undo what was learnt in an environment that did not last: back to when it was opened.

        Without dreams there is no snapshot, and what was learnt stays.
        """
        if self.snapshot is not None:
            self.average = frozen(self.snapshot)
            self.networks.load_state_dict(self.average.state_dict())

    def _reconsider(self, held: tuple[Tensor, ...]) -> None:
        """The environment is the same after all: its record takes in what was held back."""
        for features in held:
            score = likelihood_ratio(features, self.memory.here.signature)
            self._recognise(features, score)

    def _make_room(self, index: int) -> None:
        """Double the tables of environments until they have a row for `index`."""
        rows = self.shape.environments
        if index < rows:
            return
        while rows <= index:
            rows *= 2
        self.grow(rows)

    def grow(self, rows: int) -> None:
        """Make room for `rows` environments; what the networks compute stays the same."""
        larger = grown(self.networks, rows)
        self.optimizer = grown_optimizer(self.optimizer, self.networks, larger)
        self.networks, self.average = larger, grown(self.average, rows)
        self.snapshot = grown(self.snapshot, rows) if self.snapshot is not None else None
        self.shape = larger.shape

    # ---- snapshot ------------------------------------------------------------------------------

    def _take_snapshot(self) -> Event:
        """Freeze the averaged weights; carry absent records over to what they now look like."""
        witness = self.witness()
        carried = tuple(
            known
            if known.index == self.memory.current
            else replace(known, moments=witness.drifted(known))
            for known in self.memory.environments
        )
        self.memory = Memory(carried, self.memory.current)
        self.snapshot = frozen(self.average)
        self.networks.load_state_dict(self.average.state_dict())
        return Event(self.step, "snapshot", self.memory.current, "the averaged weights were frozen")

    def _refresh_due(self) -> bool:
        every = self.settings.dream.refresh
        due = bool(self.settings.dreams and every and self.step and self.step % every == 0)
        return due and not self._on_trial()  # what it may have to go back to is kept

    # ---- bookkeeping ---------------------------------------------------------------------------

    def _advance(
        self, verdict: Verdict, learnt: Learnt | None, seen: Moments | None, tape: list[Event]
    ) -> Observation:
        alpha = atypicality(seen)[: self.shape.latents].tolist() if seen is not None else []
        self.step += 1
        return Observation(
            step=self.step - 1,
            verdict=verdict,
            terms=learnt.numbers if learnt else {},
            capacity=self.memory.here.capacity.nats,
            kl_per_latent=learnt.kl if learnt else (),
            alpha=tuple(alpha),
            suspicion=self.suspicion.value,
            events=tuple(tape),
        )
