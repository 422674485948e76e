"""`vase bench split`: Split-MNIST without labels. Ten digits arrive one by one, and nobody says so.

How many environments were found, and what is known at the end of all ten digits together, on images
of the test split:

- the error of 10 nearest neighbours among codes of training images;
- the purity of clusters, an image's cluster being the environment that describes it in the fewest
  nats;
- bits per dimension: the nats of that description, and log S for naming it, over 784 pixels. Pixels
  are grey, taken as expected values of Bernoulli draws; the border of the canvas is paid for too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsClassifier

from vase import build
from vase.bench.page import table
from vase.bench.seeds import Job
from vase.config import ProbeConfig, WorldConfig
from vase.lifelong.memory import Memory
from vase.nets import Networks
from vase.probes.detection import detection
from vase.probes.encode import Code, encode
from vase.probes.survey import TEST_SEED, TRAIN_SEED
from vase.training.folder import read_json, read_lines, rounded, write_json
from vase.worlds.canvas import World

PRESETS = ("split-mnist",)
NEIGHBOURS = 10
DIMENSIONS = 28 * 28

# Bits per dimension as listed in the README of CN-DPM (Lee et al. 2020), models of other sizes.
PUBLISHED: Mapping[str, float] = {
    "trained offline on all digits": 0.1806,
    "trained online on all digits": 0.2156,
    "fine-tuned digit by digit": 0.2817,
    "reservoir of stored images": 0.2234,
    "CN-DPM": 0.2110,
}

Numbers = NDArray[np.float64]
Names = NDArray[np.int64]


# ---- scores ------------------------------------------------------------------------------------


def neighbour_error(train_code: Code, test_code: Code) -> float:
    """Share of test images whose 10 nearest training codes vote for another identity."""
    voters = KNeighborsClassifier(NEIGHBOURS).fit(train_code.mean, train_code.identity)
    return float(np.mean(voters.predict(test_code.mean) != test_code.identity))


def purity(clusters: Names, identity: Names) -> float:
    """Share of images that are of their cluster's commonest identity: sum_c max_k n_ck / n."""
    return float(contingency_matrix(identity, clusters).max(axis=0).sum() / len(clusters))


def bits_per_dimension(nats: Numbers, dimensions: int = DIMENSIONS) -> float:
    """Mean of min_s nats[:, s] + log S in bits per pixel, for descriptions nats [B, S].

    An upper bound of -log p(x), p(x) = 1/S sum_s p(x | s): a sum is at least its largest term.
    """
    best = nats.min(axis=1) + math.log(nats.shape[1])
    return float(best.mean() / (dimensions * math.log(2)))


# ---- a run -------------------------------------------------------------------------------------


def work(job: Job) -> dict[str, Any]:
    """Train one seed, or go on with it, and score it: the raw record."""
    run = job.trained()
    settings, folder, learner = run.settings, run.folder, run.learner
    schedule = build.stream(settings, job.data).schedule
    events, metrics = read_lines(folder.events), read_lines(folder.metrics)
    found = detection(schedule, events, metrics, learner.step)
    size, every = settings.stream.size, WorldConfig(sprites="mnist")
    train = build.world("all", every, size, job.data, "train")
    test = build.world("all", every, size, job.data, "test")
    return {
        "seed": job.seed,
        "steps": learner.step,
        "environments": len(learner.memory.environments),
        "missed": found["missed"],
        "false": len(found["false_alarms"]),
        "mean_delay": found["mean_delay"],
        **scores(learner.average, learner.memory, train, test, settings.probes),
        **run.origin(),
    }


def scores(
    networks: Networks, memory: Memory, train: World, test: World, counts: ProbeConfig
) -> dict[str, float]:
    """What is known of all digits together, given worlds of them all."""
    voters = encode(networks, train, counts.train, TRAIN_SEED)
    views = [encode(networks, test, counts.test, TEST_SEED, home) for home in memory.environments]
    nats = np.stack([view.distortion + view.rate for view in views], axis=1).astype(np.float64)
    clusters, identity = nats.argmin(axis=1), views[0].identity
    return {
        "neighbour_error": neighbour_error(voters, views[0]),
        "purity": purity(clusters, identity),
        "adjusted_rand": float(adjusted_rand_score(identity, clusters)),
        "bits_per_dimension": bits_per_dimension(nats),
    }


def write(record: Mapping[str, Any], out: Path) -> None:
    """Write a raw file."""
    write_json(out / f"split-seed-{record['seed']}.json", rounded(record))


# ---- the page ----------------------------------------------------------------------------------


def read(folder: Path) -> list[Mapping[str, Any]]:
    """The raw records of a folder, by seed."""
    return [read_json(path) for path in sorted(folder.glob("split-seed-*.json"))]


def tables(folder: Path) -> str:
    """What the raw files of a folder show."""
    return markdown(read(folder))


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """One row per seed, and what others have published."""
    head = (
        "seed", "environments", "missed", "false", "delay, batches", "10-NN error %",
        "cluster purity %", "adjusted Rand", "bits per dimension",
    )  # fmt: skip
    rows = [
        [
            record["seed"],
            record["environments"],
            record["missed"],
            record["false"],
            f"{record['mean_delay']:.1f}" if record["mean_delay"] is not None else "–",
            f"{100 * record['neighbour_error']:.1f}",
            f"{100 * record['purity']:.1f}",
            f"{record['adjusted_rand']:.2f}",
            f"{record['bits_per_dimension']:.4f}",
        ]
        for record in records
    ]
    others = table(("published", "bits per dimension"), [[k, v] for k, v in PUBLISHED.items()])
    return "\n\n".join([table(head, rows), others])
