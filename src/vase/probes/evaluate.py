"""Evaluates every milestone of a run with every probe, and writes `probes.json`.

It does not change the run. Every milestone sees the same images, so that two figures differ by the
model and not by the sample, and a second evaluation writes the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase import config as configuration
from vase.config import Config
from vase.domains.canvas import Domain
from vase.domains.stream import Schedule, Stream
from vase.errors import ConfigError, RunError
from vase.lifelong.effects import measure_effects
from vase.lifelong.environments import USED, Environment
from vase.memory_limit import machine_memory, refuse_above
from vase.probes import latents
from vase.probes.calibration import measure_calibration
from vase.probes.detection import LogRecord, matched_index, score_detection
from vase.probes.disentangled import disentanglement_scores, named_metrics
from vase.probes.encode import Code, Model, encode, load_model
from vase.probes.forgetting import summarise_forgetting
from vase.probes.readout import (
    FITTING,
    Examples,
    Readout,
    Score,
    chance_score,
    fit_linear,
    fit_mlp,
)
from vase.progress import Say, silent
from vase.settings import ProbeSettings
from vase.training.folder import RunFolder, read_events, read_metrics, rounded, write_json
from vase.version import __version__

Axes = tuple[str, str]  # the factors that are a position
POSITION: Axes = ("x", "y")

TRAIN_SEED, TEST_SEED = 101, 102  # of the images that are shown, apart from any run's own seed


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """What a run left behind, and the domains it saw, in both splits."""

    config: Config
    schedule: Schedule
    train: Mapping[str, Domain]
    test: Mapping[str, Domain]
    events: Sequence[LogRecord]
    metrics: Sequence[LogRecord]
    weights: Sequence[Path]


@dataclass(frozen=True, eq=False)
class DomainCodes:
    """Codes of one domain at one milestone: of its training images and of held-out ones."""

    train: Code
    test: Code


def evaluate_run(
    folder: RunFolder,
    data: build.DataOptions,
    *,
    progress: Say | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Evaluate a run with all probes, write its `probes.json`, and return the record.

    progress: receives a line for each milestone and domain. device: where networks run; by default
    the CPU. Raises `RunError` if the run has no weights.
    """
    # Sigmoids of saturated pixels and dead units are denormal numbers, slow on a CPU.
    torch.set_flush_denormal(True)
    run = open_run(folder, data)
    timeline, last, codes = _timeline(run, device or torch.device("cpu"), progress or silent)
    record: dict[str, Any] = rounded(_probes_record(run, timeline, last, codes))
    write_json(folder.probes, record)
    return record


def _probes_record(
    run: EvaluatedRun, timeline: list[dict[str, Any]], last: Model, codes: Mapping[str, DomainCodes]
) -> dict[str, Any]:
    """Everything that goes into `probes.json`, given the figures and codes of the milestones."""
    domains = _measure_latents(run, last, codes)
    steps = max(last.step, *(int(line["step"]) + 1 for line in run.metrics), 0)
    return {
        "vase_version": __version__,
        "seed": run.config.training.seed,
        "steps": steps,
        "schedule": [
            {"environment": segment.domain, "start": segment.start, "end": segment.end}
            for segment in run.schedule.segments
        ],
        "detection": score_detection(run.schedule, run.events, run.metrics, steps),
        "assignment": {name: matched_environment(run, last, name).index for name in codes},
        "timeline": timeline,
        "summary": {**summarise_forgetting(timeline), "chance": _chance_scores(codes)},
        "latents": _latents_record(run, domains),
        "calibration": _calibration_record(run, last, codes, domains),
    }


def open_run(folder: RunFolder, data: build.DataOptions) -> EvaluatedRun:
    """Open a run; its domains are built in both splits."""
    config = configuration.load(str(folder.config))
    weights = folder.milestones() or [path for path in [folder.checkpoint] if path.is_file()]
    if not weights:
        raise RunError(
            f"The run '{folder.path}' has no milestone and no checkpoint yet, so there is nothing "
            f"to probe. Train it further: vase resume {folder.path}"
        )
    train, test = (build.stream(config, data, split) for split in ("train", "test"))
    _refuse_unaffordable(config, train)
    return EvaluatedRun(
        config=config,
        schedule=train.schedule,
        train=train.domains,
        test=test.domains,
        events=read_events(folder),
        metrics=read_metrics(folder),
        weights=weights,
    )


def _refuse_unaffordable(config: Config, stream: Stream) -> None:
    """Raise a `ConfigError` where the images of one domain have no room."""
    images = config.probes.train + config.probes.test
    refuse_above(
        images * 4.0 * prod(stream.shape),
        machine_memory(),
        f"Probing on {images:,} images",
        "Choose a smaller probes.train and probes.test.",
        ConfigError,
    )


def domains_until(schedule: Schedule, step: int) -> list[str]:
    """The domains that have been on within the first `step` steps, in order of appearance."""
    return list(dict.fromkeys(s.domain for s in schedule.segments if s.start < step))


def _timeline(
    run: EvaluatedRun, device: torch.device, say: Say
) -> tuple[list[dict[str, Any]], Model, dict[str, DomainCodes]]:
    """The figures of every milestone; the last model and its codes."""
    shape = build.architecture(run.config, next(iter(run.train.values())).shape)
    frozen: dict[str, Readout] = {}
    earlier = [
        _milestone(run, load_model(path, shape, device), frozen, say)[0]
        for path in run.weights[:-1]
    ]
    last = load_model(run.weights[-1], shape, device)
    end, codes = _milestone(run, last, frozen, say)
    return [*earlier, end], last, codes


def _milestone(
    run: EvaluatedRun, model: Model, frozen: dict[str, Readout], say: Say
) -> tuple[dict[str, Any], dict[str, DomainCodes]]:
    """Figures and codes of every domain seen so far. `frozen` gets a readout of the present one."""
    codes, masks = {}, {}
    for name in domains_until(run.schedule, model.step):
        say(f"step {model.step:,} of {run.schedule.steps:,}: {name}")
        matched = matched_environment(run, model, name)
        masks[name] = matched.mask
        codes[name] = encode_domain(
            model, run.train[name], run.test[name], matched, run.config.probes
        )
    present = run.schedule.at(model.step - 1)
    due = {name: masks[name] for name in codes if name == present or name not in frozen}
    domains = _scores_side_by_side(codes, due, frozen)
    for name, scores in domains.items():
        if names := run.config.probes.metrics:
            scores["metrics"] = named_metrics(codes[name].test, names)
    return {"step": model.step, "domains": domains}, codes


def _scores_side_by_side(
    codes: Mapping[str, DomainCodes],
    due: Mapping[str, NDArray[np.bool_]],
    frozen: dict[str, Readout],
) -> dict[str, dict[str, Any]]:
    """The scores of domains at a milestone, their readouts fitted side by side.

    due: the masks of domains that get a new readout in `frozen`.
    """
    with FITTING, ThreadPoolExecutor(torch.get_num_threads()) as pool:
        made = {name: pool.submit(fit_frozen_readout, codes[name].train, due[name]) for name in due}
        scored = {name: pool.submit(_fresh_scores, pair) for name, pair in codes.items()}
        try:
            frozen |= {name: fit.result() for name, fit in made.items()}
            return {
                name: _figures(codes[name], scores.result(), frozen[name])
                for name, scores in scored.items()
            }
        finally:
            pool.shutdown(cancel_futures=True)  # what a failure or Ctrl-C leaves waiting


def encode_domain(
    model: Model, train: Domain, test: Domain, matched: Environment, counts: ProbeSettings
) -> DomainCodes:
    """Codes of one domain at one milestone."""
    return DomainCodes(
        train=encode(model.networks, train, counts.train, TRAIN_SEED),
        test=encode(model.networks, test, counts.test, TEST_SEED, matched),
    )


def matched_environment(run: EvaluatedRun, model: Model, name: str) -> Environment:
    """The environment matched to a domain: the one the learner believed in most while it was on.

    If that environment did not exist at the milestone: the one believed in most until then; without
    a log, the one believed in at the milestone.
    """
    known = {record.index: record for record in model.environments}
    for before in (None, model.step):
        index = matched_index(run.schedule, run.metrics, name, before)
        if index in known:
            return known[index]
    return model.environments.present


def fit_frozen_readout(train: Code, mask: NDArray[np.bool_], axes: Axes = POSITION) -> Readout:
    """A readout of the latents used here and now, to be scored again but never fitted again."""
    used = np.flatnonzero(mask & (train.kl >= USED))
    return fit_mlp(readout_examples(train, axes), used if len(used) else None)


def domain_scores(codes: DomainCodes, frozen: Readout) -> dict[str, Any]:
    """One domain's figures at one milestone."""
    return _figures(codes, _fresh_scores(codes), frozen)


def _fresh_scores(codes: DomainCodes) -> dict[str, Score]:
    """The scores of readouts that are fitted here and now."""
    train, test = readout_examples(codes.train), readout_examples(codes.test)
    return {"linear": fit_linear(train).score(test), "mlp": fit_mlp(train).score(test)}


def _figures(codes: DomainCodes, fresh: Mapping[str, Score], frozen: Readout) -> dict[str, Any]:
    """All that is measured of a domain, with the scores of readouts that were just fitted."""
    scores = {**fresh, "frozen": frozen.score(readout_examples(codes.test))}
    return {
        "identity": _scores_or_none({name: score.identity for name, score in scores.items()}),
        "position_mse": _scores_or_none(
            {name: score.position_mse for name, score in scores.items()}
        ),
        "reconstruction_nats": float(codes.test.distortion.mean(dtype=np.float64)),
        "kl_nats": float(codes.test.rate.mean(dtype=np.float64)),
        "disentanglement": disentanglement_scores(codes.test),
    }


def _scores_or_none(scores: Mapping[str, float | None]) -> Mapping[str, float | None] | None:
    """The scores of the readouts, or nothing where there is nothing to read."""
    return None if scores["mlp"] is None else scores


def readout_examples(code: Code, axes: Axes = POSITION) -> Examples:
    """A code with what a readout may be asked of it. axes: the factors that are a position."""
    position = None
    if set(axes) <= set(code.factors):
        position = np.stack([code.factors[name] for name in axes], axis=1)
    return Examples(code.mean, code.labels, position)


def _chance_scores(codes: Mapping[str, DomainCodes]) -> dict[str, float | None]:
    """The scores of guessing without a code, averaged over domains."""
    scores = [
        chance_score(readout_examples(pair.train), readout_examples(pair.test))
        for pair in codes.values()
    ]
    right = [score.identity for score in scores if score.identity is not None]
    errors = [score.position_mse for score in scores if score.position_mse is not None]
    return {
        "identity": float(np.mean(right)) if right else None,
        "position_mse": float(np.mean(errors)) if errors else None,
    }


def _calibration_record(
    run: EvaluatedRun,
    model: Model,
    codes: Mapping[str, DomainCodes],
    domains: Sequence[latents.DomainLatents],
) -> dict[str, Any]:
    """Calibration in every domain in which a latent encodes position."""
    return {
        domain.name: measure_calibration(
            model.networks, codes[domain.name].train, run.test[domain.name], domain.position_latents
        )
        for domain in domains
        if domain.position_latents
    }


def _measure_latents(
    run: EvaluatedRun, model: Model, codes: Mapping[str, DomainCodes]
) -> list[latents.DomainLatents]:
    found = []
    for name, pair in codes.items():
        matched = matched_environment(run, model, name)
        domain = latents.measure_latents(name, matched.index, matched.mask, pair.train, pair.test)
        effects = measure_effects(model.networks, matched, domain.used)
        found.append(replace(domain, effects=effects))
    return found


def _latents_record(run: EvaluatedRun, domains: Sequence[latents.DomainLatents]) -> dict[str, Any]:
    return {
        "count": run.config.model.latents,
        "domains": [domain.to_json() for domain in domains],
        "shared": latents.shared_latents(domains),
        "position": latents.position_record(domains),
    }
