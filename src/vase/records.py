"""The frozen records that pass between rooms.

Data flows one way: a world renders a `Batch` and, apart from it, the `Truth` that only probes may
read; the learner turns batches into an `Observation` per step and an `Event` when its belief about
where it is changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EventKind = Literal["new", "back", "kept", "revised", "adrift", "skipped", "snapshot"]
VerdictKind = Literal["same", "held", "skipped", "new", "back", "kept", "revised"]


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian q(z|x): `mean` and `log_variance`, both [B, N]."""

    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class Truth:
    """What only probes may know of a batch: its environment, identities [B] and factors [B]."""

    environment: str
    identity: NDArray[np.int64]
    factors: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Verdict:
    """Where the learner believes it is, and why.

    `kind` is "same" (nothing to report), "held" (suspicious: not learnt, not yet decided),
    "skipped" (no numbers: left out), "new",
    "back" (a known environment has returned), "kept" (a suspicion that was weighed and dropped) or
    "revised" (a new environment that was opened too early is founded anew on what came after).
    """

    kind: VerdictKind
    environment: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """One line of `events.jsonl`: what happened at which step, and the evidence for it."""

    step: int
    kind: EventKind
    environment: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Observation:
    """What one step did: the verdict, the terms of the loss in nats per image, the latents' state.

    `terms` is empty for a batch that was not learnt. `kl_per_latent` and `alpha` (atypicality),
    both in nats, have one entry per latent.
    """

    step: int
    verdict: Verdict
    terms: Mapping[str, float]
    capacity: float
    kl_per_latent: tuple[float, ...]
    alpha: tuple[float, ...]
    suspicion: float
    events: tuple[Event, ...] = ()

    @property
    def learnt(self) -> bool:
        return bool(self.terms)

    def to_json(self) -> dict[str, Any]:
        """One line of `metrics.jsonl`."""
        return {
            "step": self.step,
            "environment": self.verdict.environment,
            "learnt": self.learnt,
            **self.terms,
            "capacity": self.capacity,
            "suspicion": self.suspicion,
            "kl_per_latent": [round(value, 4) for value in self.kl_per_latent],
            "alpha": [round(value, 4) for value in self.alpha],
        }
