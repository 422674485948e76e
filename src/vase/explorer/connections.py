"""A connection to the explorer has so many seconds for each thing it does; uvicorn grants for ever.

Without these limits, requests that are begun and never completed keep all connections for
themselves. A WebSocket is left alone: it answers pings, or is closed.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vase.explorer.guard import SECURITY_HEADERS

Phase = Literal["head", "body", "answer", "close"]

# Seconds in all, however slowly bytes drip in.
SECONDS: dict[Phase, float] = {
    "head": 10,  # from the connection's begin, or the last answer, to the end of a request's head
    "body": 60,  # 20 MB at 3 Mbit/s
    "answer": 120,  # until it is computed, and fetched
    "close": 5,  # until what was written is fetched, once nothing more will be
}
MOST_CONNECTIONS = 200  # at once, WebSockets included; a browser opens up to seven
MOST_MESSAGE_BYTES = 1_000_000  # of a WebSocket


class TimedConnection(H11Protocol):
    """uvicorn's connection, which is closed when a phase of a request lasts too long.

    It is h11's and not the faster httptools', which holds a head of any length.
    """

    timer: asyncio.TimerHandle | None = None
    watched: tuple[Phase, object] | None = None  # a phase, and the request that it is of

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, "Too many connections. Try again later.")
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return "close"
        if self.conn.their_state is h11.IDLE:
            return "head"
        return "body" if self.conn.their_state is h11.SEND_BODY else "answer"

    def _watch(self) -> None:
        """Start the clock anew where a new phase has begun, and only there."""
        if self.transport.get_protocol() not in (self, None):
            return  # a WebSocket has taken over
        phase = self._phase()
        if self.watched == (phase, self.cycle):
            return
        self._unwatch()
        self.watched = (phase, self.cycle)
        self.timer = self.loop.call_later(SECONDS[phase], self._late)

    def _unwatch(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _late(self) -> None:
        self.timer = None
        answered = getattr(self.cycle, "response_started", False)  # None before the first
        begun = bool(self.conn.trailing_data[0])  # of a head; a silent connection is just closed
        phase = self._phase()
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait for someone who does not fetch
        elif (phase == "head" and begun) or (phase == "body" and not answered):
            self._refuse(408, f"The {phase} of the request took too long.")
        else:
            self.transport.close()
        self._watch()

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer past the app, and close."""
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(sentence)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **SECURITY_HEADERS,
        }
        lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join([*lines, "", sentence]).encode("ascii"))
        self.transport.close()
