"""Starts the explorer: one page, on this machine alone unless told otherwise.

It is built on NiceGUI, whose scripts and styles all come with it: the page works without a network.
(Gradio 6.31 forbids Pillow 13; onnxruntime-web would have to be fetched.)
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from vase import build
from vase.errors import ConfigError
from vase.explorer import run_data
from vase.explorer.run_data import MAX_UPLOAD_BYTES
from vase.training.folder import RunFolder

if TYPE_CHECKING:
    from nicegui import App
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MessageCallback = Callable[[str], None]


def serve(
    folder: RunFolder,
    data: build.DataOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    show: bool = False,
    say: MessageCallback = print,
) -> None:
    """Show a run in the browser until Ctrl-C. show: open a window on it.

    Raises ConfigError where NiceGUI is missing or the port is taken, RunError where there is
    nothing to show yet.
    """
    _refuse_without_package()
    _refuse_taken(host, port)
    explored = run_data.load_explorer_data(folder, data)
    if not explored.real:
        say("The run's images are not to be had here: its dreams are shown in their place.")

    from nicegui import app, ui

    from vase.explorer.page import Page

    _guard(app, host)

    @ui.page("/")
    def page() -> None:
        Page(explored).build()

    near = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
    say(f"Explore {folder.path} at http://{near}:{port} until Ctrl-C.")
    ui.run(
        host=host,
        port=port,
        title=f"{folder.path.resolve().name}: VASE",
        dark=None,
        show=show,
        reload=False,
        show_welcome_message=False,
    )


def _guard(app: App, host: str) -> None:
    """Refuse what is too large before it is read, and pages of other sites."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    @app.middleware("http")
    async def refuse_large(request: Request, proceed: Callable[[Request], Response]) -> Response:
        size = request.headers.get("content-length", "0")
        if request.method == "POST" and not (size.isdigit() and 0 < int(size) <= MAX_UPLOAD_BYTES):
            return PlainTextResponse("Too large.", status_code=413)
        return await proceed(request)  # type: ignore[no-any-return, misc]

    if host in LOOPBACK:  # no other site's page may ask in this one's name
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])


def _refuse_without_package() -> None:
    try:
        import nicegui  # noqa: F401
    except ImportError:
        raise ConfigError(
            "The explorer is built on nicegui, which is not installed. Install it with: "
            "pip install 'vase-lifelong[serve]'"
        ) from None


def _refuse_taken(host: str, port: int) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise ConfigError(
            f"No page can be shown at {host}:{port}: {error.strerror or error}. Choose another "
            "--port, or another --host."
        ) from None
