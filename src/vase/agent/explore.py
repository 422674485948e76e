"""The exploration loop: agents act, and the learner observes what they see.

    encode -> select actions -> act -> update the policy -> learn from a batch

Consecutive frames of one agent are nearly the same, so the learner's batches are sampled from a
buffer of recent frames, as any shuffling loader would do. The learner detects by itself that the
domain has changed, and creates a new environment in which the inactive latents are used.
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
from vase.agent.policies import BABBLING_STEPS, Policy
from vase.errors import ConfigError, InputError, VaseError, reason
from vase.images.values import to_batch
from vase.lifelong.learner import Learner
from vase.nets import Architecture, Networks
from vase.records import Observation

Factors = Mapping[str, NDArray[Any]]

AGENTS = 64
# Steps in the frame buffer when the learner observes its first batch, and at most.
MIN_BUFFERED_STEPS, MAX_BUFFERED_STEPS = 64, 256
EPISODE_STEPS = 64  # after which an agent without a goal is reset


@dataclass(frozen=True, eq=False)
class AgentStep:
    """One step of B agents: what they saw, and what the learner made of it.

    frames: uint8, [B, H, W, C], after the action. before, after: the true factors in `info`, [B]
    each, before and after the action. observation: None until the buffer is full enough.
    """

    step: int
    frames: NDArray[np.uint8]
    before: Factors
    after: Factors
    observation: Observation | None


def make_environments(
    name: str, agents: int, shape: Architecture, settings: Mapping[str, Any]
) -> VectorEnv:
    """Return a vector environment: one copy of a Gymnasium environment per agent.

    A `ConfigError` if there is no such environment; an `InputError` if the model or the policies do
    not support its observations or actions.
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
    except Exception as error:  # from third-party code
        raise ConfigError(f"The environment '{name}' cannot be made: {reason(error)}.") from None
    _refuse_unfit(name, found, shape)
    return found


def _refuse_unfit(name: str, found: VectorEnv, shape: Architecture) -> None:
    seen, acts = found.single_observation_space, found.single_action_space
    wanted = (shape.height, shape.width, shape.channels)
    if not isinstance(seen, spaces.Box) or seen.shape != wanted or seen.dtype != np.uint8:
        raise InputError(
            f"The environment '{name}' has observations {seen}; the model learns images of uint8 "
            f"{list(wanted)}. Set that size, or explore with another run."
        )
    if not isinstance(acts, spaces.Discrete) or acts.start != 0 or acts.n < 2:
        raise InputError(
            f"The environment '{name}' has the actions {acts}; planning needs Discrete(n) "
            "with n >= 2, where action 0 is to stay. Wrap the environment to provide them."
        )


def explore(
    learner: Learner,
    envs: VectorEnv,
    policy: Policy,
    steps: int,
    seed: int,
    shuffled: Sequence[str] = ("x", "y"),
) -> Iterator[AgentStep]:
    """Run the agents for `steps` steps, let the learner observe, and yield every step.

    shuffled: the factors that a policy with `shuffles` resamples at every step. The buffer stays
    empty while the agents babble; the learner observes its first batch after `MIN_BUFFERED_STEPS`
    more steps.
    """
    generator = np.random.default_rng([seed, 1])
    buffer: deque[NDArray[np.uint8]] = deque(maxlen=MAX_BUFFERED_STEPS)
    age = np.arange(envs.num_envs) * EPISODE_STEPS // envs.num_envs  # staggered resets
    frames, info = envs.reset(seed=int(generator.integers(2**31)))
    before = true_factors(info)
    for step in range(steps):
        z = encode_frames(learner.average, frames, learner.device)
        frames, after, ended = _act(envs, policy, z, shuffled)
        policy.update(z, encode_frames(learner.average, frames, learner.device), ended)
        if step >= BABBLING_STEPS:
            buffer.append(frames)
        observation = None
        if len(buffer) >= MIN_BUFFERED_STEPS:
            observation = learner.observe(
                to_batch(_sample_batch(buffer, generator)).to(learner.device)
            )
        yield AgentStep(step, frames, before, after, observation)
        age += 1
        ended |= (age >= EPISODE_STEPS) & ~policy.busy
        age[ended] = 0
        frames, before = _reset_ended(envs, frames, after, ended)


def _act(
    envs: VectorEnv, policy: Policy, z: Array, shuffled: Sequence[str]
) -> tuple[NDArray[np.uint8], Factors, NDArray[np.bool_]]:
    """Return frames and factors after one action of every agent, and whose episode ended."""
    if policy.shuffles:
        frames, info = envs.reset(options={"shuffle": list(shuffled)})
        return frames, true_factors(info), np.zeros(envs.num_envs, dtype=bool)
    frames, _, terminated, truncated, info = envs.step(policy.act(z))
    return frames, true_factors(info), terminated | truncated


def _reset_ended(
    envs: VectorEnv, frames: NDArray[np.uint8], truth: Factors, ended: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], Factors]:
    """Return frames and factors after a reset of the agents whose episode has ended."""
    if not ended.any():
        return frames, truth
    frames, info = envs.reset(options={"reset_mask": ended})
    begun = true_factors(info)
    both = [name for name in truth if name in begun]
    return frames, {name: np.where(ended, begun[name], truth[name]) for name in both}


def true_factors(info: Mapping[str, Any]) -> Factors:
    """Return the factors in a vector environment's `info`, one number per copy, [B] each.

    `info` holds 0 for copies that do not report a factor or were not reset.
    """
    return {
        name: values
        for name, values in info.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.ndim == 1
    }


def _sample_batch(
    buffer: Sequence[NDArray[np.uint8]], generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Return one frame per agent, [B, H, W, C], each from a random step of the buffer."""
    steps = generator.integers(len(buffer), size=len(buffer[0]))
    return np.stack([buffer[step][agent] for agent, step in enumerate(steps)])


@torch.no_grad()
def encode_frames(networks: Networks, frames: NDArray[np.uint8], device: torch.device) -> Array:
    """Return the posterior means [B, N] of frames [B, H, W, C], from the averaged encoder."""
    seen: Tensor = networks.encoder(to_batch(frames).to(device)).mean
    found: Array = seen.double().cpu().numpy()
    return found
