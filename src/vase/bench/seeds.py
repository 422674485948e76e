"""Benchmarks that train one run per preset and seed; interrupted runs resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch

from vase import build, config
from vase.bench import provenance
from vase.bench.ablation import train
from vase.config import Config
from vase.lifelong.learner import Learner
from vase.training.folder import RunFolder


@dataclass(frozen=True)
class SeedJob:
    """One preset and seed of a benchmark."""

    preset: str
    seed: int
    overrides: tuple[str, ...]
    out: Path
    data: build.DataOptions

    def settings_and_folder(self) -> tuple[Config, RunFolder]:
        """Return the configuration of this seed, and the run folder for its code and settings."""
        settings = config.load(self.preset, [f"training.seed={self.seed}", *self.overrides])
        key = provenance.key(settings, provenance.code())
        return settings, RunFolder(self.out / "runs" / f"seed-{self.seed}-{key}")

    def train(self) -> TrainedRun:
        """Train on one thread to the end of the stream, from the checkpoint if there is one."""
        torch.set_num_threads(1)
        began = perf_counter()
        settings, folder = self.settings_and_folder()
        learner = train(folder, settings, self.data)
        return TrainedRun(settings, folder, learner, began, perf_counter())


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained run, and when its training began and ended, in seconds of one clock."""

    settings: Config
    folder: RunFolder
    learner: Learner
    began: float
    ended: float

    def provenance(self) -> dict[str, Any]:
        """Return what every raw file records about its run: minutes, versions, settings."""
        return {
            "minutes": {
                "training": (self.ended - self.began) / 60,
                "all": (perf_counter() - self.began) / 60,
            },
            "versions": provenance.versions(),
            "config": self.settings.model_dump(mode="json"),
        }


class SeedBenchmark(Protocol):
    """A benchmark module: trains and measures a seed, writes raw files, renders tables."""

    def run_seed(self, job: SeedJob) -> dict[str, Any]: ...

    def write_record(self, record: Mapping[str, Any], out: Path) -> None: ...

    def render_tables(self, folder: Path) -> str: ...
