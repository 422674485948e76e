"""A step is a transaction: where it fails, learner, detector and optimizer are as they were.

Records are replaced and never changed, so that references to them suffice. Weights and Adam's
moments are changed in place: by an update, after which nothing fails, and by a snapshot or a
roll-back, before which they are copied (`copy_weights`). An interrupt (Ctrl-C) between a step of
Adam and the end of `observe` is the one exception; `vase train` defers it to the end of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vase.isolation import isolated
from vase.lifelong.weights import optimizer_state, restore_optimizer
from vase.records import Observation

if TYPE_CHECKING:
    from vase.lifelong.learner import Learner
    from vase.lifelong.learner_state import Saved


class NotFiniteError(Exception):
    """Images, the loss or its gradient are not finite: the step is undone and the batch skipped."""


def transaction(
    observe: Callable[[Learner, Tensor], Observation],
) -> Callable[[Learner, Tensor], Observation]:
    """Make `Learner.observe` change everything or nothing, and skip what is not finite."""

    @wraps(observe)
    def whole_or_nothing(learner: Learner, images: Tensor) -> Observation:
        detector, before = learner.detector.state_dict(), dict(vars(learner))
        learner.saved = None
        if learner.snapshot_due or not learner.optimizer.state:  # Adam's moments begin with a step
            copy_weights(learner)
        try:
            with isolated(), flushed_denormals():
                return observe(learner, images)
        except NotFiniteError as error:
            _undo(learner, before, detector)
            return learner.skip(str(error))
        except BaseException:
            _undo(learner, before, detector)
            raise
        finally:
            learner.saved = None

    return whole_or_nothing


def copy_weights(learner: Learner) -> None:
    """Copy what is about to be changed in place."""
    if learner.saved is None:
        networks, average = (
            {name: value.clone() for name, value in each.state_dict().items()}
            for each in (learner.networks, learner.average)
        )
        learner.saved = networks, average, optimizer_state(learner.optimizer, learner.networks)


def _undo(learner: Learner, before: dict[str, object], detector: dict[str, object]) -> None:
    saved: Saved | None = learner.saved
    vars(learner).clear()
    vars(learner).update(before)
    learner.detector.load_state_dict(detector)
    if saved is not None:
        learner.networks.load_state_dict(saved[0])
        learner.average.load_state_dict(saved[1])
        restore_optimizer(learner.optimizer, learner.networks, saved[2])


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers, which slow a CPU down many times over, in this thread until the end.

    PyTorch does not tell the present mode, so that it is tried out.
    """
    before = bool(torch.tensor(1e-38, dtype=torch.float32, device="cpu").div(1e3) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
