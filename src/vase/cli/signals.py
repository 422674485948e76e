"""Signals that ask for the end: the step in hand is finished, and all is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C; who ends a job; a terminal that closes


@dataclass
class StopRequest:
    """Whether somebody has asked for the end, and by which signal."""

    signal: int | None = None

    @property
    def asked(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that shells know for this signal; Ctrl-C's where there was none."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """What Ctrl-C, SIGTERM and SIGHUP set, so that a step is never cut in two.

    A second one ends at once. Signals that are ignored, as `nohup` has it, stay so. Where handlers
    cannot be set, outside of the main thread, signals do what they always do.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {
        each: signal.getsignal(each) for each in known if signal.getsignal(each) != signal.SIG_IGN
    }

    def ask(number: int, _: FrameType | None) -> None:
        request.signal = number
        for each in before:
            usual = signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL
            signal.signal(each, usual)

    for each in before:
        signal.signal(each, ask)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
