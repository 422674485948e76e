"""How sharp photographs come out: the default networks beside the part `photographs`.

    python benchmarks/photographs.py IMAGES [--steps 500] [--out FILE] [key=value ...]

IMAGES: one folder of photographs, a video or an array, as `vase train` takes it. Both learn from
the same batches, on the threads that PyTorch has: the part for so many steps, and then the default
networks for as many, and on until they have learnt for as long. One image in ten is held out. The
figure is the peak signal-to-noise ratio of their reconstructions from the posterior means, by the
averaged weights, in decibels: the mean over `SCORED` images of -10 log10 of the mean squared error.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from vase import build
from vase.cli.session import configured
from vase.lifelong.learner import Learner
from vase.lifelong.replay import decoded
from vase.probes.encode import sample_images
from vase.probes.evaluate import TEST_SEED
from vase.training.folder import rounded, write_json

SCORED, AT_A_TIME = 1_000, 100  # held-out images
PART = "photographs"


@torch.no_grad()
def decibels(learner: Learner, images: Tensor) -> float:
    """The mean over images [B, C, H, W] of -10 log10 mean (x - p)^2, p of the posterior mean."""
    found = []
    mask = torch.as_tensor(learner.environments.present.mask)
    for part in torch.split(images, AT_A_TIME):
        z = learner.average.encoder(part).mean * mask
        shown = decoded(learner.average, z, learner.environments.current)
        error = (shown - part).square().flatten(1).mean(1)
        found.append(-10 * error.log10())
    return float(torch.cat(found).mean())


def trained(source: str, steps: int, minutes: float, overrides: list[str]) -> dict[str, Any]:
    """Learn for so many steps, and so many minutes at least; what came of it."""
    settings = configured(source, overrides)
    stream = build.stream(settings, build.DataOptions())
    learner = build.learner(settings, stream.shape)
    (domain,) = build.stream(settings, build.DataOptions(), "test").domains.values()
    parts = [torch.from_numpy(each) for each, _ in sample_images(domain, SCORED, TEST_SEED)]
    held_out = torch.cat(parts)
    learner.observe(torch.from_numpy(stream.batch(0)[0]))
    first = decibels(learner, held_out)
    began, spent = perf_counter(), 0.0
    while learner.step < steps or spent < minutes:
        learner.observe(torch.from_numpy(stream.batch(learner.step)[0]))
        spent = (perf_counter() - began) / 60
        if learner.step % 100 == 0:
            print(f"{source}, step {learner.step}: {spent:.1f} min", flush=True)
    return {
        "steps": learner.step,
        "decibels": decibels(learner, held_out),
        "first": first,
        "kl": float(learner.environments.present.kl.sum()),
        "weights": sum(each.numel() for each in learner.networks.parameters()),
        "minutes": spent,
        "image": stream.shape,
        "batch": settings.stream.batch_size,
        "model": settings.model.model_dump(),
        "objective": settings.objective.model_dump(),
    }


def main() -> None:
    """Train both, and write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_intermixed_args()
    part = trained(f"{given.images}+{PART}", given.steps, 0, given.overrides)
    default = trained(given.images, given.steps, part["minutes"], given.overrides)
    found, images = {"default": default, PART: part}, Path(given.images).stem
    record = {"images": images, "threads": torch.get_num_threads(), "found": found}
    write_json(given.out or Path(f"results/photographs/{images}.json"), rounded(record))
    for name, each in found.items():
        print(
            f"{name}: {each['decibels']:.2f} dB, KL {each['kl']:.0f} nats, "
            f"{each['steps']} steps, {each['minutes']:.1f} minutes"
        )


if __name__ == "__main__":
    main()
