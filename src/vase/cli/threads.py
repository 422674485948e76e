"""How many threads compute, chosen before PyTorch is loaded: nothing here loads it.

The threads of a step wait for one another at every sum. PyTorch's spin while they wait, which is
fastest where nothing else runs; beside other work a thread that spins keeps the processor from the
one that it waits for. No way of waiting is good at both (figures: docs/runs.md), and beside other
work one thread for each processor that is free is fastest.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

CGROUP, STATISTICS = Path("/sys/fs/cgroup"), Path("/proc/stat")
SHORTEST = 0.1  # seconds over which it is seen what others use


@dataclass(frozen=True)
class Usage:
    """A look at the clock. idle: seconds of the processors here, None where nobody counts them.

    own: seconds of processors that this process has used.
    """

    wall: float
    own: float
    idle: float | None


def usage(path: Path = STATISTICS) -> Usage:
    """What has been used so far."""
    names = {f"cpu{number}" for number in processors()}
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        ticks = sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in names)
        idle: float | None = ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        idle = None
    return Usage(time.monotonic(), time.process_time(), idle)


def free(before: Usage, after: Usage) -> float | None:
    """How many processors others have left free between two looks; None where nobody counts."""
    if before.idle is None or after.idle is None or after.wall <= before.wall:
        return None
    return (after.idle - before.idle + after.own - before.own) / (after.wall - before.wall)


def prepare(begun: Usage, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what OpenMP reads when PyTorch is loaded, unless the user has set it.

    begun: a look at the start of the process, since when it is seen what others use. Threads are
    no more than a container may use and others leave free; where they are fewer than processors,
    they sleep while they wait.
    """
    if "OMP_NUM_THREADS" in environment:
        return
    here = len(processors())
    allowed = min(here, quota() or here)
    if allowed > 1:
        time.sleep(max(0.0, SHORTEST - (time.monotonic() - begun.wall)))
        left = free(begun, usage())
        allowed = allowed if left is None else max(1, min(allowed, round(left)))
    if allowed < here:
        environment["OMP_NUM_THREADS"] = str(allowed)
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def processors() -> set[int]:
    """Numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def quota(root: Path = CGROUP) -> int | None:
    """Processors that a container's quota is worth, rounded up; None without a quota."""
    try:
        if (root / "cpu.max").is_file():  # version 2
            limit, period = (root / "cpu.max").read_text().split()
        else:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        return max(1, math.ceil(int(limit) / int(period))) if int(limit) > 0 else None
    except (OSError, ValueError):  # "max" is no number: no limit
        return None
