"""What makes a step fast and is set once, at the start of a process of our own.

Memory: every step asks for the same large pieces and frees them. glibc gives them back to the
system, and each page is taken again, and cleared, in the next step: 3,300 page faults a step with
the default networks, 33,700 with the published ones, which take a fifth longer so.

Denormal numbers: a thread flushes them or does not, and the threads that share a product or a sum
with it (OpenMP's) have the mode of the one that began them. Begun before the learner flushes, they
keep denormal numbers for good, and the momenta of dead units fill with them: from step 1,300 of
`quick` on two threads a step slows down, to three times as long.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
KEPT = 2**30  # bytes that an arena of a process keeps free at most
LARGEST = 2**25  # bytes of a piece that is kept; glibc takes no more
CHOSEN = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def prepare_process() -> None:
    """Set all of this for a process that trains, before PyTorch has begun its threads."""
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep what is freed for the next step; return whether that was set.

    It is not where the user has chosen by the environment, or where the C library is not glibc.
    """
    if any(name in environment for name in CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, KEPT))
