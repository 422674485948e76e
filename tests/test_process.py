"""In processes of our own freed memory is kept for the next step, and no thread keeps denormals."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from vase import build, config, process
from vase.bench import engine
from vase.cli import session

PROGRAM = """
import ctypes
import resource
import torch
from vase import process

torch.set_num_threads(1)
STEPS = 3

def faults_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS):
        first = torch.ones(6 * 2**20)  # 24 MiB: 6,144 pages, or 12 where pages are huge
        pieces = [first * 2, first + 1, first - 1]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / STEPS

mallopt = ctypes.CDLL(None).mallopt
mallopt(process.MMAP_THRESHOLD, 2**16)  # every piece is given back as soon as it is freed
faults_a_step()
given_back = faults_a_step()
assert process.keep_freed_memory()
faults_a_step()
print(given_back, faults_a_step())
"""
GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="mallopt is a function of glibc")
def test_pages_of_freed_tensors_are_not_taken_again() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in process.CHOSEN}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    given_back, kept = (float(faults) for faults in done.stdout.split())
    assert kept < given_back / 2


def test_what_the_user_has_chosen_stays() -> None:
    assert not process.keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0"})


TRAINED = """
import sys
import torch
from vase.cli import main

sys.argv = ["vase", "train", "toy", "--out", sys.argv[1], "--no-report", "training.threads=2",
            'stream.schedule=[["moving-solids", 2]]']
try:
    main()
except SystemExit as end:
    assert not end.code
assert torch.get_num_threads() == 2
denormal = torch.full((200_000,), 2**16, dtype=torch.int32).view(torch.float32)
print("left:", int((denormal * 0.5).view(torch.int32).count_nonzero()))
"""


def test_no_thread_of_training_keeps_denormals(tmp_path: Path) -> None:
    """Nor one that OpenMP begins, which computes half of a product."""
    command = [sys.executable, "-c", TRAINED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "left: 0" in done.stdout.splitlines()


def test_training_and_its_workers_are_prepared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(process, "prepare_process", lambda: asked.append("keep"))
    monkeypatch.setattr(engine, "parent_process", lambda: None)
    engine._begin_worker()
    assert asked == ["keep"]
    two_steps = config.load("toy", ['stream.schedule=[["moving-solids", 2]]'])
    session.train(two_steps, tmp_path / "run", build.DataOptions(), report=False)
    assert asked == ["keep", "keep"]
