"""`vase bench disentangle`: every metric of `vase.metrics`, world by world, then and now.

A stream of worlds whose factors are known. "Then" is the end of a world's last stay, "now" the end
of the stream, after other worlds: what a world's latents mean should not have changed. Factors are
those of `vase.probes.disentangled`, codes the posterior means of held-out images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build, metrics
from vase.bench.page import spread, table
from vase.bench.seeds import Job
from vase.lifelong.memory import USED
from vase.probes.disentangled import varying
from vase.probes.encode import Code, encode, load
from vase.probes.survey import TEST_SEED, home_of
from vase.probes.survey import read as read_run
from vase.training.folder import RunFolder, read_json, rounded, write_json

PRESETS = ("dsprites",)
ROWS = 1500  # images that the trees of DCI are shown, which take most of a minute over them

Codes = NDArray[np.float32]

# Fixed-factor scores and DCI compare factors, so they need two that vary.
TWO_FACTORS: Mapping[str, Callable[[Codes, NDArray[np.int64]], float]] = {
    "dci D": lambda codes, factors: metrics.dci(codes[:ROWS], factors[:ROWS]).disentanglement,
    "FactorVAE": metrics.factor_vae_score,
    "beta-VAE": metrics.beta_vae_score,
}
COLUMNS = ("MIG", "SAP", *TWO_FACTORS, "TC, nats", "active")


def measures(code: Code) -> dict[str, float | None]:
    """Every metric that takes one model's codes; None where it is undefined.

    Of the latents in use: TC, FactorVAE and beta-VAE, which the others' noise would drown.
    """
    factors = np.stack(list(varying(code).values()), axis=1)
    used = code.mean[:, code.kl >= USED]
    return {
        "MIG": metrics.mig(code.mean, factors).score,
        "SAP": metrics.sap(code.mean, factors, by="thresholds").score,
        **{
            name: score(used, factors) if min(factors.shape[1], used.shape[1]) > 1 else None
            for name, score in TWO_FACTORS.items()
        },
        "TC, nats": metrics.total_correlation(used) if used.shape[1] else 0.0,
        "active": float(used.shape[1]),
    }


# ---- a run -------------------------------------------------------------------------------------


def work(job: Job) -> dict[str, Any]:
    """Train one seed, or go on with it, and measure it: the raw record. Codes stay in its run."""
    run = job.trained()
    worlds = {}
    for name, (then, now) in _then_and_now(run.folder, job.data).items():
        np.savez(_codes(job.out, name, job.seed), mean=now.mean, kl=now.kl)
        before = measures(then)
        after = before if now is then else measures(now)
        worlds[name] = {"factors": list(varying(now)), "then": before, "now": after}
    origin = run.origin()
    return {
        "seed": job.seed,
        "steps": run.learner.step,
        "worlds": worlds,
        **origin,
        "minutes": origin["minutes"]["all"],
    }


def _then_and_now(folder: RunFolder, data: build.DataOptions) -> dict[str, tuple[Code, Code]]:
    """For every world its codes at the end of its last stay and at the end of the stream."""
    run = read_run(folder, data)
    shape = build.architecture(run.config, next(iter(run.test.values())).shape)
    models = [load(path, shape, torch.device("cpu")) for path in run.weights]
    ends = {stay.environment: stay.end for stay in run.schedule.stays}
    found = {}
    for name, end in ends.items():
        then = max((model for model in models if model.step <= end), key=lambda model: model.step)
        found[name] = tuple(
            encode(
                model.networks,
                run.test[name],
                run.config.probes.test,
                TEST_SEED,
                home_of(run, model, name),
            )
            for model in dict.fromkeys((then, models[-1]))
        )
    return {name: (codes[0], codes[-1]) for name, codes in found.items()}


def agreement(out: Path, names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[float]]:
    """UDR of every seed's model with the others', by world, from the codes kept beside the runs."""
    found = {}
    for name in names:
        kept = [dict(np.load(_codes(out, name, seed), allow_pickle=False)) for seed in seeds]
        codes, kl = [each["mean"] for each in kept], [each["kl"] for each in kept]
        found[name] = metrics.udr(codes, kl, threshold=USED).scores.tolist()
    return found


def write(record: Mapping[str, Any], out: Path) -> None:
    """Write a raw file, and beside it what only several seeds can tell, once there are several."""
    write_json(out / f"dsprites-seed-{record['seed']}.json", rounded(record))
    records, _ = read(out)
    seeds = [known["seed"] for known in records]
    if len(seeds) > 1:
        found = agreement(out, list(record["worlds"]), seeds)
        write_json(out / "udr.json", rounded({"seeds": seeds, "worlds": found}))


def _codes(out: Path, name: str, seed: int) -> Path:
    return out / "runs" / f"codes-{name}-{seed}.npz"


# ---- the page ----------------------------------------------------------------------------------


def read(folder: Path) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Sequence[float]]]:
    """The raw records of a folder by seed, and the agreement between seeds by world."""
    records = [read_json(path) for path in sorted(folder.glob("dsprites-seed-*.json"))]
    shared = folder / "udr.json"
    udr: dict[str, list[float]] = read_json(shared)["worlds"] if shared.is_file() else {}
    return records, udr


def tables(folder: Path) -> str:
    """What the raw files of a folder show."""
    return markdown(*read(folder))


def markdown(records: Sequence[Mapping[str, Any]], udr: Mapping[str, Sequence[float]]) -> str:
    """Two rows per world, then and now: mean and standard deviation over seeds."""
    rows = []
    for name, first in records[0]["worlds"].items():
        for when in ("then", "now"):
            found = [record["worlds"][name][when] for record in records]
            cells = [_spread([each[column] for each in found]) for column in COLUMNS]
            agreed = _spread(udr.get(name, [])) if when == "now" else "–"
            rows.append([f"{name} ({', '.join(first['factors'])})", when, *cells, agreed])
    return table(("world (factors)", "when", *COLUMNS, "UDR"), rows)


def _spread(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    return spread(numbers, 2) if numbers else "–"
