"""Puts a watch together: its source, its model, its folder and its journal."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vase.errors import ConfigError
from vase.estimator import VASE
from vase.training.folder import RunFolder, sole_writer
from vase.watching import folder as folders
from vase.watching.engine import Watch
from vase.watching.folder import WatchFolder, WatchSettings
from vase.watching.journal import Journal
from vase.watching.models import Detecting, Learning, Watcher, shape_of, with_alarm_rate
from vase.watching.reader import FrameReader
from vase.watching.sources import RawFormat, open_source
from vase.watching.state import WatchState, at_source

FPS, SIZE, ALARM_EVERY = 5.0, 64, "30 days"
MOST_FPS, MOST_SIZE = 1000.0, 1024
LOOK = "vase events, vase serve"


@dataclass(frozen=True)
class WatchOptions:
    """How to watch. What is None is as the watch was begun or, of a new one, as stated here.

    out: the folder; None to store nothing. model: what a new watch begins with, a `VASE` or its
    file; one that goes on has its own. fps: frames per second that are looked at, at most (5).
    learn: whether the model learns (it does). size, grey: pixels a side of the frames (64), and
    whether they are grey (they are not); a model that is given says both. raw: what standard input
    holds. alarm_every: the mean time between false alarms ("30 days", or what a given model has).
    settings: of a new model, as `VASE(options=...)` takes them. save_every: seconds between two
    saves. keep_frames: how many frames at events are kept. patient: whether a source that cannot be
    reached at first is waited for. trust_code: see `VASE.load`.
    """

    out: Path | None = None
    model: str | Path | VASE | None = None
    fps: float | None = None
    learn: bool | None = None
    size: int | None = None
    grey: bool | None = None
    raw: RawFormat | None = None
    alarm_every: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    save_every: float = 600.0
    keep_frames: int = 0
    patient: bool = False
    trust_code: bool = False

    def __post_init__(self) -> None:
        for name, value, most in (
            ("fps", self.fps, MOST_FPS),
            ("size", self.size, MOST_SIZE),
            ("save_every", self.save_every, math.inf),
        ):
            if value is not None and not 0 < value <= most:
                raise ConfigError(f"{name} is {value}: give a number above 0, {most} at most.")
        if self.keep_frames < 0:
            raise ConfigError(f"keep_frames is {self.keep_frames}: give 0 or more.")


@contextmanager
def opened(
    source: str, options: WatchOptions, say: Callable[[str], None] = lambda _: None
) -> Iterator[Watch]:
    """A watch that is ready to run, and whose folder is this process's until the context ends.

    say: told what is odd but no error. Raises DataError or ConfigError for a source that cannot be,
    ConfigError for options that make no sense or are not those that the watch was begun with, and
    RunError or CheckpointError where the folder or the model cannot be used.
    """
    folder = None if options.out is None else WatchFolder(options.out)
    kept = folders.read_settings(folder) if folder and folder.settings.exists() else None
    given = None if kept else folders.given(options.model, trust_code=options.trust_code)
    settings = _settings(options, kept[0] if kept else None, given)
    text = open_source(source, settings.shape, settings.fps, raw=options.raw).text  # or none begins
    seen: list[Watch] = []

    def undo() -> None:
        """Leave nothing of a new watch that ends before its first frame, such as of no camera."""
        if folder and not any(watch.state.frames for watch in seen):
            folders.undo(folder)

    with ExitStack() as stack:
        if folder and kept:
            stack.enter_context(sole_writer(RunFolder(folder.path), LOOK))
            watcher, state = _restored(folder, kept[1], settings, options, say)
        else:
            watcher, state = _begun(folder, settings, options, given)
            stack.callback(undo)
            if folder:
                stack.enter_context(sole_writer(RunFolder(folder.path), LOOK))
        journal = Journal(folder.journal if folder else None)
        stack.callback(journal.close)
        state = at_source(state, text)
        frames = open_source(source, settings.shape, settings.fps, mark=state.mark, raw=options.raw)
        reader = stack.enter_context(FrameReader(frames, patient=options.patient))
        watch = Watch(
            reader,
            watcher,
            state,
            journal,
            folder=folder,
            fps=settings.fps,
            save_every=options.save_every,
            keep_frames=options.keep_frames,
        )
        seen.append(watch)
        yield watch


def _begun(
    folder: WatchFolder | None, settings: WatchSettings, options: WatchOptions, given: VASE | None
) -> tuple[Watcher, WatchState]:
    """A new watch, in its folder if it has one."""
    every = options.alarm_every or (None if given else ALARM_EVERY)
    model = given or VASE(options=dict(options.settings))
    if every:
        with_alarm_rate(model, every, settings.fps)
    watcher = (Learning if settings.learning else Detecting)(model, settings.shape)
    run_id = folders.begin(folder, settings, model) if folder else str(uuid.uuid4())
    name = folder.path.resolve().name if folder else "watch"
    return watcher, WatchState(name, run_id, environment=watcher.present)


def _restored(
    folder: WatchFolder,
    run_id: str,
    settings: WatchSettings,
    options: WatchOptions,
    say: Callable[[str], None],
) -> tuple[Watcher, WatchState]:
    """A watch that goes on."""
    watcher, state = folders.restored(folder, settings, say, trust_code=options.trust_code)
    if options.alarm_every:
        with_alarm_rate(watcher.model, options.alarm_every, settings.fps)
    name = folder.path.resolve().name
    return watcher, state or WatchState(name, run_id, environment=watcher.present)


def _settings(
    options: WatchOptions, kept: WatchSettings | None, given: VASE | None
) -> WatchSettings:
    """What is asked for, completed by how the watch was begun, or else by what is usual."""
    usual = kept or WatchSettings(FPS, SIZE, SIZE, 3, learning=True)
    shape = shape_of(given) if given is not None and hasattr(given, "learner_") else None
    if shape:
        usual = replace(usual, height=shape[0], width=shape[1], channels=shape[2])
    asked: dict[str, Any] = {
        "fps": options.fps,
        "height": options.size,
        "width": options.size,
        "channels": None if options.grey is None else 1 if options.grey else 3,
        "learning": options.learn,
    }
    wanted = replace(usual, **{name: each for name, each in asked.items() if each is not None})
    if shape and wanted.shape != shape:
        other = "grey" if wanted.shape[:2] == shape[:2] else "size"
        raise ConfigError(
            f"The model takes frames of {shape[0]} x {shape[1]} pixels, "
            f"{'grey' if shape[2] == 1 else 'in colour'}: leave out {other}, or begin with another "
            "model."
        )
    if kept and options.out:
        folders.refuse_other(WatchFolder(options.out), kept, wanted)
    return wanted
