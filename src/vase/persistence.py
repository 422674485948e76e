"""The learner of an estimator: how it begins, and how it becomes a file and comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vase import build, config, consent
from vase.errors import CheckpointError
from vase.images.layout import Layout
from vase.lifelong import state
from vase.lifelong.learner import Learner
from vase.nets import Architecture, space_to_depth_for
from vase.records import Event
from vase.settings import LearnerSettings, OptimizerSettings
from vase.training import checkpoint
from vase.training.folder import RunFolder


class Estimator(Protocol):
    """What is asked of an estimator: its parameters, and places for what it learns."""

    latents: int
    seed: int
    accelerator: str
    options: Mapping[str, object] | None
    learner_: Learner
    layout_: Layout
    events_: list[Event]
    above_one_: bool
    parameters_: dict[str, Any]
    feature_names_in_: NDArray[Any]

    def get_params(self) -> dict[str, Any]:
        """The constructor's arguments by name."""
        ...


OF_A_STEP = {*OptimizerSettings.model_fields, "precision"}  # of the settings of training

Model = TypeVar("Model", bound=Estimator)


def begin(model: Estimator, image: tuple[int, int, int], layout: Layout) -> None:
    """Give a model a fresh learner for images of (channels, height, width)."""
    model.learner_ = build.learner(_settings(model, image), image)
    model.layout_, model.above_one_, model.events_ = layout, False, []
    # As they are now: `set_params` and changes of `options` count from the next `fit` on.
    model.parameters_ = _as_saved(model.get_params())


def save(
    model: Estimator,
    path: Path,
    *,
    watch: Mapping[str, Any] | None = None,
    earlier: Path | None = None,
) -> Path:
    """Write a model that has seen images; the path, which ends in .safetensors.

    watch: the record of a watch, which is kept beside it; then the images that wait for a decision
    are left out, so that no frame is stored. earlier: where the file before is kept.
    """
    tensors, record = state.state(model.learner_)
    if watch is not None:
        tensors = {key: each for key, each in tensors.items() if not key.startswith("deferred.")}
        record["watch"] = dict(watch)
    record["estimator"] = {
        "parameters": model.parameters_,
        "layout": model.layout_,
        "above_one": model.above_one_,
        "feature_names": list(getattr(model, "feature_names_in_", ())),
        "events": [event.to_json() for event in model.events_],
    }
    target = _with_suffix(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write(target, tensors, record, earlier=earlier)
    return target


def load(kind: type[Model], path: Path, accelerator: str | None, trust_code: bool) -> Model:
    """A model from its file, or from the folder of a run; a `CheckpointError` says what is wrong.

    trust_code: whether code outside of this package, which the file names, may be run.
    """
    file = RunFolder(path).checkpoint if path.is_dir() else _with_suffix(path)
    tensors, record = checkpoint.read(file)
    with checkpoint.understood(path):
        shape = Architecture(**record["architecture"])
        saved = record.get("estimator") or _of_run(file, shape)
        model = kind(**saved["parameters"])
        model.accelerator = accelerator or model.accelerator
        settings = _settings(model, shape.image)
        made = build.architecture(settings, shape.image)
        if made.model_copy(update={"environments": shape.environments}) != shape:
            raise CheckpointError(
                f"The parameters in '{path}' are of another model than its weights."
            )
        if (named := consent.own_code(settings)) and not trust_code:
            raise CheckpointError(
                f"'{path}' names code to run: {', '.join(named)}. If you know where the file comes "
                "from and want that, load it with trust_code=True."
            )
        state.refuse_unfit(shape, tensors)
        begin(model, shape.image, saved["layout"])
        state.restore(model.learner_, tensors, record)
        model.events_ = [Event(**event) for event in saved["events"]]
        model.above_one_ = bool(saved["above_one"])
        if saved["feature_names"]:
            model.feature_names_in_ = np.array(saved["feature_names"], dtype=object)
    return model


def _of_run(file: Path, shape: Architecture) -> dict[str, Any]:
    """What an estimator would have saved beside the weights of a run, from its config.toml."""
    known = RunFolder(file.parent).config
    if not known.is_file():
        raise CheckpointError(
            f"'{file}' is the checkpoint of a run, and the run's config.toml is not beside it. "
            "Load the run's folder."
        )
    settings = config.load(str(known))
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    sections = {name: chosen.get(name, {}) for name in ("model", *LearnerSettings.model_fields)}
    training = sections.pop("training")
    options = {f"{name}.{key}": each for name, own in sections.items() for key, each in own.items()}
    options |= {f"training.{key}": each for key, each in training.items() if key in OF_A_STEP}
    options["model.space_to_depth"] = settings.model.space_to_depth
    latents = options.pop("model.latents", settings.model.latents)
    images = "CHW" if shape.channels > 1 else "HW"
    return {
        "parameters": {"latents": latents, "seed": settings.training.seed, "options": options},
        "layout": "D" if shape.of_vectors else images,
        "above_one": False,
        "feature_names": [],
        "events": [],
    }


def _settings(model: Estimator, image: tuple[int, int, int]) -> config.Config:
    values: dict[str, Any] = {
        "stream.schedule": [["own", 1]],
        "stream.domains": {},
        "model.latents": model.latents,
        "model.space_to_depth": space_to_depth_for(*image[1:]),
        "training.seed": model.seed,
        "training.accelerator": model.accelerator,
        **(model.options or {}),
    }
    return config.parse(config.nested(values), "VASE(options=...)")


def _as_saved(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they are read back from a file, and a copy that nobody else can change."""
    copied: dict[str, Any] = json.loads(json.dumps(parameters, default=_plain))
    return copied


def _with_suffix(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def _plain(value: Any) -> Any:
    """What JSON cannot hold: NumPy numbers as Python's, other things as text."""
    return value.item() if isinstance(value, np.generic) else str(value)
