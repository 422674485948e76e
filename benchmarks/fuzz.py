"""Spoil what is read, again and again: every reader understands it, or refuses it in a sentence.

    python benchmarks/fuzz.py                        # all readers -> results/fuzz.json
    python benchmarks/fuzz.py --readers toml png --cases 1000

Each reader gets what was whole and then spoilt, `--cases` times at random (hypothesis) and as often
guided by which lines of code a case has reached (atheris, which hands hypothesis its choices; only
where it is installed). Guards: no bytes end in anything but an answer or a `VaseError`.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

watched: AbstractContextManager[object] = nullcontext()
if guided_child := os.environ.get("VASE_FUZZ_GUIDED"):  # before anything is imported of vase
    import atheris

    watched = atheris.instrument_imports(include=["vase", "PIL"])

with watched:
    import numpy as np
    import torch
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from PIL import Image

    from vase import VASE, VaseError, config
    from vase.domains import idx, own
    from vase.images import files
    from vase.report.run import load_networks
    from vase.settings import ModelSettings
    from vase.training import checkpoint
    from vase.training.folder import read_json, read_lines

HOME = Path(__file__).parents[1]
RAW = HOME / "results" / "fuzz.json"
WHOLE = 10_000  # cases of each reader, from which on they are written down
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 9, 8), dtype=np.uint8)
ODD: list[Any] = [None, -1, 10**9, "x", [], {}, 1.5, [[]], True]  # what a record may hold instead
Strategy = st.SearchStrategy[bytes]


# ---- spoiling ----------------------------------------------------------------------------------


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


@st.composite
def forged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A checkpoint whose checksum is right, and whose record or tensors are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd.safetensors"
        path.write_bytes(whole)
        tensors, record = checkpoint.read(path)
        *way, last = draw(st.sampled_from(places(record)))
        spot: Any = record
        for step in way:
            spot = spot[step]
        if draw(st.booleans()):
            del spot[last]
        else:
            spot[last] = draw(st.sampled_from(ODD))
        if draw(st.booleans()):
            del tensors[draw(st.sampled_from(sorted(tensors)))]
        checkpoint.write(path, tensors, record)
        return path.read_bytes()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a tree of JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3])
    found = []
    for key, each in inner:
        found.append((*path, key))
        if isinstance(each, dict | list):
            found += places(each, (*path, key))
    return found


# ---- what is read ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """What is whole, the name of its file, how it is read, and how it is spoilt."""

    whole: Callable[[], bytes]
    file: str
    read: Callable[[Path], Any]
    spoilt: Callable[[bytes], Strategy] = spoilt


def _image(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.repeat(PIXELS[0][..., None], 3, axis=2)).save(file, format=kind)
    return file.getvalue()


def _array(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, PIXELS)
    return file.getvalue()


def _log() -> bytes:
    return b"".join(json.dumps({"step": k, "kl": [0.5, k]}).encode() + b"\n" for k in range(5))


def _fit(path: Path) -> Any:
    """As the explorer reads what is dropped into it."""
    return files.fitted(io.BytesIO(path.read_bytes()), path.name, (3, 8, 8))


@functools.cache
def _model() -> bytes:
    """A model that has seen eight images."""
    small = {"model.hidden": 8, "model.encoder_channels": 4, "model.decoder_channels": 4}
    subject = VASE(latents=2, accelerator="cpu", options=small)
    subject.partial_fit(PIXELS[:8])
    with tempfile.TemporaryDirectory() as folder:
        return subject.save(Path(folder) / "model").read_bytes()


def _load(path: Path) -> Any:
    """As the library and as the report read a model; neither may break off the other."""
    loaded: list[Any] = []
    refused = []
    for load in (VASE.load, partial(load_networks, model=ModelSettings())):
        try:
            loaded.append(load(path))
        except VaseError as error:
            refused.append(error)
    if not loaded:
        raise refused[-1]
    return loaded


READERS: dict[str, Reader] = {
    "idx": Reader(lambda: idx.encode(PIXELS), "x", lambda path: idx.parse(path.read_bytes(), "x")),
    "npy": Reader(lambda: _array(np.save), "a.npy", own.array),
    "npz": Reader(lambda: _array(np.savez_compressed), "a.npz", own.array),
    **{
        kind: Reader(functools.partial(_image, kind.upper()), f"a.{kind}", _fit)
        for kind in ("png", "jpeg", "gif", "tiff", "webp", "bmp")
    },
    "toml": Reader(
        lambda: config.to_toml(config.load("toy")).encode(),
        "a.toml",
        lambda path: config.load(str(path)),
    ),
    "jsonl": Reader(_log, "a.jsonl", read_lines),
    "json": Reader(lambda: b'{"pairs": [{"step": 3, "r2": 0.5}]}', "a.json", read_json),
    "checkpoint": Reader(_model, "a.safetensors", checkpoint.read),
    "forged checkpoint": Reader(_model, "a.safetensors", _load, forged),
}


# ---- trying ------------------------------------------------------------------------------------


def case(reader: Reader, folder: Path, tally: Counter[str]) -> Any:
    """A hypothesis test of one spoilt file; `tally` counts what came of it."""

    @given(reader.spoilt(reader.whole()))
    def one(content: bytes) -> None:
        path = folder / reader.file
        path.write_bytes(content)
        tally["cases"] += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd but readable files
                reader.read(path)
        except VaseError:
            tally["refused"] += 1
        except Exception:
            tally["crashed"] += 1
            raise
        else:
            tally["understood"] += 1

    return one


def at_random(reader: Reader, cases: int, tally: Counter[str]) -> None:
    """Try so many cases; the first crash is raised, as small as hypothesis makes it."""
    chosen = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with tempfile.TemporaryDirectory() as folder:
        chosen(case(reader, Path(folder), tally))()


def guided(name: str, cases: int) -> Counter[str]:
    """The same, guided by coverage, in a process of its own, for atheris ends the one it is in."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "tally.json"
        done = subprocess.run(
            [sys.executable, __file__, "--readers", name, "--cases", str(cases)],
            env={**os.environ, "VASE_FUZZ_GUIDED": str(told)},
            cwd=folder,  # libFuzzer leaves a crash in it
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not told.is_file():
            raise RuntimeError(f"The guided cases of '{name}' ended early:\n{done.stderr[-3000:]}")
        return Counter(json.loads(told.read_text()))


def guide(name: str, cases: int, told: Path) -> None:
    """The other end of `guided`: does not return, for libFuzzer does not either."""
    tally: Counter[str] = Counter()
    folder = Path(tempfile.mkdtemp(dir=told.parent))
    one = settings(database=None)(case(READERS[name], folder, tally)).hypothesis.fuzz_one_input

    def choose(choices: bytes) -> None:
        one(choices)  # nothing is tried where they are too few
        if tally["cases"] == cases:
            told.write_text(json.dumps(tally))
            os._exit(0)

    flags = ["-seed=1", "-max_len=2048", "-len_control=0", "-rss_limit_mb=0"]
    atheris.Setup([__file__, *flags], choose)
    atheris.Fuzz()


def main() -> None:
    """Try the readers one by one, and write what came of it."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--cases", type=int, default=WHOLE)
    asked = parser.parse_args()
    if guided_child:
        guide(asked.readers[0], asked.cases, Path(guided_child))
    found, crashed = {}, False
    for name in asked.readers:
        tally: Counter[str] = Counter()
        found[name] = {"random": tally}
        try:
            at_random(READERS[name], asked.cases, tally)
            if find_spec("atheris"):
                found[name]["guided"] = guided(name, asked.cases)
        except Exception:
            traceback.print_exc()
            crashed = True
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    if set(found) == set(READERS) and asked.cases >= WHOLE and not crashed:
        RAW.write_text(json.dumps(found, indent=1) + "\n")
        print(RAW)
    sys.exit(crashed)


if __name__ == "__main__":
    main()
