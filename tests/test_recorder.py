"""The recorder: a run leaves what is due at its steps, and a stop leaves no trace in any of it."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vase.domains.canvas import Floats
from vase.domains.stream import Schedule, Stream
from vase.errors import CheckpointError, RunError
from vase.lifelong.learner import Learner
from vase.lifelong.state import averaged_weights, state
from vase.nets import Architecture
from vase.records import Decision, DecisionKind, Event, GroundTruth, Observation
from vase.settings import LearnerSettings
from vase.training import checkpoint, recorder
from vase.training import folder as folders
from vase.training.checkpoint import DamagedError
from vase.training.folder import RunFolder
from vase.training.loop import observe
from vase.training.recorder import Recorder, milestone_steps, stride, with_terms


@dataclass(frozen=True)
class Colours:
    """Images of one pixel."""

    name: str
    shape: tuple[int, int, int] = (3, 1, 1)
    label_kind: str = "none"

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        images = generator.random((count, *self.shape), dtype=np.float32)
        return images, GroundTruth(self.name, np.zeros(count, dtype=np.int64), {})


SEGMENTS = Schedule.of([("a", 5), ("b", 5), ("a", 4)])
STREAM = Stream(SEGMENTS, {"a": Colours("a"), "b": Colours("b")}, batch_size=4, seed=0)
TINY = Architecture(channels=3, height=1, width=1, latents=2, hidden=4, environments=1)
TOLD = LearnerSettings.model_validate(
    {
        "detection": {"rule": "oracle", "options": {"switches": [[5, 1], [10, 0]]}},
        "replay": {"snapshot_every": 6},
    }
)
MILESTONES = (3, 8, 13)


class Board:
    """A tracker that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, *how: Any) -> tuple["Board"]:
        self.told.append(("begun", *how))
        return (self,)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.told.append((step, dict(values)))

    def text(self, name: str, text: str, step: int) -> None:
        self.told.append((step, name, text))

    def close(self) -> None:
        self.told.append(("closed",))


@pytest.fixture(autouse=True, scope="module")
def board() -> Iterator[Board]:
    """In place of TensorBoard, which is slow to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "trackers", (board := Board()).begin)
        yield board


def learner() -> Learner:
    return Learner(TINY, TOLD, seed=0, device=torch.device("cpu"))


def scribe(folder: RunFolder, subject: Learner) -> Recorder:
    due = frozenset(MILESTONES)
    return Recorder(folder, subject, log_every=2, checkpoint_every=4, milestones=due)


def logs(folder: Path, log_every: int = 2) -> Recorder:
    """A recorder that comes to no checkpoint, and so needs nothing of a learner but its step."""
    subject: Any = SimpleNamespace(step=3)
    return Recorder(
        RunFolder(folder),
        subject,
        log_every=log_every,
        checkpoint_every=1000,
        milestones=frozenset(),
    )


def go_on(folder: RunFolder, subject: Learner, until: int | None = None) -> None:
    """Learn and record to the end, or until the power is cut after so many steps."""
    with scribe(folder, subject) as writes:
        for observation in writes.record(observe(subject, STREAM)):
            if observation.step + 1 == until:
                return
        writes.save()


def left(folder: RunFolder) -> dict[str, bytes]:
    """Every file of a run."""
    paths = [path for path in folder.path.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def alike(one: Learner, other: Learner) -> bool:
    (tensors, record), (others, expected) = state(one), state(other)
    return json.dumps(record) == json.dumps(expected) and (
        checkpoint.digest(tensors) == checkpoint.digest(others)
    )


@pytest.fixture(scope="module")
def whole(board: Board, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Learner]:
    """A run that never stopped, and what it has learnt."""
    folder, subject = folders.create(tmp_path_factory.mktemp("whole") / "run", ""), learner()
    go_on(folder, subject)
    return folder, subject


@pytest.fixture
def run(whole: tuple[RunFolder, Learner], tmp_path: Path) -> RunFolder:
    """A copy of that run: checkpoints of steps 14 and 12."""
    shutil.copytree(whole[0].path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def steps(log: Path) -> list[int]:
    return [line["step"] for line in folders.read_lines(log)]


# ---- what a run leaves -------------------------------------------------------------------------


def test_what_is_due_is_written_before_an_observation_is_passed_on(tmp_path: Path) -> None:
    folder, subject, kept = folders.create(tmp_path / "run", ""), learner(), []
    events: list[Event] = []
    for observation in scribe(folder, subject).record(observe(subject, STREAM)):
        done = observation.step + 1
        assert done == subject.step
        assert steps(folder.metrics) == [*range(0, done, 2)]
        events += observation.events
        assert steps(folder.events) == [event.step for event in events]
        held = [path for path in (folder.earlier, folder.checkpoint) if path.exists()]
        saved = [checkpoint.read(path)[1]["step"] for path in held]
        assert saved == [*range(4, done + 1, 4)][-2:]
        if done in MILESTONES:
            kept.append(folder.milestone(done))
            tensors, record = checkpoint.read(kept[-1])
            assert checkpoint.digest(tensors) == checkpoint.digest(averaged_weights(subject))
            assert record == {"step": done, "environments": subject.environments.to_json()}
        assert folder.milestones() == kept
    assert subject.step == SEGMENTS.steps
    assert folders.read_lines(folder.events) == [
        folders.rounded(event.to_json()) for event in events
    ]


def test_a_tracker_is_told_what_is_logged_from_the_learner_s_step_on_and_then_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "trackers", (board := Board()).begin)
    happened = (Event(5, "new", 1, "other colours"), Event(6, "snapshot", 0, "due"))
    with logs(tmp_path) as writes:
        writes.write(observation(3))
        writes.write(replace(observation(4, 1), events=happened))
        assert ("closed",) not in board.told
    assert board.told == [
        ("begun", "none", RunFolder(tmp_path), 3),
        (5, "events", "new 1: other colours"),
        (6, "events", "snapshot 0: due"),
        (4, {"loss": 4.5, "capacity": 5.0, "statistic": math.log1p(6.0), "environment": 1}),
        ("closed",),
    ]


# ---- a stop and what comes after ---------------------------------------------------------------


@pytest.mark.parametrize(("stopped", "saved"), [(3, 0), (6, 4), (8, 8), (13, 12)])
def test_a_run_that_was_stopped_and_resumed_is_one_that_never_stopped(
    stopped: int, saved: int, whole: tuple[RunFolder, Learner], tmp_path: Path
) -> None:
    folder, subject = folders.create(tmp_path / "run", ""), learner()
    go_on(folder, learner(), until=stopped)
    assert recorder.resume(folder, subject) == ""
    assert subject.step == saved
    assert steps(folder.metrics) == [*range(0, saved, 2)]
    assert steps(folder.events) == [step for step in (0, 5, 6, 10, 12) if step < saved]
    assert folder.milestones() == [folder.milestone(k) for k in MILESTONES if k <= saved]
    go_on(folder, subject)
    assert left(folder) == left(whole[0])
    assert alike(subject, whole[1])


def test_with_no_checkpoint_at_all_a_run_starts_again(run: RunFolder) -> None:
    run.checkpoint.unlink()
    run.earlier.unlink()
    subject = learner()
    assert recorder.resume(run, subject) == ""
    assert alike(subject, learner())
    assert (run.metrics.read_bytes(), run.events.read_bytes()) == (b"", b"")
    assert run.milestones() == []


def rotten(path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    return "is corrupt: its content does not match its checksum."


def cut_off(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1])
    return "is not a whole VASE checkpoint"


def gone(path: Path) -> str:
    """As it is between the two renames of a save."""
    path.unlink()
    return "There is no checkpoint at"


@pytest.mark.parametrize("damage", [rotten, cut_off, gone])
def test_the_checkpoint_before_a_damaged_one_takes_its_place(
    damage: Callable[[Path], str], whole: tuple[RunFolder, Learner], run: RunFolder
) -> None:
    words, earlier, subject = damage(run.checkpoint), run.earlier.read_bytes(), learner()
    damaged = {"checkpoint.damaged": run.checkpoint.read_bytes()} if damage is not gone else {}
    message = recorder.resume(run, subject)
    assert words in message
    assert f"'{run.checkpoint}'" in message
    assert message.endswith(". The one before it is gone on with.")
    assert subject.step == 12
    assert run.checkpoint.read_bytes() == earlier
    assert not run.earlier.exists()
    assert steps(run.metrics) == [*range(0, 12, 2)]
    assert run.milestones() == [run.milestone(step) for step in (3, 8)]
    go_on(run, subject)
    assert left(run) == {**left(whole[0]), **damaged}
    assert alike(subject, whole[1])


@pytest.mark.parametrize("earlier", [rotten, gone])
def test_where_no_checkpoint_is_whole_all_is_left_as_it_is(
    earlier: Callable[[Path], str], run: RunFolder
) -> None:
    words = earlier(run.earlier)
    rotten(run.checkpoint)
    before = left(run)
    named, words = (run.checkpoint, "is corrupt") if earlier is gone else (run.earlier, words)
    with pytest.raises(DamagedError, match=f"'{named}' {words}"):
        recorder.resume(run, learner())
    assert left(run) == before


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(30, "Read-only file system"), "Read-only file system"), (OSError("odd"), "odd")],
)
def test_a_folder_that_cannot_be_written_to_is_named(
    error: OSError, words: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Path) -> None:
        raise error

    rotten(run.checkpoint)
    before = left(run)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RunError) as found:
        recorder.resume(run, learner())
    assert str(found.value) == f"'{run.path}' cannot be written to: {words}."
    assert left(run) == before


def test_a_follower_is_put_where_the_one_that_leads_is(
    whole: tuple[RunFolder, Learner], run: RunFolder
) -> None:
    rotten(run.checkpoint)
    leads, follows = learner(), learner()
    recorder.resume(run, leads)
    before = left(run)
    recorder.follow(run, follows)
    assert follows.step == 12
    assert alike(leads, follows)
    assert left(run) == before  # it only reads
    run.checkpoint.unlink()
    recorder.follow(run, fresh := learner())
    assert alike(fresh, learner())


@pytest.mark.parametrize("put_back", [recorder.resume, recorder.follow])
def test_a_record_that_cannot_be_put_to_use_is_named_by_its_checkpoint(
    put_back: Callable[[RunFolder, Learner], Any], run: RunFolder
) -> None:
    checkpoint.write(run.checkpoint, {}, {"step": 4})
    before = left(run)
    with pytest.raises(CheckpointError, match=f"'{run.checkpoint}' is whole, but holds what") as it:
        put_back(run, learner())
    assert not isinstance(it.value, DamagedError)
    assert left(run) == before


def test_another_version_is_no_damage_and_nothing_is_put_aside(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left(run)
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    with pytest.raises(CheckpointError, match="this program reads version 99"):
        recorder.resume(run, learner())
    assert left(run) == before


# ---- lines of a log ----------------------------------------------------------------------------


def observation(
    step: int, environment: int = 0, kind: DecisionKind = "same", *, learnt: bool = True
) -> Observation:
    decision, terms = Decision(kind, environment), {"loss": step + 0.5} if learnt else {}
    latents = ((step + 0.1, step + 0.2), (step + 0.3, step + 0.4))
    return Observation(step, decision, terms, step + 1.0, *latents, statistic=step + 2.0)


def test_a_step_that_waits_is_logged_with_what_the_latest_learnt_step_found() -> None:
    waits, latest = observation(7, learnt=False), observation(4)
    line = with_terms(waits, latest)
    assert line == replace(waits, terms={"loss": 4.5}, kl_per_latent=(4.1, 4.2), alpha=(4.3, 4.4))
    assert (line.step, line.capacity, line.statistic) == (7, 8.0, 9.0)


@pytest.mark.parametrize(
    ("this", "latest"),
    [
        (observation(7, learnt=False), None),
        (observation(7, kind="deferred", learnt=False), None),
        (observation(7), observation(4)),
        (observation(7, 1, learnt=False), observation(4)),
        *(
            (observation(7, kind=kind, learnt=False), observation(4))
            for kind in ("new", "returned", "deferred", "undetermined", "skipped")
        ),
    ],
)
def test_any_other_step_is_logged_as_it_is(this: Observation, latest: Observation | None) -> None:
    assert with_terms(this, latest) is this


def test_what_was_learnt_between_two_lines_is_known_to_the_next(tmp_path: Path) -> None:
    writes = logs(tmp_path)
    for step in range(9):
        writes.write(observation(step, int(step > 4), learnt=step in (1, 4, 5)))
    lines = folders.read_lines(writes.folder.metrics)
    assert [line.get("loss") for line in lines] == [None, 1.5, 4.5, 5.5, 5.5]
    assert [line["step"] for line in lines] == [0, 2, 4, 6, 8]


# ---- logs that thin out, and milestones --------------------------------------------------------


def mixed(step: int) -> Observation:
    """A step of a run in which two of three wait to be learnt, and environments change."""
    return observation(step, step // 20 % 2, learnt=step % 3 == 1)


def written(path: Path, log_every: int, numbers: list[int]) -> Path:
    """The log of these steps, cut back wherever one comes again."""
    path.mkdir()
    writes = logs(path, log_every)
    log = writes.folder.metrics
    for step, before in zip(numbers, [-1, *numbers], strict=False):
        if step <= before:
            folders.keep_lines(log, step.__gt__)
        writes.write(mixed(step))
        assert len(steps(log)) <= recorder.MAX_LINES
    return log


@pytest.mark.parametrize("killed", [None, 7, 8, 9, 31, 33, 60])
def test_a_log_that_thins_out_becomes_that_of_its_last_stride_whatever_is_killed(
    killed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = written(tmp_path / "seldom", 32, [*range(70)])
    monkeypatch.setattr(recorder, "MAX_LINES", 4)
    numbers = [*range(70)]
    if killed is not None:  # begun again at a checkpoint that is some steps old
        numbers[killed:killed] = range(max(0, killed - 5), killed)
    often = written(tmp_path / "often", 2, numbers)
    assert steps(often) == [0, 32, 64]
    assert often.read_bytes() == seldom.read_bytes()


def test_a_log_is_written_anew_only_where_its_stride_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_LINES", 4)
    anew: list[int] = []
    monkeypatch.setattr(recorder, "keep_lines", lambda log, _: anew.append(steps(log)[-1]))
    writes = logs(tmp_path)
    for step in range(70):
        writes.write(observation(step))
    assert anew == [6, 12, 24, 48]  # what came before steps 8, 16, 32 and 64


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 3), (1, 3), (29, 3), (30, 6), (59, 6), (60, 12), (119, 12), (120, 24), (240, 48)],
)
def test_the_stride_doubles_when_a_log_has_its_most_lines(
    step: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_LINES", 10)
    assert stride(step, 3) == expected


def due(schedule: Schedule, per_segment: int, most: int) -> set[int]:
    """Milestones, slowly: by trying every step, and every share of the steps there are."""
    steps = {
        next(
            step
            for step in range(segment.start, segment.end + 1)
            if (step - segment.start) * per_segment >= k * (segment.end - segment.start)
        )
        for segment in schedule.segments
        for k in range(1, per_segment + 1)
    }
    from_the_end, count = sorted(steps, reverse=True), len(steps)
    even = {
        step
        for rank, step in enumerate(from_the_end)
        if count <= most or any(rank * most <= k * count < (rank + 1) * most for k in range(most))
    }
    ends = {name: [s.end for s in schedule.segments if s.domain == name] for name in "abc"}
    return even | {each[0] for each in ends.values() if each}


def test_milestones_are_those_found_slowly_and_no_more_than_there_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "MAX_MILESTONES", 7)
    draw = np.random.default_rng(0)
    for _ in range(100):
        names, lengths = draw.choice([*"abc"], 5), draw.integers(1, 12, 5).tolist()
        schedule = Schedule.of([*zip(names.tolist(), lengths, strict=True)][: draw.integers(1, 6)])
        per_segment = int(draw.integers(0, 5))
        found = milestone_steps(schedule, per_segment)
        assert found == due(schedule, per_segment, 7)
        assert len(found) <= 7 + len(schedule.domains)
        assert schedule.steps in found or not per_segment


def test_milestones_of_a_long_schedule_are_as_many_evenly() -> None:
    few = Schedule.of([("a", 10), ("b", 5)])
    assert milestone_steps(few, 2) == {5, 10, 13, 15}
    many = sorted(milestone_steps(Schedule.of([("a", 20), ("b", 30)] * 500), 4))
    assert many[:2] == [20, 50]  # where the two domains are left for the first time
    assert many[-1] == 25_000
    assert recorder.MAX_MILESTONES <= len(many) <= recorder.MAX_MILESTONES + 2
    assert max(np.diff(many)) < 2 * 250
