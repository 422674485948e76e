"""A camera on the network, and a receiver of webhooks, to try `vase watch` with."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

BOUNDARY = "frame"


def scenes() -> dict[str, NDArray[np.uint8]]:
    """Two photographs, and each of them upside down."""
    found = {name: load_sample_image(f"{name}.jpg")[:320, :320] for name in ("china", "flower")}
    return {**found, **{f"{name}, turned": each[::-1, ::-1] for name, each in found.items()}}


class Camera(ThreadingHTTPServer):
    """Serves MJPEG of the scene that is set, so many frames a second; `gone` refuses everyone."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, fps: float = 200.0, side: int = 64) -> None:
        super().__init__(("127.0.0.1", port), Stream)
        self.fps, self.gone = fps, threading.Event()
        self.frames = {
            name: [jpeg(photograph, k, side) for k in range(64)]
            for name, photograph in scenes().items()
        }
        self.scene = next(iter(self.frames))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who stops watching is no error."""


class Stream(BaseHTTPRequestHandler):
    """One who looks at a camera."""

    server: Camera

    def do_GET(self) -> None:
        if self.server.gone.is_set():
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()
        generator = np.random.default_rng()
        while not self.server.gone.is_set():
            content = self.server.frames[self.server.scene][int(generator.integers(64))]
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}"
            self.wfile.write(head.encode() + b"\r\n\r\n" + content + b"\r\n")
            time.sleep(1 / self.server.fps)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


def jpeg(photograph: NDArray[np.uint8], seed: int, side: int) -> bytes:
    """What a trembling camera sees, in a light that flickers."""
    generator = np.random.default_rng(seed)
    y, x = generator.integers(0, 24, 2)
    seen = photograph[y : y + 240, x : x + 240] * generator.uniform(0.85, 1)
    content = io.BytesIO()
    Image.fromarray(seen.astype(np.uint8)).resize((side, side)).save(content, "JPEG", quality=90)
    return content.getvalue()


@contextmanager
def camera(**options: Any) -> Iterator[Camera]:
    """A camera that is on."""
    server = Camera(**options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.gone.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class Hook(ThreadingHTTPServer):
    """A webhook receiver: keeps the JSON of what is posted; `away` answers 503."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Post)
        self.away = threading.Event()
        self.bodies: list[bytes] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/events"


class Post(BaseHTTPRequestHandler):
    """One event that is sent."""

    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.away.is_set():
            self.send_error(503)
            return
        self.server.bodies.append(body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@contextmanager
def hook(**options: Any) -> Iterator[Hook]:
    """A receiver of webhooks that is there."""
    server = Hook(**options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
