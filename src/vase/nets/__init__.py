"""Networks: weights only. No loss, no optimizer, no decision; `forward` changes no state."""

from vase.nets.architecture import Architecture, Networks

__all__ = ["Architecture", "Networks"]
