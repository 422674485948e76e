"""The state of a learner, and the operations that change its weights as a whole."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from vase.detection import DetectorClass, detector_class
from vase.isolation import private_weights
from vase.lifelong import evaluation, loss
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.muon import optimizer
from vase.lifelong.replay import Reservoir
from vase.lifelong.view import LearnerView
from vase.lifelong.weights import (
    OptimizerState,
    carry_moments,
    frozen,
    grown,
    restore_optimizer,
)
from vase.lifelong.working_memory import WorkingMemory
from vase.nets import Architecture, Networks
from vase.settings import LearnerSettings

Saved = tuple[dict[str, Tensor], dict[str, Tensor], OptimizerState]


class LearnerState:
    """Networks, their moving average, the snapshot, the optimizer, a detector and records.

    memory: frames of the present environment, which are never saved.
    rollback_optimizer: the moments from when an environment on probation was opened, else None.
    deferred: the latest batches of images [B_i, C, H, W] that wait for a decision.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LearnerSettings,
        *,
        seed: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        detector: DetectorClass | None = None,
    ) -> None:
        make = detector or detector_class(settings.detection.rule)
        for name in settings.objective.terms:
            loss.loss_term(name)  # a name that leads nowhere is refused before anything is learnt
        with private_weights(seed):
            self.networks = Networks(architecture).to(device)
        self.architecture, self.settings, self.seed = architecture, settings, seed
        self.device, self.autocast = device, autocast
        self.average = frozen(self.networks)
        self.snapshot: Networks | None = None
        self.rollback_optimizer: OptimizerState | None = None
        self.optimizer = optimizer(self.networks, settings.training)
        self.generator = torch.Generator(device)
        self.environments = Environments()
        self.reservoir = (
            Reservoir(settings.replay.stored_images) if settings.stores_images else None
        )
        self.memory = WorkingMemory(settings.memory.frames, pairs=settings.memory.pairs)
        self.deferred: tuple[Tensor, ...] = ()
        self.step = self.skipped = 0
        self.saved: Saved | None = None  # copies of the weights, within a step
        self.detector = make(settings.detection, LearnerView(self))

    @property
    def replayed_environments(self) -> tuple[Environment, ...]:
        """What is replayed: every environment but this one (without S, the one there is)."""
        if not self.settings.replay.enabled:
            return ()
        environments = self.environments
        return environments.absent if self.settings.detection.enabled else tuple(environments)

    @property
    def ema_decay(self) -> float:
        """Decay of the moving average: smaller in the first steps, whose weights are worth less."""
        return min(self.settings.training.ema_decay, (1 + self.step) / (10 + self.step))

    @property
    def snapshot_due(self) -> bool:
        """Whether a snapshot is due after this step; see `replay.snapshot_every`."""
        replay = self.settings.replay
        every = replay.snapshot_every
        return bool(replay.enabled and every and self.step and self.step % every == 0)

    def take_snapshot(self) -> None:
        """Freeze the averaged weights, train on from them, and correct absent records for drift."""
        source, snapshot = self.settings.replay.source, self.snapshot
        corrected = [
            replace(
                known,
                moments=evaluation.drifted(known, self.average, snapshot, source, self.generator),
            )
            if snapshot is not None and known.index != self.environments.current
            else known
            for known in self.environments
        ]
        self.environments = Environments.of(corrected, self.environments.current)
        self.snapshot = frozen(self.average)
        self.networks.load_state_dict(self.average.state_dict())

    def roll_back(self) -> None:
        """Undo what was learnt in an environment that did not last: weights and moments.

        Without replay there is no snapshot, and what was learnt stays.
        """
        if self.snapshot is not None:
            self.average = frozen(self.snapshot)
            self.networks.load_state_dict(self.average.state_dict())
        if self.rollback_optimizer is not None:
            restore_optimizer(self.optimizer, self.networks, self.rollback_optimizer)

    def grow(self, rows: int) -> None:
        """Make room for `rows` environments; what the networks compute stays the same."""
        larger = grown(self.networks, rows)
        fresh = optimizer(larger, self.settings.training)
        carry_moments(self.optimizer, self.networks, fresh, larger)
        self.optimizer = fresh
        self.networks, self.average = larger, grown(self.average, rows)
        self.snapshot = grown(self.snapshot, rows) if self.snapshot is not None else None
        self.architecture = larger.architecture
