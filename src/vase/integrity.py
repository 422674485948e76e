"""Is a run folder whole? All that a run goes on from is read and verified; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from vase import config, consent
from vase.errors import RunError, VaseError
from vase.lifelong.environments import Environments
from vase.nets import Architecture
from vase.training import checkpoint
from vase.training import folder as folders
from vase.training.folder import RunFolder


@dataclass(frozen=True)
class Finding:
    """One file: whether it is whole, and what is in it or wrong with it."""

    file: str
    whole: bool
    message: str


def open_run(path: Path, *, trust: bool = False, training: bool = False) -> RunFolder:
    """Open a run folder, a stranger's perhaps: whatever the commands read of it is checked first.

    trust: whether what its settings want of this machine is allowed, from now on. training: whether
    the run goes on. A `RunError` says what is wrong, or what is wanted. Weights are checked when
    they are read.
    """
    folder = folders.open_run(path)
    settings, content = config.load(str(folder.config)), folder.config.read_bytes()
    for finding in _records(folder):
        if not finding.whole:
            raise RunError(finding.message)
    wanted = consent.demands(settings, path, training=training)
    if wanted and trust:
        consent.remember(content)
    elif wanted and not consent.is_given(content):
        raise RunError(
            f"The run '{path}' was not begun on this machine, or its config.toml has changed "
            f"since, and wants to {'; to '.join(wanted)}. If you know it and want that, say so "
            "once with --trust-paths."
        )
    return folder


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
    yield from _records(folder)


def _records(folder: RunFolder) -> Iterator[Finding]:
    """What the logs and measurements of a run are."""
    if folder.metrics.exists():
        yield _finding(folder.metrics, lambda path: _log(path, folders.read_metrics(folder)))
    if folder.events.exists():
        yield _finding(folder.events, lambda path: _log(path, folders.read_events(folder)))
    explored = [path / "exploration.json" for path in folder.explorations()]
    for path in (folder.probes, folder.translation, folder.ambiguity, *explored):
        if path.exists():
            yield _finding(path, _measurements)


def _finding(path: Path, read: Callable[[Path], str]) -> Finding:
    inside = {"milestones": 1, "exploration": 2}
    above = next((up for name, up in inside.items() if name in path.parts[-3:-1]), 0)
    name = path.relative_to(path.parents[above])
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
        if "architecture" in record:
            Architecture(**record["architecture"])
        known = Environments.from_json(record["environments"])
        odd = [name for name, value in tensors.items() if not _finite(value)]
        if odd:
            raise ValueError(f"tensor '{odd[0]}' is not finite")
        step = int(record["step"])
        return f"step {step:,}, {len(known)} environments, {len(tensors)} tensors, {size:.1f} MB"


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def _log(path: Path, records: Sequence[dict[str, Any]]) -> str:
    steps = [record["step"] for record in records]
    if any(later < earlier for earlier, later in pairwise(steps)):
        raise RunError(f"The steps of '{path}' go backwards: it was edited, or is of two runs.")
    return f"{len(records):,} lines" + (f", up to step {steps[-1]:,}" if steps else "")


def _measurements(path: Path) -> str:
    return f"{len(folders.read_record(path) or ())} entries"
