"""`vase bench detect`: every scenario, seed and detector, then one table and one figure.

A job is one scenario with one seed; it writes one raw file. Jobs run side by side, one thread each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, TypeVar

import torch

from vase import build
from vase.bench import engine, page, provenance, suite
from vase.bench.detectors import RIVER, river, trace
from vase.bench.scenarios import SCENARIOS
from vase.bench.scores import Alarm, oracle, score
from vase.detection import detector_class
from vase.errors import ConfigError
from vase.report import style
from vase.training.checkpoint import write_bytes
from vase.training.folder import defined, rounded, write_json

KINDS = ("ours", "published", "all")
OURS = "blocks"
LONG, OUTLIERS = "suite", "glitches"


class HasFile(Protocol):
    """A job that names its raw file."""

    @property
    def file(self) -> str: ...


JobT = TypeVar("JobT", bound=HasFile)


@dataclass(frozen=True)
class Job:
    """One raw file: a scenario and a seed, and which detectors watch it.

    rule: of the detector that is measured, the default one or another.
    """

    scenario: str
    seed: int
    detectors: str
    data: build.DataOptions
    rule: str = OURS

    @property
    def file(self) -> str:
        return f"{self.scenario}-seed-{self.seed}.json"


def jobs(
    names: Sequence[str],
    seeds: Sequence[int],
    detectors: str,
    data: build.DataOptions,
    rule: str = OURS,
) -> list[Job]:
    """All jobs; a `ConfigError` where a name is not known. No names: all but the long suite."""
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        raise ConfigError(
            f"There is no scenario {', '.join(unknown)}. There are: {', '.join(SCENARIOS)}."
        )
    if detectors not in KINDS:
        raise ConfigError(f"--detectors is one of {', '.join(KINDS)}, not '{detectors}'.")
    chosen = names or [name for name in SCENARIOS if name != LONG]
    detector_class(rule)  # a name that leads nowhere is refused
    return [Job(name, seed, detectors, data, rule) for name in chosen for seed in seeds]


def prepare(todo: Sequence[Job]) -> None:
    """Bring the data, and see that every detector is there, before any process is started."""
    for name, job in {job.scenario: job for job in todo}.items():
        build.stream(SCENARIOS[name].config(0), job.data)
        if name in (LONG, OUTLIERS):
            build.stream(SCENARIOS[name].config(0), job.data, "test")
    if any(job.detectors == "all" for job in todo):
        river("ADWIN")


def work(job: Job) -> dict[str, Any]:
    """Run one job: the raw record of it."""
    torch.set_num_threads(1)
    scenario, began = SCENARIOS[job.scenario], perf_counter()
    visits, long = scenario.visits(job.seed), job.scenario == LONG
    record: dict[str, Any] = {}
    journey = suite.travel(scenario, job.seed, job.data, job.rule, whole=long)
    alarms: dict[str, tuple[Alarm, ...]] = {"oracle": oracle(visits), job.rule: journey.alarms}
    if long:
        record["training_minutes"] = (perf_counter() - began) / 60
        record["step_ratio"] = suite.step_ratio(journey, visits)
        record["forgetting"] = suite.forgetting(scenario, job.seed, job.data, journey)
    if job.scenario == OUTLIERS:
        record["unharmed"] = suite.unharmed(scenario, job.seed, job.data, job.rule)
    if job.detectors != "ours":
        alarms["published"] = suite.travel(scenario, job.seed, job.data, "published").alarms
    if job.detectors == "all":
        seen = trace(scenario, job.seed, job.data)
        alarms |= {f"{drift.name} on {drift.on}": drift.on_trace(seen) for drift in RIVER}
    steps = visits[-1].end
    return {
        "scenario": job.scenario,
        "why": scenario.why,
        "seed": job.seed,
        "rule": job.rule,
        "visits": [asdict(visit) for visit in visits],
        "detectors": {
            name: {
                "scores": score(visits, raised, steps),
                "alarms": [[alarm.step, alarm.index] for alarm in raised],
            }
            for name, raised in alarms.items()
        },
        "events": [event.to_json() for event in journey.events],
        "minutes": (perf_counter() - began) / 60,
        "versions": provenance.versions(),
        **record,
    }


def run(
    todo: Sequence[Job], out: Path, workers: int, tell: Callable[[str], None]
) -> list[Mapping[str, Any]]:
    """Run jobs side by side, write each raw file as it is done, and say how far it is."""
    return write_records(work, todo, out, workers, tell, sentence)


def write_records(
    work: Callable[[JobT], Mapping[str, Any]],
    todo: Sequence[JobT],
    out: Path,
    workers: int,
    tell: Callable[[str], None],
    sentence: Callable[[Mapping[str, Any]], str],
) -> list[Mapping[str, Any]]:
    """Run `work` on jobs side by side, and write the record of each as its raw file.

    sentence: what is told of a record.
    """
    out.mkdir(parents=True, exist_ok=True)
    progress, records = engine.Progress(len(todo)), []
    with engine.executor(workers) as pool:
        for job, outcome in engine.completed(work, todo, pool):
            if isinstance(outcome, Exception):
                raise outcome
            record = rounded(defined(outcome))
            write_json(out / job.file, record)
            records.append(record)
            tell(progress.step(sentence(record)))
    return records


def write_page(out: Path) -> list[Path]:
    """Write the tables and the picture of all raw files in a folder."""
    jobs = page.read(out)
    return write_tables(out, page.markdown(jobs), page.drawn(jobs), (page.OURS, "published"))


def write_tables(
    out: Path, text: str, drawn: Sequence[page.Record], naming: Sequence[str]
) -> list[Path]:
    """Write tables, and the picture of records, if there are any. naming: see `page.figure`."""
    tables, picture = out / "tables.md", out / "timeline.png"
    write_bytes(tables, (text + "\n").encode())
    if not drawn:
        return [tables]
    write_bytes(picture, style.png(page.figure(drawn, naming)))
    return [tables, picture]


def sentence(record: Mapping[str, Any]) -> str:
    """What came of a job, in a line."""
    own = record["detectors"][record["rule"]]["scores"]
    return (
        f"{record['scenario']}, seed {record['seed']}: {own['switches']} switches, "
        f"{own['missed']} missed, {own['false']} false"
    )
