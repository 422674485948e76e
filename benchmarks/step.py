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
from vase.lifelong.learner import Learner, Settings
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
    """A learner that watches for changes from its first step on."""
    rule = DetectorRule(warmup=0, surprise=1e-9)
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


def main() -> None:
    """Time the steps in turn and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = torch.rand(BATCH, 1, 64, 64, generator=torch.Generator().manual_seed(0))

    dreaming = lifelong(images)
    first = watchful()
    networks = Networks(Architecture())
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
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))
        rates.append(matrix_rate())
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
        for name in ("learning", "lifelong")
    }
    typical = statistics.median(times["lifelong"])
    share = counter.get_total_flops() / typical / statistics.median(rates)
    print(
        json.dumps(
            {
                "threads": arguments.threads,
                "denormals_flushed": bool((torch.tensor(1e-38) / 1e3 == 0).item()),
                "plain_ms": round(1e3 * statistics.median(times["plain"]), 1),
                "lifelong_ms": round(1e3 * typical, 1),
                "learning_over_plain": round(ratios["learning"], 2),
                "lifelong_over_plain": round(ratios["lifelong"], 2),
                "allowed": ALLOWED,
                "gflop_per_lifelong_step": round(counter.get_total_flops() / 1e9, 2),
                "matrix_gflops": round(statistics.median(rates) / 1e9, 1),
                "share_of_matrix_rate": round(share, 3),
            },
            indent=1,
        )
    )
    if ratios["lifelong"] > ALLOWED:
        sys.exit(
            f"A lifelong step costs {ratios['lifelong']:.2f} plain ones; {ALLOWED} are allowed."
        )


if __name__ == "__main__":
    main()
