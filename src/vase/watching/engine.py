"""The watch itself: frames in, events out, and never one event more or less than was saved.

An event is made, saved with the model, written to the journal, and only then told: what is killed
between two of these goes on where it was, and tells the event once, with the same id.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from vase.errors import VaseError
from vase.watching import folder as folders
from vase.watching.folder import WatchFolder
from vase.watching.journal import Journal
from vase.watching.models import Watcher, imagined, statistics
from vase.watching.reader import Back, Ended, FrameReader, Lost
from vase.watching.records import Frame, Stay, WatchEvent, WatchEventKind, WatchStatus, utc
from vase.watching.state import (
    MOVES,
    Batch,
    WatchState,
    after_batch,
    forgotten,
    known_environments,
    told,
)

if TYPE_CHECKING:
    from vase.watching.receivers import Delivery

MOST_FRAMES = 32  # of a batch; of a live source, those of a second
SECONDS_IDLE, SECONDS_TO_RETRY = 0.5, 5.0
RATE_SECONDS = 10.0  # over which frames per second are counted
MOST_STAYS = 5000  # that are shown

GoOn = Callable[[], bool]


class Watch:
    """One watch, from its first frame to its end.

    reader: what gives frames. watcher: what looks at them. state: where it goes on. folder: where
    it is saved; None to save nothing. fps: frames per second, at most. save_every: seconds between
    two saves. keep_frames: how many frames at events are kept.

    `events` runs it. Any other thread may ask for `status` meanwhile.
    """

    def __init__(
        self,
        reader: FrameReader,
        watcher: Watcher,
        state: WatchState,
        journal: Journal,
        *,
        folder: WatchFolder | None,
        fps: float,
        save_every: float = 600.0,
        keep_frames: int = 0,
    ) -> None:
        self.reader, self.watcher, self.state, self.journal = reader, watcher, state, journal
        self.folder = folder
        self.save_every, self.keep_frames = save_every, keep_frames
        self.fps = fps
        self.begun = time.time()
        self.first_position = state.position
        self.dropped, self.reconnects = state.dropped, state.reconnects
        self.connected = True
        self.pending: list[WatchEvent] = []
        self.trouble = ""
        self.saved_at = self.tried_at = time.monotonic()
        # The clock of this machine, the frames until then, and the time of the last, of late.
        self.rate = deque([(time.monotonic(), state.frames, self._time(state.position))])
        self.figures = statistics(watcher.model)
        self.moves: deque[tuple[int, datetime]] = deque(maxlen=MOST_STAYS)
        self._remember([WatchEvent(**event) for event in journal.latest(MOST_STAYS)])
        self.imagined: dict[int, bytes] = {}
        self.deliveries: Sequence[Delivery] = ()  # of events, to receivers

    def events(self, go_on: GoOn = lambda: True) -> Iterator[WatchEvent]:
        """Watch until the source ends or `go_on()` is false, then save; give each event once.

        `go_on` is asked at every frame, and twice a second where none come. Frames go on being read
        while the caller has an event. Raises what the source raises on its first frame, DataError
        or its like.
        """
        waiting: list[Frame] = []
        try:
            self._publish_unwritten()
            while go_on():
                item = self.reader.take(SECONDS_IDLE)
                if isinstance(item, Frame):
                    waiting.append(item)
                if waiting and (len(waiting) >= self._most or not isinstance(item, Frame)):
                    self._look(waiting)
                    waiting = []
                if isinstance(item, Lost | Back):
                    self._source(item)
                if isinstance(item, Ended):
                    self._end_undecided()
                yield from self._publish()
                if isinstance(item, Ended):
                    break
        finally:
            self.reader.close()
            self._count_losses()
            self.saved_at = self.tried_at = 0.0  # now, whenever that was last
            left = [*self._publish()] if self.state.frames else []
        yield from left

    def status(self) -> WatchStatus:
        """How it stands now."""
        state = self.state
        names = self._names()
        correlation_time, statistic, threshold, p = self.figures
        (start, before, first), (end, now, last) = self.rate[0], self.rate[-1]
        receiver_trouble = next((each.trouble for each in self.deliveries if each.trouble), "")
        return WatchStatus(
            run=state.run,
            source=state.source,
            learning=self.watcher.learning,
            started=utc(self.begun),
            environment=state.environment,
            name=names.get(state.environment, ""),
            since=utc(state.since or self.begun),
            correlation_time=correlation_time,
            statistic=statistic,
            threshold=threshold,
            p_value=p,
            frames=state.frames,
            dropped=self.dropped + self.reader.dropped,
            reconnects=self.reconnects + self.reader.reconnects,
            frames_per_second=(now - before) / (end - start) if end > start else 0.0,
            source_rate=(now - before) / (last - first) if last > first else 0.0,
            connected=self.connected,
            trouble=self.trouble or receiver_trouble or self.reader.source.trouble,
            undelivered=self.undelivered(),
            events=dict(state.counts),
            latest=self._latest(),
            environments=known_environments(state, names),
            stays=self._stays(),
        )

    def pictures(self) -> dict[int, bytes]:
        """Of each environment what the model imagines, or else the last kept frame, as PNG."""
        kept = folders.kept_frames(self.folder) if self.folder is not None else {}
        return {**kept, **self.imagined}

    def undelivered(self) -> dict[str, int]:
        """How many events wait, by receiver."""
        names = [each.receiver.name for each in self.deliveries]
        return {name: self.journal.waiting(name) for name in names}

    # ---- frames --------------------------------------------------------------------------------

    @property
    def _most(self) -> int:
        """Frames of a batch: those of a second, or as many as are a chunk of the detector's."""
        live = self.reader.source.live
        return max(1, min(MOST_FRAMES, round(self.fps))) if live else MOST_FRAMES

    def _look(self, frames: list[Frame]) -> None:
        """Take in one batch of frames."""
        last, before = frames[-1], self.state
        decision = self.watcher.update(np.stack([frame.pixels for frame in frames]))
        batch = Batch(len(frames), last.mark, last.position, self._time(last.position))
        self.state, event = after_batch(before, decision, batch, self._names())
        if (lost := forgotten(before, self.state, decision)) is not None:
            with suppress(VaseError):
                self.journal.rename(lost, "")
        if event is not None:
            self.pending.append(event)
            self._keep_frame(last, event)
        self.figures = statistics(self.watcher.model)
        now = time.monotonic()
        self.rate.append((now, self.state.frames, batch.time))
        while len(self.rate) > 2 and self.rate[0][0] < now - RATE_SECONDS:
            self.rate.popleft()

    def _time(self, position: float) -> float:
        """When a frame was seen: now or, of a video, as if it were played from the begin on."""
        if not self.reader.source.clocked:
            return time.time()
        return self.begun + position - self.first_position

    def _source(self, item: Lost | Back) -> None:
        """Tell that no frames come any more, or that they come again."""
        self.connected = isinstance(item, Back)
        kind: WatchEventKind = "source_back" if self.connected else "source_lost"
        reason = "frames come again" if isinstance(item, Back) else item.reason
        self.state, event = told(self.state, time.time(), kind, self._names(), reason=reason)
        self.pending.append(event)

    def _end_undecided(self) -> None:
        """Tell of what was unusual when the source ended, and so was never decided."""
        state = self.state
        if state.unusual_since is None:
            return
        self.state, event = told(
            replace(state, unusual_since=None),
            self._time(state.position),
            "undetermined",
            self._names(),
            reason="the source ended before there were frames enough to decide",
            began=state.unusual_since,
        )
        self.pending.append(event)

    def _keep_frame(self, frame: Frame, event: WatchEvent) -> None:
        if self.folder is None or not self.keep_frames:
            return
        try:
            folders.keep_frame(
                self.folder, frame.pixels, event.sequence, event.environment, self.keep_frames
            )
        except VaseError as error:
            self.trouble = str(error)

    # ---- saving and telling --------------------------------------------------------------------

    def _publish(self) -> Iterator[WatchEvent]:
        """Save if that is due, write events to the journal, and give those that are written."""
        now = time.monotonic()
        due = bool(self.pending) or now - self.saved_at >= self.save_every
        if not due or (self.trouble and now - self.tried_at < SECONDS_TO_RETRY):
            return
        self.tried_at = now
        if not self._saved():
            return
        told_now, self.pending, self.saved_at = self.pending, [], now
        self._remember(told_now)
        if told_now:
            self._wake()
        yield from told_now

    def _remember(self, events: Iterable[WatchEvent]) -> None:
        self.moves.extend((e.environment, e.began) for e in events if e.kind in MOVES)

    def _saved(self) -> bool:
        """Save the model and the state, and write what there is to tell; whether that succeeds."""
        self._count_losses()
        try:
            if self.folder is not None:
                folders.save(self.folder, self.watcher, self.state)
            told_now = [event.model_dump(mode="json") for event in self.pending]
            self.journal.add([*self.state.outbox, *told_now])
        except VaseError as error:
            self.trouble = f"Nothing can be saved, so events wait: {error}"
            return False
        self.trouble = ""
        if self.watcher.learning:
            self.imagined = imagined(self.watcher.model)
        return True

    def _publish_unwritten(self) -> None:
        """Write to the journal what was saved with the model, and not told before the end."""
        try:
            self.journal.add(self.state.outbox)
        except VaseError as error:
            self.trouble = str(error)
        self._wake()

    def _wake(self) -> None:
        """Say to the deliveries that there may be events."""
        for each in self.deliveries:
            each.wake()

    def _count_losses(self) -> None:
        dropped = self.dropped + self.reader.dropped
        reconnects = self.reconnects + self.reader.reconnects
        self.state = replace(self.state, dropped=dropped, reconnects=reconnects)

    # ---- looking back --------------------------------------------------------------------------

    def _names(self) -> Mapping[int, str]:
        with suppress(VaseError):
            return self.journal.names()
        return {}

    def _latest(self) -> tuple[WatchEvent, ...]:
        with suppress(VaseError):
            return tuple(WatchEvent(**event) for event in reversed(self.journal.latest(20)))
        return ()

    def _stays(self) -> tuple[Stay, ...]:
        """From one move to the next, and from the last until now."""
        state, moves = self.state, list(self.moves)
        here = state.seen.get(state.environment)
        now = utc(here.last if here else self.begun)
        ends = [*(begun for _, begun in moves[1:]), now][: len(moves)]
        return tuple(
            Stay(environment, begun, max(end, begun))
            for (environment, begun), end in zip(moves, ends, strict=True)
        )
