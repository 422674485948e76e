"""The trajectory of an exploration: positions of the agents, coverage, and goal statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.agent.explore import AgentStep, Factors
from vase.agent.goal_selection import GoalAttempt
from vase.agent.zero_shot import ZeroShotEvaluator
from vase.probes.evaluate import POSITION, Axes

GRID_SIZE = 12  # cells per side of the coverage grid

Positions = NDArray[np.float64]


@dataclass
class Trajectory:
    """Positions in [0, 1] of B agents before and after every step, [T, B, 2] each.

    axes: the two factors that are a position.
    """

    axes: Axes = POSITION
    before: list[Positions] = field(default_factory=list)
    after: list[Positions] = field(default_factory=list)

    def add(self, step: AgentStep) -> None:
        """Add one step; skip it if the environment does not report positions."""
        before, after = (_positions(truth, self.axes) for truth in (step.before, step.after))
        if before is not None and after is not None:
            self.before.append(before)
            self.after.append(after)


def coverage(positions: Sequence[Positions]) -> dict[str, Any] | None:
    """Return the share of grid cells visited by each step, and the visits per cell.

    The grid has `GRID_SIZE` cells per side. map: visits, rows from top to bottom. None for an
    environment without positions.
    """
    if not len(positions):
        return None
    cell = np.minimum((np.stack(positions) * GRID_SIZE).astype(int), GRID_SIZE - 1)
    index = cell[..., 1] * GRID_SIZE + cell[..., 0]  # [T, B]
    first = np.full(GRID_SIZE**2, len(index))
    np.minimum.at(first, index, np.arange(len(index))[:, None])
    share = np.searchsorted(np.sort(first), np.arange(len(index)), side="right") / GRID_SIZE**2
    visits = np.bincount(index.ravel(), minlength=GRID_SIZE**2)
    return {"share": share.tolist(), "map": visits.reshape(GRID_SIZE, GRID_SIZE).tolist()}


def goal_statistics(
    attempts: Sequence[GoalAttempt],
    trajectory: Trajectory,
    evaluator: ZeroShotEvaluator | None,
    step_fraction: float,
) -> list[dict[str, Any]]:
    """Return statistics of the goals, one record per imagined latent.

    step_fraction: how far one action moves the object, as a share of the range of travel. For
    latents that encode a coordinate, the minimum number of steps is the distance from the true
    position to the position that the readout of `evaluator` predicts from the goal. The error is
    the distance from that position to the true position at which the agent stopped.
    """
    found = []
    for latent in sorted({each.latent for each in attempts}):
        own = [each for each in attempts if each.latent == latent]
        reached = np.array([each.reached for each in own])
        taken = np.array([each.end - each.start for each in own])
        record: dict[str, Any] = {
            "latent": latent,
            "goals": len(own),
            "reached": float(reached.mean()),
            "steps": float(taken.mean()),
        }
        if evaluator is not None and latent in evaluator.coordinates and trajectory.after:
            axis = evaluator.coordinates[latent]
            wanted = evaluator.positions(np.stack([each.goal for each in own]))[:, axis]
            start = np.array([trajectory.before[each.start][each.agent, axis] for each in own])
            end = np.array([trajectory.after[each.end - 1][each.agent, axis] for each in own])
            fewest = np.maximum(np.round(np.abs(wanted - start) / step_fraction), 1)
            record |= {
                "coordinate": trajectory.axes[axis],
                "fewest": float(fewest.mean()),
                "reached_in_twice": float((reached & (taken <= 2 * fewest)).mean()),
                "error": float(np.median(np.abs(wanted - end)[reached])) if reached.any() else None,
            }
        found.append(record)
    return found


def _positions(truth: Factors, axes: Axes) -> Positions | None:
    """Return two factors, [B, 2]; None if they are not reported, or not in [0, 1]."""
    if not set(axes) <= set(truth):
        return None
    found: Positions = np.stack([truth[name] for name in axes], axis=1).astype(np.float64)
    return found if ((found >= 0) & (found <= 1)).all() else None
