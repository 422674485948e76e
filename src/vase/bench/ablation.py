"""`vase ablate`: the source's table, row by row, and what brackets it.

A cell is a row, a half and a seed; it is trained and probed like any run and leaves one raw file.
A file bears the hash of its code and configuration, so that a grid which was interrupted goes on,
a finished cell is not done twice, and figures of different code never meet in one table.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

import torch

from vase import build, config
from vase.bench import engine, provenance
from vase.config import Config
from vase.errors import ConfigError, RunError
from vase.lifelong.ensemble import Ensemble
from vase.lifelong.learner import Learner
from vase.probes import probe
from vase.training import checkpoint, recorder
from vase.training import folder as folders
from vase.training.folder import RunFolder, read_json, rounded, write_json
from vase.training.loop import observe
from vase.worlds.stream import Stream

Half = Literal["disentangled", "entangled"]
HALVES: tuple[Half, ...] = ("disentangled", "entangled")
SCALES = ("small", "poster")

# The part of the configuration that makes a row, and the name that the source gives it.
ROWS: Mapping[str, str] = {
    "cci": "-",
    "s": "S",
    "d": "D",
    "a": "A",
    "sa": "SA",
    "da": "DA",
    "sd": "SD",
    "sd-replay": "SD-[41]",
    "sda": "VASE (SDA)",
}
BRACKETS: Mapping[str, str] = {
    "joint": "all worlds at once",
    "reservoir-512": "512 images stored",
    "reservoir-5000": "5,000 images stored",
}


class Task(Protocol):
    """A run that is to be done: what its file is called, what marks its record, its settings."""

    @property
    def name(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, Any]: ...
    def config(self, overrides: Sequence[str] = ()) -> Config: ...


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    scale: str
    row: str
    half: Half
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row}-{self.half}-seed-{self.seed}"

    @property
    def preset(self) -> str:
        """What `vase train` calls it."""
        tail = "+entangled" if self.half == "entangled" else ""
        return f"{self.scale}+{self.row}{tail}"

    @property
    def labels(self) -> dict[str, Any]:
        return asdict(self)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        return config.load(self.preset, [f"training.seed={self.seed}", *overrides])


@dataclass(frozen=True)
class Job:
    """A run to be done: where it lives until then, and on how many threads."""

    cell: Task
    overrides: tuple[str, ...]
    key: str
    code: str
    runs: Path
    threads: int
    keep: bool
    data: build.DataOptions


@dataclass(frozen=True)
class Group:
    """Cells that are trained in one process: one alone, or several as an ensemble."""

    jobs: tuple[Job, ...]


def cells(
    scale: str, rows: Sequence[str], halves: Sequence[str], seeds: Sequence[int]
) -> list[Cell]:
    """The grid, seed by seed, so that an interrupted one has whole columns.

    Deep generative replay is published for the entangled half only.
    """
    known = [*ROWS, *BRACKETS]
    _refuse_unknown("scale", [scale], SCALES)
    _refuse_unknown("row", rows, known)
    _refuse_unknown("half", halves, HALVES)
    return [
        Cell(scale, row, half, seed)
        for seed in seeds
        for half in HALVES
        if half in halves
        for row in known
        if row in (rows or known) and (row, half) != ("sd-replay", "disentangled")
    ]


def _refuse_unknown(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(
            f"There is no {what} {', '.join(unknown)}. There are: {', '.join(known)}."
        )


def due(
    grid: Sequence[Task], overrides: Sequence[str], out: Path, code: str
) -> list[tuple[Task, str]]:
    """The runs that are not done yet by this code and configuration, each with its key."""
    keys = [(cell, provenance.key(cell.config(overrides), code)) for cell in grid]
    return [(cell, key) for cell, key in keys if not _is_done(out / f"{cell.name}.json", key)]


def _is_done(path: Path, key: str) -> bool:
    return path.is_file() and read_json(path).get("key") == key


def work(group: Group) -> list[dict[str, Any]]:
    """Train and probe cells, going on where they were left: their raw records, in their order.

    A single cell is trained as `vase train` would; several take their steps together.
    """
    jobs = group.jobs
    torch.set_num_threads(jobs[0].threads)
    began = perf_counter()
    all_settings = [job.cell.config(job.overrides) for job in jobs]
    spots = [RunFolder(job.runs / f"{job.cell.name}-{job.key}") for job in jobs]
    if len(jobs) == 1:
        train(spots[0], all_settings[0], jobs[0].data)
    else:
        train_together(spots, all_settings, jobs[0].data)
    minutes = (perf_counter() - began) / 60 / len(jobs)
    return [
        _record(job, settings, folder, minutes)
        for job, settings, folder in zip(jobs, all_settings, spots, strict=True)
    ]


def _record(job: Job, settings: Config, folder: RunFolder, minutes: float) -> dict[str, Any]:
    """Probe a trained cell and remove its run folder, unless it is to be kept."""
    began = perf_counter()
    found = probe(folder, job.data)
    environments = {event["environment"] for event in folders.read_lines(folder.events)}
    if not job.keep:
        shutil.rmtree(folder.path)
    detection = found["detection"]
    return {
        **job.cell.labels,
        "key": job.key,
        "code": job.code,
        "steps": found["steps"],
        "summary": found["summary"],
        "timeline": found["timeline"],
        "detection": {
            "environments": len(environments),
            "missed": detection["missed"],
            "false": len(detection["false_alarms"]),
            "mean_delay": detection["mean_delay"],
        },
        "minutes": {
            "training": minutes,
            "probes": (perf_counter() - began) / 60,
            "threads": job.threads,
        },
        "versions": provenance.versions(),
        "config": settings.model_dump(mode="json"),
    }


def train(folder: RunFolder, settings: Config, data: build.DataOptions) -> Learner:
    """Train a run to the end of its stream, from its checkpoint if there is one."""
    stream = build.stream(settings, data)
    learner = build.learner(settings, stream.shape)
    if not folder.config.is_file():
        folders.create(folder.path, config.to_toml(settings))
    with folders.sole_writer(folder):
        recorder.resume(folder, learner)
        with build.recorder(settings, folder, learner, stream) as scribe:
            for _ in scribe.record(observe(learner, stream)):
                pass
            scribe.save()
    return learner


def train_together(
    spots: Sequence[RunFolder], all_settings: Sequence[Config], data: build.DataOptions
) -> None:
    """Train runs of one architecture and length as one ensemble (`vase.lifelong.ensemble`).

    They go on from their checkpoints if those are all of one step; otherwise all begin anew.
    """
    streams = [build.stream(settings, data) for settings in all_settings]
    learners = [build.learner(settings, streams[0].shape) for settings in all_settings]
    if not _resumed(spots, learners):
        for folder, settings in zip(spots, all_settings, strict=True):
            shutil.rmtree(folder.path, ignore_errors=True)
            folders.create(folder.path, config.to_toml(settings))
    with ExitStack() as stack:
        scribes = [
            stack.enter_context(build.recorder(*each))
            for each in zip(all_settings, spots, learners, streams, strict=True)
        ]
        ensemble = Ensemble(learners)
        for step in range(learners[0].step, streams[0].schedule.steps):
            # Cells of one seed see the same stream: each batch is drawn once.
            drawn = {_which(stream): stream for stream in streams}
            batches = {
                which: torch.from_numpy(stream.batch(step)[0]).to(learners[0].device)
                for which, stream in drawn.items()
            }
            seen = ensemble.observe([batches[_which(stream)] for stream in streams])
            for scribe, observation in zip(scribes, seen, strict=True):
                scribe.write(observation)
        for scribe in scribes:
            scribe.save()


def _which(stream: Stream) -> tuple[int, bool]:
    """What tells two streams of one grid apart."""
    return stream.seed, stream.joint


def _resumed(spots: Sequence[RunFolder], learners: Sequence[Learner]) -> bool:
    """Whether all runs went on from checkpoints, and from the same step."""
    if not all(folder.checkpoint.is_file() for folder in spots):
        return False
    if len({checkpoint.read(folder.checkpoint)[1]["step"] for folder in spots}) > 1:
        return False
    for folder, learner in zip(spots, learners, strict=True):
        recorder.resume(folder, learner)
    return True


def run(
    grid: Sequence[Task],
    overrides: Sequence[str],
    out: Path,
    data: build.DataOptions,
    tell: Callable[[str], None],
    *,
    workers: int = 2,
    address: str | None = None,
    together: int = 1,
    keep: bool = False,
) -> None:
    """Do what is due, write each raw file as it is done, and say how far it is.

    together: cells that are trained as one ensemble. What fails spoils no other group; a `RunError`
    names it all at the end.
    """
    code = provenance.code()
    todo = due(grid, overrides, out, code)
    if len(todo) < len(grid):
        tell(f"{len(grid) - len(todo)} of {len(grid)} runs are done already.")
    if not todo:
        return
    _prepare([cell for cell, _ in todo], overrides, data)
    out.mkdir(parents=True, exist_ok=True)
    quiet = build.DataOptions(data.folder, data.offline)
    threads = max(1, torch.get_num_threads() // workers) if address is None else 1
    jobs = [
        Job(cell, tuple(overrides), key, code, (out / "runs").absolute(), threads, keep, quiet)
        for cell, key in todo
    ]
    groups = [Group(tuple(jobs[k : k + together])) for k in range(0, len(jobs), together)]
    progress, failed = engine.Progress(len(groups)), []
    with engine.executor(workers, address) as pool:
        for group, outcome in engine.completed(work, groups, pool):
            if isinstance(outcome, Exception):
                names = ", ".join(job.cell.name for job in group.jobs)
                failed += [f"{job.cell.name}: {outcome}" for job in group.jobs]
                tell(progress.step(f"{names}: FAILED, {outcome}"))
                continue
            for job, record in zip(group.jobs, outcome, strict=True):
                write_json(out / f"{job.cell.name}.json", rounded(record))
            told = zip(outcome, group.jobs, strict=True)
            tell(progress.step("; ".join(sentence(record, job.cell) for record, job in told)))
    if failed:
        raise RunError(
            f"{len(failed)} of {len(jobs)} runs failed; the others are kept. Run the command "
            "again to go on.\n  " + "\n  ".join(failed)
        )


def _prepare(grid: Sequence[Task], overrides: Sequence[str], data: build.DataOptions) -> None:
    """Bring the data before any process is started."""
    wanted = {repr(found.stream): found for found in (task.config(overrides) for task in grid)}
    for settings in wanted.values():
        for split in ("train", "test"):
            build.stream(settings, data, split)


def sentence(record: Mapping[str, Any], task: Task) -> str:
    """What came of a run, in a line."""
    identity = record["summary"]["identity"]["mlp"]
    told = (
        f"{task.preset}, {', '.join([*record.get('settings', ()), 'seed ' + str(record['seed'])])}"
    )
    if identity["max"] is None:
        return told
    return f"{told}: identity {100 * identity['max']:.1f} %, change {100 * identity['change']:+.1f}"
