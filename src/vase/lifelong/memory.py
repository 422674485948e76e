"""What is remembered of each environment: numbers, never an image.

An environment's record holds its mask, the moments of every channel of evidence (N latents, then
distortion and rate) as they were when it was last learnt, its capacity, and the latest scores of
its own batches against those moments, which are the null distribution of the detector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.objective.capacity import Capacity
from vase.objective.moments import Moments, follow


@dataclass(frozen=True)
class Environment:
    """The record of one environment.

    mask: [N], True where a latent is used or free, False where it is atypical here.
    moments: of the N + 2 channels of evidence. batches: how many have gone into them.
    scores: the latest null scores, oldest first.
    """

    index: int
    mask: NDArray[np.bool_]
    moments: Moments
    capacity: Capacity
    batches: int = 0
    scores: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "mask": self.mask.tolist(),
            "mean": self.moments.mean.tolist(),
            "variance": self.moments.variance.tolist(),
            "count": self.moments.count,
            "capacity": self.capacity.nats,
            "used": self.capacity.used,
            "batches": self.batches,
            "scores": list(self.scores),
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Environment:
        return Environment(
            index=record["index"],
            mask=np.array(record["mask"], dtype=bool),
            moments=Moments(
                np.array(record["mean"]), np.array(record["variance"]), record["count"]
            ),
            capacity=Capacity(record["capacity"], record["used"]),
            batches=record["batches"],
            scores=tuple(record["scores"]),
        )


@dataclass(frozen=True)
class Memory:
    """All known environments and the index of the one the learner believes to be in."""

    environments: tuple[Environment, ...] = ()
    current: int = -1

    @property
    def here(self) -> Environment:
        return self.environments[self.current]

    @property
    def elsewhere(self) -> tuple[Environment, ...]:
        """Every known environment but the present one."""
        return tuple(known for known in self.environments if known.index != self.current)

    def enter(self, environment: Environment) -> Memory:
        """Add or replace a record and stand in it."""
        others = [known for known in self.environments if known.index != environment.index]
        known = sorted([*others, environment], key=lambda record: record.index)
        return Memory(tuple(known), environment.index)

    def to_json(self) -> dict[str, Any]:
        return {
            "current": self.current,
            "environments": [known.to_json() for known in self.environments],
        }

    @staticmethod
    def from_json(record: dict[str, Any]) -> Memory:
        known = tuple(Environment.from_json(entry) for entry in record["environments"])
        return Memory(known, record["current"])


def remember(
    environment: Environment, batch: Moments, score: float, *, span: int, window: int
) -> Environment:
    """The record after one more batch of its own: moments follow, the score joins the window.

    span: batches over which the moments are averaged, so that they follow the drift of a model
    that is still learning. window: how many null scores are kept.
    """
    return replace(
        environment,
        moments=follow(environment.moments, batch, span * batch.count),
        scores=(*environment.scores, score)[-window:],
        batches=environment.batches + 1,
    )
