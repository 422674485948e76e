"""How fast the default change detector is, without any learning, and whether its memory stays flat.

    python benchmarks/detection.py --out results/detection.json

Frames per second at 64 x 64 in colour on one thread, by size of batches, and the growth of memory
over a million frames. The frames bounce: a sprite of noise on noise, drawn beforehand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import psutil
import torch

from vase.bench import provenance
from vase.bench.frame_detectors import NoModel
from vase.detection import BlockDetector, ModelView
from vase.nets import Architecture
from vase.settings import DetectionSettings
from vase.training.folder import write_json

SIDE, DRAWN, SPRITE = 64, 4096, 24  # pixels; frames that are shown again and again; pixels
TIMED, MANY = 20_000, 1_000_000  # frames
SIZES = (1, 8, 32, 64)
MEGABYTE = 2**20


def frames() -> torch.Tensor:
    """Frames [DRAWN, 3, SIDE, SIDE], each a little other than the last."""
    generator = np.random.default_rng(0)
    shown = 0.1 * generator.random((DRAWN, 3, SIDE, SIDE), dtype=np.float32)
    sprite = generator.random((3, SPRITE, SPRITE), dtype=np.float32)
    for number in range(DRAWN):
        top, left = (abs((number * speed) % (2 * 40) - 40) for speed in (1, 3))
        shown[number, :, top : top + SPRITE, left : left + SPRITE] = sprite
    return torch.from_numpy(shown)


def detector() -> BlockDetector:
    """The default detector for these frames."""
    model = NoModel(Architecture(channels=3, height=SIDE, width=SIDE))
    return BlockDetector(DetectionSettings(), cast(ModelView, model))


def watched(images: torch.Tensor, size: int, count: int) -> float:
    """Seconds in which `count` frames in batches of `size` are watched."""
    subject, began = detector(), perf_counter()
    for start in range(0, count, size):
        first = start % (DRAWN - size + 1)
        subject.update(images[first : first + size])
    return perf_counter() - began


def growth(images: torch.Tensor) -> dict[str, float]:
    """Megabytes that the process holds after a tenth of many frames, and after all of them."""
    subject, process, held = detector(), psutil.Process(), []
    for number, start in enumerate(range(0, MANY, 64)):
        first = start % (DRAWN - 63)
        subject.update(images[first : first + 64])
        if number in (MANY // 640, MANY // 64 - 1):
            held.append(process.memory_info().rss / MEGABYTE)
    return {"frames": MANY, "early_mb": held[0], "late_mb": held[-1]}


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/detection.json"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    images = frames()
    watched(images, 64, 2000)  # warm up
    rates = {str(size): TIMED / watched(images, size, TIMED) for size in SIZES}
    found = {
        "frames_per_second": {size: round(rate) for size, rate in rates.items()},
        "memory": growth(images),
        "versions": provenance.versions(),
    }
    write_json(out, found)
    print(found)


if __name__ == "__main__":
    main()
