"""What benchmarks of presets have in common: a run for every seed, resumed where it was left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from vase import build, config
from vase.bench import provenance
from vase.bench.ablation import train
from vase.config import Config
from vase.lifelong.learner import Learner
from vase.training.folder import RunFolder


@dataclass(frozen=True)
class Job:
    """One preset and seed."""

    preset: str
    seed: int
    overrides: tuple[str, ...]
    out: Path
    data: build.DataOptions

    def run(self) -> tuple[Config, RunFolder]:
        """The configuration of this seed, and its run's folder, named after code and settings."""
        settings = config.load(self.preset, [f"training.seed={self.seed}", *self.overrides])
        key = provenance.key(settings, provenance.code())
        return settings, RunFolder(self.out / "runs" / f"seed-{self.seed}-{key}")

    def trained(self) -> Trained:
        """Train on one thread, or go on with it, to the end of the stream."""
        torch.set_num_threads(1)
        began = perf_counter()
        settings, folder = self.run()
        learner = train(folder, settings, self.data)
        return Trained(settings, folder, learner, began, perf_counter())


@dataclass(frozen=True, eq=False)
class Trained:
    """A run at its end, and when its training began and ended, in seconds of one clock."""

    settings: Config
    folder: RunFolder
    learner: Learner
    began: float
    ended: float

    def origin(self) -> dict[str, Any]:
        """What every raw file says of itself: minutes until now, versions, settings."""
        return {
            "minutes": {
                "training": (self.ended - self.began) / 60,
                "all": (perf_counter() - self.began) / 60,
            },
            "versions": provenance.versions(),
            "config": self.settings.model_dump(mode="json"),
        }
