"""Starts the explorer: one page, on this machine alone unless told otherwise.

It is built on NiceGUI, whose scripts and styles all come with it: the page works without a network.
(Gradio 6.31 forbids Pillow 13; onnxruntime-web would have to be fetched.)
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
import warnings
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
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

SECONDS_TO_START = 60.0
SECONDS_TO_END = 5  # of what is being answered when Ctrl-C comes

MessageCallback = Callable[[str], None]
Builder = Callable[[], Awaitable[None] | None]

_shown = threading.Lock()  # NiceGUI has one page at / for the whole process


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
    server = PageServer(host, port, allow)
    explored = load()
    if not explored.real:
        say("There are no images to be had here: what the model imagines is shown in their place.")
    say(f"Explore {path} at {server.address} until Ctrl-C.")
    server.say_who_may_look(say, "the run")

    from vase.explorer.page import Page
    from vase.explorer.uploads import ImageReader

    reader = ImageReader(explored)

    def page() -> None:
        Page(explored, reader).build()

    server.run(page, f"{path.resolve().name}: VASE", show=show)


class PageServer:
    """Shows a page of NiceGUI's to those who may look.

    allow: names, beside those of this machine, by which it may be asked. Where others can reach
    `host`, only who knows the token in the address may look. A page is given as what builds it for
    a visitor, and with its title.

    Raises ConfigError where NiceGUI is missing, the host is empty, or the port is taken.
    """

    def __init__(self, host: str, port: int, allow: Sequence[str] = ()) -> None:
        optional_package("nicegui", "The page is built on nicegui", "serve")
        if not host.strip():
            raise ConfigError(
                "--host is empty. Give an address to listen at: 127.0.0.1 for this machine alone, "
                "0.0.0.0 for others too."
            )
        self.host, self.port = host, port
        self._hosts = guard.allowed_hosts(host, allow)
        listening_socket(host, port).close()  # told now, and not once all is loaded
        self._token = None if guard.is_loopback(host) else secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """The address for this machine."""
        return addresses(self.host, self.port, self._token)[0]

    def say_who_may_look(self, say: MessageCallback, what: str) -> None:
        """Tell how others find it, where they can."""
        for other in addresses(self.host, self.port, self._token)[1:]:
            say(f"Others find it at {other}")
        if self._token:
            say(f"Whoever knows this address can look at {what}. Nothing is encrypted on the way.")

    def run(self, page: Builder, title: str, *, show: bool = False) -> None:
        """Serve until Ctrl-C. show: open a window on it as soon as it answers."""
        import uvicorn

        shown = self.address if show else ""

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started and shown:
                    webbrowser.open(shown)

        Server(self._configuration(page, title)).run()

    def start(self, page: Builder, title: str) -> None:
        """Serve in a thread, from when this returns on; a port of 0 becomes one that is free.

        Raises ConfigError where this process shows a page already, or the server does not start.
        """
        import uvicorn

        if not _shown.acquire(blocking=False):
            raise ConfigError(
                "This process shows a page already. Show another from another process."
            )
        with ExitStack() as stack:
            stack.callback(_shown.release)
            listening = stack.enter_context(listening_socket(self.host, self.port))
            self.port = listening.getsockname()[1]
            self._running = uvicorn.Server(self._configuration(page, title))
            held = stack.pop_all()

        def serve() -> None:
            with held:
                self._running.run(sockets=[listening])

        self._thread = threading.Thread(target=serve, name="vase-page", daemon=True)
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
        """End what was started, within a few seconds, and free its port; twice does no harm."""
        self._running.should_exit = True
        self._thread.join(SECONDS_TO_END + 1)
        if self._thread.is_alive():
            self._running.force_exit = True
            self._thread.join(1)

    def _configuration(self, page: Builder, title: str) -> uvicorn.Config:
        """How a page is served: guarded, and with limits on what a visitor may hold."""
        import uvicorn
        from nicegui import ui

        from vase.explorer.connections import MOST_MESSAGE_BYTES, TimedConnection

        ui.page("/")(page)
        return uvicorn.Config(
            guard.Guard(application(title), self._hosts, self._token, cookie=f"vase-{self.port}"),
            host=self.host,
            port=self.port,
            http=TimedConnection,
            ws="wsproto" if find_spec("wsproto") else "auto",  # as NiceGUI itself has it
            ws_max_size=MOST_MESSAGE_BYTES,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )


def addresses(host: str, port: int, token: str | None) -> list[str]:
    """The addresses of the page: one for this machine, and one for others where that is another."""
    near = {"0.0.0.0": ["127.0.0.1"], "::": ["::1"]}.get(guard.canonical(host), [host])
    if near != [host]:
        near += [each for each in (guard.outward_address(),) if each and each not in near]
    end = f"/?token={token}" if token else ""
    return [f"http://{f'[{each}]' if ':' in each else each}:{port}{end}" for each in near]


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
