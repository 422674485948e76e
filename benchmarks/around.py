"""What surrounds a step. Guards: nothing around it keeps the step waiting, and memory stays flat.

    python benchmarks/around.py [--threads 2] [--images 1000000]

All are ratios within one run:

- draw / step: drawing a batch of the preset `quick`, over learning it.
- save / step, load / step: a checkpoint, written and synced, and read and verified, over a step.
- help / python: `vase --help` over `python -c "import typer, rich.console"`, which it can't do
  without; the seconds of it beside.
- encode / forward: `model.transform` of a memory map on disk (32 x 32, uint8), per image, over the
  encoder's forward pass on batches in memory; and the growth of the resident memory from a tenth
  of the images to the last, less the codes themselves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from step import ratio, seconds

from vase import VASE, build, config
from vase.estimator import CHUNK
from vase.lifelong.state import restore, state
from vase.training import checkpoint

SIDE = 32  # of the images that are encoded
HELP_SECONDS, GROWTH_MIB = 0.3, 64.0  # allowed
LIGHT = [sys.executable, "-c", "import typer, rich.console"]
HELP = [sys.executable, "-m", "vase", "--help"]


def of_a_run(rounds: int, folder: Path) -> dict[str, float]:
    """Drawing, saving and loading, beside a step."""
    wanted = config.load("quick")
    stream = build.stream(wanted, build.DataOptions(offline=True))
    learner = build.learner(wanted, stream.shape)
    path = folder / "checkpoint.safetensors"
    times: dict[str, list[float]] = {name: [] for name in ("draw", "step", "save", "load")}
    for k in range(rounds):
        times["draw"].append(seconds(partial(stream.batch, k)))
        images = torch.from_numpy(stream.batch(k)[0])
        times["step"].append(seconds(partial(learner.observe, images)))
        times["save"].append(seconds(lambda: checkpoint.write(path, *state(learner))))
        times["load"].append(seconds(lambda: restore(learner, *checkpoint.read(path))))
    return {
        f"{name}_over_step": ratio(times[name], times["step"]) for name in times if name != "step"
    }


def of_starting(rounds: int) -> dict[str, float]:
    """The command's first answer."""

    def run(command: list[str]) -> float:
        return seconds(lambda: subprocess.run(command, capture_output=True, check=True))

    pairs = [(run(HELP), run(LIGHT)) for _ in range(rounds)]
    found = [list(each) for each in zip(*pairs, strict=True)]
    return {"help_over_python": ratio(*found), "help_s": round(statistics.median(found[0]), 3)}


class Watched:
    """A memory map that notes the resident memory whenever some of it is asked for."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.images, self.resident = images, [0.0]
        self.dtype, self.ndim, self.shape = images.dtype, images.ndim, images.shape
        self.process = psutil.Process()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> np.ndarray[Any, Any]:
        info = self.process.memory_info()
        self.resident.append((info.rss - info.shared) / 2**20)  # pages of the file are the system's
        return np.array(self.images[rows])


def of_encoding(count: int, folder: Path) -> dict[str, float]:
    """A memory map of many images through the encoder."""
    path = folder / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE))
    some = np.random.default_rng(0).integers(0, 256, (CHUNK, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, count, CHUNK):
        images[start : start + CHUNK] = some[: min(CHUNK, count - start)]
    images.flush()
    model = VASE(accelerator="cpu")
    model.partial_fit(some[:64])
    watched = Watched(np.load(path, mmap_mode="r"))
    began = time.perf_counter()
    codes = model.transform(watched)
    each = (time.perf_counter() - began) / count
    batch = torch.rand(CHUNK, 1, SIDE, SIDE)
    with torch.no_grad():
        forward = [seconds(lambda: model.learner_.average.encoder(batch)) for _ in range(10)]
    tenth = len(watched.resident) // 10
    held = 0.9 * 3 * codes.nbytes / 2**20  # means, log variances, and means once more in one piece
    return {
        "images": count,
        "images_per_s": round(1 / each),
        "encode_over_forward": round(each / (statistics.median(forward) / CHUNK), 2),
        "growth_mib": round(watched.resident[-1] - watched.resident[tenth] - held, 1),
        "images_mib": round(images.nbytes / 2**20, 1),
    }


def main() -> None:
    """Print one JSON object; the exit status says whether all is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=1_000_000)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            **of_a_run(asked.rounds, Path(folder)),
            **of_starting(asked.rounds),
            **of_encoding(asked.images, Path(folder)),
        }
    print(json.dumps({"threads": asked.threads, **found}, indent=1))
    if found["growth_mib"] > GROWTH_MIB:
        sys.exit("Encoding takes more memory the more images there are.")
    if found["help_s"] > HELP_SECONDS:
        sys.exit(f"`vase --help` takes more than {HELP_SECONDS} s.")


if __name__ == "__main__":
    main()
