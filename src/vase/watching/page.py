"""Starts the page of a watch, beside the watch itself, guarded as the explorer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vase.explorer.server import PageServer
from vase.watching.records import WatchStatus


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
    server = PageServer(host, port, allow)

    from vase.watching.page_layout import Page, Reading

    reading = Reading(status, pictures)

    async def page() -> None:
        Page(reading, await reading.now(), folder).build()

    server.start(page, "A watch: VASE")
    say(f"See how the watch stands at {server.address}")
    server.say_who_may_look(say, "the watch")
    return server
