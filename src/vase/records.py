"""The frozen records that packages exchange.

Data flows one way: a domain renders images and, apart from them, the `GroundTruth` that only
probes may read; the learner turns batches into an `Observation` per step, and an `Event` for every
decision that changes where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

DecisionKind = Literal[
    "same", "deferred", "dismissed", "new", "returned", "reopened", "undetermined", "skipped"
]
EventKind = Literal[
    "new", "returned", "dismissed", "reopened", "undetermined", "skipped", "snapshot"
]


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian q(z|x): `mean` and `log_variance`, both [B, N].

    features: what the encoder read them from, [B, F], if it gives it (`model.classifier`).
    """

    mean: Tensor
    log_variance: Tensor
    features: Tensor | None = None


@dataclass(frozen=True)
class GroundTruth:
    """What only probes may know of a batch: its domain, labels [B] and factors [B] each."""

    domain: str
    labels: NDArray[np.int64]
    factors: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Decision:
    """What a change detector decides about one batch, and why.

    kind: one of

    - "same": nothing has changed; the batch is learnt.
    - "deferred": suspicious; not learnt, and not decided yet.
    - "dismissed": the suspicion was weighed and dropped: it is the present environment after all.
    - "new": a new environment begins.
    - "returned": a known environment is back.
    - "reopened": the present environment was on probation; it begins again on what came after.
    - "undetermined": deferred for so long that it is reported; nothing is learnt.
    - "skipped": the images, the loss or its gradient are not finite; the batch is left out.

    environment: the id of the environment that the decision is for. batches: how many of the latest
    deferred batches, this one included, it rests on. discards: whether the present environment, on
    probation until now, is discarded. provisional: whether the environment is on probation.
    statistic: of the test, after the decision; what it means is the detector's affair. numbers: the
    evidence, in what JSON can hold. correlation_time: of the present environment's frames, in
    frames; 1 where they are independent, or where the detector does not measure it.
    """

    kind: DecisionKind
    environment: int
    reason: str = ""
    batches: int = 1
    discards: bool = False
    provisional: bool = False
    statistic: float = 0.0
    numbers: Mapping[str, Any] = field(default_factory=dict)
    correlation_time: float = 1.0


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
    """What one step did: the decision, the terms of the loss in nats per image, the latents.

    `terms` is empty where no weight was changed: the batch is not taken to be of the present
    environment, or it waits in the working memory for a step that learns from it. `kl_per_latent`
    and `alpha` (atypicality), both in nats, have one entry per latent.
    """

    step: int
    decision: Decision
    terms: Mapping[str, float]
    capacity: float
    kl_per_latent: tuple[float, ...]
    alpha: tuple[float, ...]
    statistic: float
    events: tuple[Event, ...] = ()

    @property
    def learnt(self) -> bool:
        return bool(self.terms)

    def to_json(self) -> dict[str, Any]:
        """One line of `metrics.jsonl`."""
        return {
            "step": self.step,
            "environment": self.decision.environment,
            "learnt": self.learnt,
            **self.terms,
            "capacity": self.capacity,
            "statistic": self.statistic,
            "kl_per_latent": [round(value, 4) for value in self.kl_per_latent],
            "alpha": [round(value, 4) for value in self.alpha],
        }
