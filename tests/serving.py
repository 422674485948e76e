"""Servers in processes of their own."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
