"""The loop: a generator that observes; what logs, saves or shows consumes it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vase.lifelong.learner import Learner
from vase.records import Observation
from vase.worlds.stream import Stream


def observe(learner: Learner, stream: Stream) -> Iterator[Observation]:
    """Take in the stream from the learner's own step on, one observation per batch."""
    for images in stream.images(learner.step):
        yield learner.observe(torch.from_numpy(images).to(learner.device))
