"""What makes one learner differ from another, apart from its architecture."""

from __future__ import annotations

from dataclasses import dataclass, field

from vase.lifelong.detector import DetectorRule
from vase.lifelong.dream import DreamRule
from vase.lifelong.identify import IdentificationRule
from vase.lifelong.kappa import KappaRule
from vase.objective.capacity import CapacityRule


@dataclass(frozen=True)
class Settings:
    """Everything that makes one learner differ from another, apart from its architecture.

    entangled: a plain VAE objective (beta = 1) in place of controlled capacity. atypical: lambda,
    in nats. averaging: share of the old in the moving average of the weights. The switches `infer`,
    `dreams` and `masks` are the letters S, D and A of the source's ablations. kappa: the published
    rule, asked at every batch in place of detection and identification.
    """

    learning_rate: float = 1e-3
    averaging: float = 0.99
    clip: float = 200.0
    entangled: bool = False
    atypical: float = 0.5
    belief: float = 1.0
    infer: bool = True
    dreams: bool = True
    masks: bool = True
    capacity: CapacityRule = field(default_factory=CapacityRule)
    detector: DetectorRule = field(default_factory=DetectorRule)
    identification: IdentificationRule = field(default_factory=IdentificationRule)
    kappa: KappaRule | None = None
    dream: DreamRule = field(default_factory=DreamRule)

    @property
    def stores(self) -> bool:
        """Whether images are stored: only without inference, and never by VASE itself."""
        return self.dreams and self.dream.stored > 0 and not self.infer
