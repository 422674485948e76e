"""`vase ablate`: the paper's ablation table, with upper and lower bounds.

One run per condition, objective and seed. A run is trained and probed like any other run, and
writes one raw file. The file holds the hash of its code and configuration: an interrupted grid
resumes, a finished run is not repeated, and one table never mixes results of different code.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol

import torch

from vase import build, config
from vase.bench import agreement, engine, provenance
from vase.config import Config
from vase.errors import ConfigError, RunError
from vase.lifelong.learner import Learner
from vase.probes import evaluate_run
from vase.training import folder as folders
from vase.training import recorder
from vase.training.folder import RunFolder, read_json, rounded, write_json
from vase.training.loop import observe

Objective = Literal["disentangled", "entangled"]
OBJECTIVES: tuple[Objective, ...] = ("disentangled", "entangled")
SCALES = ("small", "poster")

# The conditions: the configuration part of each, and its name in the paper.
CONDITIONS: Mapping[str, str] = {
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
BASELINES: Mapping[str, str] = {
    "joint": "all domains at once",
    "reservoir-512": "512 images stored",
    "reservoir-5000": "5,000 images stored",
}


class PlannedRun(Protocol):
    """A run of a grid: its file name, preset, the labels of its record, and its settings."""

    @property
    def name(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, Any]: ...
    def config(self, overrides: Sequence[str] = ()) -> Config: ...


@dataclass(frozen=True)
class AblationRun:
    """One run of the ablation grid. published: with the published choices in place of ours."""

    scale: str
    condition: str
    objective: Objective
    seed: int
    published: bool = False

    @property
    def name(self) -> str:
        return f"{self.condition}-{self.objective}-seed-{self.seed}"

    @property
    def preset(self) -> str:
        """The preset name, as for `vase train`."""
        tail = "+published" * self.published + "+entangled" * (self.objective == "entangled")
        return f"{self.scale}+{self.condition}{tail}"

    @property
    def labels(self) -> dict[str, Any]:
        return asdict(self)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        return config.load(self.preset, [f"training.seed={self.seed}", *overrides])


@dataclass(frozen=True)
class RunJob:
    """A planned run with everything that a worker process needs to execute it."""

    run: PlannedRun
    overrides: tuple[str, ...]
    key: str
    code: str
    runs: Path
    threads: int
    keep: bool
    data: build.DataOptions


def ablation_runs(
    scale: str,
    conditions: Sequence[str],
    objectives: Sequence[str],
    seeds: Sequence[int],
    *,
    published: bool = False,
) -> list[AblationRun]:
    """Return the grid, ordered by seed, so that an interrupted grid has complete columns.

    Deep generative replay is published for the entangled objective only.
    """
    known = [*CONDITIONS, *BASELINES]
    _refuse_unknown("scale", [scale], SCALES)
    _refuse_unknown("condition", conditions, known)
    _refuse_unknown("objective", objectives, OBJECTIVES)
    return [
        AblationRun(scale, condition, objective, seed, published)
        for seed in seeds
        for objective in OBJECTIVES
        if objective in objectives
        for condition in known
        if condition in (conditions or known)
        and (condition, objective) != ("sd-replay", "disentangled")
    ]


def _refuse_unknown(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(
            f"There is no {what} {', '.join(unknown)}. There are: {', '.join(known)}."
        )


def unfinished_runs(
    grid: Sequence[PlannedRun], overrides: Sequence[str], out: Path, code: str
) -> list[tuple[PlannedRun, str]]:
    """Return the runs without a record of this code and configuration, each with its key."""
    keys = [(run, provenance.key(run.config(overrides), code)) for run in grid]
    return [(run, key) for run, key in keys if not _is_done(out / f"{run.name}.json", key)]


def _is_done(path: Path, key: str) -> bool:
    return path.is_file() and read_json(path).get("key") == key


def train_and_probe(job: RunJob) -> dict[str, Any]:
    """Train and probe one run, from its checkpoint if there is one; return the raw record.

    With it, as `codes`, what `agreement.codes_of` finds, which goes into a file of its own.
    """
    torch.set_num_threads(job.threads)
    began = perf_counter()
    settings = job.run.config(job.overrides)
    folder = RunFolder(job.runs / f"{job.run.name}-{job.key}")
    train(folder, settings, job.data)
    return _record(job, settings, folder, (perf_counter() - began) / 60)


def _record(job: RunJob, settings: Config, folder: RunFolder, minutes: float) -> dict[str, Any]:
    """Probe a trained run, and remove its folder unless it should be kept."""
    began = perf_counter()
    found = evaluate_run(folder, job.data)
    environments = {event["environment"] for event in folders.read_lines(folder.events)}
    codes = agreement.codes_of(folder, job.data)
    if not job.keep:
        shutil.rmtree(folder.path)
    detection = found["detection"]
    return {
        **job.run.labels,
        "key": job.key,
        "code": job.code,
        "codes": codes,
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
        with build.recorder(settings, folder, learner, stream) as run_recorder:
            for _ in run_recorder.record(observe(learner, stream)):
                pass
            run_recorder.save()
    return learner


def run_all(
    grid: Sequence[PlannedRun],
    overrides: Sequence[str],
    out: Path,
    data: build.DataOptions,
    report: Callable[[str], None],
    *,
    workers: int = 2,
    address: str | None = None,
    keep: bool = False,
) -> None:
    """Execute all unfinished runs, write each raw file when it is done, and report progress.

    A run that fails does not stop the others; a `RunError` names all failed runs at the end.
    """
    code = provenance.code()
    todo = unfinished_runs(grid, overrides, out, code)
    if len(todo) < len(grid):
        report(f"{len(grid) - len(todo)} of {len(grid)} runs are already done.")
    if not todo:
        return
    _prepare_data([planned for planned, _ in todo], overrides, data)
    out.mkdir(parents=True, exist_ok=True)
    threads = max(1, torch.get_num_threads() // workers) if address is None else 1
    jobs = [
        RunJob(planned, tuple(overrides), key, code, (out / "runs").absolute(), threads, keep, data)
        for planned, key in todo
    ]
    progress, failed = engine.Progress(len(jobs)), []
    with engine.executor(workers, address) as pool:
        for job, outcome in engine.completed(train_and_probe, jobs, pool):
            if isinstance(outcome, Exception):
                failed.append(f"{job.run.name}: {outcome}")
                report(progress.step(f"{job.run.name}: FAILED, {outcome}"))
                continue
            agreement.write(out, job.run.name, outcome.pop("codes"))
            write_json(out / f"{job.run.name}.json", rounded(outcome))
            report(progress.step(summary_line(outcome, job.run)))
    if failed:
        raise RunError(
            f"{len(failed)} of {len(jobs)} runs failed; the others are saved. Run the command "
            "again to resume.\n  " + "\n  ".join(failed)
        )


def _prepare_data(
    grid: Sequence[PlannedRun], overrides: Sequence[str], data: build.DataOptions
) -> None:
    """Download the data before any process starts."""
    wanted = {
        repr(found.stream): found for found in (planned.config(overrides) for planned in grid)
    }
    for settings in wanted.values():
        for split in ("train", "test"):
            build.stream(settings, data, split)


def summary_line(record: Mapping[str, Any], planned: PlannedRun) -> str:
    """Return the outcome of a run in one line."""
    identity = record["summary"]["identity"]["mlp"]
    details = [*record.get("settings", ()), f"seed {record['seed']}"]
    label = ", ".join([planned.preset, *details])
    if identity["max"] is None:
        return label
    return (
        f"{label}: identity {100 * identity['max']:.1f} %, change {100 * identity['change']:+.1f}"
    )
