"""What trackers are told is what the run's own logs say; packages are stood in for."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import TINY

from vase import ConfigError, build, config
from vase.cli import session
from vase.training import folder as folders
from vase.training import tracker
from vase.training.folder import RunFolder
from vase.training.loop import observe

BRIEF = (*TINY, 'stream.schedule=[["moving-solids", 20]]', "training.log_every=5")


class Board:
    """Weights & Biases and trackio: a module and the run that it makes, in one."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0

    def init(self, **how: Any) -> "Board":
        self.begun.append(how)
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


class Server:
    """MLflow: a module, its client, and all runs that they know."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, str]] = {}
        self.logged: list[tuple[int, str, float]] = []
        self.words: dict[str, str] = {}

    def MlflowClient(self) -> "Server":  # noqa: N802, its name
        return self

    def set_experiment(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name)

    def search_runs(self, experiments: list[str], wanted: str) -> list[Any]:
        assert experiments == ["vase"]
        found = [run for run, tags in self.runs.items() if f"'{tags[tracker.TAG]}'" in wanted]
        return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in found]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        self.runs[f"{experiment}/{run_name}"] = tags
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment}/{run_name}"))

    def log_dict(self, run: str, values: dict[str, Any], name: str) -> None:
        self.words[name] = json.dumps(values)

    def log_metric(self, run: str, name: str, value: float, step: int, synchronous: bool) -> None:
        self.logged.append((step, name, value))

    def set_tag(self, run: str, name: str, text: str) -> None:
        self.words[name] = text

    def set_terminated(self, run: str) -> None:
        self.words[run] = "ended"


def train(path: Path, name: str, until: int) -> RunFolder:
    """Begin a run or go on with it, up to a step."""
    settings = config.load("toy", [*BRIEF, f"training.tracker={name}"])
    data = build.DataOptions(offline=True)
    stream = build.stream(settings, data)
    learner = build.learner(settings, stream.shape)
    folder = RunFolder(path)
    if path.exists():
        from vase.training import recorder

        recorder.resume(folder, learner)
    else:
        folder = folders.create(path, config.to_toml(settings))
    with build.recorder(settings, folder, learner, stream) as scribe:
        for observation in scribe.record(observe(learner, stream)):
            if observation.step + 1 == until:
                break
        scribe.save()
    return folder


def logged(folder: RunFolder) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return {line["step"]: line for line in lines}


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_board_shows_what_the_log_says_and_goes_on_in_the_same_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    monkeypatch.setitem(sys.modules, name, board)  # type: ignore[arg-type]
    train(tmp_path / "run", name, 10)
    folder = train(tmp_path / "run", name, 20)
    numbers = [(step, values) for step, values in board.logged if "loss" in values]
    assert [step for step, _ in numbers] == [0, 5, 10, 15]
    for step, values in numbers:
        for each in ("loss", "kl", "capacity"):
            assert values[each] == pytest.approx(logged(folder)[step][each], rel=1e-4)
    assert (0, {"events": "new 0: the first images of the stream"}) in board.logged
    first, second = board.begun
    assert first == second  # name, configuration and, where it has one, the run's identity
    assert first["name"] == "run"
    assert first["resume"] == "allow"
    assert first["config"]["model"]["latents"] == 4
    assert board.finished == 2


def test_mlflow_finds_its_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    monkeypatch.setitem(sys.modules, "mlflow", server)  # type: ignore[arg-type]
    train(tmp_path / "run", "mlflow", 10)
    folder = train(tmp_path / "run", "mlflow", 20)
    assert list(server.runs) == ["vase/run"]
    losses = {step: value for step, name, value in server.logged if name == "loss"}
    assert set(losses) == {0, 5, 10, 15}
    assert losses[15] == pytest.approx(logged(folder)[15]["loss"], rel=1e-4)
    assert server.words["events at step 0"] == "new 0: the first images of the stream"
    assert server.words["vase/run"] == "ended"


def test_a_missing_tracker_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    settings = config.load("toy", ["training.tracker=wandb"])
    with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[wandb\]'"):
        session.train(settings, tmp_path / "run", build.DataOptions(), report=False)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    monkeypatch.setattr(board, "init", lambda **_: 1 / 0)
    monkeypatch.setitem(sys.modules, "wandb", board)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'wandb' does not start: division by zero"):
        train(tmp_path / "run", "wandb", 10)
