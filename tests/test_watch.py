"""A watch: what its events say, and that none is lost or told twice, wherever it is killed."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL, refused, vase
from safetensors import safe_open

from vase import VASE, ConfigError, RunError, watch
from vase.explorer.model_data import load_model
from vase.records import Decision
from vase.watching import engine as engines
from vase.watching import folder as folders
from vase.watching import session
from vase.watching.journal import Journal
from vase.watching.records import Frame, WatchEvent
from vase.watching.session import WatchOptions, opened
from vase.watching.sources import Source, SourceLostError, Wanted
from vase.watching.state import Batch, WatchState, after_batch, forgotten

SIDE = 16
PLAN = ((0, 384), (1, 320), (0, 256))  # places, and frames in each


@functools.cache
def place(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3)).repeat(2, 0).repeat(2, 1)


class Places(Source):
    """Noisy frames of one place after another, 5 a second; it goes on after a mark."""

    clocked = True

    def __init__(self, shape: Any, fps: float, mark: Any) -> None:
        super().__init__("places", Wanted(shape, fps))
        self.after = mark or 0

    def frames(self) -> Iterator[Frame]:  # type: ignore[override]
        where = [number for number, count in PLAN for _ in range(count)]
        for k in range(self.after, len(where)):
            noise = np.random.default_rng(k)
            pixels = place(where[k]) * noise.uniform(0.7, 1) + noise.normal(0, 12, (SIDE, SIDE, 3))
            self.after = k + 1
            yield Frame(np.clip(pixels, 0, 255).astype(np.uint8), k / 5, k + 1)


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_source(_: str, shape: Any, fps: float, *, mark: Any = None, raw: Any = None) -> Source:
        assert raw is None
        return Places(shape, fps, mark)

    monkeypatch.setattr(session, "open_source", open_source)


def watched(out: Path | None, **options: Any) -> list[WatchEvent]:
    return [*watch("places", out=out, **{"size": SIDE, "learn": False, **options})]


def told(events: list[WatchEvent]) -> list[tuple[Any, ...]]:
    return [(e.sequence, e.kind, e.environment, e.previous, e.frame) for e in events]


# ---- what an event says --------------------------------------------------------------------------


def decided(state: WatchState, time: float, kind: Any, environment: int, **more: Any) -> Any:
    decision = Decision(kind, environment, "why", **more)
    after, event = after_batch(state, decision, Batch(8, None, time, time), {0: "day", 1: "night"})
    return after, event


def test_an_event_says_what_is_back_and_when_it_was_there_last() -> None:
    state = WatchState("run", str(uuid.uuid4()))
    state, first = decided(state, 100, "new", 0)
    assert (first.previous, first.last_seen, first.name) == (None, None, "day")
    state, nothing = decided(state, 110, "same", 0)
    assert nothing is None
    for time in (120, 130):  # unusual: it is not certain that it is still there
        state, nothing = decided(state, time, "deferred", 0)
    state, second = decided(state, 140, "new", 1)
    assert (second.previous, second.previous_name, second.last_seen) == (0, "day", None)
    assert second.began.timestamp() == 120
    state, _ = decided(state, 200, "same", 1)
    state, third = decided(state, 300, "returned", 0, numbers={"distance": float("inf")})
    assert third.last_seen.timestamp() == 110
    assert (third.name, third.previous_name, third.began.timestamp()) == ("day", "night", 300)
    assert third.evidence == {"distance": None}  # JSON has no infinity
    assert [e["sequence"] for e in state.outbox] == [1, 2, 3]
    assert len({e["id"] for e in state.outbox}) == 3
    assert (state.seen[0].frames, state.seen[1].frames, state.frames) == (40, 16, 56)
    assert WatchState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_an_environment_that_was_a_mistake_is_forgotten_with_its_name() -> None:
    state = WatchState("run", str(uuid.uuid4()))
    for time, environment in ((100, 0), (200, 1)):
        state, _ = decided(state, time, "new", environment)
    back = Decision("returned", 0, discards=True)
    after, _ = after_batch(state, back, Batch(8, None, 300, 300), {})
    assert [*after.seen] == [0]
    assert forgotten(state, after, back) == 1
    again = Decision("reopened", 1, discards=True)
    after, event = after_batch(state, again, Batch(8, None, 300, 300), {})
    assert after.seen[1].first == 300
    assert forgotten(state, after, again) == 1
    assert event is not None
    assert event.previous == 1


# ---- none is lost --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> list[tuple[Any, ...]]:
    """What is told of all the frames, if nothing happens meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            session,
            "open_source",
            lambda _, shape, fps, mark=None, raw=None: Places(shape, fps, mark),
        )
        events = watched(None)
    assert [e.kind for e in events] == ["new", "new", "returned"]
    assert events[2].last_seen is not None
    assert abs(events[2].last_seen - events[1].began) < timedelta(seconds=10)
    stays = timedelta(seconds=(384 + 320) / 5)
    assert abs(events[2].began - events[0].time - stays) < timedelta(seconds=10)
    return told(events)


class KilledError(BaseException):
    """Nothing is done any more, as after kill -9."""


@pytest.mark.parametrize("step", ["before saving", "after saving", "after the journal"])
def test_killed_at_every_step_of_every_event_it_tells_each_once(
    step: str, tmp_path: Path, whole: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once at each event, and gone on with by the same command."""
    saved, add = folders.save, Journal.add
    killed_at: set[int] = set()
    dead = False

    def die(sequence: int) -> None:
        nonlocal dead
        if sequence and sequence not in killed_at:
            killed_at.add(sequence)
            dead = True
        if dead:
            raise KilledError

    def save(folder: Any, watcher: Any, state: WatchState) -> None:
        die(state.sequence if step == "before saving" else 0)
        saved(folder, watcher, state)
        die(state.sequence if step == "after saving" else 0)

    def write(self: Journal, events: Any) -> None:
        die(0)
        add(self, events)
        die(max((e["sequence"] for e in events), default=0) if step == "after the journal" else 0)

    monkeypatch.setattr(folders, "save", save)
    monkeypatch.setattr(Journal, "add", write)
    for _ in range(10):
        dead = False
        try:
            watched(tmp_path / "run", save_every=1e9)
            break
        except KilledError:
            continue
    assert killed_at == {1, 2, 3}
    journal = Journal(tmp_path / "run" / "journal.sqlite")
    events = [WatchEvent(**event) for event in journal.after(0)]
    assert told(events) == whole
    assert len({e.id for e in events}) == 3


def test_a_full_disk_is_said_and_events_wait_for_room(
    tmp_path: Path, whole: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, full, said = folders.save, [True], []

    def save(*arguments: Any) -> None:
        if full[0]:
            raise RunError("No space left on device.")
        saved(*arguments)

    monkeypatch.setattr(folders, "save", save)
    monkeypatch.setattr(engines, "SECONDS_TO_RETRY", 0.0)
    options = WatchOptions(out=tmp_path / "run", size=SIDE, learn=False)
    with opened("places", options) as engine:

        def go_on() -> bool:
            said.append(engine.status().trouble)
            full[0] = engine.state.frames < 900  # all three events wait
            return True

        events = [(e.sequence, engine.state.frames) for e in engine.events(go_on)]
        assert [number for number, _ in events] == [1, 2, 3]
        assert min(frames for _, frames in events) >= 900
        assert told([WatchEvent(**event) for event in engine.journal.after(0)]) == whole
    assert any("No space left" in each for each in said)
    assert said[-1] == ""


def test_the_iterator_saves_where_it_is_left(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    events: list[WatchEvent] = []
    for _ in range(3):  # one event, then the end of the process, and so on
        iterator = watch("places", out=tmp_path / "run", size=SIDE, learn=False)
        events.append(next(iterator))
        iterator.close()  # type: ignore[attr-defined]
    assert told(events) == whole
    assert watched(tmp_path / "run", fps=5) == []


def test_what_is_undecided_when_a_source_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_watch.PLAN", ((0, 480), (1, 80)))
    *_, last = watched(None)
    assert (last.kind, last.environment, last.frame) == ("undetermined", 0, 560)
    assert "ended before" in last.reason
    assert 480 - 32 <= 5 * (last.began - last.time).total_seconds() + 560 <= 480 + 64


# ---- the folder ----------------------------------------------------------------------------------


def test_a_model_learns_and_is_a_file_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_watch.PLAN", ((0, 480), (1, 480), (0, 480)))  # enough to learn from
    out = tmp_path / "run"
    kinds = [e.kind for e in watched(out, learn=True, settings=SMALL, keep_frames=2)]
    assert kinds == ["new", "new", "returned"]
    model = VASE.load(out / "model.safetensors")
    assert len(model.masks_) == 2
    seen = np.stack([place(1)] * 4).astype(np.uint8)
    assert model.predict(seen, context=seen).tolist() == [1] * 4
    with safe_open(out / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "deferred" in name]  # noqa: SIM118
    assert [each.name for each in sorted((out / "frames").iterdir())] == [
        "00000002-environment-1.png",
        "00000003-environment-0.png",
    ]
    shown = load_model(out / "model.safetensors", {1: "lit"})  # as the explorer reads it
    assert [(each.index, each.name) for each in shown.environments] == [
        (0, "environment 0"),
        (1, "lit"),
    ]
    assert [band.index for band in shown.run.bands] == [0, 1, 0]
    assert shown.examples["lit"].shape[1:] == (3, SIDE, SIDE)
    again = watched(tmp_path / "other", model=out / "model.safetensors")
    assert [(e.kind, e.environment) for e in again] == [("returned", 1), ("returned", 0)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fps": 2}, r"begun with fps 5\.0, not 2"),
        ({"learn": True}, "begun with learning False, not True"),
        ({"grey": True}, "begun with channels 3, not 1"),
        ({"size": 32}, "begun with height 16, not 32"),
    ],
)
def test_a_watch_goes_on_as_it_was_begun(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    next(watch("places", out=tmp_path / "run", size=SIDE, learn=False))
    with pytest.raises(ConfigError, match=sentence):
        watched(tmp_path / "run", **changes)


def test_a_size_is_compared_with_the_width_too(tmp_path: Path) -> None:
    next(watch("places", out=tmp_path / "run", size=SIDE, learn=False))
    kept = tmp_path / "run" / "watch.json"
    kept.write_text(kept.read_text().replace('"width": 16', '"width": 24'))
    with pytest.raises(ConfigError, match="begun with width 24, not 16"):
        watched(tmp_path / "run", size=SIDE)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fps": 0}, "fps is 0"),
        ({"size": -1}, "size is -1"),
        ({"keep_frames": -1}, "keep_frames is -1"),
        ({"alarm_every": "soon"}, "no run length"),
        ({"settings": {"detection.rule": "atypicality"}}, r"detection\.rule=blocks"),
        ({"model": Path("nowhere.safetensors")}, "no checkpoint at"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_nothing_is_begun(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, RunError), match=sentence):
        watched(tmp_path / "run", **options)
    assert not [*tmp_path.iterdir()]


def test_a_watch_that_sees_nothing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: Places) -> Iterator[Frame]:
        raise SourceLostError("There is no camera.")
        yield

    monkeypatch.setattr(Places, "frames", nothing)
    with pytest.raises(SourceLostError, match="no camera"):
        watched(tmp_path / "run")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        watched(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_text() == "mine"


# ---- looking back --------------------------------------------------------------------------------


def test_the_command_prints_each_event_once_and_they_are_named_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is run; beside them, not among them, it says that it has come to the end."""
    run = tmp_path / "run"
    command = ["watch", "places", "--out", str(run), "--size", "16", "--no-learn"]
    printed = vase(*command).splitlines()
    kinds = [json.loads(line)["kind"] for line in printed if line.startswith("{")]
    assert kinds == ["new", "new", "returned"]
    assert "places has been watched to its end: 960 frames." in printed
    assert vase(*command).splitlines()[1:] == [
        "There is nothing new in places: it was watched to its end before."
    ]
    vase("name", str(run), "1", "night")
    lines = [json.loads(line) for line in vase("events", str(run), "--json").splitlines()]
    assert [event["kind"] for event in lines] == ["new", "new", "returned"]
    assert "night" in vase("events", str(run))
    old = {**lines[0], "sequence": 9, "id": "old", "time": "2020-01-01T00:00:00Z"}
    Journal(run / "journal.sqlite").add([old])
    assert vase("events", str(run), "--json").count("\n") == 4
    assert vase("events", str(run), "--json", "--since", "7d").count("\n") == 3
    assert "knows 0, 1" in refused(capsys, "name", str(run), "7", "x")
    assert "is no time" in refused(capsys, "events", str(run), "--since", "yesterday")
    assert "not the folder of a watch" in refused(capsys, "events", str(tmp_path))


def test_the_schema_of_the_docs_is_that_of_the_events() -> None:
    kept = Path(__file__).parents[1] / "docs" / "watch-event-v1.schema.json"
    assert json.loads(vase("events", "--schema")) == json.loads(kept.read_text(encoding="utf-8"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_takes_the_unit_of_the_docs() -> None:
    unit = Path(__file__).parents[1] / "docs" / "vase-watch.service"
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "vase-watch" not in done.stderr  # of what it does not know it says so


def test_the_journal_keeps_the_latest_events_and_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vase.watching.journal.MOST_EVENTS", 5)
    one, other = Journal(tmp_path / "j"), Journal(tmp_path / "j")
    events = [
        {"sequence": k, "id": str(k), "kind": "new", "time": f"2026-01-0{k}T00:00:00Z"}
        for k in range(1, 9)
    ]
    one.add(events[:6])
    one.add(events)
    one.join("late")
    assert (one.cursor("late"), one.cursor("unknown")) == (8, 0)
    assert [e["sequence"] for e in other.after(0)] == [4, 5, 6, 7, 8]
    assert [e["sequence"] for e in other.latest(9, "2026-01-07")] == [7, 8]
    other.rename(1, "night")
    other.delivered("webhook", 6)
    assert (one.names(), one.cursor("webhook"), one.waiting("webhook")) == ({1: "night"}, 6, 2)
    other.rename(1, "")
    assert one.names() == {}
    (tmp_path / "rubbish").write_text("no journal " * 200)
    with pytest.raises(RunError, match="cannot be used"):
        Journal(tmp_path / "rubbish")
