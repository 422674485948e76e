"""Checkpoints: whole or refused, written in one step; logs that can be cut back."""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vase.errors import CheckpointError, ConfigError, RunError
from vase.training import checkpoint
from vase.training import folder as folders
from vase.training.checkpoint import DamagedError

DISK = [
    (OSError(28, "No space left on device"), "No space left on device"),
    (OSError("the disk is gone"), "the disk is gone"),  # as other packages raise it
]
TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4),
    "b": torch.tensor([1, 2, 3]),
    "c": torch.tensor(7.0),
}


def written(folder: Path) -> Path:
    path = folder / "checkpoint.safetensors"
    checkpoint.write(path, TENSORS, {"step": 5, "names": ["x"]})
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors, record = checkpoint.read(written(tmp_path))
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert record == {"step": 5, "names": ["x"]}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_what_is_learnt_and_what_is_a_view_is_written_too(tmp_path: Path) -> None:
    path, whole = tmp_path / "kept", torch.arange(6.0, requires_grad=True)
    checkpoint.write(path, {"view": whole.reshape(2, 3).T}, {})
    view = checkpoint.read(path)[0]["view"]
    assert (view.tolist(), view.requires_grad) == ([[0, 3], [1, 4], [2, 5]], False)


def test_the_header_says_what_a_file_is(tmp_path: Path) -> None:
    path, total = tmp_path / "kept", hashlib.sha256()
    checkpoint.write(path, {"z": torch.tensor([[1, 2]], dtype=torch.int16)}, {"é": 1})
    words = b'{"\\u00e9": 1}'
    for part in (b"record torch.uint8 (13,)", words, b"z torch.int16 (1, 2)", b"\1\0\2\0"):
        total.update(part)
    with safe_open(path, framework="pt") as file:
        assert file.metadata().keys() == {"vase"}
        header = json.loads(file.metadata()["vase"])
        assert sorted(file.keys()) == ["record", "z"]
        assert bytes(file.get_tensor("record").tolist()) == words
    version = checkpoint.VERSION
    assert header == {
        "format": "vase-checkpoint",
        "version": version,
        "sha256": total.hexdigest(),
    }


def test_any_program_can_read_the_tensors(tmp_path: Path) -> None:
    assert torch.equal(load_file(written(tmp_path))["a"], TENSORS["a"])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for size in (0, 4, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DamagedError, match=f"'{path}' is not a whole VASE checkpoint"):
            checkpoint.read(path)
    save_file(TENSORS, path)
    with pytest.raises(DamagedError, match="KeyError: 'vase'"):
        checkpoint.read(path)


def test_a_flipped_bit_in_the_tensors_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match=f"'{path}' is corrupt"):
        checkpoint.read(path)


def test_a_changed_number_in_the_record_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert b'"step": 5' in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b'"step": 5', b'"step": 9'))
    with pytest.raises(DamagedError, match=f"'{path}' is corrupt"):
        checkpoint.read(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rubbish_raises_nothing_but_checkpoint_errors(tmp_path: Path, data: st.DataObject) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(CheckpointError):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "other",
    [
        {"a": TENSORS["a"].reshape(4, 3)},
        {"a": TENSORS["a"].reshape(12)},
        {"a": TENSORS["a"].view(torch.int32)},  # of the same bytes
        {"a": TENSORS["a"] + 1},
    ],
)
def test_the_digest_is_of_names_shapes_types_and_numbers(other: dict[str, torch.Tensor]) -> None:
    whole = checkpoint.digest(TENSORS)
    assert checkpoint.digest({**TENSORS, **other}) != whole
    assert checkpoint.digest(dict(reversed(TENSORS.items()))) == whole
    renamed = {"aa" if name == "a" else name: value for name, value in TENSORS.items()}
    assert checkpoint.digest(renamed) != whole


@pytest.mark.skipif(os.name != "posix", reason="folders can be synced on POSIX alone")
def test_a_file_and_then_its_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a rename may be lost with the power, and what it replaced with it."""
    synced, sync = [], os.fsync

    def seen(descriptor: int) -> None:
        found = os.fstat(descriptor)
        assert stat.S_ISDIR(found.st_mode) or found.st_size == len(b"content")
        there = (tmp_path / "kept").exists()
        synced.append(("folder" if stat.S_ISDIR(found.st_mode) else "file", found.st_ino, there))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    checkpoint.write_bytes(tmp_path / "kept", b"content")
    file, folder = (tmp_path / "kept").stat().st_ino, tmp_path.stat().st_ino
    assert synced == [("file", file, False), ("folder", folder, True)]


@pytest.mark.parametrize("header", [{"format": "other", "version": 5}, {}, [], None, "vase"])
def test_a_file_of_another_program_is_said_to_be_one(header: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(TENSORS, path, metadata={"vase": json.dumps(header)})
    with pytest.raises(CheckpointError, match=f"'{path}' is .* not a VASE checkpoint") as found:
        checkpoint.read(path)
    assert type(found.value) is CheckpointError


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (3, r"Install vase 0\.1, which reads it"),
        *((other, "Install the version of vase that wrote it") for other in (99, None, "3", [3])),
    ],
)
def test_another_version_is_refused_and_what_reads_it_is_named(
    version: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    header = {"format": checkpoint.FORMAT, "version": version}
    save_file(TENSORS, path, metadata={"vase": json.dumps(header)})
    said = rf"'{path}' has checkpoint version {re.escape(str(version))}; .*\. {words}\.$"
    with pytest.raises(CheckpointError, match=said) as found:
        checkpoint.read(path)
    assert type(found.value) is CheckpointError  # no damage: the one before would be no better


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    header = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION}
    save_file(TENSORS, path, metadata={"vase": json.dumps(header)})
    with pytest.raises(DamagedError, match="corrupt"):
        checkpoint.read(path)


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "nothing.safetensors"
    with pytest.raises(DamagedError) as found:
        checkpoint.read(path)
    assert str(found.value) == f"There is no checkpoint at '{path}'."


@pytest.mark.parametrize(("error", "words"), DISK)
def test_a_file_that_cannot_be_read_is_not_said_to_be_damaged(
    error: OSError, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(checkpoint, "safe_open", raising(error))
    with pytest.raises(CheckpointError) as found:
        checkpoint.read(path)
    assert type(found.value) is CheckpointError
    assert str(found.value) == f"'{path}' cannot be read: {words}."


@pytest.mark.parametrize("record", [[1], 5, None])
def test_a_record_that_is_no_object_is_not_understood(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    checkpoint.write(path, TENSORS, record)
    with pytest.raises(CheckpointError, match=f"'{path}' is whole, but holds what this program"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "kind",
    [
        *(ZeroDivisionError, AttributeError, KeyError, IndexError, MemoryError, RuntimeError),
        *(TypeError, ValueError),
    ],
)
def test_what_goes_wrong_with_a_record_is_told_of_its_checkpoint(kind: type[Exception]) -> None:
    with (
        pytest.raises(CheckpointError, match=r"^'run' is whole, but .*: .?the cause.?\. Install"),
        checkpoint.understood(Path("run")),
    ):
        raise kind("the cause")


@pytest.mark.parametrize("kind", [ConfigError, DamagedError, KeyboardInterrupt])
def test_an_error_that_says_what_it_is_stays_what_it_is(kind: type[BaseException]) -> None:
    with pytest.raises(kind, match=r"^the cause$") as found, checkpoint.understood(Path("run")):
        raise kind("the cause")
    assert type(found.value) is kind


# ---- one file for another ----------------------------------------------------------------------


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(("error", "words"), DISK)
def test_a_full_disk_leaves_the_old_checkpoint(
    error: OSError, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", raising(error))
    with pytest.raises(RunError, match=rf"^'{path}' .*: {words}\. .*vase resume"):
        checkpoint.write(path, TENSORS, {"step": 6}, earlier=tmp_path / "earlier")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_bytes(tmp_path / "kept", b"content")
    assert list(tmp_path.iterdir()) == []


def test_what_kept_a_file_from_being_made_is_what_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", raising(PermissionError(13, "Permission denied")))
    with pytest.raises(RunError, match="could not be written: Permission denied"):
        checkpoint.write_bytes(tmp_path / "kept", b"content")


def test_the_one_before_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    path, earlier = tmp_path / "kept", tmp_path / "earlier"
    for step in range(3):
        checkpoint.write(path, TENSORS, {"step": step}, earlier=earlier)
        assert checkpoint.read(path)[1]["step"] == step
        assert earlier.exists() == (step > 0)
        assert step == 0 or checkpoint.read(earlier)[1]["step"] == step - 1
    checkpoint.write(path, TENSORS, {"step": 3})
    assert checkpoint.read(earlier)[1]["step"] == 1
    assert sorted(tmp_path.iterdir()) == [earlier, path]


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize(
    ("umask", "before", "after"),
    [
        (0o022, None, 0o644),
        (0o027, None, 0o640),
        (0o022, 0o600, 0o600),
        (0o022, 0o664, 0o644),
        (0o077, 0o644, 0o600),
        (0o022, 0o755, 0o644),
    ],
)
def test_a_file_may_be_read_by_whom_the_umask_and_the_old_one_allow(
    umask: int, before: int | None, after: int, tmp_path: Path
) -> None:
    path, usual = tmp_path / "kept", os.umask(umask)
    try:
        if before is not None:
            path.touch()
            path.chmod(before)
        checkpoint.write_bytes(path, b"content")
    finally:
        os.umask(usual)
    assert stat.S_IMODE(path.stat().st_mode) == after
    assert path.read_bytes() == b"content"


# ---- the run folder ----------------------------------------------------------------------------


def test_an_existing_folder_is_never_written_over(tmp_path: Path) -> None:
    run = folders.create(tmp_path / "run", "x = 1\n")
    with pytest.raises(RunError, match="vase resume"):
        folders.create(run.path, "x = 2\n")
    assert run.config.read_text() == "x = 1\n"
    with pytest.raises(RunError, match=r"no config\.toml"):
        folders.open_run(tmp_path)


def test_logs_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    folders.append_lines(log, [{"step": step, "loss": 1 / 3} for step in range(5)])
    with log.open("a") as file:
        file.write('{"step": 5, "lo')
    folders.keep_lines(log, lambda step: step < 3)
    assert folders.read_lines(log) == [{"step": step, "loss": 0.333333} for step in range(3)]


def test_a_broken_line_in_the_middle_of_a_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"step": 0}\n{"ste\n{"step": 2}\n')
    with pytest.raises(RunError, match="Line 2"):
        folders.read_lines(log)


def test_numbers_keep_six_digits(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    folders.append_lines(log, [{"step": 1, "kl": [np.pi * 1e-9, 12345.678]}])
    assert folders.read_lines(log) == [{"step": 1, "kl": [3.14159e-09, 12345.7]}]
