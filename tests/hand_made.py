"""A run folder made by hand: two domains, untrained networks, and records with known content."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vase import build, config
from vase.domains.stream import Schedule
from vase.lifelong.environments import Environment, Environments
from vase.nets import Architecture, Networks
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.probes.encode import Code
from vase.report import readouts
from vase.training import checkpoint
from vase.training.folder import RunFolder, append_lines, create, write_json

LATENTS = 6
SHAPE = Architecture(
    height=16, width=16, latents=LATENTS, encoder_channels=8, hidden=16, space_to_depth=2
)
SEGMENTS = Schedule.of([("moving", 40), ("still", 30), ("moving", 30)]).segments
NASTY = "<script>alert('x & y')</script>"


def settings(**changes: Any) -> config.Config:
    values = {
        "description": "solids -> strokes",
        "stream": {
            "batch_size": 8,
            "size": 16,
            "schedule": [[segment.domain, segment.end - segment.start] for segment in SEGMENTS],
            "domains": {
                "moving": {"domain": "solids", "moving": True, "side": 8, "count": 40},
                "still": {"domain": "strokes", "side": 8, "count": 40},
            },
        },
        "model": {"latents": LATENTS, "encoder_channels": 8, "hidden": 16, "space_to_depth": 2},
        "training": {"seed": 7},
    }
    return config.parse({**values, **changes}, "test")


def environment(
    index: int,
    masked: tuple[int, ...] = (),
    *,
    latents: int = LATENTS,
    mean: Any = 0.0,
    variance: Any = 1.0,
    kl: Any = (0.0,),
) -> Environment:
    """An environment with these latents masked. mean, variance: of all channels or of each."""
    mask = np.array([latent not in masked for latent in range(latents)])
    moments = Moments(*(np.full(latents + 2, each, float) for each in (mean, variance)), 8.0)
    return Environment(index, mask, moments, Capacity(5.0), batches=20, kl=np.array(kl, float))


def code_of(
    mean: Any, labels: Any = 0, factors: dict[str, Any] | None = None, *, log_variance: Any = 0.0
) -> Code:
    """Codes [B, N] of images; all costs are 0. labels: of all images or of each."""
    means = np.asarray(mean, np.float32)
    spread, each = np.full_like(means, log_variance), np.full(len(means), labels, np.int64)
    return Code(means, spread, each, factors or {}, *np.zeros((2, len(means)), np.float32))


def metric(step: int, environment: int, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "step": step, "environment": environment, "learnt": True, "loss": 100.0,
        "reconstruction": 90.0 - step / 10, "kl": 8.0, "classifier": 0.1, "capacity": 9.0,
        "statistic": float(step > 10), "kl_per_latent": [1.0] * LATENTS, "alpha": [0.01] * LATENTS,
    }  # fmt: skip
    return {**values, **changes}


def event(step: int, kind: str, environment: int, **changes: Any) -> dict[str, Any]:
    values = {"step": step, "kind": kind, "environment": environment, "reason": "because"}
    return {**values, "evidence": {}, **changes}


EVENTS = [
    event(0, "new", 0, reason="the first images", evidence={"masked": []}),
    event(44, "snapshot", 0),
    event(44, "new", 1, reason=NASTY, evidence={"masked": [0, 4]}),
    event(60, "dismissed", 1),
    event(73, "returned", 0),
]


def domain_latents(name: str, index: int, **changes: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"used": [], "masked": [], "spare": [], "r2": {}, "encodes": {}}
    values = {"name": name, "index": index, "kl": [0.0] * LATENTS, "alpha": [0.0] * LATENTS}
    return {**lists, **values, **changes}


# Latents 4 and 0 carry position in `moving`; 2 is shared; 1 and 3 are own; 5 is spare everywhere.
LATENT_RECORD: dict[str, Any] = {
    "count": LATENTS,
    "domains": [
        domain_latents(
            "moving", 0, used=[0, 2, 3, 4], kl=[1.5, 0.0, 0.5, 3.0, 2.5, 0.0],
            encodes={"0": "y position", "4": "y position", "2": "shape"},
            effects={"0": {"name": "x position", "share": 0.93}},
        ),
        domain_latents("still", 1, used=[1, 2], masked=[0, 4], kl=[0, 2.0, 0.7, 0, 0, 0]),
    ],
    "shared": [{"domains": ["moving", "still"], "latents": [2]}],
    "position": {"source": "moving", "latents": [0, 4], "masked_in": {}, "used_in": {}},
}  # fmt: skip


def readings(best: str, values: tuple[float, float, float], names: list[str]) -> dict[str, Any]:
    numbers = dict(zip((best, "end", "change"), values, strict=True))
    whole = {**numbers, "domains": dict.fromkeys(names, numbers)}
    return dict.fromkeys(("linear", "mlp", "frozen"), whole)


def probe_record(*, position: bool = True) -> dict[str, Any]:
    def figures(name: str, value: float) -> dict[str, Any]:
        errors = dict.fromkeys(readouts.STYLES, value / 100)
        return {
            "identity": dict.fromkeys(readouts.STYLES, value),
            "position_mse": errors if position and name == "moving" else None,
            "reconstruction_nats": 80.0, "kl_nats": 8.0,
        }  # fmt: skip

    switch = {"step": 40, "to": "still", "returning": False, "detected_at": 44, "delay": 4}
    back = {"step": 70, "to": "moving", "returning": True, "detected_at": 73, "delay": 3}
    moving = readings("min", (0.00032, 0.00035, 0.00003), ["moving"])
    return {
        "vase_version": "0", "seed": 7, "steps": 100, "schedule": [],
        "detection": {
            "switches": [switch, back], "false_alarms": [], "missed": 0, "dismissed": 1,
            "mean_delay": 3.5, "returns": 1, "returns_recognised": 1,
        },
        "assignment": {"moving": 0, "still": 1},
        "timeline": [
            {"step": 40, "domains": {"moving": figures("moving", 0.8)}},
            {"step": 100, "domains": {n: figures(n, 0.7) for n in ("moving", "still")}},
        ],
        "summary": {
            "identity": readings("max", (0.886, 0.832, -0.054), ["moving", "still"]),
            "position_mse": moving if position else {},
            "chance": {"identity": 0.2, "position_mse": 0.0833},
        },
        "latents": LATENT_RECORD,
        "calibration": {
            "moving": {
                "latents": [0, 4], "spearman": 0.62,
                "bins": [{"predicted": 1e-4, "error": 2e-4}, {"predicted": 1e-3, "error": 4e-3}],
                "ways": [
                    {"shown": "as they are", "error": 2e-4, "predicted": 1e-4},
                    {"shown": "dimmed", "error": 4e-3, "predicted": 1e-3},
                ],
            }
        },
    }  # fmt: skip


def write_run(
    path: Path,
    chosen: config.Config,
    metrics: list[dict[str, Any]],
    known: tuple[Environment, ...] = (environment(0), environment(1, masked=(0, 4))),
) -> RunFolder:
    """A run folder with untrained networks, made without a learner."""
    folder = create(path, config.to_toml(chosen))
    torch.manual_seed(0)
    shape = build.architecture(chosen, (1, 16, 16))
    state = Networks(shape).state_dict()
    environments = Environments.of(known, 0)
    record = {
        "step": 100,
        "architecture": shape.model_dump(mode="json"),
        "environments": environments.to_json(),
    }
    tensors = {f"average.{name}": value for name, value in state.items()}
    checkpoint.write(folder.checkpoint, tensors, record)
    append_lines(folder.metrics, metrics)
    append_lines(folder.events, EVENTS)
    return folder


def write_probes(folder: RunFolder) -> None:
    """What probes and translations of that run could have found."""
    write_json(folder.probes, probe_record())
    scores = {"translated": 0.957, "real": 0.99, "shuffled": -0.9}
    factors = {"x": scores, "identity": scores}
    kept = {"step": 100, "source": "moving", "target": "still", "factors": factors}
    write_json(folder.translation, {"pairs": [kept, {**kept, "step": 50, "source": "earlier"}]})
