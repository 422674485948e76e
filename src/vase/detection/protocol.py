"""What a change detector is, and what it may ask of the model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.nets import Architecture
from vase.objective.moments import Moments
from vase.records import Decision
from vase.settings import DetectionSettings


class ChangeDetector(Protocol):
    """Decides for every batch, before it is learnt, which environment it is of.

    A detector is made once, as `MyDetector(settings, model)`, and is saved with the model. Its
    first decision is "new", environment 0. Environments have the ids 0, 1, 2, ...: a new one takes
    the next.
    """

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None: ...

    def update(self, images: Tensor) -> Decision:
        """Decide about images [B, C, H, W] in [0, 1], and remember what is needed of them."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `update` changes: tensors, numbers, strings, lists and dicts.

        The learner asks at every step, to undo a step that fails: return copies, or values that
        `update` replaces rather than changes.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state. Read from a file, tuples are lists and the keys of dicts strings."""
        ...


class ModelView(Protocol):
    """What a detector may ask of the model; it changes nothing."""

    @property
    def architecture(self) -> Architecture: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def step(self) -> int: ...
    @property
    def mask_threshold(self) -> float:
        """lambda: the atypicality at which a latent is masked, in nats."""
        ...

    @property
    def present(self) -> int:
        """The id of the present environment; -1 before the first."""
        ...

    def mask(self, environment: int) -> NDArray[np.bool_]:
        """[N], True where the environment may use a latent."""
        ...

    def moments(self, environment: int) -> Moments:
        """Moments of the N latents, the distortion and the rate, as last learnt there."""
        ...

    def evaluate(self, images: Tensor, environment: int) -> Moments:
        """Moments of images as the averaged networks see them now in an environment."""
        ...

    def classify(self, images: Tensor) -> NDArray[np.float64]:
        """log q(s|x) averaged over images, for every environment, [E]."""
        ...


def deferred_batches(
    before: tuple[Tensor, ...], images: Tensor, settings: DetectionSettings
) -> tuple[Tensor, ...]:
    """Return the latest deferred batches [B_i, C, H, W], these images included.

    The learner keeps them; a decision says on how many of the latest it rests. As many as have
    `max_pooled_images` images in all, and at least twice `min_batches`.
    """
    every, least = (*before, images), 2 * settings.min_batches
    for start in range(len(every) - least):
        if sum(map(len, every[start:])) <= settings.max_pooled_images:
            return every[start:]
    return every[-least:]
