"""The run folder: what lies where, and logs that can be cut back to a checkpoint.

config.toml              the resolved configuration
metrics.jsonl            one line every `training.log_every` steps, at most 10,000 in all
events.jsonl             one line per event: step, kind, environment, reason, evidence
tensorboard/             the same numbers for TensorBoard
checkpoint.safetensors   everything needed to go on, bit for bit
checkpoint-earlier.safetensors   the one before, should that one be damaged
milestones/              averaged weights along the way, for the probes
probes.json  translation.json  ambiguity.json  exploration/  report.html  figures/
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic_core import from_json, to_json

from vase.errors import RunError, reason, undecodable
from vase.training import schema
from vase.training.checkpoint import write_bytes

MOST_LOG_BYTES, MOST_JSON_BYTES = 200_000_000, 50_000_000
MOST_ENTRIES = 100_000  # of files and folders in a run
MEASURED = {
    "probes.json": schema.PROBES,
    "translation.json": schema.TRANSLATIONS,
    "ambiguity.json": schema.AMBIGUITIES,
    "exploration.json": schema.EXPLORATION,
}


class Inside:
    """A path inside a folder, by its name there; `folder.path` is where the folder is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: Any, _: object = None) -> Path:
        return Path(folder.path, self.name)


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    # Without annotations, or they would be fields.
    config = Inside("config.toml")
    metrics = Inside("metrics.jsonl")
    events = Inside("events.jsonl")
    tensorboard = Inside("tensorboard")
    checkpoint = Inside("checkpoint.safetensors")
    earlier = Inside("checkpoint-earlier.safetensors")
    probes = Inside("probes.json")
    translation = Inside("translation.json")
    ambiguity = Inside("ambiguity.json")
    report = Inside("report.html")
    figures = Inside("figures")

    def explorations(self) -> list[Path]:
        """What was explored from this run, a folder for each place and policy."""
        return sorted(path.parent for path in self.path.glob("exploration/*/exploration.json"))

    def milestone(self, step: int) -> Path:
        return self.path / "milestones" / f"step-{step:09d}.safetensors"

    def milestones(self) -> list[Path]:
        """All milestones, earliest first."""
        return sorted((self.path / "milestones").glob("step-*.safetensors"))


def create(path: Path, config_toml: str) -> RunFolder:
    """A new run folder with its configuration; an existing one is never written over."""
    folder = RunFolder(path)
    refuse_existing(path)
    try:
        (path / "milestones").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The run folder '{path}' cannot be made: {error.strerror}.") from None
    write_bytes(folder.config, config_toml.encode())
    return folder


def refuse_existing(path: Path) -> None:
    """Raise a `RunError` if something is at `path` already, or if nothing can be there."""
    if name := undecodable(path):
        raise RunError(f"The name '{name}' is not UTF-8. Choose another with --out.")
    if path.exists() and (not path.is_dir() or any(map(_is_left, path.iterdir()))):
        raise RunError(
            f"'{path}' exists and is not empty. Choose another folder with --out, "
            f"or go on with that run: vase resume {path}"
        )


def _is_left(path: Path) -> bool:
    """Whether something is of a run, and not of one that was killed before it had begun."""
    waiting = path.name == "milestones" and path.is_dir() and not any(path.iterdir())
    return not (waiting or path.name.startswith("."))


def open_run(path: Path) -> RunFolder:
    """An existing run folder, in which nothing leads out of it; see `integrity.open_run`."""
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RunError(
            f"'{path}' is not a run folder: it has no config.toml. "
            f"Start one with: vase train quick --out {path}"
        )
    _refuse_foreign(path)
    return folder


def _refuse_foreign(path: Path) -> None:
    """Raise a `RunError` for what is no file or folder of the run's own: it may be a stranger's."""
    root, entries = path.resolve(), 0
    for place, folders, files in os.walk(path, onerror=_refuse_unreadable):
        for name in (*folders, *files):
            entry = Path(place) / name
            entries += 1
            if entries > MOST_ENTRIES:
                raise RunError(f"'{path}' holds more than {MOST_ENTRIES:,} files; no run does.")
            mode = entry.lstat().st_mode
            if stat.S_ISLNK(mode):
                if not _resolved(entry).is_relative_to(root):
                    raise RunError(
                        f"'{entry}' is a link out of the run folder, and would be read, written or "
                        "deleted in its place. Take it out, or put a copy there."
                    )
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RunError(
                    f"'{entry}' is no file and no folder but a pipe, a socket or a device. Take it "
                    "out."
                )


def _resolved(link: Path) -> Path:
    """Where a link leads; of one that leads nowhere, the root of all paths."""
    try:
        return link.resolve(strict=True)
    except (OSError, RuntimeError):
        return Path(link.anchor or "/")


def _refuse_unreadable(error: OSError) -> None:
    raise RunError(f"'{error.filename}' cannot be read: {error.strerror}.")


@contextmanager
def sole_writer(folder: RunFolder, meanwhile: str = "vase report, vase serve") -> Iterator[None]:
    """Keep others from writing to the run; a `RunError` where another process does.

    The system gives the lock back when a process ends, however it ends.
    """
    lock = FileLock(folder.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"Another process is writing to '{folder.path}'. Wait until it has ended, or end it; "
            f"to look at the run meanwhile: {meanwhile}."
        ) from None
    except OSError as error:
        raise RunError(
            f"'{folder.path}' cannot be written to: {error.strerror or error}."
        ) from None
    try:
        yield
    finally:
        lock.release()


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, checked."""
    return schema.checked(folder.metrics, read_lines(folder.metrics), schema.METRICS)


def read_events(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of events.jsonl, checked."""
    return schema.checked(folder.events, read_lines(folder.events), schema.EVENTS)


def read_record(path: Path) -> dict[str, Any] | None:
    """A file of measurements, checked; None where there is none."""
    return schema.checked(path, read_json(path), MEASURED[path.name]) if path.is_file() else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    lines = _text(path, MOST_LOG_BYTES).splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < len(lines):
                raise RunError(f"Line {number} of '{path}' is not JSON.") from None
    return records


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records to a .jsonl file, one line each, numbers rounded to what they mean."""
    text = "".join(json.dumps(rounded(record), sort_keys=False) + "\n" for record in records)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"'{path}' could not be written: {error.strerror or error}.") from None


def keep_lines(path: Path, wanted: Callable[[int], bool]) -> None:
    """Drop the records of a .jsonl file whose steps are not wanted."""
    try:
        kept = [record for record in read_lines(path) if wanted(record["step"])]
    except (TypeError, KeyError):
        raise RunError(
            f"A line of '{path}' is no record of a step. Mend it, or take it out."
        ) from None
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_bytes(path, text.encode())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write one JSON file atomically, indented for people."""
    write_bytes(path, (json.dumps(record, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object from a file of the run."""
    text = _text(path, MOST_JSON_BYTES)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' cannot be read: {reason(error)}.") from None
    if not isinstance(record, dict):
        raise RunError(f"'{path}' holds no JSON object.")
    return record


def _text(path: Path, most: int) -> str:
    """The text of a file of a run, of so many bytes at most."""
    try:
        size = path.stat().st_size
        if size > most:
            raise RunError(f"'{path}' has {size:,} bytes; of a run it has at most {most:,}.")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read: {reason(error)}.") from None


def rounded(value: Any) -> Any:
    """Floats to six significant digits, in lists and objects too."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value


def defined(value: Any) -> Any:
    """A value as JSON has it: numbers that are undefined or infinite are null."""
    return from_json(to_json(value, inf_nan_mode="null"))
