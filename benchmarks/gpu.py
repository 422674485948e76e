"""What a step costs on a GPU. Guards: it takes at most twice as long as one replay of its graph.

    python benchmarks/gpu.py [--out results/gpu/step.json]

All are taken in one run, on one GPU; batches of 64 images of 64 x 64, in the second environment,
with replay, detection and all, as in `benchmarks/step.py`:

- written: the step as it is written, every kernel launched from Python.
- captured: the step as a run takes it, `vase.training.cuda_graphs`.
- replay: the captured step alone, replayed and waited for: its own floor, launches included. No
  change of what is around the kernels gets below it.
- kernels: the same, replayed ten times in a row, so that no launch is waited for.
- arithmetic: the floor of the kernels, floating-point operations over the rate of 8192 x 8192
  matrix products, in float32 as the step does them.
- plain: a step of a plain VAE with the same networks, as anyone would write it.
- tf32, bf16: captured steps where matrix products round to TF32, and in `bf16-mixed`.
- batches: captured steps of more images, in images per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from step import BATCH, Precision, learnt, lifelong, plain_step, ratio, seconds
from torch.utils.flop_counter import FlopCounterMode

from vase.nets import Architecture, Networks
from vase.training.cuda_graphs import WARMUP_STEPS, CudaGraphLearner

ALLOWED = 2.0
SIZES = (64, 256, 1024)


def half() -> AbstractContextManager[object]:
    """What `training.precision=bf16-mixed` is on a GPU."""
    return torch.autocast("cuda", torch.bfloat16)


def milliseconds(step: Callable[[], object], rounds: int) -> list[float]:
    """Wall-clock times of calls, each until the GPU has done its work."""

    def waited() -> None:
        step()
        torch.cuda.synchronize()

    torch.cuda.synchronize()
    return [1e3 * seconds(waited) for _ in range(rounds)]


def settled(images: torch.Tensor, precision: Precision = nullcontext) -> CudaGraphLearner:
    """A learner in its second environment whose step has been captured."""
    subject = lifelong(images, precision, CudaGraphLearner)
    assert isinstance(subject, CudaGraphLearner)
    for _ in range(WARMUP_STEPS + 2):
        subject.observe(images)
    return subject


def replayed(subject: CudaGraphLearner) -> Callable[[], object]:
    """The captured step of the weights alone."""
    if subject.graphs is None:
        sys.exit("The step was not captured.")
    return subject.graphs.update


def kernels(subject: CudaGraphLearner, rounds: int) -> float:
    """Milliseconds of the captured kernels, one after another."""
    step = replayed(subject)
    times = milliseconds(lambda: [step() for _ in range(10)], rounds // 10)
    return round(statistics.median(times) / 10, 3)


def matrix_rate(size: int = 8192) -> float:
    """Floating-point operations per second of a product of square matrices."""
    a = torch.randn(size, size, device="cuda")
    return 2e3 * size**3 / min(milliseconds(lambda: a @ a, 5))


def of_a_step(images: torch.Tensor, rounds: int) -> dict[str, Any]:
    """The step as it is written and as it is captured, and its floors."""
    networks = Networks(Architecture()).cuda()
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-3, fused=True)
    written, captured = lifelong(images), settled(images)
    with FlopCounterMode(display=False) as counter:
        written.observe(images)
    for _ in range(WARMUP_STEPS):
        plain_step(networks, optimizer, images)
        written.observe(images)
    steps = {
        "plain": lambda: plain_step(networks, optimizer, images),
        "written": lambda: learnt(written, images),
        "captured": lambda: learnt(captured, images),
        "replay": replayed(captured),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):  # in turn
        for name, step in steps.items():
            times[name] += milliseconds(step, 1)
    rate = matrix_rate()
    return {
        **{f"{name}_ms": round(statistics.median(each), 3) for name, each in times.items()},
        "kernels_ms": kernels(captured, rounds),
        "captured_over_replay": ratio(times["captured"], times["replay"]),
        "written_over_captured": ratio(times["written"], times["captured"]),
        "written_over_plain": ratio(times["written"], times["plain"]),
        "gflop_per_step": round(counter.get_total_flops() / 1e9, 2),
        "matrix_tflops": round(rate / 1e12, 1),
        "arithmetic_ms": round(1e3 * counter.get_total_flops() / rate, 3),
        "around_the_update_ms": decisions(captured, images, rounds),
    }


def decisions(subject: CudaGraphLearner, images: torch.Tensor, rounds: int) -> float:
    """Milliseconds of what surrounds the update: detection, records, the transaction."""
    result = subject.update(images)
    replaced = vars(subject)  # what stands here goes before the methods of the class
    replaced.update(update=lambda _: result, update_average=lambda: None)
    times = milliseconds(lambda: subject.observe(images), rounds)
    del replaced["update"], replaced["update_average"]
    return round(statistics.median(times), 3)


def of_precision(images: torch.Tensor, rounds: int) -> dict[str, float]:
    """Captured kernels in float32, with TF32 products and in bf16."""
    found = {}
    for name in ("float32", "tf32", "bf16"):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        subject = settled(images, precision=half) if name == "bf16" else settled(images)
        found[name] = kernels(subject, rounds)
    torch.set_float32_matmul_precision("highest")
    return found


def of_batches(rounds: int) -> dict[str, int]:
    """Images per second by the size of a batch."""
    found = {}
    for size in SIZES:
        images = torch.rand(size, 1, 64, 64, device="cuda")
        subject = settled(images)
        step = statistics.median(milliseconds(partial(subject.observe, images), rounds))
        found[str(size)] = round(1e3 * size / step)
    return found


def main() -> None:
    """Print one JSON object; the exit status says whether the ratio is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no GPU that PyTorch can use.")
    images = torch.rand(BATCH, 1, 64, 64, generator=torch.Generator().manual_seed(0)).cuda()
    found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "allowed": ALLOWED,
        **of_a_step(images, arguments.rounds),
        "kernels_ms_by_precision": of_precision(images, arguments.rounds),
        "images_per_second": of_batches(arguments.rounds),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    if found["captured_over_replay"] > ALLOWED:
        sys.exit(f"A step takes more than {ALLOWED} times as long as one replay of its graph.")


if __name__ == "__main__":
    main()
