"""`vase bench disentangle`: every metric of `vase.metrics`, by domain, then and now.

The stream has domains with known factors. "Then" is the end of a domain's last segment, "now" the
end of the stream, after other domains: the meaning of a domain's latents should not have changed.
Factors have the values that the domain gives them, as in disentanglement_lib, up to `MAX_VALUES`
of them; others are in ten bins. Codes are the posterior means of held-out images, never samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build, metrics
from vase.bench import agreement
from vase.bench.page import spread, table
from vase.bench.seeds import SeedJob
from vase.domains.canvas import Domain
from vase.errors import ConfigError
from vase.lifelong.environments import USED
from vase.probes.disentangled import named_metrics, varying_factors
from vase.probes.encode import Code, encode, load_model, sample_images
from vase.probes.evaluate import TEST_SEED, matched_environment
from vase.probes.evaluate import open_run as read_run
from vase.records import GroundTruth
from vase.training.folder import RunFolder, read_json, rounded, write_json

MAX_VALUES = 64  # of a factor that is taken as it is
FEWEST = 64  # images of each value of a factor, as many as a vote of the FactorVAE score takes
MAX_DCI_IMAGES = 1500  # DCI fits trees, which takes most of a minute on these

Codes = NDArray[np.float32]

# Fixed-factor scores and DCI compare factors, so they need two that vary.
TWO_FACTORS: Mapping[str, Callable[[Codes, NDArray[np.int64]], float]] = {
    "dci D": lambda codes, factors: (
        metrics.dci(codes[:MAX_DCI_IMAGES], factors[:MAX_DCI_IMAGES]).disentanglement
    ),
    "FactorVAE": metrics.factor_vae_score,
    "beta-VAE": metrics.beta_vae_score,
}
COLUMNS = ("MIG", "SAP", *TWO_FACTORS, "TC, nats", "active")


def factor_values(code: Code | GroundTruth) -> dict[str, NDArray[np.int64]]:
    """The factors that vary, by name, [B] each, as small integers."""
    found = {}
    for name, bins in varying_factors(code).items():
        known, values = np.unique(code.factors.get(name, bins), return_inverse=True)
        found[name] = values if len(known) <= MAX_VALUES else bins
    return found


def metric_values(code: Code) -> dict[str, float | None]:
    """Return every metric that takes one model's codes; None if it is undefined.

    TC, FactorVAE and beta-VAE use only the latents in use, because noise of the others would
    dominate.
    """
    named = factor_values(code)
    factors = np.stack(list(named.values()), axis=1)
    used = code.mean[:, code.kl >= USED]
    mig = metrics.mig(code.mean, factors)
    return {
        "MIG": mig.score,
        "SAP": metrics.sap(code.mean, factors, by="thresholds").score,
        **{
            name: score(used, factors) if min(factors.shape[1], used.shape[1]) > 1 else None
            for name, score in TWO_FACTORS.items()
        },
        "TC, nats": metrics.total_correlation(used) if used.shape[1] else 0.0,
        "active": float(used.shape[1]),
        **{f"MIG of {name}": gap for name, gap in zip(named, mig.gaps.tolist(), strict=True)},
    }


# ---- a run -------------------------------------------------------------------------------------


def run_seed(job: SeedJob) -> dict[str, Any]:
    """Train one seed and measure it; return the raw record. The codes stay in its run folder.

    A `ConfigError` where the held-out images are too few to compare factors by, before training.
    """
    settings, _ = job.settings_and_folder()
    for domain in build.stream(settings, job.data, "test").domains.values():
        refuse_too_few(domain, settings.probes.test)
    run = job.train()
    domains = {}
    for name, (then, now) in _then_and_now(run.folder, job.data).items():
        more = run.settings.probes.metrics
        before = {**metric_values(then), **named_metrics(then, more)}
        after = before if now is then else {**metric_values(now), **named_metrics(now, more)}
        domains[name] = {"factors": list(factor_values(now)), "then": before, "now": after}
    agreement.write(job.out, _name(job.seed), agreement.codes_of(run.folder, job.data))
    origin = run.provenance()
    return {
        "seed": job.seed,
        "steps": run.learner.step,
        "domains": domains,
        **origin,
        "minutes": origin["minutes"]["all"],
    }


def refuse_too_few(domain: Domain, images: int) -> None:
    """Raise a `ConfigError` if a factor has a value that fewer images show than scores need."""
    truths = [truth for _, truth in sample_images(domain, images, TEST_SEED)]
    factors = {
        name: np.concatenate([truth.factors[name] for truth in truths])
        for name in truths[0].factors
    }
    labels = np.concatenate([truth.labels for truth in truths])
    for name, values in factor_values(GroundTruth(domain.name, labels, factors)).items():
        fewest = int(np.unique(values, return_counts=True)[1].min())
        if fewest < FEWEST:
            raise ConfigError(
                f"Of {images:,} held-out images of '{domain.name}' {fewest} show the same value of "
                f"{name}, and the FactorVAE score takes {FEWEST} at a time. Set probes.test to "
                f"{images * FEWEST // max(1, fewest):,} or more."
            )


def _then_and_now(folder: RunFolder, data: build.DataOptions) -> dict[str, tuple[Code, Code]]:
    """Return, per domain, its codes after its last segment and at the end of the stream."""
    run = read_run(folder, data)
    shape = build.architecture(run.config, next(iter(run.test.values())).shape)
    models = [load_model(path, shape, torch.device("cpu")) for path in run.weights]
    ends = {segment.domain: segment.end for segment in run.schedule.segments}
    found = {}
    for name, end in ends.items():
        then = max((model for model in models if model.step <= end), key=lambda model: model.step)
        found[name] = tuple(
            encode(
                model.networks,
                run.test[name],
                run.config.probes.test,
                TEST_SEED,
                matched_environment(run, model, name),
            )
            for model in dict.fromkeys((then, models[-1]))
        )
    return {name: (codes[0], codes[-1]) for name, codes in found.items()}


def write_record(record: Mapping[str, Any], out: Path) -> None:
    """Write a raw file; if there are several seeds, also the UDR between them."""
    write_json(out / f"{_name(record['seed'])}.json", rounded(record))
    records, _ = read_records(out)
    seeds = [known["seed"] for known in records]
    if len(seeds) > 1:
        found = agreement.agreement(out, [_name(seed) for seed in seeds])
        write_json(out / "udr.json", rounded({"seeds": seeds, "domains": found}))


def _name(seed: int) -> str:
    return f"dsprites-seed-{seed}"


# ---- the page ----------------------------------------------------------------------------------


def read_records(folder: Path) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Sequence[float]]]:
    """Return the raw records of a folder by seed, and the UDR by domain."""
    records = [read_json(path) for path in sorted(folder.glob("dsprites-seed-*.json"))]
    shared = folder / "udr.json"
    udr: dict[str, list[float]] = read_json(shared)["domains"] if shared.is_file() else {}
    return records, udr


def render_tables(folder: Path) -> str:
    """Return the tables of a folder's raw files, in Markdown."""
    return markdown(*read_records(folder))


def markdown(records: Sequence[Mapping[str, Any]], udr: Mapping[str, Sequence[float]]) -> str:
    """Return a table with two rows per domain, then and now: mean and deviation over seeds."""
    rows = []
    for name, first in records[0]["domains"].items():
        for when in ("then", "now"):
            found = [record["domains"][name][when] for record in records]
            cells = [spread((each[column] for each in found), 2) for column in COLUMNS]
            agreed = spread(udr.get(name, []), 2) if when == "now" else "–"
            rows.append([f"{name} ({', '.join(first['factors'])})", when, *cells, agreed])
    return table(("domain (factors)", "when", *COLUMNS, "UDR"), rows)


def by_factor(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the MIG of each factor, domains in rows, at the end of the stream."""
    domains = {
        name: [record["domains"][name]["now"] for record in records]
        for name in records[0]["domains"]
    }
    factors = list(
        dict.fromkeys(f for each in records[0]["domains"].values() for f in each["factors"])
    )
    rows = [
        [name, *(spread((each.get(f"MIG of {factor}") for each in found), 2) for factor in factors)]
        for name, found in domains.items()
    ]
    return table(("domain", *factors), rows)
