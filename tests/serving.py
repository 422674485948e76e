"""Servers, in this process or one of their own, and who asks them: a scraper, a browser."""

import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def answers(host: str, port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((host, port)) == 0


@contextmanager
def served(command: list[str], host: str, port: int, said: Path) -> Iterator[None]:
    """A server that answers at a port and writes to a file what it says."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    with said.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=outside)
    try:
        deadline = time.monotonic() + 120
        while not answers(host, port):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[int]:
    """A server in a thread; its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def until(what: Callable[[], object], every: float = 0.02) -> None:
    """Wait for something to become true, a minute at most. every: seconds between two looks."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(every)


def figures(port: int, kind: str = "") -> dict[str, float]:
    """What Prometheus would scrape, of one kind or all, by name and labels."""
    from prometheus_client.parser import text_string_to_metric_families

    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    return {
        " ".join([sample.name, *map(str, sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == kind or not kind
    }


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here; install one of {', '.join(BROWSERS)}")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=["--no-sandbox"]) as shown,
    ):
        yield shown
