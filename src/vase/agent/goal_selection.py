"""What agents aim at: imagined goals, or latents that they have visited least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vase.agent import dynamics, imagine, plan
from vase.agent.dynamics import Actions, Array, Dynamics
from vase.agent.plan import Flags
from vase.lifelong.learner import Learner

MIN_CONTROLLABILITY = 0.25  # from this controllability on, a latent can be a goal
MIN_GOAL_ACTIONS = 3  # minimum distance of a goal, in actions
MAX_GOAL_STEPS = 64  # steps after which an attempt times out
HASH_BITS = 16  # of the hash code of latents


class GoalSelector(Protocol):
    """Selects actions [B] from latents [B, N] and the learned dynamics.

    `select_actions` returns None if it can do no better than random actions. `update` receives the
    latents after the last actions and the agents whose episode has ended. busy: agents [B] that
    pursue a goal and must not be reset.
    """

    @property
    def busy(self) -> Flags: ...

    def select_actions(self, known: Dynamics, z: Array, step: int) -> Actions | None: ...

    def update(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None: ...


class NoveltySelector:
    """Selects the action that leads to the least visited latents.

    Uses the bonus of Tang et al. 2017, 1 / sqrt(n), over a static hash of the latents: the signs of
    `HASH_BITS` random projections. It takes the action with the largest expected bonus, one step
    ahead.
    """

    def __init__(self, agents: int, latents: int, generator: np.random.Generator) -> None:
        self.busy, self.generator = np.zeros(agents, dtype=bool), generator
        self.projection = generator.standard_normal((latents, HASH_BITS))
        self.counts = np.zeros(2**HASH_BITS)

    def select_actions(self, known: Dynamics, z: Array, step: int) -> Actions:  # noqa: ARG002
        counts = self.counts[self._code(dynamics.predict(known.effects, z))]
        least: Actions = (counts + self.generator.random(counts.shape)).argmin(axis=1)
        return least

    def update(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None:  # noqa: ARG002
        np.add.at(self.counts, self._code(z), 1)

    def _code(self, z: Array) -> NDArray[np.int64]:
        bits = z @ self.projection > 0
        code: NDArray[np.int64] = bits @ (1 << np.arange(HASH_BITS))
        return code


@dataclass(frozen=True, eq=False)
class GoalAttempt:
    """One imagined goal of one agent, in steps [start, end).

    latent: the latent that the goal changes; the others keep their values. goal: latents [N].
    reached: whether the agent came as close to the goal as one action can bring it.
    """

    agent: int
    latent: int
    goal: Array
    start: int
    end: int
    reached: bool


class ImaginedGoalSelector:
    """Imagines a state that the agent has never seen here, and acts until it is reached.

    A goal changes one latent that is inactive here and active in another environment, and that the
    actions control. If there is no such latent, it selects no action. It samples latent n with
    probability proportional to its smoothed success rate:

        (successes_n + 1) / (attempts_n + 2)

    attempts: the attempts that have ended.
    """

    def __init__(self, learner: Learner, agents: int, generator: np.random.Generator) -> None:
        size = learner.architecture.latents
        self.learner, self.generator = learner, generator
        self.imagination = imagine.imagination(learner.environments)
        self.replay_generator = torch.Generator(learner.device).manual_seed(
            int(generator.integers(2**31))
        )
        self.controllable = np.zeros(size, dtype=bool)
        self.goal, self.goal_mask = np.zeros((agents, size)), np.zeros((agents, size), dtype=bool)
        self.start = np.full(agents, -1)
        self.attempts: list[GoalAttempt] = []

    @property
    def busy(self) -> Flags:
        return self.start >= 0

    def select_actions(self, known: Dynamics, z: Array, step: int) -> Actions | None:
        self.controllable = self.imagination.latents & (
            dynamics.controllability(known) >= MIN_CONTROLLABILITY
        )
        if not (self.controllable.any() or self.busy.any()):
            return None
        weights = known.effects
        if self.controllable.any() and not self.busy.all():
            self._imagine(z, plan.reach(weights, z), step)
        return plan.best_actions(weights, z, self.goal, self.goal_mask)

    def update(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None:
        """End the attempts that have reached their goal, lost their episode or timed out."""
        if not self.busy.any():
            return
        reach = plan.reach(known.effects, z)
        reached = plan.distance(z, self.goal, self.goal_mask) <= self.goal_mask @ reach
        finished = self.busy & (reached | ended | (step - self.start >= MAX_GOAL_STEPS))
        self.attempts += [
            GoalAttempt(
                agent=int(agent),
                latent=int(self.goal_mask[agent].argmax()),
                goal=self.goal[agent].copy(),
                start=int(self.start[agent]),
                end=step,
                reached=bool(reached[agent]),
            )
            for agent in np.flatnonzero(finished)
        ]
        self.start[finished], self.goal_mask[finished] = -1, False

    def _imagine(self, z: Array, reach: Array, step: int) -> None:
        """Give goals to agents without one, unless the sampled goal is too close."""
        success_rate = self._success_rate()
        latent = self.generator.choice(
            len(success_rate), size=len(z), p=success_rate / success_rate.sum()
        )
        goal_mask = np.arange(len(success_rate)) == latent[:, None]
        source = self.learner.environments[self.imagination.source]
        plausible = imagine.sample_plausible(
            self.learner.average, source, len(z), self.replay_generator
        )
        goal = np.where(goal_mask, plausible, z)
        new = ~self.busy & (
            plan.distance(z, goal, goal_mask) > MIN_GOAL_ACTIONS * (goal_mask @ reach)
        )
        self.goal[new], self.goal_mask[new], self.start[new] = goal[new], goal_mask[new], step

    def _success_rate(self) -> Array:
        """Return the smoothed success rate of every controllable latent, [N]; 0 for the others."""
        size = len(self.controllable)
        tried = np.bincount([each.latent for each in self.attempts], minlength=size)
        succeeded = [each.latent for each in self.attempts if each.reached]
        successes = np.bincount(np.array(succeeded, dtype=int), minlength=size)
        return np.where(self.controllable, (successes + 1) / (tried + 2), 0.0)
