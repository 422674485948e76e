"""Freed memory is kept for the next step, in processes of our own."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from vase import build, config, malloc
from vase.bench import engine
from vase.cli import session

PROGRAM = """
import resource
import torch
from vase import malloc

if {keep}:
    assert malloc.keep_freed_memory()
torch.set_num_threads(1)

def step():
    first = torch.ones(6 * 2**20)  # 24 MiB: 6,144 pages
    return [first * 2, first + 1, first - 1]

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(60):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 60)
"""
GLIBC = platform.libc_ver()[0] == "glibc"


def faults(keep: bool) -> float:
    """Page faults a step, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in malloc.CHOSEN}
    command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="mallopt is a function of glibc")
def test_pages_of_freed_tensors_are_not_taken_again() -> None:
    assert faults(keep=False) > 800
    assert faults(keep=True) < 500


def test_what_the_user_has_chosen_stays() -> None:
    assert not malloc.keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0"})


def test_training_and_its_workers_keep_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: asked.append("keep"))
    monkeypatch.setattr(engine, "parent_process", lambda: None)
    engine._begin_worker()
    assert asked == ["keep"]
    two_steps = config.load("toy", ['stream.schedule=[["moving-solids", 2]]'])
    console = Console(file=io.StringIO())
    session.train(two_steps, tmp_path / "run", build.DataOptions(), console, report=False)
    assert asked == ["keep", "keep"]
