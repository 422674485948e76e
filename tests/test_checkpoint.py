"""Checkpoints: whole or refused, written in one step; logs that can be cut back."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vase.errors import CheckpointError, RunError
from vase.training import checkpoint
from vase.training import folder as folders

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
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert (record["step"], record["names"]) == (5, ["x"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_any_program_can_read_the_tensors(tmp_path: Path) -> None:
    assert torch.equal(load_file(written(tmp_path))["a"], TENSORS["a"])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for size in (0, 4, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="not a whole VASE checkpoint"):
            checkpoint.read(path)


def test_a_flipped_bit_in_the_tensors_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="corrupt"):
        checkpoint.read(path)


def test_a_changed_number_in_the_header_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'\\"step\\": 5', b'\\"step\\": 9'))
    with pytest.raises(CheckpointError, match="corrupt"):
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


def test_other_formats_and_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(TENSORS, path, metadata={"vase": json.dumps({"format": "other"})})
    with pytest.raises(CheckpointError, match="not a VASE checkpoint"):
        checkpoint.read(path)
    header = {"format": checkpoint.FORMAT, "version": 99}
    save_file(TENSORS, path, metadata={"vase": json.dumps(header)})
    with pytest.raises(CheckpointError, match="version 99"):
        checkpoint.read(path)


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        checkpoint.read(tmp_path / "nothing.safetensors")


def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*vase resume"):
        checkpoint.write(path, TENSORS, {"step": 6})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


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
    folders.cut_back(log, 3)
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
