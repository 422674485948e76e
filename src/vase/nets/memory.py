"""How much memory a model takes, reckoned without taking any: on the "meta" device."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vase.isolation import private_weights
from vase.nets.architecture import DECODERS, ENCODERS, Architecture, Networks

# Weights, their gradients, Adam's two moments, the moving average, the snapshot, and what is kept
# for a roll-back: the average and two moments again.
COPIES = 9


def training_bytes(architecture: Architecture, images: int) -> float:
    """Bytes that a step of training takes at least: infinite where no number can tell.

    images: of a batch, replayed ones included. Counted are the copies of the weights, and what
    autograd keeps of one pass through encoder and decoder. Networks of the user's own are not
    reckoned, and count for 0.
    """
    if architecture.encoder not in ENCODERS or architecture.decoder not in DECODERS:
        return 0.0
    classes = ENCODERS[architecture.encoder], DECODERS[architecture.decoder]
    return _reckoned(architecture.model_dump_json(), images, *classes)


@lru_cache(maxsize=64)  # asked for every model that is made or loaded
def _reckoned(architecture: str, images: int, *_classes: object) -> float:
    """Return `training_bytes` for an architecture as JSON. It has built-in networks only."""
    shape, kept = Architecture(**json.loads(architecture)), 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    try:
        with private_weights(None, "meta"):
            networks = Networks(shape)
            batch = torch.zeros(images, *shape.image)
        weights = sum(each.numel() * each.element_size() for each in networks.parameters())
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, _same):
            posterior = networks.encoder(batch)
            environment = torch.zeros(images, dtype=torch.long, device="meta")
            networks.decoder(posterior.mean, environment)
    except (RuntimeError, OverflowError, TypeError):  # numbers that even "meta" cannot hold
        return float("inf")
    return float(COPIES * weights + kept)


def _same(tensor: Any) -> Any:
    return tensor
