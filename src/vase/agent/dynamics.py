"""What actions do to latents: a model of the world that is learnt from what was seen.

For each action the change of the latents is an affine function of where they are,

    z' - z ~ W_a [z, 1]

fitted by ridge regression over transitions, of which older ones count less, because the encoder
goes on learning. Affine is enough for a position, whose change is nearly the same everywhere, and
for a colour, which goes round a circle: a rotation is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.int64]

RIDGE = 1.0  # in transitions: what W = 0 is believed in beforehand
FORGETTING = 0.99  # of what was experienced, kept from one step to the next


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
        """W, [A, N + 1, N]: ridge regression of the change on where the latents are."""
        return _ridge(self.gram, self.cross)

    @property
    def transitions(self) -> float:
        """How many there were, older ones counting less."""
        return float(self.gram[:, -1, -1].sum())


def inexperienced(actions: int, latents: int) -> Dynamics:
    """What is known before anything was tried."""
    return Dynamics(
        np.zeros((actions, latents + 1, latents + 1)),
        np.zeros((actions, latents + 1, latents)),
        np.zeros(latents),
    )


def experienced(known: Dynamics, before: Array, action: Actions, after: Array) -> Dynamics:
    """What is known after B more transitions: latents [B, N], actions [B], latents [B, N]."""
    one_hot = np.eye(len(known.gram))[action]
    inputs = np.concatenate([before, np.ones((len(before), 1))], axis=1)
    change = after - before
    return Dynamics(
        gram=FORGETTING * known.gram + np.einsum("ba,bi,bj->aij", one_hot, inputs, inputs),
        cross=FORGETTING * known.cross + np.einsum("ba,bi,bn->ain", one_hot, inputs, change),
        squares=FORGETTING * known.squares + np.square(change).sum(0),
    )


def _ridge(gram: Array, cross: Array) -> Array:
    prior = RIDGE * np.eye(gram.shape[-1])
    return np.linalg.solve(gram + prior, cross).astype(np.float64, copy=False)


def after(weights: Array, z: Array) -> Array:
    """Where every action is expected to lead from latents [..., N]: [..., A, N]."""
    inputs = np.concatenate([z, np.ones((*z.shape[:-1], 1))], axis=-1)
    expected: Array = z[..., None, :] + np.einsum("...i,ain->...an", inputs, weights)
    return expected


def obedience(known: Dynamics) -> Array:
    """The share of each latent's changes that the choice of the action accounts for, [N].

    Of what one regression W_0 for all actions leaves, what a regression W_a for each explains:

        1 - ( S - sum_a E_a ) / ( S - E_0 ) * ( T - K ) / ( T - A K ),   E = (W^T G W)_nn

    with S the sum of squared changes, G the gram matrix of [z, 1], T transitions and K = N + 1
    coefficients: an adjusted R^2. About 0 of a latent that does as it likes, also of one that
    returns to where it was by itself; 1 of one that does as it is told; 0 before T > A K.
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
    """(W^T G W)_nn, summed over regressions, [N]."""
    explained: Array = np.einsum("ain,aij,ajn->n", weights, gram, weights)
    return explained
