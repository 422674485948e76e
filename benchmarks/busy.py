"""Training on a busy machine. Guards: it takes what is free, and where all is free, all of it.

    python benchmarks/busy.py [--rounds 3]

Every figure is the median of rounds, in which processes of each kind take turns; all are ratios
within one run:

- busy: beside as many single-thread processes as there are processors, training with the threads
  and the settings that `vase` takes, over training with one thread. At least 0.9.
- spinning: the same with what PyTorch takes by itself, whose threads spin while they wait.
- quiet: on a machine that does nothing else, training with what `vase` takes, over what PyTorch
  takes by itself. At least 0.98.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 5.0
BUSY, QUIET = 0.9, 0.98


def images_per_second(seconds: float) -> float:
    """Train the preset `quick` for so long, in this process."""
    import torch

    from vase import build, config

    settings = config.load("quick", ["training.accelerator=cpu"])
    stream = build.stream(settings, build.DataOptions())
    learner = build.learner(settings, stream.shape)
    batches = [torch.from_numpy(stream.batch(step)[0]) for step in range(20)]
    for images in batches[:5]:
        learner.observe(images)
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        learner.observe(batches[steps % len(batches)])
        steps += 1
    return steps * len(batches[0]) / (time.monotonic() - began)


def child(kind: str) -> float:
    """Images per second of a process that takes what `vase` does, "one" thread, or "plain" ones."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if kind == "one":
        environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, "--child", kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def others(count: int) -> Iterator[None]:
    """As many processes that do nothing but compute."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(rounds: int) -> dict[str, object]:
    """All figures; raw values of every round with them."""
    from vase.cli.threads import processors

    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind in ("vase", "plain"):
            found.setdefault(f"quiet, {kind}", []).append(child(kind))
        with others(len(processors())):
            for kind in ("vase", "one", "plain"):
                found.setdefault(f"busy, {kind}", []).append(child(kind))
    return {
        "busy": ratio(found["busy, vase"], found["busy, one"]),
        "spinning": ratio(found["busy, plain"], found["busy, one"]),
        "quiet": ratio(found["quiet, vase"], found["quiet, plain"]),
        "allowed": {"busy": BUSY, "quiet": QUIET},
        "processors": len(processors()),
        "images_per_second": found,
    }


def ratio(above: list[float], below: list[float]) -> float:
    """Median of the paired ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main() -> None:
    """Measure, and write what was found; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/busy.json"))
    parser.add_argument("--child", choices=("vase", "one", "plain"))
    asked = parser.parse_args()
    if asked.child:
        if asked.child == "vase":
            from vase.cli import threads

            threads.prepare(threads.usage())
        print(images_per_second(SECONDS))
        return
    found = measure(asked.rounds)
    from vase.training.folder import write_json

    write_json(asked.out, found)
    print(found)
    if found["busy"] < BUSY or found["quiet"] < QUIET:  # type: ignore[operator]
        sys.exit(1)


if __name__ == "__main__":
    main()
