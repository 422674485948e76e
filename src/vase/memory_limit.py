"""How much memory there is, so that what asks for more is refused before it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from vase.errors import VaseError

CGROUP_LIMITS = (  # of containers, version 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
UNKNOWN = 64 * 2**30  # bytes, where the system does not tell


def machine_memory() -> int:
    """Bytes of memory that processes here may take in all: of the machine, or of the container."""
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        limits = [UNKNOWN]
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(limits)


def refuse_above(
    needed: float, limit: int, what: str, remedy: str, kind: type[VaseError] = VaseError
) -> None:
    """Raise an error of `kind` if `what` needs more bytes than there are."""
    if needed > limit:
        raise kind(
            f"{what} needs {in_words(needed)} of memory, and at most {in_words(limit)} may be "
            f"taken. {remedy}"
        )


def in_words(size: float) -> str:
    """Bytes as people say them; a number beyond any machine is told as such."""
    if size == float("inf"):
        return "more than any machine has"
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
