"""The figures of RESULTS.md: trained, kept as raw files, and put into generated pages.

    python benchmarks/results.py train quick --seeds 0 1 2 3 4 [--jobs 2]
    python benchmarks/results.py page

`train` trains each seed into runs/results/PRESET-seed-K, or goes on with it, and copies what counts
into results/PRESET/seed-K. `page` writes RESULTS.md, docs/findings.md and the table in README.md,
from those files and nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from vase.report.run import wall_clock
from vase.training.folder import RunFolder, write_json

ROOT = Path(__file__).parents[1]
KEPT = ("config.toml", "events.jsonl", "probes.json")


# ---- training ----------------------------------------------------------------------------------


def train(preset: str, seed: int, threads: int) -> None:
    """Train one seed to its end, or go on with it, and keep its raw files."""
    run = RunFolder(ROOT / "runs" / "results" / f"{preset}-seed-{seed}")
    vase = [sys.executable, "-m", "vase"]
    started = run.config.is_file()
    command = (
        [*vase, "resume", str(run.path)]
        if started
        else [*vase, "train", preset, f"training.seed={seed}", "--out", str(run.path)]
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with run.path.with_suffix(".log").open("a") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    keep(run, ROOT / "results" / preset / f"seed-{seed}", threads)


def keep(run: RunFolder, target: Path, threads: int) -> None:
    """Copy what counts, and what it cost on this machine."""
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(run.path / name, target / name)
    seconds = wall_clock(run.tensorboard)
    cost = {
        "training_minutes": round(seconds / 60, 1) if seconds else None,
        "threads": threads,
        "torch": torch.__version__,
        "commit": commit(),
    }
    write_json(target / "cost.json", cost)


def commit() -> str:
    """The commit that is checked out, so that a figure can be traced to its code."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Train seeds, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    trainer = commands.add_parser("train")
    trainer.add_argument("preset")
    trainer.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    trainer.add_argument("--jobs", type=int, default=2, help="seeds trained at a time")
    trainer.add_argument("--threads", type=int, default=1, help="CPU threads for each")
    trainer.set_defaults(run=train_all)
    commands.add_parser("page").set_defaults(run=write_page)
    arguments = parser.parse_args()
    run: Callable[[argparse.Namespace], None] = arguments.run
    run(arguments)


def train_all(arguments: argparse.Namespace) -> None:
    """Train all seeds, some at a time."""
    with ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [
            pool.submit(train, arguments.preset, seed, arguments.threads)
            for seed in arguments.seeds
        ]
        for job in jobs:
            job.result()


def write_page(_: argparse.Namespace) -> None:
    """Write RESULTS.md, docs/findings.md, and the table of results in README.md."""
    from readme_table import with_results  # with what explores, which training does not need
    from results_page import in_words, page

    for name, written in (("RESULTS.md", page), ("docs/findings.md", in_words)):
        (ROOT / name).write_text(written(ROOT / "results") + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    text = with_results(readme.read_text(encoding="utf-8"), ROOT / "results")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
