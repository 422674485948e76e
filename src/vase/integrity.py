"""Is a run folder whole? All that a run goes on from is read and verified; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from vase import config
from vase.errors import RunError, VaseError
from vase.training import checkpoint
from vase.training.folder import RunFolder, read_json, read_lines


@dataclass(frozen=True)
class Finding:
    """One file: whether it is whole, and what is in it or wrong with it."""

    file: str
    whole: bool
    message: str


def examine(folder: RunFolder) -> tuple[Finding, ...]:
    """Read settings, weights, logs and measurements. What is missing without harm is left out."""
    return tuple(_found(folder))


def _found(folder: RunFolder) -> Iterator[Finding]:
    yield _finding(folder.config, _settings)
    if not (folder.checkpoint.exists() or folder.earlier.exists()):
        yield Finding(folder.checkpoint.name, True, "none yet: the run starts again")
    for path in (folder.checkpoint, folder.earlier, *folder.milestones()):
        if path.exists():
            yield _finding(path, _weights)
    for path in (folder.metrics, folder.events):
        if path.exists():
            yield _finding(path, _log)
    for path in (folder.probes, folder.translation, folder.ambiguity):
        if path.exists():
            yield _finding(path, lambda path: f"{len(read_json(path))} entries")


def _finding(path: Path, read: Callable[[Path], str]) -> Finding:
    name = path.relative_to(path.parents[1] if path.parent.name == "milestones" else path.parent)
    try:
        return Finding(name.as_posix(), True, read(path))
    except VaseError as error:
        return Finding(name.as_posix(), False, str(error))


def _settings(path: Path) -> str:
    steps = sum(steps for _, steps in config.load(str(path)).stream.schedule)
    return f"a run of {steps:,} steps"


def _weights(path: Path) -> str:
    tensors, record = checkpoint.read(path)
    size = sum(value.numel() * value.element_size() for value in tensors.values()) / 1e6
    with checkpoint.understood(path):
        return f"step {record['step']:,}, {len(tensors)} tensors, {size:.1f} MB"


def _log(path: Path) -> str:
    records = read_lines(path)
    steps = _steps(path, records)
    if any(later < earlier for earlier, later in pairwise(steps)):
        raise RunError(f"The steps of '{path}' go backwards: it was edited, or is of two runs.")
    return f"{len(records):,} lines" + (f", up to step {steps[-1]:,}" if steps else "")


def _steps(path: Path, records: Sequence[dict[str, Any]]) -> list[int]:
    try:
        return [int(record["step"]) for record in records]
    except (KeyError, TypeError, ValueError):
        raise RunError(f"A line of '{path}' has no step. It is not a log of a run.") from None
