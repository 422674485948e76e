"""The learner: one `observe` per batch, which reads like the algorithm.

    look at the batch -> is it suspicious? -> decide where we are, or learn it -> remember

Detection comes before the update: a suspicious batch is held, not learnt. All state is explicit
(`lifelong.state`); all randomness is a function of (seed, step).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vase.errors import VaseError
from vase.lifelong import detector
from vase.lifelong.detector import DetectorRule, Suspicion
from vase.lifelong.dream import Dream, DreamRule, dream
from vase.lifelong.identify import DivergenceRule, IdentificationRule
from vase.lifelong.look import Look, look
from vase.lifelong.memory import Environment, Memory, remember
from vase.lifelong.weigh import Witness, weigh
from vase.nets import Architecture, Networks
from vase.objective.atypicality import atypicality, typical
from vase.objective.capacity import Capacity, CapacityRule, charge, grow
from vase.objective.moments import Moments
from vase.records import Event, Observation, Verdict


@dataclass(frozen=True)
class Settings:
    """Everything that makes one learner differ from another, apart from its architecture.

    entangled: a plain VAE objective (beta = 1) in place of controlled capacity. atypical: lambda,
    in nats. averaging: share of the old in the moving average of the weights. The switches `infer`,
    `dreams` and `masks` are the letters S, D and A of the source's ablations.
    """

    learning_rate: float = 1e-3
    averaging: float = 0.99
    clip: float = 200.0
    entangled: bool = False
    atypical: float = 0.5
    belief: float = 1.0
    infer: bool = True
    dreams: bool = True
    masks: bool = True
    capacity: CapacityRule = field(default_factory=CapacityRule)
    detector: DetectorRule = field(default_factory=DetectorRule)
    identification: IdentificationRule = field(default_factory=DivergenceRule)
    dream: DreamRule = field(default_factory=DreamRule)


FIRST = "the first images of the stream"
MOST_HELD = 512  # images kept for a verdict while the detector is suspicious
RECENT = 256  # learnt images of the present environment that the held ones are compared with


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
    ) -> None:
        torch.set_flush_denormal(True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.networks = Networks(shape).to(device)
        self.shape, self.settings, self.seed = shape, settings, seed
        self.device, self.autocast = device, autocast
        self.average = frozen(self.networks)
        self.snapshot: Networks | None = None
        self.optimizer = torch.optim.Adam(
            self.networks.parameters(), lr=settings.learning_rate, fused=True
        )
        self.generator = torch.Generator(device)
        self.memory = Memory()
        self.suspicion = Suspicion()
        self.held: tuple[Tensor, ...] = ()
        self.recent: tuple[Tensor, ...] = ()
        self.step = 0

    # ---- the algorithm -------------------------------------------------------------------------

    def observe(self, images: Tensor) -> Observation:
        """Take in one batch, [B, C, H, W] float in [0, 1]: decide where we are, and learn it."""
        torch.set_flush_denormal(True)  # holds for the calling thread only
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        events: list[Event] = []
        first = not self.memory.environments
        if first:
            events.append(self._enter(self._first(images)))
        here = self.memory.here
        evidence = self._witness().evidence(images, here)
        score = detector.score(evidence, here.moments)
        verdict = Verdict("new", 0, FIRST) if first else self._decide(images, score)
        terms: dict[str, float] = {}
        kl: tuple[float, ...] = ()
        if first or verdict.kind == "same":
            terms, kl = self._learn(self._look(images))
            self._remember(evidence, score, terms["kl"])
            self.recent = latest((*self.recent, images), RECENT)
        elif verdict.kind != "held":
            events.append(self._act(verdict))
        if self._refresh_due():
            events.append(self._take_snapshot())
        return self._advance(verdict, terms, kl, evidence, events)

    def _witness(self) -> Witness:
        return Witness(self.average, self.snapshot, self.settings.dream.source, self.generator)

    def _look(self, images: Tensor) -> Look:
        noise = self._witness().noise(len(images))
        with self.autocast():
            return look(
                self.networks,
                images,
                self.memory.here,
                len(self.memory.environments),
                noise,
                self._dream(len(images)),
                self.settings.dream,
            )

    def _dream(self, present: int) -> Dream | None:
        rule, past = self.settings.dream, self._past()
        if self.snapshot is None or not past:
            return None
        count = max(1, round(rule.share * present))
        return dream(self.snapshot, past, count, rule.source, self.generator)

    def _past(self) -> tuple[Environment, ...]:
        """What is dreamed of: every environment but this one (without S, the one there is)."""
        if not self.settings.dreams:
            return ()
        return self.memory.elsewhere if self.settings.infer else self.memory.environments

    # ---- learning ------------------------------------------------------------------------------

    def _learn(self, seen: Look) -> tuple[dict[str, float], tuple[float, ...]]:
        """One step down the loss. Gives its terms and the KL per latent, in nats per image."""
        loss = self._loss(seen)
        terms, kl = self._measure(seen, loss)
        if not np.isfinite(terms["loss"]):
            raise VaseError(
                f"The loss is {terms['loss']} at step {self.step}, before the weights were changed."
                " Lower training.learning_rate, or look at the images around this step."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.networks.parameters(), self.settings.clip)
        self.optimizer.step()
        follow(self.average, self.networks, self._averaging())
        return terms, kl

    def _averaging(self) -> float:
        """Share of the old in the moving average: less in the first steps, which know nothing."""
        return min(self.settings.averaging, (1 + self.step) / (10 + self.step))

    def _measure(self, seen: Look, loss: Tensor) -> tuple[dict[str, float], tuple[float, ...]]:
        """The numbers of the log, brought from the device in one transfer."""
        named = {
            "loss": loss,
            "reconstruction": seen.distortion.mean(),
            "kl": seen.rate.mean(),
            "belief": seen.belief,
            **seen.past,
        }
        packed = torch.cat([torch.stack(list(named.values())), seen.kl.mean(0)])
        numbers = packed.detach().cpu().tolist()
        return dict(zip(named, numbers, strict=False)), tuple(numbers[len(named) :])

    def _loss(self, seen: Look) -> Tensor:
        """L = L_MDL + L_past + cross-entropy of the environment head, in nats per image."""
        settings = self.settings
        rate = seen.rate.mean()
        capacity = self.memory.here.capacity.nats
        paid = rate if settings.entangled else charge(rate, capacity, settings.capacity)
        loss = seen.distortion.mean() + paid + settings.belief * seen.belief
        if seen.past:
            loss = loss + settings.dream.encoder * seen.past["encoder_proximity"]
            loss = loss + settings.dream.decoder * seen.past["decoder_proximity"]
        return loss

    def _remember(self, evidence: Moments, score: float, kl_nats: float) -> None:
        rule, here = self.settings.detector, self.memory.here
        here = remember(here, evidence, score, span=rule.span, window=rule.window)
        if not self.settings.entangled:
            here = replace(here, capacity=grow(here.capacity, kl_nats, self.settings.capacity))
        self.memory = self.memory.enter(here)

    # ---- deciding ------------------------------------------------------------------------------

    def _decide(self, images: Tensor, score: float) -> Verdict:
        """Same, held, or, after an alarm, the verdict of the identification rule."""
        rule, here = self.settings.detector, self.memory.here
        if not self.settings.infer or here.batches < rule.warmup:
            return Verdict("same", here.index, "")
        before = self.suspicion
        self.suspicion = detector.suspect(before, score, here.scores, rule)
        if not self.suspicion.held:
            # What was held was noise after all: it belongs to the null distribution.
            scores = (*here.scores, *before.held)[-rule.window :]
            self.memory = self.memory.enter(replace(here, scores=scores))
            self.held = ()
            return Verdict("same", here.index, "")
        self.held = latest((*self.held, images), max(MOST_HELD, rule.patience))
        enough = sum(map(len, self.held)) >= rule.patience
        if not (self.suspicion.alarm and enough):
            return Verdict("held", here.index, "surprising: held back until more has been seen")
        evidence = weigh(self._witness(), self.memory, torch.cat(self.held), self.recent)
        return self.settings.identification.identify(evidence)

    # ---- acting on a verdict -------------------------------------------------------------------

    def _act(self, verdict: Verdict) -> Event:
        held = self.held
        self.held, self.suspicion = (), Suspicion()
        if verdict.kind == "kept":
            self._reconsider(held)
            return Event(self.step, "kept", verdict.environment, verdict.reason, verdict.evidence)
        if verdict.environment >= self.shape.environments:
            raise VaseError(
                f"Step {self.step} opens environment {verdict.environment}, but the model has room "
                f"for {self.shape.environments}. Start with a larger model.environments."
            )
        self.recent = ()
        if self.settings.dreams:
            self._take_snapshot()
        if verdict.kind == "back":
            self.memory = self.memory.enter(self._returned(verdict, torch.cat(held)))
            return Event(self.step, "back", verdict.environment, verdict.reason, verdict.evidence)
        return self._enter(self._open(verdict, torch.cat(held)), verdict)

    def _reconsider(self, held: tuple[Tensor, ...]) -> None:
        """The environment is the same after all: its record takes in what was held back."""
        rule, here = self.settings.detector, self.memory.here
        for batch in held:
            seen = self._witness().evidence(batch, here)
            value = detector.score(seen, here.moments)
            here = remember(here, seen, value, span=rule.span, window=rule.window)
        self.memory = self.memory.enter(here)

    def _returned(self, verdict: Verdict, held: Tensor) -> Environment:
        """The record of an environment that is back, renewed: it has aged while it was away."""
        known = self.memory.environments[verdict.environment]
        return replace(known, moments=self._witness().evidence(held, known), scores=())

    def _first(self, images: Tensor) -> Environment:
        everything = np.ones(self.shape.latents, dtype=bool)
        blank = Environment(0, everything, Moments(np.zeros(1), np.ones(1), 1.0), Capacity())
        return replace(blank, moments=self._witness().evidence(images, blank))

    def _open(self, verdict: Verdict, held: Tensor) -> Environment:
        """A new environment: its mask from the pooled images, its capacity from what they use."""
        before = self._witness().evidence(held, self.memory.here)
        alpha = atypicality(before)[: self.shape.latents]
        mask = typical(alpha, self.settings.atypical)
        if not self.settings.masks:
            mask = np.ones_like(mask)
        draft = Environment(verdict.environment, mask, before, Capacity())
        seen = self._witness().evidence(held, draft)
        start = min(float(seen.mean[-1]), self.settings.capacity.limit)
        return replace(draft, moments=seen, capacity=Capacity(start, start))

    def _enter(self, environment: Environment, verdict: Verdict | None = None) -> Event:
        self.memory = self.memory.enter(environment)
        masked = np.flatnonzero(~environment.mask).tolist()
        reason = verdict.reason if verdict else FIRST
        evidence = {**(verdict.evidence if verdict else {}), "masked": masked}
        return Event(self.step, "new", environment.index, reason, evidence)

    # ---- snapshot ------------------------------------------------------------------------------

    def _take_snapshot(self) -> Event:
        """Freeze the averaged weights; carry absent records over to what they now look like."""
        witness = self._witness()
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
        return bool(self.settings.dreams and every and self.step and self.step % every == 0)

    # ---- bookkeeping ---------------------------------------------------------------------------

    def _advance(
        self,
        verdict: Verdict,
        terms: dict[str, float],
        kl: tuple[float, ...],
        evidence: Moments,
        events: list[Event],
    ) -> Observation:
        alpha = atypicality(evidence)[: self.shape.latents]
        observation = Observation(
            step=self.step,
            verdict=verdict,
            terms=terms,
            capacity=self.memory.here.capacity.nats,
            kl_per_latent=kl,
            alpha=tuple(alpha.tolist()),
            suspicion=self.suspicion.value,
            events=tuple(events),
        )
        self.step += 1
        return observation


def frozen(networks: Networks) -> Networks:
    """A copy that is never trained."""
    return copy.deepcopy(networks).requires_grad_(False)


def latest(batches: tuple[Tensor, ...], most: int) -> tuple[Tensor, ...]:
    """The newest batches that together hold at most `most` images, and at least the newest one."""
    kept: tuple[Tensor, ...] = ()
    total = 0
    for batch in reversed(batches):
        total += len(batch)
        if kept and total > most:
            break
        kept = (batch, *kept)
    return kept


def follow(average: Networks, networks: Networks, averaging: float) -> None:
    """average <- averaging * average + (1 - averaging) * networks."""
    update = get_ema_multi_avg_fn(averaging)  # type: ignore[no-untyped-call]
    update(list(average.parameters()), list(networks.parameters()), 0)
