"""Whatever bytes are read, they are understood or refused in a sentence: never a trace.

50 cases for each reader of benchmarks/fuzz.py; `make fuzz` tries 10,000, and 10,000 guided ones.
"""

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import script

from vase import VaseError, config, integrity
from vase.domains import own
from vase.errors import CheckpointError, ConfigError, DataError, RunError
from vase.images import files
from vase.training import checkpoint
from vase.training.folder import RunFolder, read_json, read_lines

Read = Callable[[Path], Any]
fuzz = script("fuzz")


@pytest.mark.parametrize("name", fuzz.READERS)
def test_what_is_whole_is_read(name: str, tmp_path: Path) -> None:
    reader = fuzz.READERS[name]
    (tmp_path / reader.file).write_bytes(reader.whole())
    assert reader.read(tmp_path / reader.file) is not None


@pytest.mark.parametrize("name", fuzz.READERS)
def test_spoilt_bytes_are_understood_or_refused(name: str) -> None:
    tally: Counter[str] = Counter()
    fuzz.at_random(fuzz.READERS[name], 50, tally)
    assert tally["understood"] + tally["refused"] == tally["cases"] > 0


def test_a_reader_that_lets_a_trace_through_is_caught() -> None:
    tally: Counter[str] = Counter()
    careless = fuzz.Reader(lambda: b"[1, 2]", "a.json", lambda path: json.loads(path.read_bytes()))
    with pytest.raises(ValueError, match=r"JSON|Expecting|Extra|utf|Invalid|Unterminated"):
        fuzz.at_random(careless, 50, tally)
    assert tally["crashed"] > 0


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
    Image.new("1", (1, 1)).save(flat, format="PNG")
    content = bytearray(flat.getvalue())
    content[16:24] = struct.pack(">II", 60_000, 6_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(VaseError, match=r"bomb\.png.*far too many pixels"):
        files.fitted(io.BytesIO(content), "bomb.png", (1, 8, 8))


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
