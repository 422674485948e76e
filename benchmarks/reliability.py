"""Kill a run at random instants and inside every write, spoil every write, and see what is lost.

    python benchmarks/reliability.py                 # all of it -> results/reliability.json
    python benchmarks/reliability.py sample          # a few of them, printed: for the tests
    python benchmarks/reliability.py page            # docs/reliability.md from the raw files

A run of a few steps is begun, ended by force, and gone on with until it is done. (Each is a fork of
this process, which therefore never learns anything itself.) Then its weights,
events, metrics and milestones must be, byte for byte, those of a run that nobody disturbed. Guards:
no run is ever lost, and no failing disk ends in anything but a sentence.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from vase import build, config
from vase.bench.ablation import train
from vase.errors import RunError
from vase.training import recorder
from vase.training.folder import RunFolder

HOME = Path(__file__).parents[1]
RESULTS, PAGE = HOME / "results", HOME / "docs" / "reliability.md"
RAW, FUZZ, SOAK = (RESULTS / f"{name}.json" for name in ("reliability", "fuzz", "soak"))
STEPS = 24
FAULTS = {
    "full disk": errno.ENOSPC,
    "failing disk": errno.EIO,
    "read-only disk": errno.EROFS,
}
SENTENCE, FINISHED = 2, 0  # how a run can end by itself

Fault = Callable[[], None]


def settings() -> config.Config:
    """Two worlds, so that there is an event to lose; everything is written every few steps."""
    return config.load(
        "toy",
        [
            f'stream.schedule=[["moving-solids", {STEPS}]]',
            *("stream.batch_size=16", "stream.size=16", "model.fold=1", "model.latents=4"),
            *("model.hidden=16", "model.features=8", "model.cells=8"),
            *("training.log_every=2", "training.checkpoint_every=5", "training.milestones=2"),
            *(f"stream.worlds.{name}.side=8" for name in ("moving-solids", "strokes")),
            *(f"stream.worlds.{name}.count=40" for name in ("moving-solids", "strokes")),
            "stream.worlds.moving-strokes.side=8",
            "stream.worlds.moving-strokes.count=40",
        ],
    )


# ---- a run in a process of its own -------------------------------------------------------------


def begun(folder: Path, fault: Fault | None = None, at: int = -1, tell: Path | None = None) -> int:
    """Start or go on with the run in a child; its process number.

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
            recorder.MOST_LINES = 4  # or a run so short would never thin out its log
            train(RunFolder(folder), settings(), build.DataOptions(offline=True))
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


@contextmanager
def undisturbed() -> Iterator[tuple[Path, dict[str, bytes]]]:
    """A folder to work in, and what a run that nobody disturbs leaves behind."""
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        assert ended(begun(whole)) == FINISHED
        yield Path(name), left(whole)


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

    def temporary(*given: Any, **named: Any) -> Spoilt:
        return Spoilt(made(*given, **named), gate)

    made = tempfile.NamedTemporaryFile
    with (
        mock.patch.object(Path, "open", opened(Path.open)),
        mock.patch.object(Path, "replace", before(Path.replace)),
        mock.patch.object(os, "fsync", before(os.fsync)),
        mock.patch.object(tempfile, "NamedTemporaryFile", temporary),
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


def kills_at_random(wanted: int, seed: int = 0) -> Tally:
    """Kill runs after random times until `wanted` kills have struck; go on with each to its end."""
    tally, rng = Tally("killed at a random instant"), random.Random(seed)
    with undisturbed() as (work, expected):
        began = time.perf_counter()
        assert ended(begun(work / "timed")) == FINISHED
        longest = time.perf_counter() - began
        while tally.struck < wanted:
            folder, code = work / f"run-{tally.tried}", -1
            while code != FINISHED:
                child = begun(folder)
                time.sleep(rng.uniform(0, 1.1 * longest))
                if tally.struck < wanted:
                    os.kill(child, signal.SIGKILL)
                code = ended(child)
                tally.tried += 1
                tally.struck += code == -signal.SIGKILL
                tally.speechless += code not in (FINISHED, -signal.SIGKILL)
            tally.lost += left(folder) != expected
            shutil.rmtree(folder)
    return tally


def in_every_write(name: str, fault: Fault, every: int = 1) -> Tally:
    """Let a fault happen in each operation on a file in turn, and go on with the run afterwards.

    every: only each so-manieth operation.
    """
    tally = Tally(name)
    with undisturbed() as (work, expected):
        assert ended(begun(work / "counted", tell=work / "count")) == FINISHED
        for at in range(0, int((work / "count").read_text()), every):
            folder = work / f"run-{at}"
            code = ended(begun(folder, fault, at))
            tally.tried += 1
            tally.struck += code != FINISHED
            tally.speechless += code not in (FINISHED, SENTENCE, -signal.SIGKILL)
            tally.lost += ended(begun(folder)) != FINISHED or left(folder) != expected
            shutil.rmtree(folder)
    return tally


def everything(kills: int, every: int = 1) -> list[Tally]:
    """All trials; a sample of them where `every` is more than 1."""
    return [
        kills_at_random(kills),
        in_every_write("killed inside a write", killed, every),
        *(in_every_write(name, failing(number), every) for name, number in FAULTS.items()),
    ]


# ---- the page ----------------------------------------------------------------------------------


def page() -> str:
    """docs/reliability.md, from what was found."""
    kills = "\n".join(
        f"| {each['name']} | {each['struck']} | {each['struck'] - each['lost']} | "
        f"{each['lost']} | {each['speechless']} |"
        for each in read(RAW)
    )
    soak = SOAKED.format(rows=soaked()) if SOAK.is_file() else ""  # it takes hours
    return TEXT.format(steps=STEPS, kills=kills, fuzz=fuzzed(), soak=soak)


def read(path: Path) -> Any:
    """What a benchmark has found."""
    return json.loads(path.read_text())


def fuzzed() -> str:
    """A line for each reader: cases at random and guided, and what came of them."""
    lines = []
    for name, found in read(FUZZ).items():
        tallies = [Counter(found[way]) for way in ("random", "guided")]
        came = sum(tallies, Counter())
        counts = [tally["cases"] for tally in tallies]
        counts += [came[key] for key in ("understood", "refused", "crashed")]
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines)


def soaked() -> str:
    """A line for each thing that might have grown, and for what is told of each world."""
    found = read(SOAK)
    blocks = found["blocks"]
    tenth, end = blocks[len(blocks) // 10 - 1], blocks[-1]
    rows = [
        ("resident memory, MiB", f"{tenth['resident_mib']:.0f}", f"{end['resident_mib']:.0f}"),
        ("processor time of a step, ms", *(f"{found['time'][at]:.2f}" for at in ("tenth", "end"))),
        ("files of the run, MiB", f"{tenth['files_mib']:.1f}", f"{end['files_mib']:.1f}"),
        ("environments known", str(tenth["environments"]), str(end["environments"])),
    ]
    for name, world in found["worlds"].items():
        for key, title, form in (
            ("identity", "identity told right", "{:.1%}"),
            ("position_mse", "squared error of the position", "{:.4f}"),
            ("reconstruction_nats", "nats of reconstruction", "{:.1f}"),
        ):
            both = [world[at][key] for at in ("tenth", "end")]
            if isinstance(both[0], dict):
                both = [scores["mlp"] for scores in both]
            if both[0] is not None:
                rows.append((f"{name}: {title}", *map(form.format, both)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


SOAKED = """## A million steps

`make soak` trains a small model on three worlds that take turns every 500 steps. Nothing may grow,
and what the latents tell may not get worse.

| | after a tenth | at the end |
|---|---|---|
{rows}

"""

TEXT = """# Reliability

<!-- Made by `make reliability` from the raw files in results/. -->

## Kills and failing disks

A run that is killed goes on with `vase resume`, and ends as if it had never been: same weights,
events, metrics and milestones, byte for byte on a CPU. A disk that is full, failing or read-only
ends it with a sentence, and it goes on likewise once there is room. That is tried, not only meant:
`make reliability` disturbs runs of {steps} steps that log every second step, save every fifth and
thin their log out twice.
"Inside a write" is half way through each single write, and before each single sync and rename.

| what was done | times | recovered | lost | ended without a sentence |
|---|---|---|---|---|
{kills}

## Bytes that cannot be believed

`make fuzz` spoils what was whole: bytes are changed, cut out, doubled and put in, at random and
guided by which lines of code they reach. In a forged checkpoint the checksum is right and the
record or a tensor is not. "Understood" is whatever is read without complaint, for a spoilt pixel
is a pixel; everything else must be refused in a sentence.

| reader of | cases at random | guided | understood | refused | crashed |
|---|---|---|---|---|---|
{fuzz}

{soak}## What guards a run

- **One file, one rename.** A checkpoint is written beside the old one, synced, and put in its
  place. The one before it is kept as `checkpoint-earlier.safetensors`; if a disk gives back other
  bytes than it was given, the checksum tells, and `vase resume` says so and goes on from there.
- **`vase check RUN`** reads and verifies settings, checkpoints, milestones, logs and measurements.
- **One writer.** A second process that would train the same run is refused; the lock is given back
  when a process ends, however it ends.
- **No number that is none.** A batch with NaN or infinity in its loss, its gradient, or the images
  of a world is left out, the weights being as they were (event `skipped`); eight in a row end the
  run with a sentence. In arrays of your own and in `partial_fit` such values are refused at once.
- **No byte is believed.** Every reader of files (settings, logs, checkpoints with a right checksum
  and an odd content, arrays, images, data sets) is given spoilt ones, 200 cases each in the tests
  and 10,000 by `make fuzz`: understood, or refused in a sentence. A header that promises terabytes,
  an image that would fill the memory, a file that is nested too deep are refused at once.
- **No pickle** is read or written; a test looks.
- **Bounded files.** `metrics.jsonl` keeps at most 10,000 lines, `milestones/` at most 100 files.
- **What is installed is what was tested.** The tests are installed from files with hashes
  (`locks/`, made anew by `make lock`); `make audit` asks for known weaknesses of them. Data sets
  come over TLS and are held to pinned SHA-256 sums, wherever they come from.
- **The explorer** listens on this machine alone, takes images of at most 20 MB and 50 megapixels,
  and serves no files.
"""


def main() -> None:
    """Run everything, or make the page anew."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["all", "sample", "page"], default="all")
    parser.add_argument("--kills", type=int, default=120)
    given = parser.parse_args()
    if given.what == "sample":
        print(json.dumps([asdict(tally) for tally in everything(given.kills, every=29)]))
        return
    if given.what == "all":
        found = [asdict(tally) for tally in everything(given.kills)]
        RAW.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page())
    print(f"{RAW}\n{PAGE}")


if __name__ == "__main__":
    main()
