"""What more environments cost. Guards: a step with 50 of them costs at most 1.1 times one with 2.

    python benchmarks/environments.py [--threads 2]

Learners that know 2, 12 and 50 environments take the same step in turn, with detection and replay
of all the others; the median of the paired ratios is printed, and the bytes that one environment
more adds to a checkpoint. Step times of a long run, early against late, also hold the moods of the
machine; these do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from functools import partial

import torch
from safetensors.torch import save
from step import blocks_of, learning, seconds

from vase.lifelong.learner import Learner
from vase.lifelong.state import state

COUNTS = (2, 12, 50)
ALLOWED = 1.1


def learner_of(environments: int, images: torch.Tensor) -> Learner:
    """A learner in the last of so many environments that replays all others."""
    learner = learning(images)
    learner.take_snapshot()
    learner.grow(max(environments, learner.architecture.environments))
    first = learner.environments.present
    for index in range(1, environments):
        learner.environments = learner.environments.enter(replace(first, index=index))
    detector = blocks_of(learner)
    detector.environments = dict.fromkeys(range(environments), detector.environments[0])
    detector.current = environments - 1
    return learner


def size(learner: Learner) -> int:
    """Bytes of a checkpoint, tensors and JSON."""
    tensors, record = state(learner)
    return len(save({name: value.clone().contiguous() for name, value in tensors.items()})) + len(
        json.dumps(record)
    )


def main() -> None:
    """Print one JSON object; the exit status says whether the ratio is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # as a process that trains does
    images = torch.rand(64, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    learners = {count: learner_of(count, images) for count in COUNTS}
    times: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(arguments.rounds):
        for count, learner in learners.items():
            times[count].append(seconds(partial(learner.observe, images)))
    few, _, many = COUNTS
    ratios = {
        f"{count}_over_{few}": round(
            statistics.median(a / b for a, b in zip(times[count], times[few], strict=True)), 3
        )
        for count in COUNTS[1:]
    }
    bytes_each = (size(learners[many]) - size(learners[12])) / (many - 12)
    found = {**ratios, "kilobytes_per_environment": round(bytes_each / 1024, 1)}
    print(json.dumps({"threads": arguments.threads, "allowed": ALLOWED, **found}, indent=1))
    if ratios[f"{many}_over_{few}"] > ALLOWED:
        sys.exit(f"A step with {many} environments costs more than {ALLOWED} with {few}.")


if __name__ == "__main__":
    main()
