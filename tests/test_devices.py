"""Two processes with half of every batch each are one process with the whole of it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import TINY

from vase import build, config
from vase.errors import ConfigError
from vase.lifelong.learner import Learner
from vase.records import Observation
from vase.training import checkpoint
from vase.training.data_parallel import all_reduce_means, average_gradients, local_rows
from vase.training.folder import RunFolder, read_lines, rounded

SWITCH, STEPS = 20, 28
SETTINGS = [
    *TINY,
    f'stream.schedule=[["moving-solids", {SWITCH}], ["strokes", {STEPS - SWITCH}]]',
    *("training.log_every=1", "training.checkpoint_every=12", "training.milestones=1"),
    "stream.batch_size=32",
]
DATA = build.DataOptions(offline=True)


def vase(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vase", *arguments, "--no-report"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two processes."""
    folder = tmp_path_factory.mktemp("runs") / "shared"
    vase("train", "toy", *SETTINGS, "training.devices=2", "--out", str(folder))
    return RunFolder(folder)


def alone() -> tuple[Learner, list[Observation]]:
    """One process that sees what both processes see together."""
    settings = config.load("toy", SETTINGS)
    stream = build.stream(settings, DATA)
    learner = build.learner(settings, stream.shape)
    halves = [stream.of_rank(rank, 2) for rank in range(2)]

    def batches() -> Iterator[torch.Tensor]:
        for step in range(STEPS):
            yield torch.from_numpy(np.concatenate([half.batch(step)[0] for half in halves]))

    return learner, [learner.observe(images) for images in batches()]


def test_two_processes_decide_and_learn_as_one_with_the_joined_batch(shared: RunFolder) -> None:
    learner, observations = alone()
    events = [event.to_json() for each in observations for event in each.events]
    found = read_lines(shared.events)
    assert len(events) >= 2
    keys = ("step", "kind", "environment")
    assert [[line[key] for key in keys] for line in found] == [
        [event[key] for key in keys] for event in events
    ]
    assert [line["evidence"].get("masked") for line in found] == [
        event["evidence"].get("masked") for event in events
    ]
    lines = read_lines(shared.metrics)
    expected = [rounded(each.to_json()) for each in observations]
    assert len(lines) == len(expected)
    for line, one in zip(lines, expected, strict=True):
        assert set(line) == set(one)
        for key, value in one.items():  # sums are made in another order
            assert line[key] == pytest.approx(value, rel=2e-4, abs=2e-4), (line["step"], key)
    assert any("decoder_proximity" in line for line in lines)
    _, record = checkpoint.read(shared.checkpoint)
    for known, other in zip(
        record["environments"]["records"], learner.environments.to_json()["records"], strict=True
    ):
        assert known["mask"] == other["mask"]


def test_a_run_of_two_processes_goes_on_bit_for_bit(shared: RunFolder, tmp_path: Path) -> None:
    again = RunFolder(tmp_path / "again")
    shutil.copytree(shared.path, again.path)
    again.earlier.replace(again.checkpoint)
    assert checkpoint.read(again.checkpoint)[1]["step"] < STEPS
    vase("resume", str(again.path))
    for before, after in ((shared.checkpoint, again.checkpoint), (shared.metrics, again.metrics)):
        assert before.read_bytes() == after.read_bytes()


def test_what_cannot_be_shared_out_evenly_is_refused() -> None:
    with pytest.raises(ConfigError, match="only `vase train` and `vase resume`"):
        build.learner(config.load("toy", [*SETTINGS, "training.devices=2"]), (1, 16, 16))
    for overrides in (
        ["stream.batch_size=33"],
        ["stream.batch_size=34", "replay.ratio=0.5"],
        ["stream.batch_size=34", "replay.enabled=false", "memory.pairs=1"],
    ):
        settings = config.load("toy", [*SETTINGS, *overrides, "training.devices=2"])
        with pytest.raises(ConfigError, match="no multiple of 2"):
            build.devices(settings)


# ---- the exchange itself, without processes ------------------------------------------------------


class Half:
    """The first of two processes, whose other half is told beforehand."""

    rank, count = 0, 2

    def __init__(self, other: Any) -> None:
        self.other = other

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([rows, self.other])

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return (values + self.other) / 2


def test_the_gradient_of_a_joined_mean_is_that_of_the_whole_batch() -> None:
    """Of f(mean x) = (mean x)^2 over four rows, two of them elsewhere: 2 m / 4 to each row."""
    rows = torch.tensor([1.0, 2.0, 3.0, 6.0])
    weight = torch.ones(2, requires_grad=True)
    terms = all_reduce_means({"a": (weight * rows[:2]).mean()}, Half(rows[2:].mean()[None]))
    assert terms["a"] == rows.mean()
    terms["a"].square().backward()
    whole = torch.ones(4, requires_grad=True)
    (whole * rows).mean().square().backward()
    assert whole.grad is not None
    elsewhere = 2 * whole.grad[2:]  # what the other process has of its own rows
    average_gradients([weight], Half(elsewhere))
    assert weight.grad is not None
    torch.testing.assert_close(2 * weight.grad - elsewhere, 2 * whole.grad[:2])


def test_rows_are_shared_out_in_order() -> None:
    half = Half(None)
    assert list(range(10))[local_rows(half, 10)] == [0, 1, 2, 3, 4]
    half.rank = 1
    assert list(range(10))[local_rows(half, 10)] == [5, 6, 7, 8, 9]
