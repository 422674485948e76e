"""Whatever bytes are read, they are understood or refused in a sentence: never a trace.

200 cases for each reader; `make fuzz` tries 10,000, or as many as VASE_FUZZ says.
"""

import contextlib
import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from vase import VASE, VaseError, config, integrity
from vase.errors import CheckpointError, ConfigError, DataError, RunError
from vase.report.run import load_networks
from vase.training import checkpoint
from vase.training.folder import RunFolder, read_json, read_lines
from vase.worlds import files, idx, own

CASES = int(os.environ.get("VASE_FUZZ", "200"))
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 9, 8), dtype=np.uint8)
Read = Callable[[Path], Any]


def image(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.repeat(PIXELS[0][..., None], 3, axis=2)).save(file, format=kind)
    return file.getvalue()


def array(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, PIXELS)
    return file.getvalue()


def settings_file() -> bytes:
    return config.to_toml(config.load("toy")).encode()


def log() -> bytes:
    return b"".join(json.dumps({"step": k, "kl": [0.5, k]}).encode() + b"\n" for k in range(5))


def fit(path: Path) -> Any:
    return files.fitted(io.BytesIO(path.read_bytes()), path.name, (3, 8, 8))


# What is whole, and how it is read; the ending is that of a file's name.
READERS: dict[str, tuple[Callable[[], bytes], str, Read]] = {
    "idx": (lambda: idx.encode(PIXELS), "x", lambda path: idx.parse(path.read_bytes(), "x")),
    "npy": (lambda: array(np.save), "a.npy", own.array),
    "npz": (lambda: array(np.savez_compressed), "a.npz", own.array),
    "png": (lambda: image("PNG"), "a.png", fit),
    "jpeg": (lambda: image("JPEG"), "a.jpg", fit),
    "gif": (lambda: image("GIF"), "a.gif", fit),
    "tiff": (lambda: image("TIFF"), "a.tif", fit),
    "webp": (lambda: image("WEBP"), "a.webp", fit),
    "bmp": (lambda: image("BMP"), "a.bmp", fit),
    "toml": (settings_file, "a.toml", lambda path: config.load(str(path))),
    "jsonl": (log, "a.jsonl", read_lines),
    "json": (lambda: b'{"pairs": [{"step": 3, "r2": 0.5}]}', "a.json", read_json),
}


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were whole: some changed, cut out, doubled, or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["change", "cut", "double", "put in", "end"])):
            case "change":
                content[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del content[start : start + draw(st.integers(1, 40))]
            case "double":
                content[start:start] = content[start : start + draw(st.integers(1, 40))]
            case "put in":
                content[start:start] = draw(st.binary(max_size=20))
            case "end":
                del content[start:]
    return bytes(content)


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: str, tmp_path: Path) -> None:
    make, file, read = READERS[name]
    (tmp_path / file).write_bytes(make())
    assert read(tmp_path / file) is not None


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(data=st.data())
def test_spoilt_bytes_are_understood_or_refused(
    name: str, data: st.DataObject, tmp_path: Path
) -> None:
    make, file, read = READERS[name]
    (tmp_path / file).write_bytes(data.draw(spoilt(make())))
    with contextlib.suppress(VaseError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd but readable files
        read(tmp_path / file)


# --- checkpoints whose checksum is right ------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"model.hidden": 8, "model.features": 4, "model.cells": 4}
    subject = VASE(latents=2, accelerator="cpu", options=small)
    subject.partial_fit(PIXELS[:8])
    return subject.save(tmp_path_factory.mktemp("models") / "model")


ODD = st.sampled_from([None, -1, 10**9, "x", [], {}, 1.5, [[]], True])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a tree of JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3])
    found = []
    for key, each in inner:
        found.append((*path, key))
        if isinstance(each, dict | list):
            found += places(each, (*path, key))
    return found


@settings(parent=FUZZ, max_examples=CASES // 2, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_a_record_that_is_signed_but_odd_is_a_checkpoint_error(
    data: st.DataObject, model: Path, tmp_path: Path
) -> None:
    tensors, record = checkpoint.read(model)
    del record["format"], record["version"]
    *way, last = data.draw(st.sampled_from(places(record)))
    spot: Any = record
    for step in way:
        spot = spot[step]
    if data.draw(st.booleans()):
        del spot[last]
    else:
        spot[last] = data.draw(ODD)
    if data.draw(st.booleans()):
        del tensors[data.draw(st.sampled_from(sorted(tensors)))]
    path = tmp_path / "odd.safetensors"
    checkpoint.write(path, tensors, record)
    for read in (VASE.load, load_networks):
        with contextlib.suppress(VaseError):
            read(path)


# --- promises, bombs, depths ------------------------------------------------------------------


def test_a_header_that_promises_terabytes_is_refused_at_once(tmp_path: Path) -> None:
    header = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 10, 1 << 10)}
    np.lib.format.write_array_header_1_0(header, described)
    (tmp_path / "a.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match=name):
            own.array(tmp_path / name)
    promise = json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    (tmp_path / "c").write_bytes(struct.pack("<Q", len(promise)) + promise.encode())
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "c")


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    flat = io.BytesIO()
    Image.new("1", (60_000, 6_000)).save(flat, format="PNG")
    flat.seek(0)
    with pytest.raises(VaseError, match=r"bomb\.png.*decompression bomb"):
        files.fitted(flat, "bomb.png", (1, 8, 8))


@pytest.mark.parametrize(
    ("name", "content", "read", "error"),
    [
        ("a.toml", b"a = " + b"[" * 100_000, lambda path: config.load(str(path)), ConfigError),
        ("a.json", b"[" * 100_000, read_json, RunError),
        ("a.jsonl", b"[" * 100_000 + b"\n{}\n", read_lines, RunError),
    ],
)
def test_what_is_nested_too_deep_is_refused(
    name: str, content: bytes, read: Read, error: type[VaseError], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error):
        read(tmp_path / name)


def test_a_run_of_rubbish_is_examined_to_its_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for path in (folder.config, folder.checkpoint, folder.metrics, folder.events, folder.probes):
        path.write_bytes(b"\xff\xfe[[rubbish\n\0")
    findings = integrity.examine(folder)
    assert {each.file: each.whole for each in findings if each.file != "metrics.jsonl"} == {
        "config.toml": False,
        "checkpoint.safetensors": False,
        "events.jsonl": False,
        "probes.json": False,
    }
