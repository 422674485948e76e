"""Freed memory is kept for the next step, in processes of our own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from vase import malloc

PROGRAM = """
import resource
import torch
from vase import malloc

if {keep}:
    assert malloc.keep_freed_memory()
torch.set_num_threads(1)

def step():
    first = torch.ones(2**19)  # 2 MiB: 512 pages
    return [first * 2, first + 1, first - 1]

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
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
    assert faults(keep=False) > 500
    assert faults(keep=True) < 50


def test_what_the_user_has_chosen_stays() -> None:
    assert not malloc.keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0"})
