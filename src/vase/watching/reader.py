"""Reading a source in a thread, so that nobody who looks at frames waits in a library."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from vase.errors import DataError
from vase.watching.records import Frame
from vase.watching.sources import Source, SourceLostError

LONGEST_WAIT = 60.0  # seconds between two tries
STEADY = 60.0  # seconds of frames after which a loss is a new one, and tried again at once
HANGING = 3  # timeouts of a source, which raises by itself where FFmpeg lets it
CLOSING = 1.0  # seconds that closing takes at most


@dataclass(frozen=True)
class Lost:
    """No frames come any more; the source is tried again."""

    reason: str


@dataclass(frozen=True)
class Back:
    """Frames come again."""


@dataclass(frozen=True)
class Ended:
    """There are no more frames, and none will come."""


Item = Frame | Lost | Back | Ended


def backoff(attempt: int, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait before an attempt, counted from 1: about 1, 2, 4, ... and the longest.

    Up to half is left out by chance, so that many watches do not ask one server at once.
    """
    return min(longest, 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1)


class FrameReader:
    """Frames of a source, read ahead in a thread.

    most_waiting: frames. A source that drops loses the oldest of them where one more comes, so that
    what is looked at is recent; other sources wait. retry: seconds to wait before an attempt to
    connect again. patient: wait for a source that is not there at the beginning either.

    dropped: frames that nobody took in time. reconnects: how often frames came again.
    """

    def __init__(
        self,
        source: Source,
        *,
        most_waiting: int = 64,
        retry: Callable[[int], float] = backoff,
        patient: bool = False,
    ) -> None:
        self.source, self.dropped, self.reconnects = source, 0, 0
        self._most, self._retry, self._patient = most_waiting, retry, patient
        self._items: deque[Frame | Lost | Back] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._came = self._lost = False
        self._end: Ended | BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vase-frames", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, timeout: float) -> Item | None:
        """What comes next, or None if that takes longer than so many seconds.

        After the last frame it is `Ended`, each time. Raises what ended the reading: a `DataError`
        where the source is not what it should be, a `SourceLostError` where it is not there at the
        beginning.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if self._items:
                    item = self._items.popleft()
                    self._changed.notify_all()
                    return item
                if self._closing.is_set():
                    return Ended()
                if isinstance(self._end, BaseException):
                    raise self._end
                if self._end is not None:
                    return self._end
                left = deadline - time.monotonic()
                if left <= 0:
                    return self._hanging()
                self._changed.wait(left)

    def close(self) -> None:
        """End the thread. One that waits in a library is left behind, and ends by itself."""
        self._closing.set()
        self.source.stop()
        with self._changed:
            self._items.clear()
            self._changed.notify_all()
        self._thread.join(CLOSING)

    def _hanging(self) -> Lost | None:
        """A loss that the thread cannot tell, as it waits in a library that has no timeout."""
        source = self.source
        silent = time.monotonic() - source.heard
        if not source.live or self._lost or silent < HANGING * source.wanted.timeout:
            return None
        text = f"'{source.text}' is silent: no frame has come for {silent:.0f} seconds."
        if not self._came and not self._patient:
            raise SourceLostError(text)
        self._lost = True
        return Lost(text)

    # ---- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._read()
            end: Ended | BaseException = Ended()
        except BaseException as error:  # whoever takes frames is told
            end = error
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def _read(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                with closing(self.source.frames()) as frames:
                    for frame in frames:
                        self._put(frame)
                        if self._closing.is_set():
                            return
                return
            except DataError as error:
                if not self._may_come_back(error):
                    raise
                self._lose(str(error))
            attempt = 1 if time.monotonic() - began > STEADY else attempt + 1
            self._closing.wait(self._retry(attempt))

    def _may_come_back(self, error: DataError) -> bool:
        """Whether to try again; a camera that gave frames before may say anything as it starts."""
        if isinstance(error, SourceLostError):
            return self._came or self._patient
        return self._came and self.source.live

    def _lose(self, reason: str) -> None:
        with self._changed:
            if not self._lost:
                self._lost = True
                self._items.append(Lost(reason))
                self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            if self._lost:
                self._lost = False
                self.reconnects += 1
                self._items.append(Back())
            self._came = True
            while self._waiting() >= self._most and not self._closing.is_set():
                if self.source.drops:
                    self._drop_oldest()
                else:
                    self._changed.wait()
            self._items.append(frame)
            self._changed.notify_all()

    def _waiting(self) -> int:
        return sum(isinstance(item, Frame) for item in self._items)

    def _drop_oldest(self) -> None:
        """Take out the frame that has waited for longest; losses and returns stay."""
        oldest = next(k for k, item in enumerate(self._items) if isinstance(item, Frame))
        del self._items[oldest]
        self.dropped += 1
