"""The loop: a generator that observes; what logs, saves or shows consumes it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from vase.lifelong.captured import Captured, capturable
from vase.lifelong.learner import Learner
from vase.records import Observation
from vase.worlds.stream import Stream


def observe(learner: Learner, stream: Stream) -> Iterator[Observation]:
    """Take in the stream from the learner's own step on, one observation per batch.

    While a batch is learnt the next one is drawn.
    """
    images = stream.images(learner.step)
    subject = Captured(learner) if capturable(learner) else learner
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, images, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, images, None)
            yield subject.observe(torch.from_numpy(batch).to(learner.device))
