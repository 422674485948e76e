"""What a step costs. Guards: being lifelong costs at most 2.2 plain steps.

    python benchmarks/step.py [--threads 2]

All figures are ratios within one run, since machines and their moods differ:

- lifelong / plain: one step with dreams, detection and all, over one step of a plain VAE with the
  same networks and optimizer, written out by hand below.
- learning / plain: the same without dreams, in the first environment.
- share of the matrix rate: floating-point operations of the lifelong step, counted by PyTorch, per
  second, over this machine's rate for 1024 x 1024 matrix products, measured beside it.

The steps are timed in turn, and the median of the paired ratios is printed. Denormals are flushed:
the learner does so, and the benchmark says whether it took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from vase.lifelong.detector import DetectorRule
from vase.lifelong.learner import Learner
from vase.lifelong.settings import Settings
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.objective.likelihood import reconstruction

BATCH = 64
ALLOWED = 2.2


def plain_step(networks: Networks, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    """One step of a plain VAE, as anyone would write it."""
    posterior = networks.encoder(images)
    z = gaussian.sample(posterior, torch.randn_like(posterior.mean))
    environment = torch.zeros(len(images), dtype=torch.long)
    nats = reconstruction(networks.decoder(z, environment), images)
    loss = (nats + gaussian.kl_to_prior(posterior).sum(1)).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def watchful() -> Learner:
    """A learner that watches for changes."""
    rule = DetectorRule(surprise=1e-9)
    return Learner(Architecture(), Settings(detector=rule), seed=0, device=torch.device("cpu"))


def lifelong(images: torch.Tensor) -> Learner:
    """A learner in its second environment, watching, and dreaming of its first."""
    learner = watchful()
    learner.observe(images)
    learner._take_snapshot()
    scores = tuple(1e9 + k for k in range(256))  # so high that no batch is ever suspicious
    learner.memory = learner.memory.enter(replace(learner.memory.here, index=1, scores=scores))
    return learner


def seconds(step: Callable[[], object]) -> float:
    """Wall-clock time of one call, in seconds."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def matrix_rate() -> float:
    """Floating-point operations per second of a 1024 x 1024 matrix product."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ a) for _ in range(10))


def measure(rounds: int) -> dict[str, float]:
    """Time the steps in turn, `rounds` times, and the matrix product beside them."""
    images = torch.rand(BATCH, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    dreaming, first, networks = lifelong(images), watchful(), Networks(Architecture())
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-3, fused=True)
    steps = {
        "plain": lambda: plain_step(networks, optimizer, images),
        "learning": lambda: first.observe(images),
        "lifelong": lambda: dreaming.observe(images),
    }
    with FlopCounterMode(display=False) as counter:
        dreaming.observe(images)
    times: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
        rates.append(matrix_rate())
    typical, rate = statistics.median(times["lifelong"]), statistics.median(rates)
    return {
        "denormals_flushed": bool((torch.tensor(1e-38) / 1e3 == 0).item()),
        "plain_ms": round(1e3 * statistics.median(times["plain"]), 1),
        "lifelong_ms": round(1e3 * typical, 1),
        "learning_over_plain": ratio(times["learning"], times["plain"]),
        "lifelong_over_plain": ratio(times["lifelong"], times["plain"]),
        "gflop_per_lifelong_step": round(counter.get_total_flops() / 1e9, 2),
        "matrix_gflops": round(rate / 1e9, 1),
        "share_of_matrix_rate": round(counter.get_total_flops() / typical / rate, 3),
    }


def ratio(a: list[float], b: list[float]) -> float:
    """The median of ratios of times taken beside one another."""
    return round(statistics.median(x / y for x, y in zip(a, b, strict=True)), 2)


def main() -> None:
    """Print one JSON object; the exit status says whether the ratio is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(arguments.rounds)
    print(json.dumps({"threads": arguments.threads, "allowed": ALLOWED, **found}, indent=1))
    if found["lifelong_over_plain"] > ALLOWED:
        sys.exit(f"A lifelong step costs more than {ALLOWED} plain ones.")


if __name__ == "__main__":
    main()
