"""Planning: which action, done over and over, is expected to come nearest to a goal?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vase.agent.dynamics import Actions, Array, after

Flags = NDArray[np.bool_]

DEPTH = 8  # times that an action is thought of as repeated


def distance(z: Array, goal: Array, wanted: Flags) -> Array:
    """Euclidean distance of latents [..., N] to goals [..., N] in the latents that are wanted."""
    apart: Array = np.linalg.norm(np.where(wanted, z - goal, 0.0), axis=-1)
    return apart


def chosen(weights: Array, z: Array, goal: Array, wanted: Flags) -> Actions:
    """For each of B agents the action [B] that leads nearest to its goal [B, N].

    a* = argmin_a min_{h <= DEPTH} |z_h - goal|,   z_0 = z,   z_{h+1} = z_h + W_a [z_h, 1]

    An action is thought of as done up to `DEPTH` times, since one step may be smaller than what the
    encoder is unsure of. Each is judged where it was nearest; then the agent thinks again.
    """
    actions = np.arange(len(weights))
    ahead = np.repeat(z[:, None], len(weights), axis=1)  # [B, A, N]
    nearest = np.full(ahead.shape[:2], np.inf)
    for _ in range(DEPTH):
        ahead = after(weights, ahead)[:, actions, actions]
        nearest = np.minimum(nearest, distance(ahead, goal[:, None], wanted[:, None]))
    best: Actions = nearest.argmin(axis=1)
    return best


def reach(weights: Array, z: Array) -> Array:
    """How far the strongest action usually changes each latent, [N], of agents at z [B, N]."""
    change = np.abs(after(weights, z) - z[:, None])
    usual: Array = np.median(change, axis=0).max(axis=0)
    return usual
