"""Guards a choice: agents plan with a model of their actions, in place of a learnt policy.

    vase train explore --out runs/explore
    python benchmarks/policy.py runs/explore [--out results/policy.json]

The same goals for both: both latents of place, as they are in dreams of moving clothes. In the one
corner `vase.agent`, which has babbled for 24 steps with 64 agents; in the other DQN with hindsight
replay (stable-baselines3, which is not among the packages that the tests need), after more and
more steps. Asked is how many of 200 goals are reached within 64 steps, and in how many.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, HerReplayBuffer

from vase import build
from vase.agent import imagine, plan
from vase.agent.canvas import CanvasEnv
from vase.agent.expedition import Expedition, Route
from vase.agent.explore import explore, latents
from vase.agent.policies import BABBLING
from vase.training.folder import RunFolder, rounded, write_json

GOALS, LIMIT = 200, 64
BUDGETS = (1_536, 6_400, 25_600)  # steps; the first is what babbling takes
Act = Callable[[Any, Any], int]


class Goals(gymnasium.Env[Any, np.int64]):
    """To bring some latents to where a dream has them. Rewarded with -1 until it is there."""

    def __init__(self, expedition: Expedition, wanted: Any, reach: float, seed: int) -> None:
        ours = expedition.envs.envs[0].unwrapped
        self.canvas = CanvasEnv(ours.sprites, size=ours.size)
        self.learner, self.imagined = expedition.learner, expedition.imagined
        self.wanted, self.reach = wanted, reach
        self.dreams = torch.Generator(self.learner.device).manual_seed(seed)
        size = self.learner.shape.latents
        box = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        near = spaces.Box(-np.inf, np.inf, (int(wanted.sum()),), np.float32)
        self.observation_space = spaces.Dict(
            {"observation": box, "achieved_goal": near, "desired_goal": near}
        )
        self.action_space = self.canvas.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:  # noqa: ARG002
        super().reset(seed=seed)
        frame, _ = self.canvas.reset(seed=seed)
        home = self.learner.memory.environments[self.imagined.home]
        goal = imagine.plausible(self.learner.average, home, 1, self.dreams)
        self.goal, self.step_ = goal[0, self.wanted], 0
        return self._seen(frame), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, Any]:
        frame, *_ = self.canvas.step(action)
        seen, self.step_ = self._seen(frame), self.step_ + 1
        reward = float(self.compute_reward(seen["achieved_goal"], self.goal, {}))
        return seen, reward, reward == 0, self.step_ >= LIMIT, {}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:  # noqa: ARG002
        apart = np.linalg.norm(achieved - desired, axis=-1)
        return -(apart > self.reach).astype(np.float32)

    def _seen(self, frame: Any) -> Any:
        z = latents(self.learner.average, frame[None], self.learner.device)[0]
        return {
            "observation": z.astype(np.float32),
            "achieved_goal": z[self.wanted].astype(np.float32),
            "desired_goal": self.goal.astype(np.float32),
        }


def asked(env: Goals, act: Act) -> dict[str, float]:
    """How many of `GOALS` are reached, and in how many steps those are."""
    steps = []
    for k in range(GOALS):
        seen, _ = env.reset(seed=1000 + k)
        for step in range(LIMIT + 1):
            if env.compute_reward(seen["achieved_goal"], env.goal, {}) == 0:
                steps.append(step)
                break
            seen, *_ = env.step(np.int64(act(env, seen)))
    return {"reached": len(steps) / GOALS, "steps": float(np.mean(steps)) if steps else LIMIT}


def task(expedition: Expedition) -> tuple[Any, float]:
    """The latents that are wanted, [N], and how near to a goal one action reaches in them."""
    if expedition.judge is None or len(expedition.judge.coordinates) < 2:
        raise SystemExit("In this run no two latents tell where a thing is.")
    learner = expedition.learner
    wanted = np.zeros(learner.shape.latents, dtype=bool)
    wanted[list(expedition.judge.coordinates)] = True
    rest, _ = expedition.envs.reset(seed=0)
    z = latents(learner.average, rest, learner.device)
    return wanted, float(np.linalg.norm(plan.reach(expedition.policy.known.effects, z)[wanted]))


def planner(weights: Any, wanted: Any) -> Act:
    """Chooses as the agent does, with what it has learnt by babbling."""

    def planned(env: Goals, seen: Any) -> int:
        goal = np.zeros((1, len(wanted)))
        goal[0, wanted] = env.goal
        at = seen["observation"][None].astype(float)
        return int(plan.chosen(weights, at, goal, wanted[None])[0])

    return planned


def learnt(train: Goals, test: Callable[[], Goals]) -> Iterator[dict[str, Any]]:
    """What DQN with hindsight replay reaches after each of `BUDGETS`."""
    model = DQN(
        "MultiInputPolicy",
        train,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=500,
        exploration_fraction=0.3,
        seed=0,
        device="cpu",
    )
    done, seconds = 0, 0.0
    for budget in BUDGETS:
        began = perf_counter()
        model.learn(budget - done, reset_num_timesteps=done == 0)
        done, seconds = budget, seconds + perf_counter() - began
        reached = asked(test(), lambda _, seen: int(model.predict(seen, deterministic=True)[0]))
        yield {"policy": "DQN + HER", "steps": budget, "seconds": seconds, **reached}


def main() -> None:
    """Plan, then learn, and print what either reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    route = Route("mnist", {}, "imagination", steps=BABBLING)
    expedition = Expedition(RunFolder(chosen.run), build.DataOptions(), route)
    began = perf_counter()
    for _ in explore(expedition.learner, expedition.envs, expedition.policy, BABBLING, seed=0):
        pass
    babbled = perf_counter() - began
    wanted, reach = task(expedition)
    goals = partial(Goals, expedition, wanted, reach)
    reached = asked(goals(seed=1), planner(expedition.policy.known.effects, wanted))
    steps = BABBLING * route.agents
    found = [{"policy": "planning", "steps": steps, "seconds": babbled, **reached}]
    print(found[0])
    for told in learnt(goals(seed=0), partial(goals, seed=1)):
        print(told)
        found.append(told)
    if chosen.out:
        write_json(chosen.out, {"policies": rounded(found)})


if __name__ == "__main__":
    main()
