"""Runs that are killed, disks that fail, bytes that rot: nothing is lost or goes unsaid."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scripts import ROOT, script
from typer.testing import CliRunner

from vase import build
from vase.bench.ablation import train
from vase.cli.app import app
from vase.errors import CheckpointError, RunError
from vase.training import checkpoint
from vase.training.folder import RunFolder, create, sole_writer

DATA = build.DataOptions(offline=True)


@pytest.fixture(scope="module")
def trials() -> ModuleType:
    return script("reliability")


def test_a_sample_of_kills_and_faults_loses_nothing() -> None:
    """The whole of it is `make reliability`. It forks, so it has a process of its own."""
    command = [sys.executable, "benchmarks/reliability.py", "sample", "--kills", "2"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tallies = json.loads(shown.stdout)
    assert len(tallies) == 3
    for each in tallies:
        assert each["struck"] >= 2, each
        assert (each["lost"], each["speechless"]) == (0, 0), each


@pytest.fixture(scope="module")
def done(trials: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "done")
    train(folder, trials.settings(), DATA)
    return folder


def copied(done: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(done.path, to)
    return RunFolder(to)


def rot(path: Path) -> None:
    """One bit that the disk gives back otherwise than it got it."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(bytes(content))


def test_a_rotten_checkpoint_is_told_of_and_the_one_before_is_gone_on_with(
    trials: ModuleType, done: RunFolder, tmp_path: Path
) -> None:
    folder, expected = copied(done, tmp_path / "run"), trials.left(done.path)
    assert checkpoint.read(folder.earlier)[1]["step"] == 20
    rot(folder.checkpoint)
    shown = CliRunner().invoke(app, ["resume", str(folder.path), "--no-report", "--offline"])
    assert shown.exit_code == 0
    told = " ".join(shown.output.split())
    assert "is corrupt" in told
    assert "The one before it is gone on with. Going on with" in told
    assert " at step 20." in told
    assert trials.left(folder.path) == expected
    assert checkpoint.read(folder.earlier)[1]["step"] == 20  # not the rotten one
    rot(folder.checkpoint)
    rot(folder.earlier)
    with pytest.raises(CheckpointError, match="corrupt"):
        train(folder, trials.settings(), DATA)


def test_check_names_what_is_not_whole(done: RunFolder, tmp_path: Path) -> None:
    folder = copied(done, tmp_path / "run")
    shown = CliRunner().invoke(app, ["check", str(folder.path)])
    assert shown.exit_code == 0
    assert shown.output.count("whole") == len(shown.output.splitlines()) == 7
    milestone = folder.milestones()[0]
    rot(milestone)
    folder.metrics.write_text('{"step": 4}\n{"step": 2}\n')
    folder.events.write_text('{"kind": "new"}\n')
    folder.config.write_text("stream = 3")
    shown = CliRunner().invoke(app, ["check", str(folder.path)])
    assert shown.exit_code == 1
    wrong = [line.split()[1] for line in shown.output.splitlines() if line.startswith("wrong")]
    expected = ["config.toml", f"milestones/{milestone.name}", "metrics.jsonl", "events.jsonl"]
    assert wrong == expected


def test_a_second_writer_is_refused_until_the_first_has_ended(done: RunFolder) -> None:
    with (
        sole_writer(done),
        pytest.raises(RunError, match="Another process is writing to"),
        sole_writer(done),
    ):
        pass
    with sole_writer(done):
        pass


def test_the_page_is_that_of_the_raw_files() -> None:
    pages = script("reliability_page")
    assert pages.PAGE.read_text() == pages.page()


def test_a_soak_is_summed_up_by_its_first_tenth_and_its_last() -> None:
    """Memory at its most, time in the middle; the very first block replays nothing yet."""
    blocks = [{"resident_mib": 100.0 + k, "ms_per_step": 1.0 if k else 9.0} for k in range(100)]
    found = script("soak").summary(blocks)
    assert found == {
        "resident": {"tenth": 109.0, "end": 199.0},
        "time": {"tenth": 1.0, "end": 1.0},
    }


def test_a_folder_in_which_a_run_had_not_begun_can_be_begun_in(tmp_path: Path) -> None:
    (tmp_path / "run" / "milestones").mkdir(parents=True)
    (tmp_path / "run" / ".tmp1234").write_text("half a con")
    folder = create(tmp_path / "run", "x = 1\n")
    with pytest.raises(RunError, match="exists and is not empty"):
        create(folder.path, "x = 2\n")
