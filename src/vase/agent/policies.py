"""How agents choose: to realise what they imagine, and what that is compared with.

A policy sees latents and nothing else. B agents stand in B copies of one environment, and share one
model of what actions do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from vase.agent import dynamics
from vase.agent.dynamics import Actions, Array, Dynamics
from vase.agent.plan import Flags
from vase.agent.seekers import Imagining, Novelty, Seeker
from vase.lifelong.learner import Learner

BABBLING = 24  # steps of random actions, from which agents learn what their actions do
CURIOSITY = 0.02  # of all later actions: random, so that the model stays true


class Policy(Protocol):
    """Chooses actions [B] from latents [B, N], and learns from what came of them.

    shuffles: whether factors are drawn anew in place of acting. busy: agents [B] that must not be
    put elsewhere now. seeker: what they are after, if anything. `saw` is told the latents before
    and after the actions that were chosen last, and whose episode has ended.
    """

    shuffles: bool

    @property
    def seeker(self) -> Seeker | None: ...

    @property
    def busy(self) -> Flags: ...

    def act(self, z: Array) -> Actions: ...

    def saw(self, before: Array, after: Array, ended: Flags) -> None: ...


class Aimless:
    """Chooses without looking, any of the first `actions`; the first of all is to stay."""

    seeker: Seeker | None = None

    def __init__(
        self, agents: int, actions: int, generator: np.random.Generator, *, shuffles: bool = False
    ) -> None:
        self.agents, self.actions, self.generator = agents, actions, generator
        self.shuffles, self.busy = shuffles, np.zeros(agents, dtype=bool)

    def act(self, z: Array) -> Actions:  # noqa: ARG002
        return self.generator.integers(self.actions, size=self.agents)

    def saw(self, before: Array, after: Array, ended: Flags) -> None:
        """It learns nothing."""


class Planning:
    """Learns what actions do, at first from random ones; from then on its seeker chooses."""

    shuffles = False

    def __init__(self, known: Dynamics, seeker: Seeker, babble: Aimless) -> None:
        self.known, self.seeker, self.babble = known, seeker, babble
        self.taken = np.zeros(babble.agents, dtype=np.int64)
        self.step = 0

    @property
    def busy(self) -> Flags:
        return self.seeker.busy

    def act(self, z: Array) -> Actions:
        random = self.babble.act(z)
        chosen = None
        if self.step >= BABBLING:
            chosen = self.seeker.choose(self.known, z, self.step)
        if chosen is None:
            self.taken = random
        else:
            curious = self.babble.generator.random(len(z)) < CURIOSITY
            self.taken = np.where(curious, random, chosen)
        return self.taken

    def saw(self, before: Array, after: Array, ended: Flags) -> None:
        self.step += 1
        self.known = dynamics.experienced(self.known, before, self.taken, after)
        self.seeker.arrive(self.known, after, ended, self.step)


Make = Callable[[Learner, int, int, np.random.Generator], Policy]


def _imagination(learner: Learner, agents: int, actions: int, noise: np.random.Generator) -> Policy:
    return _planning(Imagining(learner, agents, noise), learner, agents, actions, noise)


def _novelty(learner: Learner, agents: int, actions: int, noise: np.random.Generator) -> Policy:
    seeker = Novelty(agents, learner.shape.latents, noise)
    return _planning(seeker, learner, agents, actions, noise)


def _planning(
    seeker: Seeker, learner: Learner, agents: int, actions: int, noise: np.random.Generator
) -> Policy:
    known = dynamics.inexperienced(actions, learner.shape.latents)
    return Planning(known, seeker, Aimless(agents, actions, noise))


def _random(_: Learner, agents: int, actions: int, noise: np.random.Generator) -> Policy:
    return Aimless(agents, actions, noise)


def _oracle(_: Learner, agents: int, __: int, noise: np.random.Generator) -> Policy:
    return Aimless(agents, 1, noise, shuffles=True)


def _nothing(_: Learner, agents: int, __: int, noise: np.random.Generator) -> Policy:
    return Aimless(agents, 1, noise)


IMAGINATION, ORACLE = "imagination", "oracle"
POLICIES: Mapping[str, Make] = {
    IMAGINATION: _imagination,
    "random": _random,
    "novelty": _novelty,
    ORACLE: _oracle,
    "nothing": _nothing,
}
