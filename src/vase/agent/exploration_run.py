"""An exploration run: put the model of a run into an environment, explore, and evaluate.

The run itself does not change. The results are a record in plain numbers, the frames of a film,
and the model after exploration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase.agent import imagine, trajectory, zero_shot
from vase.agent.canvas import CanvasEnv
from vase.agent.explore import AGENTS, AgentStep, explore, make_environments
from vase.agent.goal_selection import ImaginedGoalSelector
from vase.agent.imagine import Imagination
from vase.agent.place import PlaceEnv
from vase.agent.policies import IMAGINATION, ORACLE, POLICIES
from vase.agent.trajectory import Trajectory
from vase.config import Config
from vase.domains import scenery
from vase.domains.canvas import CanvasDomain, Domain, Floats
from vase.domains.rendered import RenderedDomain
from vase.errors import ConfigError, InputError, RunError
from vase.images.values import to_batch
from vase.lifelong import state
from vase.lifelong.environments import Environments
from vase.lifelong.learner import Learner
from vase.lifelong.replay import decoded
from vase.probes import evaluate
from vase.probes.evaluate import POSITION
from vase.probes.translation import load_last_model
from vase.training import checkpoint
from vase.training.folder import RunFolder

EVALUATIONS = 4  # zero-shot evaluations during the run, after the first
FILM_AGENTS, FILM_STEPS = 8, 80  # agents and steps in the film
MAX_BATCHES = 64  # within which the model must re-identify the domain
CANVAS = "vase/Canvas-v0"
ENVIRONMENT_IDS: Mapping[scenery.Place, str] = {"hills": "vase/Hills-v0", "room": "vase/Room-v0"}


@dataclass(frozen=True)
class ExplorationConfig:
    """Where to explore, with which policy, and for how long.

    place: a domain of the run whose things are at rest, or the name of a Gymnasium environment.
    settings: of that environment. policy: one of `POLICIES`. steps: of each of `agents`.
    """

    place: str
    settings: Mapping[str, Any]
    policy: str = "imagination"
    steps: int = 800
    agents: int = AGENTS
    seed: int = 0


class ExplorationRun:
    """Explores an environment with a run's model; checks everything before it starts.

    film: per step, what the agents imagined and what they saw, [K, C, H, W] each in [0, 1].
    """

    def __init__(
        self, folder: RunFolder, data: build.DataOptions, config: ExplorationConfig
    ) -> None:
        if config.policy not in POLICIES:
            raise ConfigError(
                f"There is no policy '{config.policy}'. There are: {', '.join(POLICIES)}."
            )
        torch.set_flush_denormal(True)
        self.config = config
        run = evaluate.open_run(folder, data)
        model = load_last_model(run, folder)
        self.learner = learner = restore_learner(run.config, folder)
        self.start = learner.step  # step of the run, which may train further
        self.environment, settings = gymnasium_environment(run.train, config, data)
        self.envs = make_environments(
            self.environment, config.agents, learner.architecture, settings
        )
        first = self.envs.envs[0].unwrapped  # type: ignore[attr-defined]
        self.vase_env = first if isinstance(first, CanvasEnv | PlaceEnv) else None
        if config.policy == ORACLE and self.vase_env is None:
            known = ", ".join((CANVAS, *ENVIRONMENT_IDS.values()))
            raise InputError(
                f"The oracle policy needs an environment that can shuffle its factors: {known}."
            )
        if config.place in run.train:
            matched = evaluate.matched_environment(run, model, config.place).index
            reidentify(learner, run.train[config.place], matched, config.agents)
        self.imagination = find_imagination(
            learner.environments, needed=config.policy == IMAGINATION
        )
        axes = self.vase_env.axes if self.vase_env else POSITION
        self.evaluator = (
            zero_shot.zero_shot_evaluator(
                run, model, config.place, self.imagination, axes, data.progress
            )
            if self.imagination
            else None
        )
        actions = int(self.envs.single_action_space.n)  # type: ignore[attr-defined]
        noise = np.random.default_rng([config.seed, 0])
        self.policy = POLICIES[config.policy](learner, config.agents, actions, noise)
        self.trajectory = Trajectory(axes)
        self.events: list[dict[str, Any]] = []
        self.zero_shot: list[dict[str, Any]] = []
        self.film: list[tuple[int, Floats, Floats]] = []

    def steps(self) -> Iterator[AgentStep]:
        """Explore, and yield every step."""
        self._evaluate(0)
        steps = self.config.steps
        due = {steps * (k + 1) // EVALUATIONS for k in range(EVALUATIONS)}
        found = explore(
            self.learner,
            self.envs,
            self.policy,
            steps,
            self.config.seed,
            self.vase_env.randomized_factors if self.vase_env else (),
        )
        with closing(self.envs):
            for step in found:
                self.trajectory.add(step)
                if step.observation is not None:
                    events = (event.to_json() for event in step.observation.events)
                    self.events += [{**event, "step": step.step} for event in events]
                self._film(step)
                if step.step + 1 in due:
                    self._evaluate(step.step + 1)
                yield step

    def record(self) -> dict[str, Any]:
        """Return the results in plain numbers."""
        config, imagination = self.config, self.imagination
        imagined = np.flatnonzero(imagination.latents).tolist() if imagination else []
        return {
            "place": config.place,
            "environment": self.environment,
            "settings": {name: _serializable(value) for name, value in config.settings.items()},
            "policy": config.policy,
            "began": self.start,
            "agents": config.agents,
            "steps": config.steps,
            "seed": config.seed,
            "imagined": imagined,
            "goals": self._goals(),
            "coverage": trajectory.coverage(self.trajectory.after),
            "axes": list(self.trajectory.axes),
            "zero_shot": self.zero_shot,
            "events": self.events,
        }

    def _goals(self) -> list[dict[str, Any]]:
        goal_selector = self.policy.goal_selector
        if not isinstance(goal_selector, ImaginedGoalSelector):
            return []
        step_fraction = self.vase_env.step_fraction if self.vase_env else 1.0
        return trajectory.goal_statistics(
            goal_selector.attempts, self.trajectory, self.evaluator, step_fraction
        )

    def _evaluate(self, step: int) -> None:
        if self.evaluator is not None:
            domains = self.evaluator.evaluate(self.learner.average, self.learner.environments)
            self.zero_shot.append({"step": step, "domains": domains})

    def _film(self, step: AgentStep) -> None:
        """Record what the first agents see and imagine, once they control a latent."""
        goal_selector = self.policy.goal_selector
        if not isinstance(goal_selector, ImaginedGoalSelector) or len(self.film) >= FILM_STEPS:
            return
        if goal_selector.controllable.any():
            seen = to_batch(step.frames[:FILM_AGENTS]).numpy()
            drawn = decode_goals(
                self.learner, goal_selector.goal[:FILM_AGENTS], goal_selector.imagination.latents
            )
            self.film.append((step.step, drawn, seen))


def restore_learner(config: Config, folder: RunFolder) -> Learner:
    """Return the learner of a run, restored from its checkpoint, on one device."""
    tensors, record = checkpoint.read(folder.checkpoint)
    training = config.training.model_copy(update={"devices": 1})
    alone = config.model_copy(update={"training": training})
    with checkpoint.understood(folder.checkpoint):
        shape = record["architecture"]
        learner = build.learner(alone, (shape["channels"], shape["height"], shape["width"]))
        state.restore(learner, tensors, record)
    return learner


def find_imagination(environments: Environments, *, needed: bool) -> Imagination | None:
    """Return what can be imagined in the present environment; None if nothing, unless needed."""
    try:
        return imagine.imagination(environments)
    except InputError:
        if needed:
            raise
        return None


def reidentify(learner: Learner, domain: Domain, matched: int, count: int) -> None:
    """Show the learner a domain, `count` images at a time, until it re-identifies it."""
    generator = np.random.default_rng(learner.step)
    for _ in range(MAX_BATCHES):
        if learner.environments.current == matched:
            return
        images, _ = domain.sample(generator, count)
        learner.observe(torch.from_numpy(images).to(learner.device))
    if learner.environments.current != matched:
        raise RunError(
            f"The model does not re-identify the domain '{domain.name}', which it should explore: "
            f"after {MAX_BATCHES} batches it infers environment "
            f"{learner.environments.current} instead of {matched}."
        )


def gymnasium_environment(
    domains: Mapping[str, Domain], config: ExplorationConfig, data: build.DataOptions
) -> tuple[str, dict[str, Any]]:
    """Return the Gymnasium environment of a place, and its settings. domains: of the run."""
    where = {"data_dir": data.folder, "offline": data.offline}
    domain = domains.get(config.place)
    if domain is None:
        if "/" in config.place or ":" in config.place or config.place in gymnasium.registry:
            return config.place, {**(where if config.place == CANVAS else {}), **config.settings}
        raise InputError(
            f"'{config.place}' is neither a domain of this run ({', '.join(domains)}) nor a "
            "Gymnasium environment."
        )
    if isinstance(domain, RenderedDomain) and domain.at_rest:
        return ENVIRONMENT_IDS[domain.place], dict(config.settings)
    if not isinstance(domain, CanvasDomain):
        raise InputError(
            f"Agents cannot act in the domain '{config.place}': it is a set of images. Name a "
            "domain of sprites on a canvas, hills or a room with at_rest=true, or a Gymnasium "
            "environment."
        )
    coloured = domain.channels == 3 and domain.hue != "none"
    if domain.moving or domain.inverted or domain.brightness < 1 or coloured:
        raise InputError(
            f"The domain '{config.place}' does not start with a sprite at rest, white on black, "
            f"as {CANVAS} does. Name another domain, or a Gymnasium environment."
        )
    canvas = {"sprites": domain.sprites, "size": domain.size, "channels": domain.channels}
    return CANVAS, {**canvas, **where, **config.settings}


def decode_goals(learner: Learner, goal: NDArray[np.float64], latents: NDArray[np.bool_]) -> Floats:
    """Return images of goals [K, N] in the present environment, [K, C, H, W].

    The imagined latents are not masked: decode( z (used + imagined), s ).
    """
    here = learner.environments.present
    z = torch.from_numpy(goal * (here.used | latents)).float()
    images: Floats = decoded(learner.average, z, here.index).cpu().numpy()
    return images


def _serializable(value: Any) -> Any:
    """Return a setting as it is recorded; strip the directory from paths."""
    if isinstance(value, str | Path) and Path(value).is_absolute():
        return Path(value).name
    return value if isinstance(value, int | float | list) else str(value)
