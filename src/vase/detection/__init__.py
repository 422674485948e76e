"""Change detection: one object decides, batch by batch, where the stream is."""

from collections.abc import Callable

from vase import registry
from vase.detection.baselines import OracleDetector, SingleEnvironmentDetector
from vase.detection.block_detector import BlockDetector
from vase.detection.features import RandomFeatures, random_features
from vase.detection.protocol import ChangeDetector, ModelView
from vase.detection.published import AtypicalityDetector, KappaDetector, PublishedDetector
from vase.errors import ConfigError
from vase.settings import REMOVED, DetectionSettings

DetectorClass = Callable[[DetectionSettings, ModelView], ChangeDetector]

DETECTORS: dict[str, DetectorClass] = {
    "blocks": BlockDetector,
    "published": PublishedDetector,
    "kappa": KappaDetector,
    "atypicality": AtypicalityDetector,
    "oracle": OracleDetector,
    "none": SingleEnvironmentDetector,
}


def detector_class(rule: str) -> DetectorClass:
    """Return the change detector that `detection.rule` names."""
    if rule in REMOVED:
        raise ConfigError(f"detection.rule: {REMOVED[rule]}.")
    methods = registry.lacks_methods("update", "state_dict", "load_state_dict")
    return registry.resolve(rule, DETECTORS, "change detector", methods)


__all__ = [
    "DETECTORS",
    "AtypicalityDetector",
    "BlockDetector",
    "ChangeDetector",
    "DetectionSettings",
    "DetectorClass",
    "KappaDetector",
    "ModelView",
    "OracleDetector",
    "PublishedDetector",
    "RandomFeatures",
    "SingleEnvironmentDetector",
    "detector_class",
    "random_features",
]
