"""How many threads compute, and how they wait for one another. Nothing here loads PyTorch."""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what OpenMP reads when PyTorch is loaded, unless the user has set it.

    Threads sleep while they wait for one another: beside other work a thread that spins keeps a
    processor from the one that it waits for, and training became ten times slower. And they are no
    more than a container may use.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    allowed, here = quota(), processors()
    if allowed is not None and allowed < here:
        environment.setdefault("OMP_NUM_THREADS", str(allowed))


def processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
