"""Kill a run at random instants and inside every write, spoil every write, and see what is lost.

    python benchmarks/reliability.py                 # all of it -> results/reliability.json
    python benchmarks/reliability.py sample          # a few of them, printed: for the tests

A run of a few steps is begun, ended by force, and gone on with until it is done. (Each is a fork of
this process, which therefore never learns anything itself.) Then its weights,
events, metrics and milestones must be, byte for byte, those of a run that nobody disturbed. Guards:
no run is ever lost, and no failing disk ends in anything but a sentence.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import reliability_page
import torch

from vase import build, config
from vase.bench.ablation import train
from vase.errors import RunError
from vase.training import recorder
from vase.training.folder import RunFolder

STEPS = reliability_page.STEPS
SAMPLE_STEPS, SAMPLE_EVERY = 12, 15  # in a write of its settings, of its log, and of a checkpoint
FAULTS = {
    "full disk": errno.ENOSPC,
    "failing disk": errno.EIO,
    "read-only disk": errno.EROFS,
}
SENTENCE, FINISHED = 2, 0  # how a run can end by itself

Fault = Callable[[], None]


def settings(steps: int = STEPS) -> config.Config:
    """Two domains, so that there is an event to lose; everything is written every few steps."""
    return config.load(
        "toy",
        [
            f'stream.schedule=[["moving-solids", {steps}]]',
            *(
                "stream.batch_size=16",
                "stream.size=16",
                "model.space_to_depth=1",
                "model.latents=4",
            ),
            *("model.hidden=16", "model.encoder_channels=8", "model.decoder_channels=8"),
            *("training.log_every=2", "training.checkpoint_every=5", "training.milestones=2"),
            *(f"stream.domains.{name}.side=8" for name in ("moving-solids", "strokes")),
            *(f"stream.domains.{name}.count=40" for name in ("moving-solids", "strokes")),
            "stream.domains.moving-strokes.side=8",
            "stream.domains.moving-strokes.count=40",
        ],
    )


# ---- a run in a process of its own -------------------------------------------------------------


def begun(
    folder: Path,
    steps: int,
    fault: Fault | None = None,
    at: int = -1,
    tell: Path | None = None,
) -> int:
    """Start or resume a run of `steps` steps in a child process. Return the process number.

    fault: what happens inside operation `at` on a file, counted from 0. tell: a file for the number
    of operations there were.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115, for a process about to end
        with counted(fault, at) as count:
            recorder.MAX_LINES = 4  # or a run so short would never thin out its log
            train(RunFolder(folder), settings(steps), build.DataOptions(offline=True))
        if tell is not None:
            tell.write_text(str(count[0]))
        code = FINISHED
    except RunError:
        code = SENTENCE
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """How a child ended: its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(folder: Path) -> dict[str, bytes]:
    """What a run leaves behind, by name."""
    run = RunFolder(folder)
    kept = [run.config, run.checkpoint, run.metrics, run.events, *run.milestones()]
    return {path.name: path.read_bytes() for path in kept}


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbs: what it leaves behind, its operations on files, its seconds."""

    steps: int
    work: Path  # a folder for the others
    expected: dict[str, bytes]
    operations: int
    seconds: float


@contextmanager
def undisturbed(steps: int = STEPS) -> Iterator[Undisturbed]:
    """Run `steps` steps to the end, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        whole, count, began = Path(name) / "whole", Path(name) / "count", time.perf_counter()
        assert ended(begun(whole, steps, tell=count)) == FINISHED
        seconds = time.perf_counter() - began
        yield Undisturbed(steps, Path(name), left(whole), int(count.read_text()), seconds)


# ---- faults inside of writes -------------------------------------------------------------------


class Spoilt:
    """A file whose writes are counted, and may stop in the middle."""

    def __init__(self, file: Any, gate: Callable[[], Fault | None]) -> None:
        self.file, self.gate = file, gate

    def write(self, content: Any) -> Any:
        fault = self.gate()
        if fault is None:
            return self.file.write(content)
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        return fault()

    def __enter__(self) -> Spoilt:
        self.file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def counted(fault: Fault | None, at: int) -> Iterator[list[int]]:
    """Count every write, sync and rename of files; in number `at` the fault happens."""
    count = [0]

    def gate() -> Fault | None:
        count[0] += 1
        return fault if count[0] - 1 == at else None

    def opened(true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            file = true(*given, **named)
            mode = named.get("mode", given[1] if len(given) > 1 else "r")
            return Spoilt(file, gate) if set(str(mode)) & set("wax") else file

        return call

    def before(true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            spoilt = gate()
            return true(*given, **named) if spoilt is None else spoilt()

        return call

    with (
        mock.patch.object(Path, "open", opened(Path.open)),
        mock.patch.object(Path, "replace", before(Path.replace)),
        mock.patch.object(os, "fsync", before(os.fsync)),
    ):
        yield count


def killed() -> None:
    """Die at once, as by a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(number: int) -> Fault:
    """Fail as the system does."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


# ---- the trials --------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was tried, how often it struck, and how many runs were lost or ended without a word."""

    name: str
    tried: int = 0
    struck: int = 0
    lost: int = 0
    speechless: int = 0


def kills_at_random(whole: Undisturbed, wanted: int, seed: int = 0) -> Tally:
    """Kill runs after random times until `wanted` kills have struck; go on with each to its end."""
    tally, rng = Tally("killed at a random instant"), random.Random(seed)
    while tally.struck < wanted:
        folder, code = whole.work / f"run-{tally.tried}", -1
        while code != FINISHED:
            child = begun(folder, whole.steps)
            time.sleep(rng.uniform(0, 1.1 * whole.seconds))
            if tally.struck < wanted:
                os.kill(child, signal.SIGKILL)
            code = ended(child)
            tally.tried += 1
            tally.struck += code == -signal.SIGKILL
            tally.speechless += code not in (FINISHED, -signal.SIGKILL)
        tally.lost += left(folder) != whole.expected
        shutil.rmtree(folder)
    return tally


def in_every_write(whole: Undisturbed, name: str, fault: Fault, every: int = 1) -> Tally:
    """Let a fault happen in each operation on a file in turn, and go on with the run afterwards.

    every: only each so-manieth operation.
    """
    tally = Tally(name)
    for at in range(0, whole.operations, every):
        folder = whole.work / f"run-{at}"
        code = ended(begun(folder, whole.steps, fault, at))
        tally.tried += 1
        tally.struck += code != FINISHED
        tally.speechless += code not in (FINISHED, SENTENCE, -signal.SIGKILL)
        finished = ended(begun(folder, whole.steps)) == FINISHED
        tally.lost += not finished or left(folder) != whole.expected
        shutil.rmtree(folder)
    return tally


def everything(kills: int, every: int = 1, steps: int = STEPS) -> list[Tally]:
    """All trials; a sample of them, with one kind of disk, where `every` is more than 1."""
    faults = FAULTS if every == 1 else {"full disk": FAULTS["full disk"]}
    with undisturbed(steps) as whole:
        return [
            kills_at_random(whole, kills),
            in_every_write(whole, "killed inside a write", killed, every),
            *(in_every_write(whole, name, failing(n), every) for name, n in faults.items()),
        ]


def main() -> None:
    """Run everything, and make the page anew."""
    torch.set_num_threads(1)
    import_module("lightning_fabric")  # for seconds: here, or in each fork
    gc.freeze()  # or each fork would search, and so copy, all that is loaded
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["all", "sample"], default="all")
    parser.add_argument("--kills", type=int, default=120)
    given = parser.parse_args()
    if given.what == "sample":
        sample = everything(given.kills, every=SAMPLE_EVERY, steps=SAMPLE_STEPS)
        print(json.dumps([asdict(tally) for tally in sample]))
        return
    found = [asdict(tally) for tally in everything(given.kills)]
    reliability_page.RAW.write_text(json.dumps(found, indent=1) + "\n")
    reliability_page.write()


if __name__ == "__main__":
    main()
