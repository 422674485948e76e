"""How sharp photographs come out: the default networks beside the part `photographs`.

    python benchmarks/photographs.py IMAGES [--steps 4000] [--out FILE] [key=value ...]

IMAGES: one folder of photographs or an array of them, as `vase train` takes it. Both learn from the
same batches for as many steps, on the threads that PyTorch has; one image in ten is held out. The
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
VARIANTS = {"default": "", "photographs": "+photographs"}


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


def trained(source: str, steps: int, overrides: list[str]) -> dict[str, Any]:
    """Learn for so many steps; what came of it."""
    settings = configured(source, overrides)
    stream = build.stream(settings, build.DataOptions())
    learner = build.learner(settings, stream.shape)
    began = perf_counter()
    for step in range(steps):
        learner.observe(torch.from_numpy(stream.batch(step)[0]))
        if step % 500 == 0:
            print(f"{source}, step {step}: {(perf_counter() - began) / 60:.1f} min", flush=True)
    minutes = (perf_counter() - began) / 60
    (domain,) = build.stream(settings, build.DataOptions(), "test").domains.values()
    parts = [torch.from_numpy(each) for each, _ in sample_images(domain, SCORED, TEST_SEED)]
    return {
        "decibels": decibels(learner, torch.cat(parts)),
        "kl": float(learner.environments.present.kl.sum()),
        "weights": sum(each.numel() for each in learner.networks.parameters()),
        "minutes": minutes,
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
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--out", type=Path, default=Path("results/photographs.json"))
    given = parser.parse_intermixed_args()
    found = {
        name: trained(given.images + part, given.steps, given.overrides)
        for name, part in VARIANTS.items()
    }
    record = {"images": Path(given.images).stem, "steps": given.steps, "found": found}
    write_json(given.out, rounded(record))
    for name, each in found.items():
        print(
            f"{name}: {each['decibels']:.2f} dB, KL {each['kl']:.0f} nats, "
            f"{each['minutes']:.1f} minutes"
        )


if __name__ == "__main__":
    main()
