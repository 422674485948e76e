"""Networks: weights only. No loss, no optimizer, no decision; `forward` changes no state."""

from vase.nets.architecture import BUILT_IN, Architecture, Networks, fold_for, register
from vase.nets.features import RandomFeatures, random_features

__all__ = [
    "BUILT_IN",
    "Architecture",
    "Networks",
    "RandomFeatures",
    "fold_for",
    "random_features",
    "register",
]
