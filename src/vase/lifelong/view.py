"""What a change detector may ask of a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.lifelong import evaluation
from vase.nets import Architecture
from vase.objective.moments import Moments

if TYPE_CHECKING:
    from vase.lifelong.learner_state import LearnerState


class LearnerView:
    """A learner as its detector sees it (`vase.detection.ModelView`); it changes nothing."""

    def __init__(self, learner: LearnerState) -> None:
        self._learner = learner

    @property
    def architecture(self) -> Architecture:
        return self._learner.architecture

    @property
    def device(self) -> torch.device:
        return self._learner.device

    @property
    def step(self) -> int:
        return self._learner.step

    @property
    def present(self) -> int:
        return self._learner.environments.current

    @property
    def mask_threshold(self) -> float:
        return self._learner.settings.masks.threshold

    def mask(self, environment: int) -> NDArray[np.bool_]:
        return self._learner.environments[environment].mask

    def moments(self, environment: int) -> Moments:
        return self._learner.environments[environment].moments

    def evaluate(self, images: Tensor, environment: int) -> Moments:
        learner = self._learner
        known = learner.environments[environment]
        return evaluation.evaluate(learner.average, images, known, learner.generator)

    @torch.no_grad()
    def classify(self, images: Tensor) -> NDArray[np.float64]:
        average, known = self._learner.average, len(self._learner.environments)
        log_probability = average.classifier(average.encoder(images), known).mean(0)
        return np.asarray(log_probability.cpu().double().numpy())
