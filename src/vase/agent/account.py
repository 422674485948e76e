"""The account of an exploration: where the agents were, and what became of their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.agent.explore import Moment, Truths
from vase.agent.judge import Judge
from vase.agent.seekers import Attempt
from vase.probes.survey import POSITION, Axes

CELLS = 12  # a side: the grid on which places are counted

Trail = NDArray[np.float64]


@dataclass
class Account:
    """Positions in [0, 1] of B agents at every step, before and after it, [T, B, 2] each.

    axes: the two factors that are a position.
    """

    axes: Axes = POSITION
    before: list[Trail] = field(default_factory=list)
    after: list[Trail] = field(default_factory=list)

    def add(self, moment: Moment) -> None:
        """Write down one step; nothing where the environment does not tell positions."""
        before, after = (_positions(truth, self.axes) for truth in (moment.before, moment.after))
        if before is not None and after is not None:
            self.before.append(before)
            self.after.append(after)


def coverage(trail: Sequence[Trail]) -> dict[str, Any] | None:
    """How many cells of a grid of `CELLS` a side have been seen: their share by step, and a map.

    map: visits to each cell, the rows from top to bottom. None of an environment without positions.
    """
    if not len(trail):
        return None
    cell = np.minimum((np.stack(trail) * CELLS).astype(int), CELLS - 1)
    index = cell[..., 1] * CELLS + cell[..., 0]  # [T, B]
    first = np.full(CELLS**2, len(index))
    np.minimum.at(first, index, np.arange(len(index))[:, None])
    share = np.searchsorted(np.sort(first), np.arange(len(index)), side="right") / CELLS**2
    visits = np.bincount(index.ravel(), minlength=CELLS**2)
    return {"share": share.tolist(), "map": visits.reshape(CELLS, CELLS).tolist()}


def goals(
    attempts: Sequence[Attempt], account: Account, judge: Judge | None, stride: float
) -> list[dict[str, Any]]:
    """What became of the goals, by the latent that was imagined.

    stride: how far one action moves a thing, in [0, 1] over the range of travel. Of latents that
    stand for a coordinate, the fewest steps that a goal takes are counted from the true position to
    where the readout of `judge` puts the goal. The error is between that and where the thing truly
    was when the agent thought that it had arrived.
    """
    found = []
    for latent in sorted({each.latent for each in attempts}):
        own = [each for each in attempts if each.latent == latent]
        reached = np.array([each.reached for each in own])
        taken = np.array([each.ended - each.began for each in own])
        record: dict[str, Any] = {
            "latent": latent,
            "goals": len(own),
            "reached": float(reached.mean()),
            "steps": float(taken.mean()),
        }
        if judge is not None and latent in judge.coordinates and account.after:
            axis = judge.coordinates[latent]
            wanted = judge.positions(np.stack([each.goal for each in own]))[:, axis]
            start = np.array([account.before[each.began][each.agent, axis] for each in own])
            end = np.array([account.after[each.ended - 1][each.agent, axis] for each in own])
            fewest = np.maximum(np.round(np.abs(wanted - start) / stride), 1)
            record |= {
                "coordinate": account.axes[axis],
                "fewest": float(fewest.mean()),
                "reached_in_twice": float((reached & (taken <= 2 * fewest)).mean()),
                "error": float(np.median(np.abs(wanted - end)[reached])) if reached.any() else None,
            }
        found.append(record)
    return found


def _positions(truth: Truths, axes: Axes) -> Trail | None:
    """Two factors, [B, 2]; None where they are not told, or are no share of a range."""
    if not set(axes) <= set(truth):
        return None
    found: Trail = np.stack([truth[name] for name in axes], axis=1).astype(np.float64)
    return found if ((found >= 0) & (found <= 1)).all() else None
