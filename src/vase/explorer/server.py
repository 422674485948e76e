"""Starts the explorer: one page, on this machine alone unless told otherwise.

It is built on NiceGUI, whose scripts and styles all come with it: the page works without a network.
(Gradio 6.31 forbids Pillow 13; onnxruntime-web would have to be fetched.)
"""

from __future__ import annotations

import secrets
import socket
import warnings
import webbrowser
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vase import build
from vase.errors import ConfigError, optional_package
from vase.explorer import guard, run_data
from vase.explorer.run_data import MAX_UPLOAD_BYTES, ExplorerData
from vase.training.folder import RunFolder

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

__all__ = ["MAX_UPLOAD_BYTES", "serve"]

SECONDS_TO_END = 5  # of what is being answered when Ctrl-C comes

MessageCallback = Callable[[str], None]


def serve(
    folder: RunFolder,
    data: build.DataOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    allow: Sequence[str] = (),
    show: bool = False,
    say: MessageCallback = print,
) -> None:
    """Show a run in the browser until Ctrl-C; see `serve_explored`."""
    serve_explored(
        folder.path,
        lambda: run_data.load_explorer_data(folder, data),
        host=host,
        port=port,
        allow=allow,
        show=show,
        say=say,
    )


def serve_explored(
    path: Path,
    load: Callable[[], ExplorerData],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    allow: Sequence[str] = (),
    show: bool = False,
    say: MessageCallback = print,
) -> None:
    """Show what `load` reads at a path in the browser until Ctrl-C. show: open a window on it.

    allow: names, beside those of this machine, by which it may be asked. Where others can reach
    `host`, only who knows the token in the address that is said may look.

    Raises ConfigError where NiceGUI is missing, the host is empty, or the port is taken, RunError
    where there is nothing to show yet.
    """
    refuse_without_package()
    hosts = checked_hosts(host, allow)
    listening_socket(host, port).close()
    explored = load()
    if not explored.real:
        say("There are no images to be had here: what the model imagines is shown in their place.")
    token = None if guard.is_loopback(host) else secrets.token_urlsafe(32)
    found = addresses(host, port, token)
    say(f"Explore {path} at {found[0]} until Ctrl-C.")
    for other in found[1:]:
        say(f"Others find it at {other}")
    if token:
        say("Whoever knows this address can look at the run. Nothing is encrypted on the way.")
    page = _pages(explored, title=f"{path.resolve().name}: VASE")
    guarded = guard.Guard(page, hosts, token, cookie=f"vase-{port}")
    _listen(guarded, host, port, found[0] if show else None)


def addresses(host: str, port: int, token: str | None) -> list[str]:
    """The addresses of the page: one for this machine, and one for others where that is another."""
    near = {"0.0.0.0": ["127.0.0.1"], "::": ["::1"]}.get(guard.canonical(host), [host])
    if near != [host]:
        near += [each for each in (guard.outward_address(),) if each and each not in near]
    end = f"/?token={token}" if token else ""
    return [f"http://{f'[{each}]' if ':' in each else each}:{port}{end}" for each in near]


def _pages(explored: ExplorerData, title: str) -> ASGIApp:
    from nicegui import ui

    from vase.explorer.page import Page
    from vase.explorer.uploads import ImageReader

    reader = ImageReader(explored)

    @ui.page("/")
    def page() -> None:
        Page(explored, reader).build()

    return application(title)


def application(title: str) -> ASGIApp:
    """The app that shows NiceGUI's pages, of which a process has one set."""
    from fastapi import FastAPI
    from nicegui import core, ui

    # NiceGUI looks at every object there is when it starts, also at what torch has deprecated.
    warnings.filterwarnings("ignore", "`torch.distributed.reduce_op`", FutureWarning)
    core.app.user_middleware.clear()  # what was added for a server that has ended
    core.app.middleware_stack = None
    app = FastAPI(openapi_url=None)
    ui.run_with(app, title=title, dark=None, show_welcome_message=False)
    return app


def _listen(app: ASGIApp, host: str, port: int, shown: str | None) -> None:
    """Serve until Ctrl-C; open a window on address `shown` as soon as it answers."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and shown:
                webbrowser.open(shown)

    Server(configuration(app, host, port)).run()


def configuration(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves a page: with limits on what a visitor may hold."""
    import uvicorn

    from vase.explorer.connections import MOST_MESSAGE_BYTES, TimedConnection

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=TimedConnection,
        ws="wsproto" if find_spec("wsproto") else "auto",  # as NiceGUI itself has it
        ws_max_size=MOST_MESSAGE_BYTES,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )


def refuse_without_package() -> None:
    """Raise a ConfigError where NiceGUI is missing."""
    optional_package("nicegui", "The page is built on nicegui", "serve")


def checked_hosts(host: str, allow: Sequence[str]) -> frozenset[str]:
    """The hosts that a request may name; a ConfigError for an empty one or one that is none."""
    if not host.strip():
        raise ConfigError(
            "--host is empty. Give an address to listen at: 127.0.0.1 for this machine alone, "
            "0.0.0.0 for others too."
        )
    return guard.allowed_hosts(host, allow)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; a ConfigError where the port is taken or the host is no address."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"No page can be shown at {host}:{port}: {getattr(error, 'strerror', None) or error}. "
            "Choose another --port, or another --host."
        ) from None
