"""What looks at the frames: a model that learns them, or its change detector alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase import persistence
from vase.detection import BlockDetector
from vase.detection.block_test import step_probability, tail_probability
from vase.errors import ConfigError
from vase.estimator import VASE
from vase.images.files import Shape, frame_of
from vase.isolation import isolated
from vase.lifelong.state import with_tensors, without_tensors
from vase.lifelong.weights import frozen
from vase.records import Decision
from vase.training import checkpoint

MOST_EVENTS = 1000  # of the model's own, for a watch of months


class Learning:
    """A model that learns what it sees, and does not forget it."""

    learning = True

    def __init__(self, model: VASE, shape: Shape) -> None:
        self.model = _begun(model, shape)

    @property
    def present(self) -> int:
        """The environment in which it stands; 0 before the first frame."""
        return self.model.learner_.environments.current

    @isolated()
    def update(self, frames: NDArray[np.uint8]) -> Decision:
        """Take in frames [B, H, W, C] as one batch of the stream."""
        model = self.model
        seen = model.learner_.observe(_images(model, frames))
        model.above_one_ = True  # bytes, however dark
        model.events_ = [*model.events_, *seen.events][-MOST_EVENTS:]
        return seen.decision

    def save(self, path: Path, earlier: Path, record: Mapping[str, Any]) -> None:
        """Write the model as a file for `VASE.load`, without the frames that wait.

        earlier: where the file before is kept. record: of the watch.
        """
        persistence.save(self.model, path, watch=record, earlier=earlier)


class Detecting:
    """The change detector of a model alone: it learns what environments look like, and no weights.

    Raises ConfigError for a rule that asks the networks.
    """

    learning = False

    def __init__(self, model: VASE, shape: Shape) -> None:
        self.model = _begun(model, shape)
        detector = self.model.learner_.detector
        if not isinstance(detector, BlockDetector):
            raise ConfigError(
                "Without learning only detection.rule=blocks can watch: other rules ask the "
                "networks. Leave detection.rule out, or learn."
            )
        self.detector = detector

    @property
    def present(self) -> int:
        return self.detector.current

    @isolated()
    def update(self, frames: NDArray[np.uint8]) -> Decision:
        """Judge frames [B, H, W, C]."""
        return self.detector.update(_images(self.model, frames))

    def save(self, path: Path, earlier: Path, record: Mapping[str, Any]) -> None:
        """Write the detector; the model stays as it was."""
        tensors: dict[str, torch.Tensor] = {}
        state = without_tensors(self.detector.state_dict(), "detector", tensors)
        content = {"detector": state, "watch": dict(record)}
        checkpoint.write(path, tensors, content, earlier=earlier)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote."""
        tensors, record = checkpoint.read(path)
        with checkpoint.understood(path):
            self.detector.load_state_dict(with_tensors(record["detector"], tensors))


Watcher = Learning | Detecting


def _begun(model: VASE, shape: Shape) -> VASE:
    if not hasattr(model, "learner_"):
        height, width, channels = shape
        with isolated():
            persistence.begin(model, (channels, height, width), "HWC")
    return model


def _images(model: VASE, frames: NDArray[np.uint8]) -> Tensor:
    """Frames [B, H, W, C] as images [B, C, H, W] in [0, 1], on the model's device."""
    images = np.moveaxis(frames, -1, 1).astype(np.float32) / np.float32(255)
    return torch.from_numpy(images).to(model.learner_.device)


def shape_of(model: VASE) -> Shape:
    """The shape (height, width, channels) of the frames that a model takes.

    Raises InputError for a model of vectors.
    """
    return frame_of(model.learner_.architecture.image)


def with_alarm_rate(model: VASE, every: str, fps: float) -> VASE:
    """Let a model raise so many false alarms: one in a time such as "30 days", on average."""
    changes: dict[str, object] = {
        "detection.target_arl": every,
        "detection.frames_per_second": fps,
    }
    model.options = {**(model.options or {}), **changes}
    if hasattr(model, "learner_"):
        learner = model.learner_
        detection = {**learner.settings.detection.model_dump(), "target_arl": every}
        detection["frames_per_second"] = fps
        made = type(learner.settings.detection).model_validate(detection)
        learner.settings = learner.settings.model_copy(update={"detection": made})
        if hasattr(learner.detector, "settings"):
            learner.detector.settings = made
        known = model.parameters_["options"] or {}
        model.parameters_ = {**model.parameters_, "options": {**known, **changes}}
    return model


def statistics(model: VASE) -> tuple[float, float, float, float]:
    """Correlation time in frames, statistic, alarm threshold and p-value, as they are now.

    The p-value is that of the least usual of the latest frames, those of the present block; 1 for
    a detector that has none.
    """
    learner = model.learner_
    threshold = learner.settings.detection.threshold
    detector = learner.detector
    if not isinstance(detector, BlockDetector) or not detector.environments:
        return 1.0, 0.0, threshold, 1.0
    known = detector.environments[detector.current]
    statistic = detector.statistic * threshold
    if not known.comparable:
        return 1.0, statistic, threshold, 1.0
    test = detector.test
    p = min(tail_probability(known, test.worst), step_probability(known, test.step))
    return known.correlation_time, statistic, threshold, p


@isolated()
@torch.no_grad()
def imagined(model: VASE, count: int = 4) -> dict[int, bytes]:
    """What the model imagines of each environment that it has learnt, as PNG."""
    from vase.report.decode import generated_images  # these load what draws reports
    from vase.report.images import png_of

    learner = model.learner_
    networks = frozen(learner.average).cpu()
    return {
        known.index: png_of(generated_images(networks, known, count, seed=0))
        for known in learner.environments
    }
