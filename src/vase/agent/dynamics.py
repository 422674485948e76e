"""What actions do to latents: a model of the world that is learnt from what was seen.

For each action the change of the latents is an affine function of where they are,

    z' - z ~ W_a [z, 1]

fitted by ridge regression over transitions, of which older ones count less, because the encoder
goes on learning. Affine is enough for a position, whose change is nearly the same everywhere, and
for a colour, which goes round a circle: a rotation is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def effects(known: Dynamics) -> Array:
    """W, [A, N + 1, N]: ridge regression of the change on where the latents are."""
    prior = RIDGE * np.eye(known.gram.shape[1])
    return np.linalg.solve(known.gram + prior, known.cross).astype(np.float64)


def after(weights: Array, z: Array) -> Array:
    """Where every action is expected to lead from latents [..., N]: [..., A, N]."""
    inputs = np.concatenate([z, np.ones((*z.shape[:-1], 1))], axis=-1)
    expected: Array = z[..., None, :] + np.einsum("...i,ain->...an", inputs, weights)
    return expected


def obedience(known: Dynamics) -> Array:
    """The share of each latent's changes that the actions account for, [N], in [0, 1].

    sum_a (W_a^T G_a W_a)_nn / sum (z' - z)_n^2

    with G_a the gram matrix of [z, 1]: near 0 of a latent that does as it likes, and of one that
    never changes; 1 of one that does as it is told.
    """
    weights = effects(known)
    explained = np.einsum("ain,aij,ajn->n", weights, known.gram, weights)
    share: Array = explained / np.maximum(known.squares, 1e-9)
    return share
