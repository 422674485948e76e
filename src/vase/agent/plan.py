"""Planning: the action that, repeated, is expected to come closest to a goal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vase.agent.dynamics import Actions, Array, predict

Flags = NDArray[np.bool_]

MAX_REPEATS = 8  # planning horizon, in repeats of one action


def distance(z: Array, goal: Array, goal_mask: Flags) -> Array:
    """Return the Euclidean distance of latents to goals [..., N] in the masked-in latents."""
    apart: Array = np.linalg.norm(np.where(goal_mask, z - goal, 0.0), axis=-1)
    return apart


def best_actions(weights: Array, z: Array, goal: Array, goal_mask: Flags) -> Actions:
    """Return, for each of B agents, the action that leads closest to its goal, [B].

    a* = argmin_a min_{h <= MAX_REPEATS} |z_h - goal|,   z_0 = z,   z_{h+1} = z_h + W_a [z_h, 1]

    The planner repeats an action up to `MAX_REPEATS` times, because one step may be smaller than
    the encoder's uncertainty. It compares actions at their closest point; the agent plans again
    after every step.
    """
    actions = np.arange(len(weights))
    ahead = np.repeat(z[:, None], len(weights), axis=1)  # [B, A, N]
    nearest = np.full(ahead.shape[:2], np.inf)
    for _ in range(MAX_REPEATS):
        ahead = predict(weights, ahead)[:, actions, actions]
        nearest = np.minimum(nearest, distance(ahead, goal[:, None], goal_mask[:, None]))
    best: Actions = nearest.argmin(axis=1)
    return best


def reach(weights: Array, z: Array) -> Array:
    """Return how far the strongest action usually changes each latent, [N]; z: [B, N]."""
    change = np.abs(predict(weights, z) - z[:, None])
    usual: Array = np.median(change, axis=0).max(axis=0)
    return usual
