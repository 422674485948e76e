"""What a step costs. Guards: being lifelong costs at most 2.2 plain steps.

    python benchmarks/step.py [--threads 2] [--preset quick]

The networks, the batch and all settings of learning are those of the preset. All figures are ratios
within one run, since machines and their moods differ:

- lifelong / plain: one step with replay, detection and all, over one step of a plain VAE with the
  same networks and optimizer, written out by hand below.
- learning / plain: the same without replay, in the first environment.
- step / floor: the lifelong step over the time in which its floating-point operations, counted by
  PyTorch, would be done at this machine's rate for 1024 x 1024 matrix products, measured beside it.
- products / floor: of that, about what its matrix products and convolutions take alone, as the
  profiler times them. No change of what is around them can bring the step below.
- bf16 / 32: the lifelong step with `training.precision=bf16-mixed` over the usual one.

The steps are timed in turn, and the median of the paired ratios is printed. Denormals are
flushed, as they are within the learner's steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from vase import build, config
from vase.detection.block_detector import BlockDetector
from vase.lifelong import muon
from vase.lifelong.learner import Learner
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.objective.likelihood import reconstruction
from vase.settings import LearnerSettings

BATCH, DEFAULT, SETTINGS = 64, Architecture(), LearnerSettings()  # unless a preset says otherwise
SEEN = 4096  # effective images, from which on an environment is kept and its axes stay
ALLOWED = 2.2
PROFILED = 10  # steps
PRODUCTS = {  # PyTorch's names of what does floating-point operations
    "aten::mm", "aten::bmm", "aten::addmm", "aten::mkldnn_convolution",
    "aten::_slow_conv2d_forward", "aten::convolution_backward",
}  # fmt: skip


def plain_step(
    networks: Networks, optimizer: torch.optim.Optimizer, images: torch.Tensor, beta: float = 1.0
) -> None:
    """One step of a plain VAE, or beta-VAE, as anyone would write it."""
    posterior = networks.encoder(images)
    z = gaussian.sample(posterior, torch.randn_like(posterior.mean))
    environment = torch.zeros(len(images), dtype=torch.long, device=images.device)
    nats = reconstruction(networks.decoder(z, environment), images)
    loss = (nats + beta * gaussian.kl_to_prior(posterior).sum(1)).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


Precision = Callable[[], AbstractContextManager[object]]


def half() -> AbstractContextManager[object]:
    """What `training.precision=bf16-mixed` is on a CPU."""
    return torch.autocast("cpu", torch.bfloat16)


def learning(
    images: torch.Tensor,
    precision: Precision = nullcontext,
    kind: type[Learner] = Learner,
    architecture: Architecture = DEFAULT,
    settings: LearnerSettings = SETTINGS,
) -> Learner:
    """A learner in its first environment that watches for changes, and finds none.

    Its detector has seen these images so often that it no longer learns what they are like.
    """
    learner = kind(architecture, settings, seed=0, device=images.device, autocast=precision)
    learner.observe(images)
    detector = blocks_of(learner)
    while detector.environments[0].effective_images < SEEN:
        detector.update(images)
    return learner


def lifelong(
    images: torch.Tensor,
    precision: Precision = nullcontext,
    kind: type[Learner] = Learner,
    architecture: Architecture = DEFAULT,
    settings: LearnerSettings = SETTINGS,
) -> Learner:
    """A learner in its second environment that watches, and replays its first."""
    learner = learning(images, precision, kind, architecture, settings)
    learner.take_snapshot()
    learner.environments = learner.environments.enter(
        replace(learner.environments.present, index=1)
    )
    detector = blocks_of(learner)
    detector.environments = dict.fromkeys((0, 1), detector.environments[0])
    detector.current = 1
    return learner


def blocks_of(learner: Learner) -> BlockDetector:
    """The learner's change detector. These benchmarks set its records."""
    assert isinstance(learner.detector, BlockDetector)
    return learner.detector


def learnt(learner: Learner, images: torch.Tensor) -> None:
    """One step, which has to be one that learns."""
    if not learner.observe(images).learnt:
        sys.exit("A step was not learnt: what is timed is not a lifelong step.")


def seconds(step: Callable[[], object]) -> float:
    """Wall-clock time of one call, in seconds."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def matrix_rate() -> float:
    """Floating-point operations per second of a 1024 x 1024 matrix product."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(10))


def share_of_products(step: Callable[[], object]) -> float:
    """The share of a step's time that its matrix products and convolutions take."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED):
            step()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return float(sum(times[name] for name in PRODUCTS & times.keys()) / sum(times.values()))


def measure(rounds: int, preset: str) -> dict[str, float]:
    """Time the steps in turn, `rounds` times, and the matrix product beside them."""
    made, shape = config.load(preset), (1, 64, 64)
    architecture = build.architecture(made, shape)
    images = torch.rand(made.stream.batch_size, *shape, generator=torch.Generator().manual_seed(0))
    replay = lifelong(images, architecture=architecture, settings=made)
    first = learning(images, architecture=architecture, settings=made)
    halved = lifelong(images, half, architecture=architecture, settings=made)
    networks = Networks(architecture)
    optimizer = muon.optimizer(networks, made.training)
    steps = {
        "plain": lambda: plain_step(networks, optimizer, images),
        "learning": lambda: learnt(first, images),
        "lifelong": lambda: replay.observe(images),
        "bf16": lambda: learnt(halved, images),
    }
    with FlopCounterMode(display=False) as counter:
        replay.observe(images)
    times: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
        rates.append(matrix_rate())
    typical = statistics.median(times["lifelong"])
    floor = counter.get_total_flops() / statistics.median(rates)
    products = typical * share_of_products(steps["lifelong"])
    return {
        "denormals_flushed": bool((torch.tensor(1e-38) / 1e3 == 0).item()),
        "plain_ms": round(1e3 * statistics.median(times["plain"]), 1),
        "lifelong_ms": round(1e3 * typical, 1),
        "learning_over_plain": ratio(times["learning"], times["plain"]),
        "lifelong_over_plain": ratio(times["lifelong"], times["plain"]),
        "gflop_per_lifelong_step": round(counter.get_total_flops() / 1e9, 2),
        "matrix_gflops": round(statistics.median(rates) / 1e9, 1),
        "step_over_floor": round(typical / floor, 2),
        "products_over_floor": round(products / floor, 2),
        "bf16_over_32": ratio(times["bf16"], times["lifelong"]),
    }


def ratio(a: list[float], b: list[float]) -> float:
    """The median of ratios of times taken beside one another."""
    return round(statistics.median(x / y for x, y in zip(a, b, strict=True)), 2)


def main() -> None:
    """Print one JSON object; the exit status says whether the ratio is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--preset", default="quick", help="of images of 64 x 64 in grey")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # as the learner does within a step
    found = measure(arguments.rounds, arguments.preset)
    print(
        json.dumps(
            {"threads": arguments.threads, "preset": arguments.preset, "allowed": ALLOWED, **found},
            indent=1,
        )
    )
    if found["lifelong_over_plain"] > ALLOWED:
        sys.exit(f"A lifelong step costs more than {ALLOWED} plain ones.")


if __name__ == "__main__":
    main()
