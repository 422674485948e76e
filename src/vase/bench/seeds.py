"""What benchmarks of presets have in common: a run for every seed, resumed where it was left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vase import build, config
from vase.bench import provenance
from vase.config import Config
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
