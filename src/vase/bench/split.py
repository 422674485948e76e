"""`vase bench split`: Split-MNIST without labels or task boundaries: ten digits, one by one.

It reports how many environments the model creates, and how good the final model is for all ten
digits together, on images of the test split:

- the error of 10 nearest neighbours among codes of training images;
- the purity of clusters; the cluster of an image is the environment with the fewest nats for it;
- bits per dimension: those nats, plus log S to name the environment, over 784 pixels. Pixels are
  grey values, taken as expected values of Bernoulli draws; the border of the canvas counts too.
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
from vase.bench.page import spread, table
from vase.bench.seeds import SeedJob
from vase.domains.canvas import Domain
from vase.lifelong.environments import Environments
from vase.nets import Networks
from vase.probes.detection import score_detection
from vase.probes.encode import Code, encode
from vase.probes.evaluate import TEST_SEED, TRAIN_SEED
from vase.settings import DomainSettings, ProbeSettings
from vase.training.folder import read_json, read_lines, rounded, write_json

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
    """Return the share of test images whose 10 nearest training codes vote for a wrong class."""
    voters = KNeighborsClassifier(NEIGHBOURS).fit(train_code.mean, train_code.labels)
    return float(np.mean(voters.predict(test_code.mean) != test_code.labels))


def purity(clusters: Names, identity: Names) -> float:
    """Return the share of images in the majority class of their cluster: sum_c max_k n_ck / n."""
    return float(contingency_matrix(identity, clusters).max(axis=0).sum() / len(clusters))


def bits_per_dimension(nats: Numbers, dimensions: int = DIMENSIONS) -> float:
    """Return the mean of min_s nats[:, s] + log S in bits per pixel; nats: [B, S].

    An upper bound of -log p(x), p(x) = 1/S sum_s p(x | s): a sum is at least its largest term.
    """
    best = nats.min(axis=1) + math.log(nats.shape[1])
    return float(best.mean() / (dimensions * math.log(2)))


# ---- a run -------------------------------------------------------------------------------------


def run_seed(job: SeedJob) -> dict[str, Any]:
    """Train one seed and score it; return the raw record."""
    run = job.train()
    settings, folder, learner = run.settings, run.folder, run.learner
    schedule = build.stream(settings, job.data).schedule
    events, metrics = read_lines(folder.events), read_lines(folder.metrics)
    found = score_detection(schedule, events, metrics, learner.step)
    size, every = settings.stream.size, DomainSettings(domain="mnist")
    train = build.domain("all", every, size, job.data, "train")
    test = build.domain("all", every, size, job.data, "test")
    return {
        "seed": job.seed,
        "steps": learner.step,
        "environments": len(learner.environments),
        "missed": found["missed"],
        "false": len(found["false_alarms"]),
        "mean_delay": found["mean_delay"],
        **scores(learner.average, learner.environments, train, test, settings.probes),
        **run.provenance(),
    }


def scores(
    networks: Networks,
    environments: Environments,
    train: Domain,
    test: Domain,
    counts: ProbeSettings,
) -> dict[str, float]:
    """Return the scores for all digits together, given domains of all digits."""
    voters = encode(networks, train, counts.train, TRAIN_SEED)
    views = [encode(networks, test, counts.test, TEST_SEED, matched) for matched in environments]
    nats = np.stack([view.distortion + view.rate for view in views], axis=1).astype(np.float64)
    clusters, identity = nats.argmin(axis=1), views[0].labels
    return {
        "neighbour_error": neighbour_error(voters, views[0]),
        "purity": purity(clusters, identity),
        "adjusted_rand": float(adjusted_rand_score(identity, clusters)),
        "bits_per_dimension": bits_per_dimension(nats),
    }


def write_record(record: Mapping[str, Any], out: Path) -> None:
    """Write a raw file."""
    write_json(out / f"split-seed-{record['seed']}.json", rounded(record))


# ---- the page ----------------------------------------------------------------------------------


def read_records(folder: Path) -> list[Mapping[str, Any]]:
    """Return the raw records of a folder, by seed."""
    return [read_json(path) for path in sorted(folder.glob("split-seed-*.json"))]


def render_tables(folder: Path) -> str:
    """Return the tables of a folder's raw files, in Markdown."""
    return markdown(read_records(folder))


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with one row per seed, and a table of published results."""
    head = (
        "seed", "environments", "missed", "false", "delay, batches", f"{NEIGHBOURS}-NN error %",
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
    own = spread([record["bits_per_dimension"] for record in records], 4)
    known = [*PUBLISHED.items(), ("VASE, of the table above, not published", own)]
    others = table(("published", "bits per dimension"), known)
    return "\n\n".join([table(head, rows), others])
