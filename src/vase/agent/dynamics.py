"""Learned dynamics: how actions change latents, as an affine model per action.

For each action the change of the latents is an affine function of the latents,

    z' - z ~ W_a [z, 1]

fitted by ridge regression over transitions with exponential decay, because the encoder keeps
learning. An affine model is enough for a position, whose change is nearly the same everywhere, and
for a hue, which moves around a circle: a rotation is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.int64]

RIDGE = 1.0  # weight of the prior W = 0, in transitions
DECAY = 0.99  # of the weight of past transitions, per step


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Decayed sums over transitions of A actions and N latents.

    gram: of [z, 1], [A, N + 1, N + 1]. cross: of [z, 1] and z' - z, [A, N + 1, N]. squares: of
    z' - z, [N].
    """

    gram: Array
    cross: Array
    squares: Array

    @cached_property
    def effects(self) -> Array:
        """W, [A, N + 1, N]: ridge regression of the change on the latents."""
        return _ridge(self.gram, self.cross)

    @property
    def transitions(self) -> float:
        """The number of transitions; older ones count less."""
        return float(self.gram[:, -1, -1].sum())


def no_dynamics(actions: int, latents: int) -> Dynamics:
    """Return the dynamics before any transition."""
    return Dynamics(
        np.zeros((actions, latents + 1, latents + 1)),
        np.zeros((actions, latents + 1, latents)),
        np.zeros(latents),
    )


def updated(known: Dynamics, before: Array, action: Actions, after: Array) -> Dynamics:
    """Return the dynamics after B more transitions: latents [B, N], actions [B], latents [B, N]."""
    one_hot = np.eye(len(known.gram))[action]
    inputs = np.concatenate([before, np.ones((len(before), 1))], axis=1)
    change = after - before
    return Dynamics(
        gram=DECAY * known.gram + np.einsum("ba,bi,bj->aij", one_hot, inputs, inputs),
        cross=DECAY * known.cross + np.einsum("ba,bi,bn->ain", one_hot, inputs, change),
        squares=DECAY * known.squares + np.square(change).sum(0),
    )


def _ridge(gram: Array, cross: Array) -> Array:
    prior = RIDGE * np.eye(gram.shape[-1])
    return np.linalg.solve(gram + prior, cross).astype(np.float64, copy=False)


def predict(weights: Array, z: Array) -> Array:
    """Return the latents [..., A, N] to which every action is expected to lead from z [..., N]."""
    inputs = np.concatenate([z, np.ones((*z.shape[:-1], 1))], axis=-1)
    expected: Array = z[..., None, :] + np.einsum("...i,ain->...an", inputs, weights)
    return expected


def controllability(known: Dynamics) -> Array:
    """Return the share of each latent's changes that the choice of action explains, [N].

    Of the residual of one regression W_0 for all actions, what a regression W_a per action
    explains:

        1 - ( S - sum_a E_a ) / ( S - E_0 ) * ( T - K ) / ( T - A K ),   E = (W^T G W)_nn

    S: sum of squared changes; G: gram matrix of [z, 1]; T: transitions; K = N + 1 coefficients.
    This is an adjusted R^2. It is about 0 for a latent that is not controllable, even if it returns
    to its value by itself; 1 for a latent that actions determine; and 0 before T > A K.
    """
    total, size = known.transitions, known.gram.shape[-1]
    if total <= size * len(known.gram):
        return np.zeros(size - 1)
    gram, cross = known.gram.sum(0)[None], known.cross.sum(0)[None]
    left = known.squares - _explained(gram, _ridge(gram, cross))
    more = known.squares - _explained(known.gram, known.effects)
    freedom = (total - size) / (total - size * len(known.gram))
    share: Array = np.where(left > 1e-9, 1 - freedom * more / np.maximum(left, 1e-9), 0.0)
    return share


def _explained(gram: Array, weights: Array) -> Array:
    """Return (W^T G W)_nn, summed over regressions, [N]."""
    explained: Array = np.einsum("ain,aij,ajn->n", weights, gram, weights)
    return explained
