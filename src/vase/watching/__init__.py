"""Watching a camera: what has changed, and what is back. See `docs/watch.md`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vase.watching.engine import Watch
from vase.watching.records import WatchEvent
from vase.watching.session import WatchOptions, opened
from vase.watching.sources import parse_raw

if TYPE_CHECKING:
    from vase.estimator import VASE

__all__ = ["WatchEvent", "watch"]


def watch(
    source: str | Path,
    model: VASE | str | Path | None = None,
    *,
    raw: str | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> Iterator[WatchEvent]:
    """Watch a source, and give an event whenever something has changed.

    source: a camera ("0", "/dev/video0"), an address (rtsp://, http://, https://), a video, a
    playlist, a folder that fills up, or "-" for raw frames on standard input, of which `raw` says
    what they are ("640x480:rgb24"). model: one to begin with, which goes on learning, or its file.
    out: the folder in which the watch is kept, so that it can go on; by default nothing is stored.
    options: those of `WatchOptions`, such as fps=5, learn=False, alarm_every="30 days".

    Frames are read beside the caller: what comes while the caller has an event waits, or of a live
    source is dropped. Closing the iterator ends the watch and saves it. Raises DataError for a
    source that cannot be had, ConfigError, RunError and CheckpointError for what else cannot be.
    """
    made = WatchOptions(
        out=None if out is None else Path(out),
        model=model,
        raw=None if raw is None else parse_raw(raw),
        **options,
    )
    stack = ExitStack()
    return _events(stack, stack.enter_context(opened(str(source), made)))


def _events(stack: ExitStack, engine: Watch) -> Iterator[WatchEvent]:
    with stack:
        yield from engine.events()
