"""The learner: one `observe` per batch, which reads like the algorithm.

    look at the batch -> is it suspicious? -> decide where we are, or learn it -> remember

Detection comes before the update: a suspicious batch is held, not learnt. All state is explicit
(`state`, `restore`); all randomness is a function of (seed, step).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vase.errors import VaseError
from vase.lifelong import detector
from vase.lifelong.detector import DetectorRule, Suspicion
from vase.lifelong.dream import Dream, DreamRule, dream
from vase.lifelong.identify import Candidate, DivergenceRule, Evidence, IdentificationRule
from vase.lifelong.look import Look, look, moments
from vase.lifelong.memory import Environment, Memory, remember
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
MOST_HELD = 8  # batches kept for a verdict while the detector is suspicious
RECENT = 4  # learnt batches of the present environment that the held ones are compared with


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
        with torch.random.fork_rng(devices=[]):
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
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        events: list[Event] = []
        first = not self.memory.environments
        if first:
            events.append(self._enter(self._first(images)))
        evidence = self._evidence(images, self.memory.here)
        verdict = Verdict("new", 0, FIRST) if first else self._decide(images, evidence)
        terms: dict[str, float] = {}
        kl: tuple[float, ...] = ()
        if first or verdict.kind == "same":
            terms, kl = self._learn(self._look(images))
            self._remember(evidence, terms["kl"])
            self.recent = (*self.recent, images)[-RECENT:]
        elif verdict.kind != "held":
            events.append(self._act(verdict))
        if self._refresh_due():
            events.append(self._take_snapshot())
        return self._advance(verdict, terms, kl, evidence, events)

    def _evidence(self, images: Tensor, environment: Environment) -> Moments:
        """The moments of images as the averaged networks see them in an environment."""
        return moments(self.average, images, environment, self._noise(len(images)))

    def _look(self, images: Tensor) -> Look:
        noise = self._noise(len(images))
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
        count = round(rule.share * present)
        if self.snapshot is None or not past or not count:
            return None
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

    def _remember(self, evidence: Moments, kl_nats: float) -> None:
        rule, here = self.settings.detector, self.memory.here
        value = detector.score(evidence, here.moments)
        here = remember(here, evidence, value, span=rule.span, window=rule.window)
        if not self.settings.entangled:
            here = replace(here, capacity=grow(here.capacity, kl_nats, self.settings.capacity))
        self.memory = self.memory.enter(here)

    # ---- deciding ------------------------------------------------------------------------------

    def _decide(self, images: Tensor, evidence: Moments) -> Verdict:
        """Same, held, or, after an alarm, the verdict of the identification rule."""
        rule, here = self.settings.detector, self.memory.here
        if not self.settings.infer or here.batches < rule.warmup:
            return Verdict("same", here.index, "")
        value = detector.score(evidence, here.moments)
        before = self.suspicion
        self.suspicion = detector.suspect(before, value, here.scores, rule)
        if not self.suspicion.held:
            # What was held was noise after all: it belongs to the null distribution.
            scores = (*here.scores, *before.held)[-rule.window :]
            self.memory = self.memory.enter(replace(here, scores=scores))
            self.held = ()
            return Verdict("same", here.index, "")
        self.held = (*self.held, images)[-MOST_HELD:]
        if not self.suspicion.alarm:
            return Verdict("held", here.index, "surprising: held back until more has been seen")
        return self.settings.identification.identify(self._weigh(torch.cat(self.held)))

    def _weigh(self, images: Tensor) -> Evidence:
        """Look at the held images through every known environment."""
        with torch.no_grad():
            posterior = self.average.encoder(images)
            log_belief = self.average.head(posterior, len(self.memory.environments)).mean(0)
        candidates = tuple(
            Candidate(
                environment=known,
                seen=self._evidence(images, known),
                expected=self._expected(known),
                belief=float(log_belief[known.index]),
            )
            for known in self.memory.environments
        )
        return Evidence(
            candidates,
            atypicality(candidates[0].seen)[: self.shape.latents],
            self.memory.current,
            len(self.memory.environments),
        )

    def _expected(self, known: Environment) -> Moments:
        """What an environment's moments are under today's weights.

        For the present one they are measured on the latest learnt batches: its record lags behind
        a model that learns fast, and the lag would look like a change of the world.
        """
        if known.index != self.memory.current:
            return self._drifted(known)
        return self._evidence(torch.cat(self.recent), known) if self.recent else known.moments

    def _drifted(self, known: Environment) -> Moments:
        """What an absent environment's moments must be by now, measured on dreams of it.

        The encoder has moved while the environment was away. Dreams of it, seen by the snapshot
        and by today's networks, show how far; its record is shifted by the difference.
        """
        if self.snapshot is None:
            return known.moments
        dreamed = dream(self.snapshot, [known], 256, self.settings.dream.source, self.generator)
        noise = self._noise(256)
        then = moments(self.snapshot, dreamed.images, known, noise)
        now = moments(self.average, dreamed.images, known, noise)
        ratio = np.clip(now.variance / then.variance, 0.25, 4.0)
        record = known.moments
        return Moments(record.mean + now.mean - then.mean, record.variance * ratio, record.count)

    # ---- acting on a verdict -------------------------------------------------------------------

    def _act(self, verdict: Verdict) -> Event:
        held = torch.cat(self.held)
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
            self.memory = Memory(self.memory.environments, verdict.environment)
            return Event(self.step, "back", verdict.environment, verdict.reason, verdict.evidence)
        return self._enter(self._open(verdict, held), verdict)

    def _reconsider(self, held: Tensor) -> None:
        """The environment is the same after all: its record takes in what was held back."""
        here = self.memory.here
        for batch in torch.split(held, len(held) // self.settings.detector.patience):
            seen = self._evidence(batch, here)
            value = detector.score(seen, here.moments)
            rule = self.settings.detector
            here = remember(here, seen, value, span=rule.span, window=rule.window)
        self.memory = self.memory.enter(here)

    def _first(self, images: Tensor) -> Environment:
        everything = np.ones(self.shape.latents, dtype=bool)
        blank = Environment(0, everything, Moments(np.zeros(1), np.ones(1), 1.0), Capacity())
        return replace(blank, moments=self._evidence(images, blank))

    def _open(self, verdict: Verdict, held: Tensor) -> Environment:
        """A new environment: its mask from the pooled images, its capacity from what they use."""
        before = self._evidence(held, self.memory.here)
        alpha = atypicality(before)[: self.shape.latents]
        mask = typical(alpha, self.settings.atypical)
        if not self.settings.masks:
            mask = np.ones_like(mask)
        draft = Environment(verdict.environment, mask, before, Capacity())
        seen = self._evidence(held, draft)
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
        carried = tuple(
            known
            if known.index == self.memory.current
            else replace(known, moments=self._drifted(known))
            for known in self.memory.environments
        )
        self.memory = Memory(carried, self.memory.current)
        self.snapshot = frozen(self.average)
        copy_weights(self.average, self.networks)
        return Event(self.step, "snapshot", self.memory.current, "the averaged weights were frozen")

    def _refresh_due(self) -> bool:
        every = self.settings.dream.refresh
        return bool(self.settings.dreams and every and self.step and self.step % every == 0)

    # ---- bookkeeping ---------------------------------------------------------------------------

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.shape.latents, generator=self.generator, device=self.device)

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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a resumed learner needs: tensors, and numbers that JSON can hold."""
        raise NotImplementedError


def frozen(networks: Networks) -> Networks:
    """A copy that is never trained."""
    return copy.deepcopy(networks).requires_grad_(False)


@torch.no_grad()
def copy_weights(source: Networks, target: Networks) -> None:
    """target <- source."""
    for new, old in zip(source.parameters(), target.parameters(), strict=True):
        old.copy_(new)


@torch.no_grad()
def follow(average: Networks, networks: Networks, averaging: float) -> None:
    """average <- averaging * average + (1 - averaging) * networks."""
    torch._foreach_lerp_(list(average.parameters()), list(networks.parameters()), 1 - averaging)
