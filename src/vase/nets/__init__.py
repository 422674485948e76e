"""Networks: weights only. No loss, no optimizer, no decision; `forward` changes no state."""

from vase.nets.architecture import Architecture, Networks, fold_for
from vase.nets.features import RandomFeatures

__all__ = ["Architecture", "Networks", "RandomFeatures", "fold_for"]
