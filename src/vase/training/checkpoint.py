"""One checkpoint = one safetensors file: tensors, and JSON in a tensor of bytes. No pickle, ever.

One file, so that it is replaced in one rename: a reader sees the old checkpoint or the new one,
never half of each. The header, whose size is limited, holds only the format's version and a SHA-256
over all the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vase.errors import CheckpointError, RunError, VaseError, reason

FORMAT = "vase-checkpoint"
VERSION = 5
RECORD = "record"  # the tensor that holds the JSON
READERS = {3: "0.1"}  # which version of vase reads an older format


class DamagedError(CheckpointError):
    """A checkpoint that is missing, cut off, or not what its checksum says."""


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    *,
    earlier: Path | None = None,
) -> None:
    """Write a checkpoint atomically: temporary file, fsync, rename, fsync of the folder.

    earlier: where the one before is kept, in case the disk gives back other bytes than it got.
    """
    cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    cpu[RECORD] = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    header = {"format": FORMAT, "version": VERSION, "sha256": digest(cpu)}
    write_bytes(path, save(cpu, metadata={"vase": json.dumps(header)}), earlier=earlier)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON of a checkpoint, verified; a `CheckpointError` says what is wrong."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["vase"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise DamagedError(f"There is no checkpoint at '{path}'.") from None
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise DamagedError(
            f"'{path}' is not a whole VASE checkpoint ({type(error).__name__}: {error}). "
            "It may be truncated or of another program; use an earlier one."
        ) from None
    _verify(path, tensors, header)
    with understood(path):
        record = json.loads(tensors.pop(RECORD).numpy().tobytes())
        return tensors, dict(record)


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Make a `CheckpointError` of whatever goes wrong where a record is put to use.

    The checksum tells rotten bytes, not a record that another program has written.
    """
    try:
        yield
    except VaseError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            f"'{path}' is whole, but holds what this program does not understand: "
            f"{reason(error)}. Install the version of vase that wrote it."
        ) from None


def _verify(path: Path, tensors: Mapping[str, Tensor], header: Any) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"'{path}' is a safetensors file, but not a VASE checkpoint.")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"'{path}' has checkpoint version {header.get('version')}; this program reads "
            f"version {VERSION}. {_reader(header.get('version'))}"
        )
    if header.get("sha256") != digest(tensors):
        raise DamagedError(
            f"'{path}' is corrupt: its content does not match its checksum. Use an earlier one."
        )


def _reader(version: object) -> str:
    """Which version of vase reads a format, in a sentence."""
    known = READERS.get(version) if isinstance(version, int) else None
    if known:
        return f"Install vase {known}, which reads it."
    return "Install the version of vase that wrote it."


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over each tensor's name, type, shape and bytes, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_bytes(path: Path, content: bytes, *, earlier: Path | None = None) -> None:
    """Replace a file in one step, or leave it as it was and raise a `RunError`.

    earlier: the name that the file goes on by. Between two renames there may be only that one.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        try:
            # What the user's umask leaves, as any program's files; and no more than the file had.
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                temporary.chmod(temporary.stat().st_mode & path.stat().st_mode & 0o777)
                if earlier is not None:
                    path.replace(earlier)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(
            f"'{path}' could not be written: {error.strerror or error}. What was there is "
            "unharmed; make room or choose another folder, and go on with `vase resume`."
        ) from None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
