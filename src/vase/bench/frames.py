"""`vase bench detect --frames`: every stream, seed and detector, then tables and a figure.

A job is one stream with one seed; it writes one raw file. Nothing is learnt: our detectors never
ask the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from vase.bench import frame_page, page, provenance
from vase.bench.detect import write_records, write_tables
from vase.bench.frame_detectors import (
    OURS,
    FrameDetector,
    RuleDetector,
    Watched,
    rivals,
    watch,
)
from vase.bench.frame_hostile import as_expected
from vase.bench.frame_null import NULLS, NullScenario, measured_run_length
from vase.bench.frame_scenarios import (
    RUN_LENGTH,
    SCENARIOS,
    FrameData,
    Frames,
    FrameScenario,
    batches,
)
from vase.bench.frame_scores import (
    ALWAYS,
    NEVER,
    ORACLE,
    coarse_pixels,
    correlation_times,
    dummies,
    frame_score,
)
from vase.bench.scores import Alarm, oracle
from vase.domains.canvas import Floats
from vase.errors import ConfigError
from vase.settings import DetectionSettings

KINDS = ("ours", "all")
SHOWN = 500  # alarms of a detector that a raw file lists, evenly thinned; the scores are of all


@dataclass(frozen=True)
class FrameJob:
    """One raw file: a stream and a seed, and which detectors watch it."""

    scenario: str
    seed: int
    detectors: str
    data: FrameData

    @property
    def file(self) -> str:
        return f"{self.scenario}-seed-{self.seed}.json"


def jobs(
    names: Sequence[str], seeds: Sequence[int], detectors: str, data: FrameData
) -> list[FrameJob]:
    """Return all jobs; a `ConfigError` where a name is not known.

    No names: all streams but, where no folder of clips is given, those that need it.
    """
    known: dict[str, FrameScenario | NullScenario] = {**SCENARIOS, **NULLS}
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(
            f"There is no stream {', '.join(unknown)} of frames. There are: {', '.join(known)}."
        )
    if detectors not in KINDS:
        raise ConfigError(
            f"With --frames, --detectors is one of {', '.join(KINDS)}, not '{detectors}': nothing "
            "is learnt there."
        )
    chosen = names or [n for n, each in known.items() if data.clips is not None or not each.clips]
    return [FrameJob(name, seed, detectors, data) for name in chosen for seed in seeds]


def prepare(todo: Sequence[FrameJob]) -> None:
    """Bring the data, and see that every detector is there, before any process is started."""
    if any(job.detectors == "all" for job in todo):
        rivals()
    for name, job in {job.scenario: job for job in todo}.items():
        if name in NULLS:
            NULLS[name].streams(job.seed, job.data)
        else:
            SCENARIOS[name].stream(job.seed, job.data)


def work(job: FrameJob) -> dict[str, Any]:
    """Run one job: the raw record of it."""
    torch.set_num_threads(1)
    began = perf_counter()
    record = null_record(job) if job.scenario in NULLS else stream_record(job)
    return {
        "scenario": job.scenario,
        "seed": job.seed,
        **record,
        "minutes": (perf_counter() - began) / 60,
        "versions": provenance.versions(),
    }


def null_record(job: FrameJob) -> dict[str, Any]:
    """Return the run lengths of our detector on streams without a change."""
    scenario = NULLS[job.scenario]
    found = {
        name: measured_run_length(features, warmup=scenario.warmup)
        for name, features in scenario.streams(job.seed, job.data).items()
    }
    return {"why": scenario.why, "run_lengths": {OURS: found}}


def stream_record(job: FrameJob) -> dict[str, Any]:
    """Return what every detector made of a stream, and what that is worth."""
    scenario = SCENARIOS[job.scenario]
    stream = scenario.stream(job.seed, job.data)
    visits, shape = stream.visits, stream.frames(0, 1).shape[1:]
    ours = RuleDetector(DetectionSettings(rule=OURS, target_arl=RUN_LENGTH), shape)
    beside = rivals() if job.detectors == "all" and scenario.beside else {}
    seen, coarse = seen_by({OURS: ours, **beside}, stream, scenario.batch_size)
    times = correlation_times(visits, coarse)
    idle = dummies(visits)
    alarms = {
        ORACLE: oracle(visits),
        **{name: each.alarms for name, each in seen.items()},
        **{name: tuple(each) for name, each in idle.items()},
    }
    frames = visits[-1].end
    detectors: dict[str, dict[str, Any]] = {
        name: {
            "scores": frame_score(visits, raised, times, named=name in (OURS, ORACLE, NEVER)),
            "alarms": [] if name == ALWAYS else listed(raised),
        }
        for name, raised in alarms.items()
    }
    for name, each in seen.items():
        detectors[name]["frames_per_second"] = frames / each.seconds
    detectors[OURS] |= verdict(scenario, stream, ours, seen[OURS])
    return {
        "why": scenario.why,
        "group": scenario.group,
        "expected": scenario.disturbance.expected if scenario.disturbance else None,
        "batch_size": scenario.batch_size,
        "visits": [asdict(visit) for visit in visits],
        "correlation_times": times,
        "detectors": detectors,
    }


def seen_by(
    detectors: Mapping[str, FrameDetector], stream: Frames, size: int
) -> tuple[dict[str, Watched], Floats]:
    """Return what detectors made of a stream in batches, and its coarse pixels [T, F]."""
    coarse = []

    def kept(images: Floats) -> Floats:
        coarse.append(coarse_pixels(images))
        return images

    return watch(map(kept, batches(stream, size)), detectors), np.concatenate(coarse)


def verdict(
    scenario: FrameScenario, stream: Frames, detector: RuleDetector, seen: Watched
) -> dict[str, Any]:
    """Return what only a detector that names environments can be asked."""
    count = len(detector.environments)
    happened = scenario.disturbance
    return {
        "environments": count,
        "held": detector.waiting * scenario.batch_size / stream.visits[-1].end,
        "as_expected": happened
        and as_expected(happened.expected, stream.visits, seen.alarms, count),
    }


def listed(alarms: Sequence[Alarm]) -> list[list[int | None]]:
    """Return alarms as pairs; of more than `SHOWN` unnamed ones an even choice."""
    named = any(alarm.index is not None for alarm in alarms)
    every = 1 if named else -(-len(alarms) // SHOWN) or 1
    return [[alarm.step, alarm.index] for alarm in alarms[::every]]


def run(
    todo: Sequence[FrameJob], out: Path, workers: int, tell: Callable[[str], None]
) -> list[Mapping[str, Any]]:
    """Run jobs side by side, write each raw file as it is done, and say how far it is."""
    return write_records(work, todo, out, workers, tell, sentence)


def write_page(out: Path) -> list[Path]:
    """Write the tables of all raw files in a folder, and the picture of those with changes."""
    records = frame_page.read(out)
    drawn = page.drawn(frame_page.with_changes(records))
    return write_tables(out, frame_page.markdown(records), drawn, (OURS,))


def sentence(record: Mapping[str, Any]) -> str:
    """Return what came of a job, in a line."""
    what = f"{record['scenario']}, seed {record['seed']}"
    if "run_lengths" in record:
        rates = chain.from_iterable(record["run_lengths"][OURS].values())
        found = [f"{each['alarms']} alarms at one in {each['asked']:,.0f}" for each in rates]
        return f"{what}: {', '.join(found)}"
    own = record["detectors"][OURS]
    told = own["scores"]
    if own["as_expected"] is not None:
        return f"{what}: {'as expected' if own['as_expected'] else 'not as expected'}"
    return f"{what}: {told['switches']} changes, {told['missed']} missed, {told['false']} false"
