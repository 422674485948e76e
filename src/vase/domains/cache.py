"""The user's cache: where it is, how a file gets there, and how an array is read from it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.errors import DataError


def cache_folder() -> Path:
    """Return the folder that keeps downloads, in the user's cache folder of this platform."""
    import pooch

    return Path(pooch.os_cache("vase"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write beside `path`; it becomes `path` when the disk has it, or is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def mapped(path: Path) -> NDArray[Any]:
    """The array in an .npy file, memory-mapped; a `DataError` if it cannot be read."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}). Delete it and run again.") from error
    return array
