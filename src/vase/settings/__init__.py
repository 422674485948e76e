"""All settings, each defined once: what the configuration reads and what the code uses.

A class is a section of the configuration (`vase.config`) and a table of `docs/settings.md`, which
is generated from the descriptions here. They give units: nats, steps, batches, images, pixels.
"""

from vase.settings.learner import (
    OVERSHOOT,
    REMOVED,
    DetectionSettings,
    Distance,
    Fill,
    LearnerSettings,
    MaskSettings,
    MemorySettings,
    ObjectiveSettings,
    OptimizerSettings,
    Precision,
    ReplaySettings,
    Source,
)
from vase.settings.run import (
    IMAGE_SETTINGS,
    DomainSettings,
    ModelSettings,
    ProbeSettings,
    StreamSettings,
    TrainingSettings,
)
from vase.settings.section import (
    RunLength,
    Section,
    Share,
    run_length_frames,
)

__all__ = [
    "IMAGE_SETTINGS",
    "OVERSHOOT",
    "REMOVED",
    "DetectionSettings",
    "Distance",
    "DomainSettings",
    "Fill",
    "LearnerSettings",
    "MaskSettings",
    "MemorySettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimizerSettings",
    "Precision",
    "ProbeSettings",
    "ReplaySettings",
    "RunLength",
    "Section",
    "Share",
    "Source",
    "StreamSettings",
    "TrainingSettings",
    "run_length_frames",
]
