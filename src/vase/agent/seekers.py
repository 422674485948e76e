"""What agents are after: what they imagine, or what they have seen least."""

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

OBEDIENT = 0.25  # share of a latent's changes that actions account for, if it obeys
FAR = 3  # actions that a goal is away at least: what is nearer need not be imagined
PATIENCE = 64  # steps after which a goal is given up
BITS = 16  # of the code by which latents are counted


class Seeker(Protocol):
    """Chooses actions [B] from latents [B, N], given what is known of actions.

    `choose` gives None where it knows of nothing better than chance. `arrive` is told what was
    reached, and whose episode has ended. busy: agents [B] that must not be put elsewhere now.
    """

    @property
    def busy(self) -> Flags: ...

    def choose(self, known: Dynamics, z: Array, step: int) -> Actions | None: ...

    def arrive(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None: ...


class Novelty:
    """Goes where it has been least: counts of hashed latents, as seen one action ahead.

    The bonus of Tang et al. 2017, 1 / sqrt(n), over a static hash of the latents: the signs of
    `BITS` random projections. The action with the largest expected bonus is taken.
    """

    def __init__(self, agents: int, latents: int, generator: np.random.Generator) -> None:
        self.busy, self.generator = np.zeros(agents, dtype=bool), generator
        self.projection = generator.standard_normal((latents, BITS))
        self.counts = np.zeros(2**BITS)

    def choose(self, known: Dynamics, z: Array, step: int) -> Actions:  # noqa: ARG002
        seen = self.counts[self._code(dynamics.after(known.effects, z))]
        least: Actions = (seen + self.generator.random(seen.shape)).argmin(axis=1)
        return least

    def arrive(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None:  # noqa: ARG002
        np.add.at(self.counts, self._code(z), 1)

    def _code(self, z: Array) -> NDArray[np.int64]:
        bits = z @ self.projection > 0
        code: NDArray[np.int64] = bits @ (1 << np.arange(BITS))
        return code


@dataclass(frozen=True, eq=False)
class Attempt:
    """One imagined goal: latents [N], whose it was, in steps [began, ended), and how it ended.

    latent: the one that was imagined, the others being as they were. reached: whether the agent
    came as near to it as one action reaches.
    """

    agent: int
    latent: int
    goal: Array
    began: int
    ended: int
    reached: bool


class Imagining:
    """Imagines a state that was never seen here, and acts until the world shows it.

    It imagines one latent at a time of those that are idle here and lived elsewhere, and of these
    only such as obey its actions; while none does, there is nothing it could choose. Of several it
    prefers what has succeeded: latent n is imagined in proportion to

        (successes_n + 1) / (attempts_n + 2)

    attempts: those that have ended.
    """

    def __init__(self, learner: Learner, agents: int, generator: np.random.Generator) -> None:
        size = learner.shape.latents
        self.learner, self.generator = learner, generator
        self.imagined = imagine.imagination(learner.memory)
        self.dreams = torch.Generator(learner.device).manual_seed(int(generator.integers(2**31)))
        self.obedient = np.zeros(size, dtype=bool)
        self.goal, self.wanted = np.zeros((agents, size)), np.zeros((agents, size), dtype=bool)
        self.began = np.full(agents, -1)
        self.attempts: list[Attempt] = []

    @property
    def busy(self) -> Flags:
        return self.began >= 0

    def choose(self, known: Dynamics, z: Array, step: int) -> Actions | None:
        self.obedient = self.imagined.latents & (dynamics.obedience(known) >= OBEDIENT)
        if not (self.obedient.any() or self.busy.any()):
            return None
        weights = known.effects
        if self.obedient.any() and not self.busy.all():
            self._imagine(z, plan.reach(weights, z), step)
        return plan.chosen(weights, z, self.goal, self.wanted)

    def arrive(self, known: Dynamics, z: Array, ended: Flags, step: int) -> None:
        """End the attempts that have arrived, and those that have taken too long."""
        if not self.busy.any():
            return
        reach = plan.reach(known.effects, z)
        there = plan.distance(z, self.goal, self.wanted) <= self.wanted @ reach
        over = self.busy & (there | ended | (step - self.began >= PATIENCE))
        self.attempts += [
            Attempt(
                agent=int(agent),
                latent=int(self.wanted[agent].argmax()),
                goal=self.goal[agent].copy(),
                began=int(self.began[agent]),
                ended=step,
                reached=bool(there[agent]),
            )
            for agent in np.flatnonzero(over)
        ]
        self.began[over], self.wanted[over] = -1, False

    def _imagine(self, z: Array, reach: Array, step: int) -> None:
        """New goals for agents that have none; whose would be too near draws again next time."""
        worth = self._worth()
        latent = self.generator.choice(len(worth), size=len(z), p=worth / worth.sum())
        wanted = np.arange(len(worth)) == latent[:, None]
        home = self.learner.memory.environments[self.imagined.home]
        plausible = imagine.plausible(self.learner.average, home, len(z), self.dreams)
        goal = np.where(wanted, plausible, z)
        new = ~self.busy & (plan.distance(z, goal, wanted) > FAR * (wanted @ reach))
        self.goal[new], self.wanted[new], self.began[new] = goal[new], wanted[new], step

    def _worth(self) -> Array:
        size = len(self.obedient)
        tried = np.bincount([each.latent for each in self.attempts], minlength=size)
        reached = [each.latent for each in self.attempts if each.reached]
        successes = np.bincount(np.array(reached, dtype=int), minlength=size)
        return np.where(self.obedient, (successes + 1) / (tried + 2), 0.0)
