"""Checkpoints: whole or refused, written in one step; logs that can be cut back."""

import contextlib
import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hand_made import settings as chosen
from hand_made import write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vase.domains.stream import Schedule
from vase.errors import CheckpointError, RunError
from vase.records import Decision, Observation
from vase.training import checkpoint, recorder
from vase.training import folder as folders
from vase.training.folder import RunFolder
from vase.training.recorder import Recorder

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


def test_a_changed_number_in_the_record_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert b'"step": 5' in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b'"step": 5', b'"step": 9'))
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
        there = (tmp_path / "kept").exists()
        synced.append(("folder" if stat.S_ISDIR(found.st_mode) else "file", found.st_ino, there))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    checkpoint.write_bytes(tmp_path / "kept", b"content")
    file, folder = (tmp_path / "kept").stat().st_ino, tmp_path.stat().st_ino
    assert synced == [("file", file, False), ("folder", folder, True)]


def test_milestones_beyond_the_checkpoint_go_and_earlier_ones_stay(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", chosen(), [])
    for step in (50, 100, 101, 4000):
        folder.milestone(step).write_bytes(b"weights")
    learner = SimpleNamespace(step=100)
    folder.checkpoint.unlink()  # what it holds is not looked at here
    recorder.resume(folder, learner)  # type: ignore[arg-type]
    assert folder.milestones() == [folder.milestone(50), folder.milestone(100)]


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
    folders.keep_lines(log, lambda step: step < 3)
    assert folders.read_lines(log) == [{"step": step, "loss": 0.333333} for step in range(3)]


def observation(step: int) -> Observation:
    return Observation(step, Decision("same", 0, ""), {"loss": step / 3}, 1.0, (), (), 0.0)


@pytest.mark.parametrize("killed", [None, 7, 8, 9, 31, 33, 60])
def test_a_log_thins_out_as_it_grows_and_kills_leave_no_trace_in_it(
    killed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_LINES", 4)
    learner = SimpleNamespace(step=0)
    scribe = Recorder(
        RunFolder(tmp_path), learner, log_every=2, checkpoint_every=99, milestones=frozenset()
    )
    steps = [*range(70)]
    if killed is not None:  # begun again at a checkpoint that is some steps old
        steps[killed:killed] = range(max(0, killed - 5), killed)
    for now, before in zip(steps, [-1, *steps], strict=False):
        if now <= before:
            folders.keep_lines(scribe.folder.metrics, lambda step, now=now: step < now)
        scribe.write(observation(now))
    # From step 64 on, every 32nd: 2 times 2^4.
    expected = [observation(step).to_json() for step in (0, 32, 64)]
    assert folders.read_lines(scribe.folder.metrics) == folders.rounded(expected)


def test_milestones_of_a_long_schedule_are_as_many_evenly() -> None:
    few = Schedule.of([("a", 10), ("b", 5)])
    assert recorder.milestone_steps(few, 2) == {5, 10, 13, 15}
    many = sorted(recorder.milestone_steps(Schedule.of([("a", 20), ("b", 30)] * 500), 4))
    assert many[:2] == [20, 50]  # where the two domains are left for the first time
    assert many[-1] == 25_000
    assert recorder.MAX_MILESTONES <= len(many) <= recorder.MAX_MILESTONES + 2
    assert max(np.diff(many)) < 2 * 250


def test_a_broken_line_in_the_middle_of_a_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"step": 0}\n{"ste\n{"step": 2}\n')
    with pytest.raises(RunError, match="Line 2"):
        folders.read_lines(log)


def test_numbers_keep_six_digits(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    folders.append_lines(log, [{"step": 1, "kl": [np.pi * 1e-9, 12345.678]}])
    assert folders.read_lines(log) == [{"step": 1, "kl": [3.14159e-09, 12345.7]}]
