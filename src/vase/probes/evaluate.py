"""The survey: every probe, asked of every milestone of a run, into `probes.json`.

Read-only to the run itself. The same images are shown at every milestone, so that two figures
differ by the model and not by the sample, and two runs of the survey give the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import __version__, build
from vase import config as configuration
from vase.config import Config
from vase.domains.canvas import Domain
from vase.domains.stream import Schedule
from vase.errors import RunError
from vase.lifelong.environments import USED, Environment
from vase.probes import latents
from vase.probes.calibration import calibration
from vase.probes.detection import Line, assigned, detection
from vase.probes.disentangled import disentanglement, named_metrics
from vase.probes.encode import Code, Model, encode, load
from vase.probes.forgetting import summary
from vase.probes.readout import Examples, Readout, chance, fit_linear, fit_mlp
from vase.settings import ProbeSettings
from vase.training.folder import RunFolder, read_lines, rounded, write_json

Axes = tuple[str, str]  # the factors that are a position
POSITION: Axes = ("x", "y")

TRAIN_SEED, TEST_SEED = 101, 102  # of the images that are shown, apart from any run's own seed


@dataclass(frozen=True, eq=False)
class Run:
    """What a run left behind, and the domains it saw, in both splits."""

    config: Config
    schedule: Schedule
    train: Mapping[str, Domain]
    test: Mapping[str, Domain]
    events: Sequence[Line]
    metrics: Sequence[Line]
    weights: Sequence[Path]


@dataclass(frozen=True, eq=False)
class Pair:
    """Codes of one domain at one milestone: of its training images and of held-out ones."""

    train: Code
    test: Code


def evaluate_run(
    folder: RunFolder,
    data: build.DataOptions,
    *,
    progress: Callable[[str], None] | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Ask everything of a run, write its `probes.json`, and return what was written.

    progress: told in one line about each milestone and domain. device: where networks run; the CPU
    unless given. A `RunError` says what the run lacks.
    """
    # Sigmoids of saturated pixels and dead units are denormal numbers, slow on a CPU.
    torch.set_flush_denormal(True)
    run = read(folder, data)
    timeline, last, codes = _timeline(run, device or torch.device("cpu"), progress or _silent)
    record: dict[str, Any] = rounded(_record(run, timeline, last, codes))
    write_json(folder.probes, record)
    return record


def _record(
    run: Run, timeline: list[dict[str, Any]], last: Model, codes: Mapping[str, Pair]
) -> dict[str, Any]:
    """Everything that goes into `probes.json`, given the figures and codes of the milestones."""
    domains = _measured(run, last, codes)
    steps = max(last.step, *(int(line["step"]) + 1 for line in run.metrics), 0)
    return {
        "vase_version": __version__,
        "seed": run.config.training.seed,
        "steps": steps,
        "schedule": [
            {"environment": segment.domain, "start": segment.start, "end": segment.end}
            for segment in run.schedule.segments
        ],
        "detection": detection(run.schedule, run.events, run.metrics, steps),
        "assignment": {name: matched_environment(run, last, name).index for name in codes},
        "timeline": timeline,
        "summary": {**summary(timeline), "chance": _chance(codes)},
        "latents": _latents(run, domains),
        "calibration": _calibration(run, last, codes, domains),
    }


def read(folder: RunFolder, data: build.DataOptions) -> Run:
    """Open a run; its domains are built in both splits."""
    config = configuration.load(str(folder.config))
    weights = folder.milestones() or [path for path in [folder.checkpoint] if path.is_file()]
    if not weights:
        raise RunError(
            f"The run '{folder.path}' has no milestone and no checkpoint yet, so there is nothing "
            f"to probe. Train it further: vase resume {folder.path}"
        )
    train, test = (build.stream(config, data, split) for split in ("train", "test"))
    return Run(
        config=config,
        schedule=train.schedule,
        train=train.domains,
        test=test.domains,
        events=read_lines(folder.events),
        metrics=read_lines(folder.metrics),
        weights=weights,
    )


def seen(schedule: Schedule, step: int) -> list[str]:
    """The domains that have been on within the first `step` steps, in order of appearance."""
    return list(dict.fromkeys(s.domain for s in schedule.segments if s.start < step))


def _timeline(
    run: Run, device: torch.device, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], Model, dict[str, Pair]]:
    """The figures of every milestone; the last model and its codes."""
    shape = build.architecture(run.config, next(iter(run.train.values())).shape)
    frozen: dict[str, Readout] = {}
    earlier = [
        _milestone(run, load(path, shape, device), frozen, say)[0] for path in run.weights[:-1]
    ]
    last = load(run.weights[-1], shape, device)
    end, codes = _milestone(run, last, frozen, say)
    return [*earlier, end], last, codes


def _milestone(
    run: Run, model: Model, frozen: dict[str, Readout], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Pair]]:
    """Figures and codes of every domain seen so far. `frozen` gets a readout of the present one."""
    codes, domains = {}, {}
    for name in seen(run.schedule, model.step):
        say(f"step {model.step:,} of {run.schedule.steps:,}: {name}")
        matched = matched_environment(run, model, name)
        codes[name] = pair(model, run.train[name], run.test[name], matched, run.config.probes)
        present = run.schedule.at(model.step - 1) == name
        if present or name not in frozen:
            frozen[name] = frozen_readout(codes[name].train, matched.mask)
        domains[name] = figures(codes[name], frozen[name])
        if names := run.config.probes.metrics:
            domains[name]["metrics"] = named_metrics(codes[name].test, names)
    return {"step": model.step, "domains": domains}, codes


def pair(
    model: Model, train: Domain, test: Domain, matched: Environment, counts: ProbeSettings
) -> Pair:
    """Codes of one domain at one milestone."""
    return Pair(
        train=encode(model.networks, train, counts.train, TRAIN_SEED),
        test=encode(model.networks, test, counts.test, TEST_SEED, matched),
    )


def matched_environment(run: Run, model: Model, name: str) -> Environment:
    """The record of the environment that a domain was assigned to.

    At a milestone where that environment was not known yet: the one the learner had mostly stood
    in by then; and if the log does not tell, the one it stood in at the milestone.
    """
    known = {record.index: record for record in model.environments}
    for before in (None, model.step):
        index = assigned(run.schedule, run.metrics, name, before)
        if index in known:
            return known[index]
    return model.environments.present


def frozen_readout(train: Code, mask: NDArray[np.bool_], axes: Axes = POSITION) -> Readout:
    """A readout of the latents used here and now, to be scored again but never fitted again."""
    used = np.flatnonzero(mask & (train.kl >= USED))
    return fit_mlp(examples(train, axes), used if len(used) else None)


def figures(codes: Pair, frozen: Readout) -> dict[str, Any]:
    """One domain's figures at one milestone."""
    train, test = examples(codes.train), examples(codes.test)
    scores = {
        "linear": fit_linear(train).score(test),
        "mlp": fit_mlp(train).score(test),
        "frozen": frozen.score(test),
    }
    return {
        "identity": _told({name: score.identity for name, score in scores.items()}),
        "position_mse": _told({name: score.position_mse for name, score in scores.items()}),
        "reconstruction_nats": float(codes.test.distortion.mean(dtype=np.float64)),
        "kl_nats": float(codes.test.rate.mean(dtype=np.float64)),
        "disentanglement": disentanglement(codes.test),
    }


def _told(scores: Mapping[str, float | None]) -> Mapping[str, float | None] | None:
    """The scores of the readouts, or nothing where there is nothing to read."""
    return None if scores["mlp"] is None else scores


def examples(code: Code, axes: Axes = POSITION) -> Examples:
    """A code with what a readout may be asked of it. axes: the factors that are a position."""
    position = None
    if set(axes) <= set(code.factors):
        position = np.stack([code.factors[name] for name in axes], axis=1)
    return Examples(code.mean, code.labels, position)


def _chance(codes: Mapping[str, Pair]) -> dict[str, float | None]:
    """What guessing without a code would score, the mean over domains."""
    scores = [chance(examples(pair.train), examples(pair.test)) for pair in codes.values()]
    right = [score.identity for score in scores if score.identity is not None]
    errors = [score.position_mse for score in scores if score.position_mse is not None]
    return {
        "identity": float(np.mean(right)) if right else None,
        "position_mse": float(np.mean(errors)) if errors else None,
    }


def _calibration(
    run: Run, model: Model, codes: Mapping[str, Pair], domains: Sequence[latents.DomainLatents]
) -> dict[str, Any]:
    """How well variance foretells error, in every domain whose position is told by some latent."""
    return {
        domain.name: calibration(
            model.networks, codes[domain.name].train, run.test[domain.name], domain.placing
        )
        for domain in domains
        if domain.placing
    }


def _measured(run: Run, model: Model, codes: Mapping[str, Pair]) -> list[latents.DomainLatents]:
    found = []
    for name, pair in codes.items():
        matched = matched_environment(run, model, name)
        found.append(latents.measure(name, matched.index, matched.mask, pair.train, pair.test))
    return found


def _latents(run: Run, domains: Sequence[latents.DomainLatents]) -> dict[str, Any]:
    return {
        "count": run.config.model.latents,
        "domains": [domain.to_json() for domain in domains],
        "shared": latents.shared(domains),
        "position": latents.position(domains),
    }


def _silent(line: str) -> None:
    """Tell nobody."""
