"""A learner's whole state as tensors and JSON, and back: what a checkpoint holds.

Nothing else is needed to go on bit for bit: noise and dreams are a function of (seed, step), and
the state of the stream is its position, which is the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from vase.errors import CheckpointError
from vase.lifelong.detector import Suspicion
from vase.lifelong.learner import Learner
from vase.lifelong.memory import Memory
from vase.lifelong.replay import Reservoir
from vase.lifelong.weights import frozen
from vase.nets import BUILT_IN, Architecture, Networks
from vase.objective.signature import Signature

Tensors = dict[str, Tensor]


def state(learner: Learner) -> tuple[Tensors, dict[str, Any]]:
    """Tensors, and numbers that JSON can hold."""
    tensors = {
        **_prefixed("networks", learner.networks),
        **_prefixed("average", learner.average),
        **(_prefixed("snapshot", learner.snapshot) if learner.snapshot else {}),
        **_optimizer_tensors(learner.optimizer),
        **{f"eye.{name}": value for name, value in learner.eye.state_dict().items()},
        **{f"held.{k}": images for k, images in enumerate(learner.held)},
        **{f"seen.{k}": seen for k, seen in enumerate(learner.seen)},
        **_signatures(learner.memory),
        **_stored(learner.reservoir),
    }
    record = {
        "step": learner.step,
        "skipped": learner.skipped,
        "seed": learner.seed,
        "architecture": asdict(learner.shape),
        "memory": learner.memory.to_json(),
        "suspicion": asdict(learner.suspicion),
        "stored": learner.reservoir.seen if learner.reservoir else 0,
    }
    return tensors, record


def restore(learner: Learner, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Put a learner of the same architecture into a saved state."""
    saved = Architecture(**record["architecture"])  # one of an earlier program may lack a field
    if saved.environments > learner.shape.environments:
        learner.grow(saved.environments)
    if saved != learner.shape:
        raise CheckpointError(
            f"The checkpoint is of a model shaped {asdict(saved)}, "
            f"this one is {asdict(learner.shape)}."
        )
    _load(learner.networks, "networks", tensors)
    _load(learner.average, "average", tensors)
    learner.snapshot = None
    if any(name.startswith("snapshot.") for name in tensors):
        learner.snapshot = frozen(learner.average)
        _load(learner.snapshot, "snapshot", tensors)
    _load_optimizer(learner.optimizer, tensors)
    learner.eye.load_state_dict(_named("eye", tensors))
    learner.held = tuple(images.to(learner.device) for images in _batches("held", tensors))
    learner.seen = tuple(seen.cpu() for seen in _batches("seen", tensors))
    learner.memory = _with_signatures(Memory.from_json(record["memory"]), tensors)
    learner.suspicion = _suspicion(record["suspicion"])
    if learner.reservoir is not None and record["stored"]:
        learner.reservoir.seen = record["stored"]
        learner.reservoir.images = tensors["reservoir.images"].to(learner.device, copy=True)
    learner.step, learner.seed = record["step"], record["seed"]
    learner.skipped = record.get("skipped", 0)  # checkpoints of earlier programs have none


def averaged_weights(learner: Learner) -> Tensors:
    """What a probe needs: the averaged networks alone."""
    return _prefixed("average", learner.average)


def averaged_networks(tensors: Mapping[str, Tensor], shape: Architecture) -> Networks:
    """The averaged networks among saved tensors, never to be trained; the caller's seed is kept."""
    rows = len(tensors.get("average.decoder.environment.weight", ())) or shape.environments
    shape = replace(shape, environments=rows)
    refuse_unfit(shape, tensors)
    with torch.random.fork_rng(devices=[]):
        networks = Networks(shape)
    _load(networks, "average", tensors)
    return networks.requires_grad_(False).eval()


def refuse_unfit(shape: Architecture, tensors: Mapping[str, Tensor]) -> None:
    """A `CheckpointError` if averaged weights are not of a shape, before any memory is taken."""
    # Networks of the user's may compute with numbers while they are made, which "meta" has none of.
    place = "meta" if shape.nets in BUILT_IN else "cpu"
    with torch.random.fork_rng(devices=[]), torch.device(place):
        expected = {name: value.shape for name, value in Networks(shape).state_dict().items()}
    found = {name: value.shape for name, value in _named("average", tensors).items()}
    if found != expected:
        odd = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise CheckpointError(
            f"The weights are not those of a model shaped {asdict(shape)}: see '{odd}'. "
            "Put back the config.toml that the run was started with, or use another checkpoint."
        )


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


def _signatures(memory: Memory) -> Tensors:
    return {
        f"signature.{known.index}.{part}": getattr(known.signature, part)
        for known in memory.environments
        for part in ("mean", "covariance")
    }


def _with_signatures(memory: Memory, tensors: Mapping[str, Tensor]) -> Memory:
    """The memory with the signatures that JSON leaves out."""

    def part(index: int, name: str) -> Tensor:
        return tensors[f"signature.{index}.{name}"].cpu()

    known = tuple(
        replace(
            record,
            signature=Signature(
                part(record.index, "mean"), part(record.index, "covariance"), record.signature.count
            ),
        )
        for record in memory.environments
    )
    return Memory(known, memory.current)


def _stored(reservoir: Reservoir | None) -> Tensors:
    return {"reservoir.images": reservoir.images} if reservoir else {}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    # Members of an ensemble count their steps in one place, which a file has a name for each of.
    return {
        f"optimizer.{index}.{name}": value if value.ndim else value.clone()
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            slots.setdefault(int(index), {})[name] = value.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _suspicion(record: Mapping[str, Any]) -> Suspicion:
    return Suspicion(**{**record, "held": tuple(record["held"])})


def _batches(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    keys = sorted((key for key in tensors if key.startswith(f"{name}.")), key=_number)
    return tuple(tensors[key] for key in keys)


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])
