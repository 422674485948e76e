"""What is learnt from consecutive frames, over what is learnt from the same frames shuffled.

    python benchmarks/in_order.py --out results/in_order/bouncing.json
    python benchmarks/in_order.py --stream hills --out results/in_order/hills.json
    python benchmarks/in_order.py --methods "in order, memory" -o memory.frames=1024

One environment and no detection, so that every batch is learnt. Of each seed a model is taught in
order, in order with the working memory, and with the frames shuffled (`stream.order`), from equal
first weights. Identity, and each factor, are read from the codes of independent images by readouts
fitted on codes of other independent images (`vase.probes.readout`). Identity is an accuracy, a
factor an R^2; "ratio" is to the shuffled model of the same seed, mse_ratio (above 1 where better)
the shuffled model's squared error over this one's. A factor that the shuffled model does not tell
either has no ratio. One process, one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vase import build, config
from vase.bench import provenance
from vase.domains.canvas import Domain
from vase.lifelong.learner import Learner
from vase.probes.encode import encode
from vase.probes.evaluate import TEST_SEED, TRAIN_SEED
from vase.probes.readout import Examples, fit_mlp
from vase.training.folder import rounded, write_json
from vase.training.loop import observe

DATA = build.DataOptions()
SHUFFLED = "shuffled"
LEAST_R2 = 0.1  # of the shuffled model, below which a factor has no ratio
METHODS: Mapping[str, Sequence[str]] = {
    "in order": ["stream.order=consecutive", "memory.frames=0"],
    "in order, memory": ["stream.order=consecutive", "memory.use=always"],
    SHUFFLED: ["stream.order=shuffled", "memory.frames=0"],
}
ALONE = ["detection.rule=none", "masks.enabled=false", "replay.enabled=false"]


@dataclass(frozen=True)
class Course:
    """What is taught: a domain with an order, for `frames` frames; and the factors to be read."""

    domain: Mapping[str, Any]
    size: int
    frames: int
    factors: tuple[str, ...]


SPRITES = {"domain": "fashion-mnist", "shrink": 2, "moving": True, "lifetime": 100}
PLACE = ("x", "y", "pitch", "bearing")
COURSES = {
    "bouncing": Course(SPRITES, 32, 1_200 * 64, ("x", "y")),
    "pausing": Course({**SPRITES, "pause": 0.5}, 32, 1_200 * 64, ("x", "y")),
    "long lives": Course({**SPRITES, "lifetime": 1_000}, 32, 1_200 * 64, ("x", "y")),
    "hills": Course({"domain": "hills", "walk": True}, 64, 1_200 * 64, PLACE),
    "room": Course({"domain": "room", "walk": True}, 64, 1_200 * 64, PLACE),
}


def settings(course: Course, overrides: Sequence[str], batch: int, seed: int) -> config.Config:
    """The configuration of one model."""
    values = {
        "stream": {
            "batch_size": batch,
            "size": course.size,
            "schedule": [["domain", course.frames // batch]],
            "domains": {"domain": dict(course.domain)},
        },
        "model": {"space_to_depth": 2 if course.size < 64 else 4},
        "training": {"seed": seed, "accelerator": "cpu"},
    }
    return config.changed(values, [*ALONE, *overrides], "benchmarks/in_order.py")


def taught(asked: config.Config, say: Callable[[str], None]) -> tuple[Learner, float]:
    """A learner after the whole stream, and the seconds of computing that it took."""
    stream = build.stream(asked, DATA)
    learner = build.learner(asked, stream.shape)
    began = time.process_time()
    for seen in observe(learner, stream):
        if (seen.step + 1) % max(1, stream.schedule.steps // 4) == 0:
            say(f"  batch {seen.step + 1}: {time.process_time() - began:.0f} s")
    return learner, time.process_time() - began


def readouts(learner: Learner, asked: config.Config, factors: Sequence[str]) -> dict[str, Any]:
    """Identity as accuracy, factors as R^2 and squared error, and nats, on held-out images."""
    here, counts = learner.environments.present, asked.probes
    train, test = (_domain(asked, split) for split in ("train", "test"))
    known = encode(learner.average, train, counts.train, TRAIN_SEED)
    asked_of = encode(learner.average, test, counts.test, TEST_SEED, here)
    examples = [
        Examples(code.mean, code.labels, np.stack([code.factors[name] for name in factors], axis=1))
        for code in (known, asked_of)
    ]
    readout = fit_mlp(examples[0])
    truth = examples[1].position
    assert truth is not None
    errors = ((readout.position(examples[1].code) - truth) ** 2).mean(0)
    return {
        "identity": readout.score(examples[1]).identity,
        "r2": dict(zip(factors, (1 - errors / truth.var(0)).tolist(), strict=True)),
        "mse": dict(zip(factors, errors.tolist(), strict=True)),
        "reconstruction_nats": float(asked_of.distortion.mean()),
        "kl_nats": float(asked_of.rate.mean()),
    }


def _domain(asked: config.Config, split: Any) -> Domain:
    return build.domain("domain", asked.stream.domains["domain"], asked.stream.size, DATA, split)


def with_ratios(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs, each with its ratios to the shuffled model of its seed if there is one."""
    by_seed = {run["seed"]: run for run in runs if run["method"] == SHUFFLED}
    told = [
        name
        for name in runs[0]["r2"]
        if all(base["r2"][name] >= LEAST_R2 for base in by_seed.values())
    ]
    for run in runs:
        if base := by_seed.get(run["seed"]):
            run["ratio"] = {
                "identity": run["identity"] / base["identity"],
                **{name: run["r2"][name] / base["r2"][name] for name in told},
            }
            run["mse_ratio"] = {name: base["mse"][name] / run["mse"][name] for name in told}
    return runs


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each method the mean of every figure over seeds, and its smallest and largest ratio."""
    found: dict[str, Any] = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == method]
        line: dict[str, Any] = {
            "seeds": len(mine),
            "identity": statistics.mean(run["identity"] for run in mine),
        }
        for kind in ("r2", "mse"):
            names = mine[0][kind]
            line[kind] = {name: statistics.mean(run[kind][name] for run in mine) for name in names}
        for kind in ("ratio", "mse_ratio"):
            if all(kind in run for run in mine):
                line[kind] = {
                    name: spread([run[kind][name] for run in mine]) for name in mine[0][kind]
                }
        found[method] = line
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, smallest and largest."""
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values)}


def main() -> None:
    """Teach, read out, print a line for each model, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stream", choices=COURSES, default="bouncing")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=64, help="frames in a batch")
    parser.add_argument("--frames", type=int, help="of the stream; by default about a minute")
    parser.add_argument("-o", "--override", nargs="+", default=[], help="settings, key=value")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    course = COURSES[chosen.stream]
    course = Course(course.domain, course.size, chosen.frames or course.frames, course.factors)
    runs: list[dict[str, Any]] = []
    for seed in chosen.seeds:
        for method in chosen.methods:
            print(f"{chosen.stream}, {method}, seed {seed}", flush=True)
            overrides = [*METHODS[method], *chosen.override]
            asked = settings(course, overrides, chosen.batch, seed)
            learner, seconds = taught(asked, lambda line: print(line, flush=True))
            figures = readouts(learner, asked, course.factors)
            runs.append({"method": method, "seed": seed, **figures, "seconds": seconds})
            print(rounded(figures), flush=True)
    with_ratios(runs)
    record = {
        "stream": chosen.stream,
        "batch": chosen.batch,
        "frames": course.frames,
        "overrides": chosen.override,
        "versions": provenance.versions(),
        "code": provenance.code(),
        "summary": summary(runs),
        "runs": runs,
    }
    print(rounded(record["summary"]))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(chosen.out, rounded(record))


if __name__ == "__main__":
    main()
