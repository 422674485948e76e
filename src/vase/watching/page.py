"""Starts the page of a watch, beside the watch itself, guarded as the explorer is."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vase.errors import ConfigError
from vase.explorer import guard, server
from vase.watching.records import WatchStatus

if TYPE_CHECKING:
    import uvicorn

SECONDS_TO_START = 60.0
_shown = threading.Lock()  # NiceGUI has one page at / for the whole process


class PageServer:
    """The page, while it is served.

    addresses: one for this machine, and one for others where that is another.
    """

    def __init__(
        self, running: uvicorn.Server, listening: socket.socket, addresses: Sequence[str]
    ) -> None:
        self.addresses = tuple(addresses)
        self._running, self._listening = running, listening
        self._thread = threading.Thread(target=self._serve, name="vase-page", daemon=True)

    @property
    def address(self) -> str:
        return self.addresses[0]

    def start(self) -> None:
        """Serve, from when this returns on; a ConfigError where the server does not start."""
        self._thread.start()
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._running.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                raise ConfigError(
                    "The page does not start. Update nicegui and uvicorn: "
                    "pip install --upgrade 'vase-lifelong[serve]'"
                )
            time.sleep(0.01)

    def close(self) -> None:
        """End it, within a few seconds, and free its port; a second call does nothing."""
        self._running.should_exit = True
        self._thread.join(server.SECONDS_TO_END + 1)
        if self._thread.is_alive():
            self._running.force_exit = True
            self._thread.join(1)

    def _serve(self) -> None:
        try:
            self._running.run(sockets=[self._listening])
        finally:
            self._listening.close()
            _shown.release()


def serve(
    status: Callable[[], WatchStatus],
    pictures: Callable[[], Mapping[int, bytes]],
    *,
    host: str,
    port: int,
    allow: Sequence[str] = (),
    folder: str = "",
    say: Callable[[str], None] = print,
) -> PageServer:
    """Show in the browser how a watch stands, until the server that is returned is closed.

    status, pictures: are asked in threads of the page's own, every few seconds while someone looks;
    pictures: of environments by their index, as PNG. port: 0 for one that is free. allow: names,
    beside those of this machine, by which it may be asked. folder: the run, as commands take it; by
    default its name. Where others can reach `host`, only who knows the token in the address that is
    said may look.

    Raises ConfigError where NiceGUI is missing, the host is empty, the port is taken, or this
    process shows a page already.
    """
    server.refuse_without_package()
    hosts = server.checked_hosts(host, allow)
    listening = server.listening_socket(host, port)
    if not _shown.acquire(blocking=False):
        listening.close()
        raise ConfigError("This process shows a page already. Show another from another process.")
    port = listening.getsockname()[1]
    token = None if guard.is_loopback(host) else secrets.token_urlsafe(32)
    try:
        running = _server(status, pictures, folder, (hosts, token), host, port)
    except BaseException:
        listening.close()
        _shown.release()
        raise
    served = PageServer(running, listening, server.addresses(host, port, token))
    served.start()
    say(f"See how the watch stands at {served.address}")
    for other in served.addresses[1:]:
        say(f"Others find it at {other}")
    if token:
        say("Whoever knows this address can look at the watch. Nothing is encrypted on the way.")
    return served


def _server(
    status: Callable[[], WatchStatus],
    pictures: Callable[[], Mapping[int, bytes]],
    folder: str,
    admitted: tuple[frozenset[str], str | None],
    host: str,
    port: int,
) -> uvicorn.Server:
    import uvicorn
    from nicegui import ui

    from vase.watching.page_layout import Page, Reading

    reading = Reading(status, pictures)

    @ui.page("/")
    async def page() -> None:
        Page(reading, await reading.now(), folder).build()

    app = server.application("A watch: VASE")
    guarded = guard.Guard(app, *admitted, cookie=f"vase-{port}")
    return uvicorn.Server(server.configuration(guarded, host, port))
