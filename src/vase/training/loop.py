"""The loop: a generator that observes; what logs, saves or shows consumes it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from vase.domains.stream import Stream
from vase.lifelong.learner import Learner
from vase.records import Observation


def observe(learner: Learner, stream: Stream) -> Iterator[Observation]:
    """Take in the stream from the learner's own step on, one observation per batch.

    While a batch is learnt the next one is drawn.
    """
    images = stream.images(learner.step)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, images, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, images, None)
            yield learner.observe(torch.from_numpy(batch).to(learner.device))
