"""Reads a run folder into one record, from which the whole report is made.

The optimizer is never built: a report only needs the averaged networks and the environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from vase import config as configs
from vase.config import Config
from vase.domains.stream import Schedule, Segment
from vase.errors import CheckpointError
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.state import averaged_networks
from vase.nets import Architecture, Networks
from vase.settings import ModelSettings
from vase.training import checkpoint
from vase.training.folder import RunFolder, read_events, read_metrics, read_record

Record = Mapping[str, Any]


@dataclass(frozen=True)
class BelievedSegment:
    """Steps [start, end) during which the learner believed to be in environment `index`."""

    start: int
    end: int
    index: int


@dataclass(frozen=True)
class ExplorationResult:
    """What was written of an exploration, and its film, an animated GIF."""

    record: Record
    film: bytes | None


@dataclass(frozen=True)
class RunRecords:
    """What a run left behind. `steps`: how many were done. `seconds`: None if not known."""

    path: Path
    config: Config
    config_text: str
    metrics: tuple[Record, ...]
    events: tuple[Record, ...]
    probes: Record | None
    networks: Networks
    environments: Environments
    steps: int
    seconds: float | None
    translation: tuple[Record, ...] = ()
    ambiguity: tuple[Record, ...] = ()
    exploration: tuple[ExplorationResult, ...] = ()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that the run has begun, the last one cut at the last step."""
        planned = Schedule.of(self.config.stream.schedule).segments
        return tuple(
            Segment(segment.domain, segment.start, min(segment.end, self.steps))
            for segment in planned
            if segment.start < self.steps
        )

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The true domains seen so far, in the order of their first appearance."""
        return tuple(dict.fromkeys(segment.domain for segment in self.segments))

    @cached_property
    def bands(self) -> tuple[BelievedSegment, ...]:
        return believed_segments(self.events, self.steps)

    @cached_property
    def matched_environments(self) -> dict[str, Environment]:
        """The environment that the learner mostly stood in while each domain was on."""
        probed = (self.probes or {}).get("assignment", {})  # perhaps before the latest domain
        assignment = {**match_environments(self.segments, self.bands), **probed}
        known = {environment.index: environment for environment in self.environments}
        return {
            name: known[assignment[name]] for name in self.domains if assignment.get(name) in known
        }


def read_run(folder: RunFolder) -> RunRecords:
    """Read a run; `RunError` and its kinds say what is missing or damaged."""
    settings = configs.load(str(folder.config))
    networks, environments, step = load_networks(folder.checkpoint, settings.model)
    metrics = tuple(read_metrics(folder))
    events = tuple(read_events(folder))
    last = max((record["step"] + 1 for record in (*metrics[-1:], *events[-1:])), default=0)
    return RunRecords(
        path=folder.path,
        config=settings,
        config_text=folder.config.read_text(encoding="utf-8"),
        metrics=metrics,
        events=events,
        probes=read_record(folder.probes),
        networks=networks,
        environments=environments,
        steps=max(step, last, 1),
        seconds=wall_clock(folder.tensorboard),
        translation=read_pair_records(folder.translation, step),
        ambiguity=read_pair_records(folder.ambiguity, step),
        exploration=read_explorations(folder, step),
    )


def read_explorations(folder: RunFolder, step: int) -> tuple[ExplorationResult, ...]:
    """What `vase explore` has found, starting from the run at a step."""
    found = []
    for path in folder.explorations():
        record, film = read_record(path / "exploration.json"), path / "film.gif"
        if record and record["began"] == step:
            found.append(ExplorationResult(record, film.read_bytes() if film.is_file() else None))
    return tuple(found)


def read_pair_records(path: Path, step: int) -> tuple[Record, ...]:
    """What `vase translate` or `vase ambiguity` has measured at a step, a record for every pair."""
    found = (read_record(path) or {"pairs": []})["pairs"]
    return tuple(pair for pair in found if pair["step"] == step)


def load_networks(path: Path, model: ModelSettings) -> tuple[Networks, Environments, int]:
    """The averaged networks, the environments and the step of a checkpoint.

    model: the run's settings, which name the networks; a checkpoint alone runs nobody's code.
    """
    tensors, record = checkpoint.read(path)
    with checkpoint.understood(path):
        shape = Architecture(**record["architecture"])
        if (shape.encoder, shape.decoder) != (model.encoder, model.decoder):
            raise CheckpointError(
                f"'{path}' is of a model with the networks {shape.encoder} and {shape.decoder}, "
                "which config.toml does not name. Put back the file that belongs to it."
            )
        networks = averaged_networks(tensors, shape)
        return networks, Environments.from_json(record["environments"]), int(record["step"])


def believed_segments(events: Sequence[Record], end: int) -> tuple[BelievedSegment, ...]:
    """Where the learner believed to be, from its events; without any, in environment 0."""
    moves = [
        (event["step"], event["environment"]) for event in events if changes_environment(event)
    ]
    if not moves or moves[0][0] > 0:
        moves = [(0, 0), *moves]
    ends = [step for step, _ in moves[1:]] + [end]
    return tuple(
        BelievedSegment(start, stop, index)
        for (start, index), stop in zip(moves, ends, strict=True)
        if stop > start
    )


def changes_environment(event: Record) -> bool:
    """Whether the learner stood in another environment after the event."""
    return event["kind"] in ("new", "returned")


def match_environments(
    segments: Sequence[Segment], bands: Sequence[BelievedSegment]
) -> dict[str, int]:
    """The environment that the learner stood in for most steps of each domain."""
    steps: dict[str, dict[int, int]] = {}
    for segment in segments:
        counts = steps.setdefault(segment.domain, {})
        for band in bands:
            overlap = min(segment.end, band.end) - max(segment.start, band.start)
            counts[band.index] = counts.get(band.index, 0) + max(0, overlap)
    return {name: max(counts, key=lambda k: counts[k]) for name, counts in steps.items() if counts}


def match_domains(segments: Sequence[Segment], bands: Sequence[BelievedSegment]) -> dict[int, str]:
    """The domain that was on for most steps of each believed environment."""
    steps: dict[int, dict[str, int]] = {}
    for band in bands:
        counts = steps.setdefault(band.index, {})
        for segment in segments:
            overlap = min(segment.end, band.end) - max(segment.start, band.start)
            counts[segment.domain] = counts.get(segment.domain, 0) + max(0, overlap)
    return {index: max(counts, key=lambda k: counts[k]) for index, counts in steps.items()}


def wall_clock(tensorboard: Path) -> float | None:
    """Seconds between the first and last record of every TensorBoard file, added up."""
    spans = []
    for path in tensorboard.glob("events.out.tfevents.*"):
        times = [event.wall_time for event in EventFileLoader(str(path)).Load()]
        if times:
            spans.append(max(times) - min(times))
    return sum(spans) or None
