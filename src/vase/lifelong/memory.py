"""What is remembered of each environment: numbers, never an image.

An environment's record holds the signature by which it is known again, and the latest scores of its
own batches against it, which are the null distribution of the detector; its mask, its capacity,
what each latent carried, and the moments of N latents, distortion and rate as they were when it was
last learnt, from which it is dreamed of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.lifelong.detector import Suspicion
from vase.objective import signature as signatures
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments, follow
from vase.objective.signature import Signature

BLANK = Signature(torch.zeros(0), torch.zeros(0, 0), 0.0)
SPAN = 20  # batches over which the moments of latents are averaged
USED = 0.5  # nats; a price under 1 leaves a spare latent with one or two tenths of a nat


@dataclass(frozen=True)
class Environment:
    """The record of one environment.

    mask: [N], True where a latent is used or free, False where it is atypical here.
    moments: of the N latents, distortion and rate. batches: how many have been learnt here.
    kl: [N] mean nats per image, [1] before anything is learnt. foreign: whether the encoder did not
    know what it saw when this was new, so that its means are where it came to put them.
    signature: of its images' features. scores: the latest null scores, oldest first.
    """

    index: int
    mask: NDArray[np.bool_]
    moments: Moments
    capacity: Capacity
    batches: int = 0
    scores: tuple[float, ...] = ()
    signature: Signature = BLANK
    kl: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    foreign: bool = False

    @property
    def used(self) -> NDArray[np.bool_]:
        """[N], True where a latent carries `USED` nats or more here."""
        used: NDArray[np.bool_] = self.mask & (self.kl >= USED)
        return used

    def to_json(self) -> dict[str, Any]:
        """Everything but the signature, which is kept as tensors."""
        return {
            "index": self.index,
            "mask": self.mask.tolist(),
            "mean": self.moments.mean.tolist(),
            "variance": self.moments.variance.tolist(),
            "count": self.moments.count,
            "kl": self.kl.tolist(),
            "foreign": self.foreign,
            "capacity": self.capacity.nats,
            "used": self.capacity.used,
            "batches": self.batches,
            "scores": list(self.scores),
            "images": self.signature.count,
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
            signature=replace(BLANK, count=record["images"]),
            kl=np.array(record["kl"]),
            foreign=record["foreign"],
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

    def carried(self, apart: int) -> NDArray[np.float64]:
        """[N], the most nats per image that a latent in use carries anywhere but in `apart`."""
        known = [each for each in self.environments if each.index != apart]
        most: NDArray[np.float64] = np.max(
            [np.where(each.used, each.kl, 0.0) for each in known], axis=0
        )
        return most

    def without(self, index: int, current: int) -> Memory:
        """Forget the newest record, and stand in another."""
        kept = tuple(known for known in self.environments if known.index != index)
        return Memory(kept, current)

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


def remember(environment: Environment, seen: Moments, kl: Sequence[float]) -> Environment:
    """The record after one more batch was learnt: moments and KL follow the weights that learn."""
    batches = environment.batches + 1
    return replace(
        environment,
        moments=follow(environment.moments, seen, SPAN * seen.count),
        kl=environment.kl + (np.array(kl) - environment.kl) / min(batches, SPAN),
        batches=batches,
    )


def released(environment: Environment, before: Suspicion, window: int) -> Environment:
    """The record once what was held has turned out to be noise: its scores are null scores.

    Not those of a wait that had already raised the alarm: they were of something else, and so many
    that they would hide the next change.
    """
    if before.alarm:
        return environment
    return replace(environment, scores=(*environment.scores, *before.held)[-window:])


def recognise(
    environment: Environment, features: Tensor, score: float, *, span: float, window: int
) -> Environment:
    """The record after one more batch of its own: the signature follows, the score is kept.

    features: [B, F]. span: images over which the signature is averaged. window: null scores kept.
    While an environment is young only the newer three quarters of them are: against a signature of
    few images every batch fits badly, and such scores would hide a change.
    """
    kept = min(window, 1 + 3 * environment.batches // 4)
    return replace(
        environment,
        signature=signatures.follow(environment.signature, features, span),
        scores=(*environment.scores, score)[-kept:],
    )


def latest(batches: tuple[Tensor, ...], most: int, least: int = 1) -> tuple[Tensor, ...]:
    """The newest batches that together hold at most `most` images, but at least `least` batches."""
    kept: list[Tensor] = []
    total = 0
    for batch in reversed(batches):
        total += len(batch)
        if len(kept) >= least and total > most:
            break
        kept.append(batch)
    return tuple(reversed(kept))
