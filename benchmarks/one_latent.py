"""Is each coordinate in one latent, and in no other?

    python benchmarks/one_latent.py runs/quick-* [--out results/one-latent/quick.json]

Of each run's last model, on held-out images of every domain that moves: the latent that knows most
of x and of y, the R^2 of the best monotone function of it (isotonic regression, fitted on training
images), and the largest mutual information that any other latent in use has with the coordinate, as
a share of that latent's. A coordinate is in one latent where R^2 is `MONOTONE` or more, that share
is `OTHERS` or less, and the other coordinate has another latent.

A latent that is not in use is left out: with a KL of 0.01 nats no sample of it tells more than 0.01
nats of anything, though its mean, which varies by a hundredth of its deviation, may seem to.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from vase import build, metrics
from vase.bench import provenance
from vase.lifelong.environments import USED
from vase.probes.disentangled import varying_factors
from vase.probes.encode import Code, encode
from vase.probes.evaluate import POSITION, TEST_SEED, TRAIN_SEED, open_run
from vase.probes.translation import load_last_model
from vase.training.folder import RunFolder, rounded, write_json

IMAGES = 10_000
MONOTONE, OTHERS = 0.95, 0.1

Array = NDArray[np.floating[Any]]


def coordinate(train: Code, test: Code, name: str) -> dict[str, Any]:
    """Where a coordinate is: its latent, the R^2 of a monotone readout, what the others know."""
    values = np.unique(test.factors[name], return_inverse=True)[1]
    found = metrics.mig(test.mean, values[:, None])
    nats = np.asarray(found.information)[:, 0] * (test.kl >= USED)
    latent = int(nats.argmax())
    others = np.delete(nats, latent)
    return {
        "latent": latent,
        "r2": monotone_r2(
            train.mean[:, latent], train.factors[name], test.mean[:, latent], test.factors[name]
        ),
        "others": float(others.max() / nats[latent]),
    }


def monotone_r2(code: Array, factor: Array, asked: Array, true: Array) -> float:
    """R^2 on held-out images of the best monotone function, rising or falling."""
    fit = IsotonicRegression(increasing="auto", out_of_bounds="clip").fit(code, factor)
    error = np.square(fit.predict(asked) - true).mean()
    return float(1 - error / true.var())


def in_one_latent(found: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every coordinate is in one latent, and each in another."""
    apart = len({each["latent"] for each in found.values()}) == len(found)
    return apart and all(
        each["r2"] >= MONOTONE and each["others"] <= OTHERS for each in found.values()
    )


def measured(folder: RunFolder) -> dict[str, Any]:
    """The coordinates in every domain of a run in which there are any."""
    run = open_run(folder, build.DataOptions())
    model = load_last_model(run, folder)
    domains = {}
    for name in run.train:
        test = encode(model.networks, run.test[name], IMAGES, TEST_SEED)
        if set(POSITION) <= set(varying_factors(test)):
            train = encode(model.networks, run.train[name], IMAGES, TRAIN_SEED)
            domains[name] = {axis: coordinate(train, test, axis) for axis in POSITION}
    apart = bool(domains) and all(in_one_latent(found) for found in domains.values())
    return {"seed": run.config.training.seed, "domains": domains, "in one latent": apart}


def main() -> None:
    """Measure runs, print a line for each domain, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    runs = [path for path in chosen.runs if path.is_dir()]  # their logs lie beside them
    found = {path.name: measured(RunFolder(path)) for path in runs}
    for name, each in found.items():
        for domain, axes in each["domains"].items():
            cells = "; ".join(
                f"{axis}: z{at['latent']}, R2 {at['r2']:.3f}, others {at['others']:.2f}"
                for axis, at in axes.items()
            )
            print(f"{name}, {domain}: {cells}; {'yes' if in_one_latent(axes) else 'no'}")
    print(f"{sum(each['in one latent'] for each in found.values())} of {len(found)}")
    if chosen.out:
        write_json(chosen.out, rounded({"code": provenance.code(), "runs": found}))


if __name__ == "__main__":
    main()
