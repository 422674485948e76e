"""What is kept of each environment: numbers, never an image.

An environment's record holds its mask, its capacity, what each latent carried, and the moments of
the N latents, the distortion and the rate as they were when it was last learnt: its replayed images
are drawn from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.objective.capacity import Capacity
from vase.objective.moments import Moments, update_moments

SPAN = 20  # batches over which the moments of latents are averaged
USED = 0.5  # nats; a beta under 1 leaves a spare latent with one or two tenths of a nat


@dataclass(frozen=True)
class Environment:
    """The record of one environment.

    index: its id. mask: [N], True where a latent is used or free, False where it is atypical here.
    moments: of the N latents, distortion and rate. batches: how many have been learnt here.
    kl: [N] mean nats per image, [1] before anything is learnt. out_of_distribution: whether its
    images were so far from what the encoder knew that its means are arbitrary.
    """

    index: int
    mask: NDArray[np.bool_]
    moments: Moments
    capacity: Capacity
    batches: int = 0
    kl: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    out_of_distribution: bool = False

    @property
    def used(self) -> NDArray[np.bool_]:
        """[N], True where a latent carries `USED` nats or more here."""
        used: NDArray[np.bool_] = self.mask & (self.kl >= USED)
        return used

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "mask": self.mask.tolist(),
            "mean": self.moments.mean.tolist(),
            "variance": self.moments.variance.tolist(),
            "count": self.moments.count,
            "kl": self.kl.tolist(),
            "out_of_distribution": self.out_of_distribution,
            "capacity": self.capacity.nats,
            "used": self.capacity.used,
            "batches": self.batches,
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Environment:
        """The record of what JSON held; a `ValueError` if it can be none."""
        mean, variance = (np.array(record[key], dtype=float) for key in ("mean", "variance"))
        if record["count"] < 0 or (variance < 0).any():  # `Moments` would raise it to the least
            raise ValueError(f"environment {record['index']}: a count or a variance is negative")
        known = Environment(
            index=record["index"],
            mask=np.array(record["mask"], dtype=bool),
            moments=Moments(mean, variance, record["count"]),
            capacity=Capacity(record["capacity"], record["used"]),
            batches=record["batches"],
            kl=np.array(record["kl"], dtype=float),
            out_of_distribution=bool(record["out_of_distribution"]),
        )
        _refuse_impossible(known)
        return known


def _refuse_impossible(known: Environment) -> None:
    """Raise a `ValueError` for numbers, lengths and signs that no environment has."""
    moments, capacity, latents = known.moments, known.capacity, known.mask.size
    whole = [known.index, known.batches]
    numbers = [moments.count, capacity.nats, capacity.used, *known.kl.flat]
    numbers += [*moments.mean.flat, *moments.variance.flat]
    if any(type(each) is not int or each < 0 for each in whole):
        raise ValueError(f"environment {known.index!r} after {known.batches!r} batches")
    shapes = {moments.mean.shape, moments.variance.shape}
    if (
        known.mask.ndim != 1
        or shapes != {(latents + 2,)}
        or known.kl.shape
        not in (
            (1,),
            (latents,),
        )
    ):
        raise ValueError(f"environment {known.index}: its lists differ in length")
    if not np.isfinite(np.array(numbers, dtype=float)).all():
        raise ValueError(f"environment {known.index}: a number is not finite")


@dataclass(frozen=True)
class Environments:
    """The records of all known environments by id, and the id of the present one."""

    records: Mapping[int, Environment] = field(default_factory=dict)
    current: int = -1

    @staticmethod
    def of(records: Sequence[Environment], current: int) -> Environments:
        """Environments with these records, in the order of their ids."""
        by_id = {record.index: record for record in records}
        return Environments(dict(sorted(by_id.items())), current)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Environment]:
        return iter(self.records.values())

    def __getitem__(self, index: int) -> Environment:
        return self.records[index]

    def __contains__(self, index: object) -> bool:
        return index in self.records

    @property
    def present(self) -> Environment:
        return self.records[self.current]

    @property
    def absent(self) -> tuple[Environment, ...]:
        """Every known environment but the present one."""
        return tuple(known for known in self if known.index != self.current)

    def most_kl(self, apart: int) -> NDArray[np.float64]:
        """[N], the most nats per image that a latent in use carries anywhere but in `apart`."""
        known = [each for each in self if each.index != apart]
        most: NDArray[np.float64] = np.max(
            [np.where(each.used, each.kl, 0.0) for each in known], axis=0
        )
        return most

    def enter(self, record: Environment) -> Environments:
        """Return them with this record added or replaced, and its environment the present one."""
        return Environments.of([*self, record], record.index)

    def without(self, index: int, current: int) -> Environments:
        """Return them without one record, and with another environment the present one."""
        return Environments.of([known for known in self if known.index != index], current)

    def to_json(self) -> dict[str, Any]:
        return {"current": self.current, "records": [known.to_json() for known in self]}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Environments:
        """The environments of what JSON held; a `ValueError` if they can be none."""
        known = [Environment.from_json(entry) for entry in record["records"]]
        ids, current = [each.index for each in known], record["current"]
        if sorted(ids) != list(range(len(ids))):
            raise ValueError(f"environments are numbered {ids}")
        if current not in (ids or [-1]) or type(current) is not int:
            raise ValueError(f"the present environment is {current!r} of {len(ids)}")
        if len({each.mask.size for each in known}) > 1:
            raise ValueError("environments differ in their number of latents")
        return Environments.of(known, current)


def updated(record: Environment, seen: Moments, kl: Sequence[float]) -> Environment:
    """Return the record after one more learnt batch.

    seen: the moments of the batch. kl: mean nats per image of each latent, [N].
    """
    batches = record.batches + 1
    return replace(
        record,
        moments=update_moments(record.moments, seen, SPAN * seen.count),
        kl=record.kl + (np.array(kl) - record.kl) / min(batches, SPAN),
        batches=batches,
    )
