"""Networks: weights only. No loss, no optimizer, no decision; `forward` changes no state."""

from vase.nets.architecture import (
    DECODERS,
    ENCODERS,
    Architecture,
    Networks,
    space_to_depth_for,
)
from vase.settings import ModelSettings

__all__ = [
    "DECODERS",
    "ENCODERS",
    "Architecture",
    "ModelSettings",
    "Networks",
    "space_to_depth_for",
]
