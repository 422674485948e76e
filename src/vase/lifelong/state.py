"""A learner's whole state as tensors and JSON, and back: what a checkpoint holds.

Nothing else is needed to go on bit for bit: noise and replayed images are a function of
(seed, step), and the state of the stream is its position, which is the step. The one exception is
the working memory, whose frames are never saved: where it is used, a learner that goes on fills it
anew from the stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vase.errors import CheckpointError
from vase.isolation import private_weights
from vase.lifelong.environments import Environments
from vase.lifelong.learner import Learner
from vase.lifelong.weights import OptimizerState, frozen, optimizer_state, restore_optimizer
from vase.nets import DECODERS, ENCODERS, Architecture, Networks
from vase.settings import REMOVED

Tensors = dict[str, Tensor]

TENSOR = "tensor"  # the key under which JSON names a tensor


def state(learner: Learner) -> tuple[Tensors, dict[str, Any]]:
    """Return a learner's state as tensors by name, and as numbers that JSON can hold."""
    tensors = {
        **_prefixed("networks", learner.networks),
        **_prefixed("average", learner.average),
        **(_prefixed("snapshot", learner.snapshot) if learner.snapshot else {}),
        **_flat("optimizer", optimizer_state(learner.optimizer, learner.networks)),
        **_flat("rollback", learner.rollback_optimizer or {}),
        **{f"deferred.{k}": images for k, images in enumerate(learner.deferred)},
        **({"reservoir.images": learner.reservoir.images} if learner.reservoir else {}),
    }
    record = {
        "step": learner.step,
        "skipped": learner.skipped,
        "seed": learner.seed,
        "architecture": learner.architecture.model_dump(mode="json"),
        "environments": learner.environments.to_json(),
        "stored": learner.reservoir.seen if learner.reservoir else 0,
        "detector_class": class_name(learner.detector),
        "detector": without_tensors(learner.detector.state_dict(), "detector", tensors),
    }
    return tensors, record


def restore(learner: Learner, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Put a learner of the same architecture into a saved state."""
    saved, own = Architecture(**record["architecture"]), learner.architecture
    if record["detector_class"] in REMOVED:
        reason = REMOVED[record["detector_class"]]
        raise CheckpointError(f"The checkpoint cannot be used: {reason}.")
    if record["detector_class"] != class_name(learner.detector):
        raise CheckpointError(
            f"The checkpoint is of a model with the change detector {record['detector_class']}, "
            f"this one has {class_name(learner.detector)}: set detection.rule as it was."
        )
    rows = max(saved.environments, own.environments)
    if saved.environments < own.environments or saved != own.model_copy(
        update={"environments": rows}
    ):
        raise CheckpointError(
            f"The checkpoint is of a model shaped {saved.model_dump()}, "
            f"this one is {own.model_dump()}."
        )
    if rows > own.environments:
        learner.grow(rows)
    _load(learner.networks, "networks", tensors)
    _load(learner.average, "average", tensors)
    learner.snapshot = None
    if any(name.startswith("snapshot.") for name in tensors):
        learner.snapshot = frozen(learner.average)
        _load(learner.snapshot, "snapshot", tensors)
    restore_optimizer(learner.optimizer, learner.networks, _by_parameter("optimizer", tensors))
    device = learner.device
    moments = _by_parameter("rollback", tensors)
    learner.rollback_optimizer = {
        name: {key: value.to(device) for key, value in slots.items()}
        for name, slots in moments.items()
    } or None
    learner.deferred = tuple(_sequence("deferred", tensors, device))
    learner.memory = learner.memory.emptied()
    learner.environments = Environments.from_json(record["environments"])
    learner.detector.load_state_dict(with_tensors(record["detector"], tensors))
    if learner.reservoir is not None and record["stored"]:
        learner.reservoir.seen = record["stored"]
        learner.reservoir.images = tensors["reservoir.images"].to(device, copy=True)
    learner.step, learner.seed = record["step"], record["seed"]
    learner.skipped = record["skipped"]


def averaged_weights(learner: Learner) -> Tensors:
    """Return what a probe needs: the averaged networks alone."""
    return _prefixed("average", learner.average)


def averaged_networks(tensors: Mapping[str, Tensor], architecture: Architecture) -> Networks:
    """Return the averaged networks among saved tensors, never to be trained."""
    rows = len(tensors.get("average.decoder.environment.weight", ())) or architecture.environments
    architecture = architecture.model_copy(update={"environments": rows})
    refuse_unfit(architecture, tensors)
    with private_weights(None):
        networks = Networks(architecture)
    _load(networks, "average", tensors)
    return networks.requires_grad_(False).eval()


def refuse_unfit(architecture: Architecture, tensors: Mapping[str, Tensor]) -> None:
    """Raise a `CheckpointError` if averaged weights do not fit, before any memory is taken."""
    # Networks of the user's may compute with numbers while they are made; "meta" has none.
    built_in = architecture.encoder in ENCODERS and architecture.decoder in DECODERS
    if built_in:
        classes = ENCODERS[architecture.encoder], DECODERS[architecture.decoder]
        expected = _built_in_shapes(architecture.model_dump_json(), *classes)
    else:
        expected = _shapes(architecture, "cpu")
    found = {name: value.shape for name, value in _named("average", tensors).items()}
    if found != expected:
        odd = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise CheckpointError(
            f"The weights are not those of a model shaped {architecture.model_dump()}: see "
            f"'{odd}'. Put back the config.toml that the run was started with, or use another "
            "checkpoint."
        )


@lru_cache(maxsize=16)  # asked for every model that is loaded
def _built_in_shapes(architecture: str, *_classes: object) -> dict[str, torch.Size]:
    return _shapes(Architecture(**json.loads(architecture)), "meta")


def _shapes(architecture: Architecture, place: str) -> dict[str, torch.Size]:
    """The shapes of all weights, by name."""
    with private_weights(None, place):
        return {name: value.shape for name, value in Networks(architecture).state_dict().items()}


def class_name(thing: object) -> str:
    """Return the class of an object as `module:Class`."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def without_tensors(value: Any, name: str, tensors: Tensors) -> Any:
    """Return nested lists and dicts with names in place of tensors, which go to `tensors`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {TENSOR: name}
    if isinstance(value, Mapping):
        return {
            str(key): without_tensors(each, f"{name}.{key}", tensors) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_tensors(each, f"{name}.{k}", tensors) for k, each in enumerate(value)]
    return value


def with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `without_tensors`; tuples are lists now, and the keys of dicts strings."""
    if isinstance(value, Mapping):
        if set(value) == {TENSOR}:
            return tensors[value[TENSOR]]
        return {key: with_tensors(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [with_tensors(each, tensors) for each in value]
    return value


def _prefixed(name: str, networks: Networks) -> Tensors:
    return {f"{name}.{key}": value for key, value in networks.state_dict().items()}


def _load(networks: Networks, name: str, tensors: Mapping[str, Tensor]) -> None:
    networks.load_state_dict(_named(name, tensors))


def _named(name: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors whose names begin with `name.`, without it."""
    start = f"{name}."
    return {
        key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)
    }


def _sequence(name: str, tensors: Mapping[str, Tensor], device: torch.device) -> list[Tensor]:
    """The tensors called `name.0`, `name.1` and so on."""
    found = _named(name, tensors)
    return [found[str(k)].to(device) for k in range(len(found))]


def _flat(name: str, slots: OptimizerState) -> Tensors:
    """Moments by names such as `optimizer.exp_avg.encoder.first.1.weight`."""
    return {
        f"{name}.{key}.{parameter}": value
        for parameter, each in slots.items()
        for key, value in each.items()
    }


def _by_parameter(name: str, tensors: Mapping[str, Tensor]) -> OptimizerState:
    slots: OptimizerState = {}
    for key, value in _named(name, tensors).items():
        moment, _, parameter = key.partition(".")
        slots.setdefault(parameter, {})[moment] = value
    return slots
