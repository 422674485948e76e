"""A million steps of a small model over three domains that keep coming back: does anything grow?

    python benchmarks/soak.py                        # -> results/soak.json, in an hour or two
    python benchmarks/soak.py --steps 20000 --out runs/soak-short

Guards: memory, time of a step and files stay as they were in the first tenth of the stream, and
what the latents tell at its end is no less than at its tenth part. Time is the processor's, so that
other work on the machine does not count. A soak that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from vase import build, config, probes
from vase.training import recorder
from vase.training.folder import RunFolder, append_lines, create, keep_lines, read_lines, rounded
from vase.training.loop import observe

HOME = Path(__file__).parents[1]
RAW = HOME / "results" / "soak.json"
DOMAINS = ("moving-solids", "strokes", "moving-strokes")
VISIT = 500  # steps
BLOCKS = 100  # how many times memory, time and files are looked at
DATA = build.DataOptions(offline=True)


def settings(steps: int) -> config.Config:
    """A model of a few thousand weights and images of 16 x 16 pixels, which still learns."""
    segments = [[DOMAINS[visit % len(DOMAINS)], VISIT] for visit in range(steps // VISIT)]
    sizes = ("encoder=dense", "decoder=dense", "latents=8", "hidden=32")
    return config.load(
        "toy",
        [
            f"stream.schedule={json.dumps(segments)}",
            *("stream.batch_size=16", "stream.size=16"),
            *(f"stream.domains.{name}.side=8" for name in DOMAINS),
            *(f"model.{size}" for size in sizes),
            *("training.milestones=1", "training.checkpoint_every=5000"),
        ],
    )


def soaked(folder: RunFolder, wanted: config.Config) -> list[dict[str, Any]]:
    """Train to the end; memory, time of a step and size of the files, block by block."""
    stream = build.stream(wanted, DATA)
    learner = build.learner(wanted, stream.shape)
    recorder.resume(folder, learner)
    process, steps = psutil.Process(), stream.schedule.steps
    log = folder.path / "soak.jsonl"
    keep_lines(log, lambda step: step <= learner.step)
    began = time.process_time()
    with build.recorder(wanted, folder, learner, stream) as scribe:
        for observation in scribe.record(observe(learner, stream)):
            if (observation.step + 1) % (steps // BLOCKS):
                continue
            block = {
                "step": observation.step + 1,
                "process": process.pid,
                "resident_mib": process.memory_info().rss / 2**20,
                "ms_per_step": 1000 * (time.process_time() - began) / (steps // BLOCKS),
                "files_mib": size(folder.path) / 2**20,
                "environments": len(learner.environments),
            }
            append_lines(log, [block])
            print(json.dumps(rounded(block)), flush=True)
            began = time.process_time()
        scribe.save()
    return read_lines(log)


def size(path: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def told(folder: RunFolder, tenth: int) -> dict[str, Any]:
    """What is read from the latents at a tenth of the stream and at its end, and what was noticed.

    Of the milestones only these two are left in the folder.
    """
    kept = [min(folder.milestones(), key=lambda path: abs(int(path.stem[5:]) - tenth))]
    kept.append(folder.milestones()[-1])
    for path in folder.milestones():
        if path not in kept:
            path.unlink()
    record = probes.evaluate_run(folder, DATA)
    early, late = record["timeline"]
    return {
        "domains": {
            name: {
                when: {
                    figure: point["domains"][name][figure]
                    for figure in ("identity", "position_mse", "reconstruction_nats")
                }
                for when, point in (("tenth", early), ("end", late))
            }
            for name in early["domains"]
        },
        "events": Counter(line["kind"] for line in read_lines(folder.events)),
        "switches": len(record["schedule"]) - 1,
    }


def summary(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Memory at its most and time in the middle, in the first tenth of the stream and in the last.

    The stream begins where nothing is replayed yet: the first visits are no part of the tenth.
    """
    count = len(blocks) // 10
    parts = {"tenth": blocks[1:count], "end": blocks[-count:]}
    return {
        "resident": {at: max(b["resident_mib"] for b in part) for at, part in parts.items()},
        "time": {
            at: float(np.median([b["ms_per_step"] for b in part])) for at, part in parts.items()
        },
    }


def main() -> None:
    """Soak, ask, and write what was found."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=HOME / "runs" / "soak")
    given = parser.parse_args()
    wanted = settings(given.steps)
    folder = RunFolder(given.out)
    if not folder.config.is_file():
        create(given.out, config.to_toml(wanted))
    blocks = soaked(folder, wanted)
    found = {
        "steps": given.steps,
        **summary(blocks),
        **told(folder, given.steps // 10),
        "blocks": blocks,
    }
    target = RAW if given.steps >= 1_000_000 else given.out / "soak.json"
    target.write_text(json.dumps(rounded(found), indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
