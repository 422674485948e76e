"""`vase bench explore`: exploring by imagination, compared with other policies.

Every seed is trained once, on a domain in which things move and a domain at rest: clothes and
digits, or hills and a room. Then agents explore the second domain with every policy: the same
environment, equally many steps, equally many batches. Before, during and after exploration, frozen
readouts are evaluated on that domain in motion, which no model has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vase import build, config
from vase.agent.exploration_run import ExplorationConfig, ExplorationRun
from vase.agent.policies import IMAGINATION as OURS
from vase.agent.policies import POLICIES
from vase.agent.zero_shot import unseen_domains
from vase.bench.ablation_page import interval
from vase.bench.page import spread, table
from vase.bench.seeds import SeedJob
from vase.domains.canvas import CanvasDomain
from vase.domains.rendered import RenderedDomain
from vase.report import exploration, style
from vase.training.checkpoint import write_bytes
from vase.training.folder import read_json, rounded, write_json

Record = Mapping[str, Any]

EXPLORED_DOMAINS = {
    "explore": "mnist",
    "explore-rooms": "room",
}  # by preset, the domain that agents explore
STEPS = 1000
POSITION_ERRORS = ("position_mse", "masked_position_mse")
# The statistics of goals, and the scale in which the table prints them.
GOAL_SCALES = {"reached": 100, "reached_in_twice": 100, "steps": 1, "fewest": 1, "error": 100}
FIGURE_SEED = 0  # the seed of the film and the maps


def prepare(preset: str, overrides: Sequence[str], data: build.DataOptions) -> None:
    """Prepare the evaluation data before the first seed; it is in no stream."""
    settings = config.load(preset, overrides)
    place = build.stream(settings, data, "test").domains[EXPLORED_DOMAINS[preset]]
    if isinstance(place, CanvasDomain | RenderedDomain):
        unseen_domains(place, data.progress)


def run_seed(job: SeedJob) -> dict[str, Any]:
    """Train one seed, explore with every policy, and return the raw record."""
    run = job.train()
    found = []
    for policy in POLICIES:
        config_ = ExplorationConfig(EXPLORED_DOMAINS[job.preset], {}, policy, STEPS, seed=job.seed)
        exploration_run = ExplorationRun(run.folder, job.data, config_)
        for _ in exploration_run.steps():
            pass
        found.append(exploration_run.record())
        if exploration_run.film and job.seed == FIGURE_SEED:
            write_bytes(job.out / "film.gif", exploration.animated_gif(exploration_run.film))
    return {
        "preset": job.preset,
        "seed": job.seed,
        "policies": found,
        **run.provenance(),
    }


def write_record(record: Record, out: Path) -> None:
    """Write a raw file."""
    write_json(out / f"seed-{record['seed']}.json", rounded(record))


def read_records(folder: Path) -> list[Record]:
    """Return the raw records of a folder, by seed."""
    records = [read_json(path) for path in folder.glob("seed-*.json")]
    return sorted(records, key=lambda record: int(record["seed"]))


def render_tables(folder: Path) -> str:
    """Return the tables of a folder's raw files, in Markdown; draw the figures, too."""
    records = read_records(folder)
    every = [policy for record in records for policy in record["policies"]]
    drawn = next((each for each in records if each["seed"] == FIGURE_SEED), records[0])
    write_bytes(folder / "places.png", style.png(exploration.plot_coverage(drawn["policies"])))
    write_bytes(folder / "worth.png", style.png(exploration.plot_zero_shot(every)))
    return markdown(records)


def markdown(records: Sequence[Record]) -> str:
    """Return the zero-shot table, the ratios to other policies, and the goal statistics."""
    return "\n\n".join([zero_shot_table(records), error_ratio_table(records), goal_table(records)])


def zero_shot_table(records: Sequence[Record]) -> str:
    """Return a row per policy and unseen domain: before, and at the end."""
    domains = list(_policy(records[0], OURS)["zero_shot"][0]["domains"])
    rows = []
    for domain in domains:
        rows.append([domain, "(before)", *_zero_shot_cells(records, OURS, domain, 0), "–"])
        for policy in POLICIES:
            share = [100 * _policy(record, policy)["coverage"]["share"][-1] for record in records]
            rows.append(
                [domain, policy, *_zero_shot_cells(records, policy, domain, -1), spread(share, 0)]
            )
    head = (
        "unseen domain", "policy", "position MSE, 1e-4", "masked, 1e-4", "identity, %", "nats",
        "coverage, %",
    )  # fmt: skip
    return table(head, rows)


def error_ratio_table(records: Sequence[Record]) -> str:
    """Return by which factor the position errors of other policies are larger, per seed."""
    rows = []
    for domain in _policy(records[0], OURS)["zero_shot"][0]["domains"]:
        for other in POLICIES:
            if other != OURS:
                ratios = [_ratio(records, other, domain, name) for name in POSITION_ERRORS]
                rows.append([domain, other, *ratios, len(records)])
    head = ("unseen domain", "policy", "its error over imagination's", "masked", "seeds")
    return table(head, rows)


def _ratio(records: Sequence[Record], other: str, domain: str, name: str) -> str:
    """Return the geometric mean over seeds with its 95 % interval."""
    found = interval(
        [
            math.log(_end(record, other, domain)[name] / _end(record, OURS, domain)[name])
            for record in records
        ]
    )
    mean, low, high = (f"{math.exp(x):.2f}" for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]" if len(records) > 1 else mean


def goal_table(records: Sequence[Record]) -> str:
    """Return statistics of imagined goals: of position, and of other latents."""
    rows = []
    for kind, is_position in (("position", True), ("other latents", False)):
        every = [
            [row for row in _policy(record, OURS)["goals"] if ("coordinate" in row) == is_position]
            for record in records
        ]
        seeds = [own for own in every if own]
        if seeds:
            names = (
                GOAL_SCALES
                if is_position
                else [name for name in GOAL_SCALES if name in ("reached", "steps")]
            )
            cells = [
                spread([scale * _mean(own, name) for own in seeds]) if name in names else "–"
                for name, scale in GOAL_SCALES.items()
            ]
            rows.append([kind, f"{sum(row['goals'] for own in seeds for row in own):,}", *cells])
    head = (
        "imagined", "goals", "reached, %", "in twice the min. steps, %", "steps", "min. steps",
        "median error, % of travel",
    )  # fmt: skip
    return table(head, rows)


def _mean(rows: Sequence[Record], name: str) -> float:
    """Return the mean of a figure over latents, weighted by their numbers of goals."""
    known = [row for row in rows if row[name] is not None]
    return float(np.average([row[name] for row in known], weights=[row["goals"] for row in known]))


def _policy(record: Record, name: str) -> Record:
    found: Record = next(each for each in record["policies"] if each["policy"] == name)
    return found


def _zero_shot_cells(records: Sequence[Record], policy: str, domain: str, entry: int) -> list[str]:
    scores = [_policy(record, policy)["zero_shot"][entry]["domains"][domain] for record in records]
    return [
        spread((each["position_mse"] for each in scores), scale=1e4),
        spread((each["masked_position_mse"] for each in scores), scale=1e4),
        spread((each["identity"] for each in scores), scale=100),
        spread((each["reconstruction_nats"] for each in scores), 0),
    ]


def _end(record: Record, policy: str, domain: str) -> Record:
    end: Record = _policy(record, policy)["zero_shot"][-1]["domains"][domain]
    return end
