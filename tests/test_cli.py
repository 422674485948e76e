"""The command line as a user meets it: runs, resumes, refuses, and always in sentences."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import TINY, leave_unpainted, refused, vase
from typer.testing import CliRunner

from vase.cli.app import app
from vase.cli.signals import stop_request
from vase.records import Observation
from vase.training import checkpoint
from vase.training.folder import RunFolder, read_lines
from vase.training.recorder import Recorder

SMALL = [
    "toy",
    *TINY,
    "stream.batch_size=16",
    'stream.schedule=[["moving-solids", 12], ["strokes", 8]]',
    "training.checkpoint_every=5",
    "training.log_every=1",
    "training.milestones=2",
]
LONG = 'stream.schedule=[["moving-solids", 2000]]'


@pytest.mark.parametrize("code", ["import vase", "from vase.cli import main; main()"])
def test_help_comes_without_waiting_for_torch(code: str) -> None:
    ends = "\nfinally:\n    import sys; print('vase' in sys.modules, 'torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", f"try:\n    {code}{ends}", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "True False"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    with pytest.MonkeyPatch.context() as patch:
        leave_unpainted(patch)
        vase("train", *SMALL, "--out", str(folder))
    return folder


def test_a_run_leaves_everything_behind(run: Path) -> None:
    folder = RunFolder(run)
    assert [line["step"] for line in read_lines(folder.metrics)] == list(range(20))
    first = read_lines(folder.events)[0]
    assert (first["step"], first["kind"], first["environment"]) == (0, "new", 0)
    assert json.loads(folder.probes.read_text())["steps"] == 20
    assert len(folder.milestones()) == 4
    assert folder.checkpoint.is_file()
    assert list(folder.tensorboard.glob("events.out.tfevents.*"))
    assert folder.report.read_text().lstrip().startswith("<!doctype html>")
    assert list(folder.figures.glob("*.png"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_saves_and_says_how_to_go_on(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = RunFolder(tmp_path / "stopped"), Recorder.write

    def signalled(recorder: Recorder, observation: Observation) -> None:
        write(recorder, observation)
        if observation.step == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(Recorder, "write", signalled)
    before = signal.signal(number, signal.default_int_handler)  # `nohup make test` ignores some
    try:
        done = CliRunner().invoke(app, ["train", *SMALL, "--out", str(folder.path)])
    finally:
        signal.signal(number, before)
    assert done.exit_code == 128 + number
    assert f"saved at step 3. Go on with: vase resume {folder.path}" in done.output
    assert len(read_lines(folder.metrics)) == 3
    assert checkpoint.read(folder.checkpoint)[1]["step"] == 3


HEEDING_SIGNALS = """
import runpy, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
runpy.run_module("vase", run_name="__main__", alter_sys=True)
"""


def test_a_terminal_that_closes_loses_nothing(tmp_path: Path) -> None:
    """What is written to it fails from then on."""
    folder, (ours, theirs) = tmp_path / "closed", os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDING_SIGNALS, "train", *SMALL, LONG, "--out", str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    until = time.monotonic() + 60
    while len(read_lines(RunFolder(folder).metrics)) < 3:
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < until
        time.sleep(0.05)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    steps = len(read_lines(RunFolder(folder).metrics))
    assert checkpoint.read(RunFolder(folder).checkpoint)[1]["step"] == steps < 2000


def test_signals_are_given_back_and_those_ignored_stay_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with stop_request() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
            signal.raise_signal(signal.SIGTERM)
            assert stop.asked
            assert stop.status == 143
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # the second ends at once
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, ignored)


def test_a_finished_run_resumes_to_its_probes_and_report(
    run: Path, unpainted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[Path] = []
    monkeypatch.setattr(
        "vase.probes.evaluate_run", lambda folder, *_, **__: probed.append(folder.path)
    )
    output = " ".join(vase("resume", str(run)).split())
    assert "trained to its end, step 20" in output
    assert probed == [run]
    assert "Drawing the timeline" in output  # where there is no terminal, too
    assert f"Report: {RunFolder(run).report}" in output


def test_presets_are_listed_with_their_cost() -> None:
    output = vase("presets")
    assert all(word in output for word in ("quick", "poster", "toy", "cost", "sd-replay"))


def test_data_check_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    result = CliRunner().invoke(app, ["data", "check"])
    assert "mnist" in result.output
    assert "fashion-mnist" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "quik"], "Did you mean 'quick'"),
        (["train", "toy", "training.sed=1"], "Did you mean 'training.seed'"),
        (["train", "toy", "model.latents=0"], "greater than or equal to 1, not 0"),
        (["train", "toy", "stream.size=7"], "greater than or equal to 8"),
        (["resume", "nowhere"], "not a run folder"),
        (["probe", "nowhere"], "not a run folder"),
        (["report", "nowhere"], "not a run folder"),
        (["train", "toy+sd-reply"], "Did you mean 'sd-replay'"),
        (["ablate", "--conditions", "sdaa"], "There is no condition sdaa"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = RunFolder(run).checkpoint.read_bytes()
    assert "vase resume" in refused(capsys, "train", *SMALL, "--out", str(run))
    assert RunFolder(run).checkpoint.read_bytes() == before


def test_a_run_with_one_environment_has_nothing_to_translate_to(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "took 'moving-solids' and 'strokes' for one" in refused(capsys, "translate", str(run))
    assert "one environment" in refused(capsys, "ambiguity", str(run), "moving-solids", "strokes")


def test_unknown_environments_are_refused_in_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = ("--from", "moving-solids", "--to")
    message = refused(capsys, "translate", str(run), *ends, "oceans")
    assert "has seen no environment 'oceans'. It knows: moving-solids, strokes" in message
    message = refused(capsys, "ambiguity", str(run), "oceans", "strokes")
    assert "has seen no environment 'oceans'" in message
    own = ("--images", str(tmp_path))
    assert "--from and --to" in refused(capsys, "translate", str(run), *own)
    assert "for one environment" in refused(capsys, "translate", str(run), *ends, "strokes", *own)
    assert "has seen no environment" in refused(capsys, "translate", str(run), *ends, "sea", *own)
