"""Policies: pursue imagined goals, and the baselines that this is compared with.

A policy sees latents only. B agents act in B copies of one environment and share one dynamics
model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from vase.agent import dynamics
from vase.agent.dynamics import Actions, Array
from vase.agent.goal_selection import GoalSelector, ImaginedGoalSelector, NoveltySelector
from vase.agent.plan import Flags
from vase.lifelong.learner import Learner

BABBLING_STEPS = 24  # first steps, with random actions, to learn the dynamics
RANDOM_ACTION_RATE = 0.02  # share of random actions later, to keep the dynamics up to date


class Policy(Protocol):
    """Selects actions [B] from latents [B, N], and learns from their outcome.

    shuffles: whether the environment resamples its factors instead of acting. busy: agents [B] that
    must not be reset. goal_selector: what the agents aim at, if anything. `update` receives the
    latents before and after the last actions, and the agents whose episode has ended.
    """

    shuffles: bool

    @property
    def goal_selector(self) -> GoalSelector | None: ...

    @property
    def busy(self) -> Flags: ...

    def act(self, z: Array) -> Actions: ...

    def update(self, before: Array, after: Array, ended: Flags) -> None: ...


class RandomPolicy:
    """Selects uniformly among the first `actions` actions; action 0 is to stay."""

    goal_selector: GoalSelector | None = None

    def __init__(
        self, agents: int, actions: int, generator: np.random.Generator, *, shuffles: bool = False
    ) -> None:
        self.agents, self.actions, self.generator = agents, actions, generator
        self.shuffles, self.busy = shuffles, np.zeros(agents, dtype=bool)

    def act(self, z: Array) -> Actions:  # noqa: ARG002
        return self.generator.integers(self.actions, size=self.agents)

    def update(self, before: Array, after: Array, ended: Flags) -> None:
        """Do nothing: this policy does not learn."""


class PlanningPolicy:
    """Learns dynamics from random actions first; then its goal selector selects the actions."""

    shuffles = False

    def __init__(
        self,
        goal_selector: GoalSelector,
        learner: Learner,
        actions: int,
        generator: np.random.Generator,
    ) -> None:
        agents, self.goal_selector = len(goal_selector.busy), goal_selector
        self.dynamics = dynamics.no_dynamics(actions, learner.architecture.latents)
        self.random_policy = RandomPolicy(agents, actions, generator)
        self.taken = np.zeros(agents, dtype=np.int64)
        self.step = 0

    @property
    def busy(self) -> Flags:
        return self.goal_selector.busy

    def act(self, z: Array) -> Actions:
        random = self.random_policy.act(z)
        chosen = None
        if self.step >= BABBLING_STEPS:
            chosen = self.goal_selector.select_actions(self.dynamics, z, self.step)
        if chosen is None:
            self.taken = random
        else:
            explore = self.random_policy.generator.random(len(z)) < RANDOM_ACTION_RATE
            self.taken = np.where(explore, random, chosen)
        return self.taken

    def update(self, before: Array, after: Array, ended: Flags) -> None:
        self.step += 1
        self.dynamics = dynamics.updated(self.dynamics, before, self.taken, after)
        self.goal_selector.update(self.dynamics, after, ended, self.step)


PolicyFactory = Callable[[Learner, int, int, np.random.Generator], Policy]

IMAGINATION, ORACLE = "imagination", "oracle"
POLICIES: Mapping[str, PolicyFactory] = {
    IMAGINATION: lambda learner, agents, actions, noise: PlanningPolicy(
        ImaginedGoalSelector(learner, agents, noise), learner, actions, noise
    ),
    "random": lambda _, agents, actions, noise: RandomPolicy(agents, actions, noise),
    "novelty": lambda learner, agents, actions, noise: PlanningPolicy(
        NoveltySelector(agents, learner.architecture.latents, noise), learner, actions, noise
    ),
    ORACLE: lambda _, agents, __, noise: RandomPolicy(agents, 1, noise, shuffles=True),
    "nothing": lambda _, agents, __, noise: RandomPolicy(agents, 1, noise),
}
