"""Guards a choice: agents plan with a dynamics model instead of learning a policy.

    vase train explore --out runs/explore
    python benchmarks/policy.py runs/explore [--out results/policy.json]

Both get the same goals: both position latents, as in replayed images of moving clothes. One side is
`vase.agent`, after 24 steps of babbling with 64 agents; the other is DQN with hindsight replay
(stable-baselines3, which is not among the test dependencies), after increasing numbers of steps.
The benchmark reports how many of 200 goals each reaches within 64 steps, and in how many steps.
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
from vase.agent.exploration_run import ExplorationConfig, ExplorationRun
from vase.agent.explore import encode_frames, explore
from vase.agent.policies import BABBLING_STEPS, PlanningPolicy
from vase.training.folder import RunFolder, rounded, write_json

GOALS, LIMIT = 200, 64
BUDGETS = (1_536, 6_400, 25_600)  # steps; the first equals the babbling
Act = Callable[[Any, Any], int]


class Goals(gymnasium.Env[Any, np.int64]):
    """The task to bring some latents to their values in a replayed image; reward -1 until then."""

    def __init__(
        self, exploration: ExplorationRun, goal_mask: Any, reach: float, seed: int
    ) -> None:
        ours = exploration.envs.envs[0].unwrapped  # type: ignore[attr-defined]
        self.canvas = CanvasEnv(ours.sprites, size=ours.size)
        assert exploration.imagination is not None
        self.learner, self.imagination = exploration.learner, exploration.imagination
        self.goal_mask, self.reach = goal_mask, reach
        self.draws = torch.Generator(self.learner.device).manual_seed(seed)
        size = self.learner.architecture.latents
        box = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        near = spaces.Box(-np.inf, np.inf, (int(goal_mask.sum()),), np.float32)
        self.observation_space = spaces.Dict(
            {"observation": box, "achieved_goal": near, "desired_goal": near}
        )
        self.action_space = self.canvas.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:  # noqa: ARG002
        super().reset(seed=seed)
        frame, _ = self.canvas.reset(seed=seed)
        home = self.learner.environments[self.imagination.source]
        goal = imagine.sample_plausible(self.learner.average, home, 1, self.draws)
        self.goal, self.step_ = goal[0, self.goal_mask], 0
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
        z = encode_frames(self.learner.average, frame[None], self.learner.device)[0]
        return {
            "observation": z.astype(np.float32),
            "achieved_goal": z[self.goal_mask].astype(np.float32),
            "desired_goal": self.goal.astype(np.float32),
        }


def evaluate(env: Goals, act: Act) -> dict[str, float]:
    """Return the share of `GOALS` that are reached, and the mean steps of those."""
    steps = []
    for k in range(GOALS):
        seen, _ = env.reset(seed=1000 + k)
        for step in range(LIMIT + 1):
            if env.compute_reward(seen["achieved_goal"], env.goal, {}) == 0:
                steps.append(step)
                break
            seen, *_ = env.step(np.int64(act(env, seen)))
    return {"reached": len(steps) / GOALS, "steps": float(np.mean(steps)) if steps else LIMIT}


def effects(exploration: ExplorationRun) -> Any:
    """What the agent has learnt of the actions by babbling."""
    assert isinstance(exploration.policy, PlanningPolicy)
    return exploration.policy.dynamics.effects


def task(exploration: ExplorationRun) -> tuple[Any, float]:
    """Return the latents of the goals, [N], and how close to a goal one action can bring them."""
    if exploration.evaluator is None or len(exploration.evaluator.coordinates) < 2:
        raise SystemExit("In this run no two latents encode the position.")
    learner = exploration.learner
    goal_mask = np.zeros(learner.architecture.latents, dtype=np.bool_)
    goal_mask[list(exploration.evaluator.coordinates)] = True
    rest, _ = exploration.envs.reset(seed=0)
    z = encode_frames(learner.average, rest, learner.device)
    return goal_mask, float(np.linalg.norm(plan.reach(effects(exploration), z)[goal_mask]))


def planner(weights: Any, goal_mask: Any) -> Act:
    """Return the agent's planner, with the dynamics that it learned by babbling."""

    def planned(env: Goals, seen: Any) -> int:
        goal = np.zeros((1, len(goal_mask)))
        goal[0, goal_mask] = env.goal
        at = seen["observation"][None].astype(float)
        return int(plan.best_actions(weights, at, goal, goal_mask[None])[0])

    return planned


def train_dqn(train: Goals, test: Callable[[], Goals]) -> Iterator[dict[str, Any]]:
    """Yield what DQN with hindsight replay reaches after each of `BUDGETS`."""
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
        reached = evaluate(test(), lambda _, seen: int(model.predict(seen, deterministic=True)[0]))
        yield {"policy": "DQN + HER", "steps": budget, "seconds": seconds, **reached}


def main() -> None:
    """Plan, then learn, and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    config = ExplorationConfig("mnist", {}, "imagination", steps=BABBLING_STEPS)
    exploration = ExplorationRun(RunFolder(chosen.run), build.DataOptions(), config)
    began = perf_counter()
    for _ in explore(
        exploration.learner, exploration.envs, exploration.policy, BABBLING_STEPS, seed=0
    ):
        pass
    babbled = perf_counter() - began
    goal_mask, reach = task(exploration)
    goals = partial(Goals, exploration, goal_mask, reach)
    reached = evaluate(goals(seed=1), planner(effects(exploration), goal_mask))
    steps = BABBLING_STEPS * config.agents
    found = [{"policy": "planning", "steps": steps, "seconds": babbled, **reached}]
    print(found[0])
    for result in train_dqn(goals(seed=0), partial(goals, seed=1)):
        print(result)
        found.append(result)
    if chosen.out:
        write_json(chosen.out, {"policies": rounded(found)})


if __name__ == "__main__":
    main()
