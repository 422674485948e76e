"""The loop: agents act, what they see is learnt like any stream, and is written down.

    look -> choose -> act -> learn what came of it -> take in frames

What agents see from one step to the next is nearly the same, so batches for the learner are drawn
from what was seen of late, as any shuffling loader would. The learner notices by itself that this
is no longer the world it knew, and opens a new environment, in which idle latents are used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from vase.agent.dynamics import Array
from vase.agent.policies import BABBLING, Policy
from vase.errors import ConfigError, InputError, VaseError, reason
from vase.lifelong.learner import Learner
from vase.nets import Architecture, Networks
from vase.records import Observation
from vase.worlds.images import to_batch

Truths = Mapping[str, NDArray[Any]]

AGENTS = 64
FIRST, LATE = 64, 256  # steps of which frames are kept before the first are drawn, and at most
EPISODE = 64  # steps after which an agent that is not on its way begins anew, with another thing


@dataclass(frozen=True, eq=False)
class Moment:
    """One step of B agents: what they saw, did, and what the learner made of it.

    frames: uint8, [B, H, W, C], after the action. before, after: the factors as `info` has them,
    [B] each, before and after it. observation: None until enough has been seen.
    """

    step: int
    frames: NDArray[np.uint8]
    before: Truths
    after: Truths
    observation: Observation | None


def places(name: str, agents: int, shape: Architecture, settings: Mapping[str, Any]) -> VectorEnv:
    """Copies of a Gymnasium environment in which agents of a model can act.

    A `ConfigError` where there is no such environment, an `InputError` where its observations or
    actions are none that the model and the policies can serve.
    """
    import vase.agent  # noqa: F401, registers ours

    try:
        found = gymnasium.make_vec(
            name,
            num_envs=agents,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            **settings,
        )
    except VaseError:
        raise
    except Exception as error:  # of an environment that may be anyone's
        raise ConfigError(f"The environment '{name}' cannot be made: {reason(error)}.") from None
    _refuse_unfit(name, found, shape)
    return found


def _refuse_unfit(name: str, found: VectorEnv, shape: Architecture) -> None:
    seen, acts = found.single_observation_space, found.single_action_space
    wanted = (shape.height, shape.width, shape.channels)
    if not isinstance(seen, spaces.Box) or seen.shape != wanted or seen.dtype != np.uint8:
        raise InputError(
            f"The environment '{name}' shows {seen}; the model learns images of uint8 "
            f"{list(wanted)}. Give it that size, or explore with another run."
        )
    if not isinstance(acts, spaces.Discrete) or acts.start != 0 or acts.n < 2:
        raise InputError(
            f"The environment '{name}' has the actions {acts}; planning takes two or more discrete "
            "ones, Discrete(n), the first of which is to stay. Wrap it so that it has them."
        )


def explore(
    learner: Learner,
    envs: VectorEnv,
    policy: Policy,
    steps: int,
    seed: int,
    shuffled: Sequence[str] = ("x", "y"),
) -> Iterator[Moment]:
    """Let agents act for `steps` steps, and the learner take in what they see.

    shuffled: the factors that are drawn anew at every step where the policy does not act.
    While agents only try out what actions do, nothing is kept; the learner takes in its first batch
    once `FIRST` steps were.
    """
    generator = np.random.default_rng([seed, 1])
    late: deque[NDArray[np.uint8]] = deque(maxlen=LATE)
    age = np.arange(envs.num_envs) * EPISODE // envs.num_envs  # they do not all begin anew at once
    frames, info = envs.reset(seed=int(generator.integers(2**31)))
    before = truths(info)
    for step in range(steps):
        z = latents(learner.average, frames, learner.device)
        frames, after, ended = _acted(envs, policy, z, shuffled)
        policy.saw(z, latents(learner.average, frames, learner.device), ended)
        if step >= BABBLING:
            late.append(frames)
        observation = None
        if len(late) >= FIRST:
            observation = learner.observe(to_batch(_drawn(late, generator)).to(learner.device))
        yield Moment(step, frames, before, after, observation)
        age += 1
        ended |= (age >= EPISODE) & ~policy.busy
        age[ended] = 0
        frames, before = _anew(envs, frames, after, ended)


def _acted(
    envs: VectorEnv, policy: Policy, z: Array, shuffled: Sequence[str]
) -> tuple[NDArray[np.uint8], Truths, NDArray[np.bool_]]:
    """Frames and truth after one more action of every agent, and whose episode that ended."""
    if policy.shuffles:
        frames, info = envs.reset(options={"shuffle": list(shuffled)})
        return frames, truths(info), np.zeros(envs.num_envs, dtype=bool)
    frames, _, terminated, truncated, info = envs.step(policy.act(z))
    return frames, truths(info), terminated | truncated


def _anew(
    envs: VectorEnv, frames: NDArray[np.uint8], truth: Truths, ended: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], Truths]:
    """Frames and truth once those whose episode has ended stand at their beginning again."""
    if not ended.any():
        return frames, truth
    frames, info = envs.reset(options={"reset_mask": ended})
    begun = truths(info)
    both = [name for name in truth if name in begun]
    return frames, {name: np.where(ended, begun[name], truth[name]) for name in both}


def truths(info: Mapping[str, Any]) -> Truths:
    """The factors in a vector environment's `info`: one number of each copy, [B] each.

    Of copies that have none, and of those that were not asked, it has a 0.
    """
    return {
        name: values
        for name, values in info.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.ndim == 1
    }


def _drawn(seen: Sequence[NDArray[np.uint8]], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A frame of every agent [B, H, W, C], each of a step of its own."""
    steps = generator.integers(len(seen), size=len(seen[0]))
    return np.stack([seen[step][agent] for agent, step in enumerate(steps)])


@torch.no_grad()
def latents(networks: Networks, frames: NDArray[np.uint8], device: torch.device) -> Array:
    """What the averaged encoder sees in frames [B, H, W, C]: posterior means, [B, N]."""
    seen: Tensor = networks.encoder(to_batch(frames).to(device)).mean
    found: Array = seen.double().cpu().numpy()
    return found
