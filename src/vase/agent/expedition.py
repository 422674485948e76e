"""An expedition: the model of a run is put into an environment, explores it, and is judged.

Nothing of the run is changed. What comes back is a record in plain numbers, the frames of a film,
and the model as it is afterwards.
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
from vase.agent import account, imagine, judge
from vase.agent.account import Account
from vase.agent.canvas import CanvasEnv
from vase.agent.explore import AGENTS, Moment, explore, places
from vase.agent.imagine import Imagination
from vase.agent.place import PlaceEnv
from vase.agent.policies import IMAGINATION, ORACLE, POLICIES
from vase.agent.seekers import Imagining
from vase.config import Config
from vase.errors import ConfigError, InputError, RunError
from vase.lifelong import state
from vase.lifelong.learner import Learner
from vase.lifelong.memory import Memory
from vase.probes import survey
from vase.probes.survey import POSITION
from vase.probes.translation import last_model
from vase.training import checkpoint
from vase.training.folder import RunFolder
from vase.worlds import scenery
from vase.worlds.canvas import CanvasWorld, Floats, World
from vase.worlds.images import to_batch
from vase.worlds.rendered import RenderedWorld

JUDGED = 4  # times that the model is judged on the way
FILMED, LENGTH = 8, 80  # agents in the film, and steps
ARRIVAL = 64  # batches within which a model must know where it is
CANVAS = "vase/Canvas-v0"
PLACES: Mapping[scenery.Place, str] = {"hills": "vase/Hills-v0", "room": "vase/Room-v0"}


@dataclass(frozen=True)
class Route:
    """Where to, how, and for how long.

    place: a world of the run whose things are at rest, or the name of a Gymnasium environment.
    settings: of that environment. policy: one of `POLICIES`. steps: of each of `agents`.
    """

    place: str
    settings: Mapping[str, Any]
    policy: str = "imagination"
    steps: int = 800
    agents: int = AGENTS
    seed: int = 0


class Expedition:
    """Everything that an expedition needs; what is wrong is said before it begins.

    film: by step what agents imagined and what they saw, [K, C, H, W] each in [0, 1].
    """

    def __init__(self, folder: RunFolder, data: build.DataOptions, route: Route) -> None:
        if route.policy not in POLICIES:
            raise ConfigError(
                f"There is no policy '{route.policy}'. There is: {', '.join(POLICIES)}."
            )
        torch.set_flush_denormal(True)
        self.route = route
        run = survey.read(folder, data)
        model = last_model(run, folder)
        self.learner = learner = restored(run.config, folder)
        self.began = learner.step  # of the run, which goes on by itself
        self.environment, settings = environment(run.train, route, data)
        self.envs = places(self.environment, route.agents, learner.shape, settings)
        first = self.envs.envs[0].unwrapped  # type: ignore[attr-defined]
        self.ours = first if isinstance(first, CanvasEnv | PlaceEnv) else None
        if route.policy == ORACLE and self.ours is None:
            known = ", ".join((CANVAS, *PLACES.values()))
            raise InputError(f"Only {known} can shuffle their factors, which the oracle needs.")
        if route.place in run.train:
            home = survey.home_of(run, model, route.place).index
            arrive(learner, run.train[route.place], home, route.agents)
        self.imagined = possible(learner.memory, needed=route.policy == IMAGINATION)
        axes = self.ours.axes if self.ours else POSITION
        self.judge = (
            judge.judge(run, model, route.place, self.imagined, axes, data.progress)
            if self.imagined
            else None
        )
        actions = int(self.envs.single_action_space.n)  # type: ignore[attr-defined]
        noise = np.random.default_rng([route.seed, 0])
        self.policy = POLICIES[route.policy](learner, route.agents, actions, noise)
        self.account = Account(axes)
        self.verdicts: list[dict[str, Any]] = []
        self.judged: list[dict[str, Any]] = []
        self.film: list[tuple[int, Floats, Floats]] = []

    def moments(self) -> Iterator[Moment]:
        """Explore, step by step."""
        self._judge(0)
        steps = self.route.steps
        due = {steps * (k + 1) // JUDGED for k in range(JUDGED)}
        found = explore(
            self.learner,
            self.envs,
            self.policy,
            steps,
            self.route.seed,
            self.ours.varied if self.ours else (),
        )
        with closing(self.envs):
            for moment in found:
                self.account.add(moment)
                if moment.observation is not None:
                    events = (event.to_json() for event in moment.observation.events)
                    self.verdicts += [{**event, "step": moment.step} for event in events]
                self._film(moment)
                if moment.step + 1 in due:
                    self._judge(moment.step + 1)
                yield moment

    def record(self) -> dict[str, Any]:
        """What came of it, in plain numbers."""
        route = self.route
        return {
            "place": route.place,
            "environment": self.environment,
            "settings": {name: _told(value) for name, value in route.settings.items()},
            "policy": route.policy,
            "began": self.began,
            "agents": route.agents,
            "steps": route.steps,
            "seed": route.seed,
            "imagined": np.flatnonzero(self.imagined.latents).tolist() if self.imagined else [],
            "goals": self._goals(),
            "coverage": account.coverage(self.account.after),
            "axes": list(self.account.axes),
            "zero_shot": self.judged,
            "events": self.verdicts,
        }

    def _goals(self) -> list[dict[str, Any]]:
        seeker = self.policy.seeker
        if not isinstance(seeker, Imagining):
            return []
        pace = self.ours.pace if self.ours else 1.0
        return account.goals(seeker.attempts, self.account, self.judge, pace)

    def _judge(self, step: int) -> None:
        if self.judge is not None:
            worlds = self.judge.asked(self.learner.average, self.learner.memory)
            self.judged.append({"step": step, "worlds": worlds})

    def _film(self, moment: Moment) -> None:
        """Keep what the first agents see and imagine, from when they have learnt to act."""
        seeker = self.policy.seeker
        if not isinstance(seeker, Imagining) or len(self.film) >= LENGTH:
            return
        if seeker.obedient.any():
            seen = to_batch(moment.frames[:FILMED]).numpy()
            drawn = pictured(self.learner, seeker.goal[:FILMED], seeker.imagined.latents)
            self.film.append((moment.step, drawn, seen))


def restored(config: Config, folder: RunFolder) -> Learner:
    """The learner of a run, as its checkpoint has it, on one device."""
    tensors, record = checkpoint.read(folder.checkpoint)
    training = config.training.model_copy(update={"devices": 1})
    alone = config.model_copy(update={"training": training})
    with checkpoint.understood(folder.checkpoint):
        shape = record["architecture"]
        learner = build.learner(alone, (shape["channels"], shape["height"], shape["width"]))
        state.restore(learner, tensors, record)
    return learner


def possible(memory: Memory, *, needed: bool) -> Imagination | None:
    """What can be imagined where the learner stands; None if nothing can, and need not."""
    try:
        return imagine.imagination(memory)
    except InputError:
        if needed:
            raise
        return None


def arrive(learner: Learner, world: World, home: int, count: int) -> None:
    """Show the learner a world, `count` images at a time, until it knows that it is there again."""
    generator = np.random.default_rng(learner.step)
    for _ in range(ARRIVAL):
        if learner.memory.current == home:
            return
        images, _ = world.sample(generator, count)
        learner.observe(torch.from_numpy(images).to(learner.device))
    if learner.memory.current != home:
        raise RunError(
            f"The model does not know the world '{world.name}' again, where it should explore: "
            f"after {ARRIVAL} batches it takes it for environment {learner.memory.current}, and "
            f"not for {home}."
        )


def environment(
    worlds: Mapping[str, World], route: Route, data: build.DataOptions
) -> tuple[str, dict[str, Any]]:
    """The Gymnasium environment of a place, and its settings. worlds: those of the run."""
    where = {"data_dir": data.folder, "offline": data.offline}
    world = worlds.get(route.place)
    if world is None:
        if "/" in route.place or ":" in route.place or route.place in gymnasium.registry:
            return route.place, {**(where if route.place == CANVAS else {}), **route.settings}
        raise InputError(
            f"'{route.place}' is neither a world of this run, which are "
            f"{', '.join(worlds)}, nor a Gymnasium environment."
        )
    if isinstance(world, RenderedWorld) and world.at_rest:
        return PLACES[world.place], dict(route.settings)
    if not isinstance(world, CanvasWorld):
        raise InputError(
            f"Nothing can be done in the world '{route.place}': it is a set of images. Name a "
            "world of sprites on a canvas, hills or a room with at_rest=true, or a Gymnasium "
            "environment."
        )
    coloured = world.channels == 3 and world.hue != "none"
    if world.moving or world.inverted or world.brightness < 1 or coloured:
        raise InputError(
            f"The world '{route.place}' does not begin with something at rest, white on black, as "
            f"{CANVAS} does. Name another, or an environment of your own."
        )
    ours = {"sprites": world.sprites, "size": world.size, "channels": world.channels}
    return CANVAS, {**ours, **where, **route.settings}


@torch.no_grad()
def pictured(learner: Learner, goal: NDArray[np.float64], latents: NDArray[np.bool_]) -> Floats:
    """Goals [K, N] as the present environment would show them, [K, C, H, W].

    The mask is lifted from the latents that are imagined: decode( z (used + imagined), s ).
    """
    here = learner.memory.here
    z = torch.from_numpy(goal * (here.used | latents)).float().to(learner.device)
    index = torch.full((len(z),), here.index, device=learner.device)
    drawn: Floats = torch.sigmoid(learner.average.decoder(z, index)).cpu().numpy()
    return drawn


def _told(value: Any) -> Any:
    """A setting as it is written down: of a path, which is nobody else's business, the name."""
    if isinstance(value, str | Path) and Path(value).is_absolute():
        return Path(value).name
    return value if isinstance(value, int | float | list) else str(value)
