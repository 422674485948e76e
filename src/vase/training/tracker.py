"""Trackers: where a run's numbers are shown while it goes on.

TensorBoard is always written. Beside it one other tracker can be asked for, `training.tracker`;
each is an extra of the package, and finds its own server and login as its users know it. A run that
is resumed goes on in the same place.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, Protocol

from torch.utils.tensorboard.writer import SummaryWriter

from vase.errors import ConfigError, reason
from vase.training.folder import RunFolder

Name = Literal["none", "wandb", "trackio", "mlflow"]

PROJECT = "vase"
TAG = "vase.run"


class Tracker(Protocol):
    """What the recorder tells the numbers to."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """The numbers of a step."""

    def text(self, name: str, text: str, step: int) -> None:
        """Words about a step."""

    def close(self) -> None:
        """No more will come."""


class TensorBoard:
    """Files in RUN/tensorboard; what lies beyond `step` there is void."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        self.writer = SummaryWriter(str(folder.tensorboard), purge_step=step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def text(self, name: str, text: str, step: int) -> None:
        self.writer.add_text(name, text, step)

    def close(self) -> None:
        self.writer.close()


class Experiment:
    """Weights & Biases, and trackio, which has the same interface."""

    def __init__(self, module: Any, folder: RunFolder, **more: Any) -> None:
        self.run = module.init(
            project=PROJECT,
            name=folder.path.resolve().name,
            config=_config(folder),
            resume="allow",
            **more,
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self.run.log({name: text}, step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow's experiment "vase", found again by a tag."""

    def __init__(self, module: Any, folder: RunFolder) -> None:
        self.client = module.MlflowClient()
        experiment = module.set_experiment(PROJECT).experiment_id
        found = self.client.search_runs([experiment], f"tags.`{TAG}` = '{identity(folder)}'")
        if found:
            self.run = found[0].info.run_id
            return
        name, tags = folder.path.resolve().name, {TAG: identity(folder)}
        self.run = self.client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self.client.log_dict(self.run, _config(folder), "config.json")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step, synchronous=False)

    def text(self, name: str, text: str, step: int) -> None:
        self.client.set_tag(self.run, f"{name} at step {step}", text)

    def close(self) -> None:
        self.client.set_terminated(self.run)


def package(name: Name) -> Any:
    """The package of a tracker, None for "none"; a `ConfigError` where it is not installed."""
    if name == "none":
        return None
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError(
            f"The tracker '{name}' is not installed. Install it with: pip install "
            f"'vase-lifelong[{name}]', or set training.tracker=none."
        ) from None


def trackers(name: Name, folder: RunFolder, step: int) -> tuple[Tracker, ...]:
    """TensorBoard, and the tracker of that name; a `ConfigError` where that cannot start."""
    board, module = TensorBoard(folder, step), package(name)
    if module is None:
        return (board,)
    try:
        return board, _beside(name, module, folder)
    except Exception as error:
        board.close()
        raise ConfigError(
            f"The tracker '{name}' does not start: {reason(error)}. Set it up as its manual "
            "says, or set training.tracker=none."
        ) from None


def _beside(name: Name, module: Any, folder: RunFolder) -> Tracker:
    if name == "mlflow":
        return MLflow(module, folder)
    if name == "wandb":
        return Experiment(module, folder, id=identity(folder), dir=str(folder.path))
    return Experiment(module, folder)


def identity(folder: RunFolder) -> str:
    """What a tracker knows a run by: where it lies and how it is configured."""
    identity = f"{folder.path.resolve()}\n{folder.config.read_text(encoding='utf-8')}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _config(folder: RunFolder) -> dict[str, Any]:
    return tomllib.loads(folder.config.read_text(encoding="utf-8"))
