"""`vase bench explore`: what is exploring by imagination worth, and beside what?

Every seed is trained once on a world in which things move, and one that is at rest: clothes and
digits, or hills and a room. Then agents stand in the second, once with every policy: the same
environment, as many steps, as many batches learnt. Before, on the way and after, frozen readouts
are asked about that world in motion, which no model has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vase import build, config
from vase.agent.expedition import Expedition, Route
from vase.agent.judge import combined
from vase.agent.policies import IMAGINATION as OURS
from vase.agent.policies import POLICIES
from vase.bench.ablation_page import interval
from vase.bench.page import spread, table
from vase.bench.seeds import Job
from vase.report import exploration, style
from vase.training.checkpoint import write_bytes
from vase.training.folder import read_json, rounded, write_json
from vase.worlds.canvas import CanvasWorld
from vase.worlds.rendered import RenderedWorld

Record = Mapping[str, Any]

PLACES = {"explore": "mnist", "explore-rooms": "room"}  # by preset, where agents stand
STEPS = 1000
ERRORS = ("position_mse", "masked_position_mse")
# What is told of goals, and the scale that it is printed in.
GOALS = {"reached": 100, "reached_in_twice": 100, "steps": 1, "fewest": 1, "error": 100}
DRAWN = 0  # the seed that the film and the maps are of


def prepare(preset: str, overrides: Sequence[str], data: build.DataOptions) -> None:
    """See to it that what is judged by is there before the first seed; it is in no stream."""
    settings = config.load(preset, overrides)
    place = build.stream(settings, data, "test").worlds[PLACES[preset]]
    if isinstance(place, CanvasWorld | RenderedWorld):
        combined(place, data.progress)


def work(job: Job) -> dict[str, Any]:
    """Train one seed, or go on with it, and explore with every policy: the raw record."""
    run = job.trained()
    found = []
    for policy in POLICIES:
        route = Route(PLACES[job.preset], {}, policy, STEPS, seed=job.seed)
        expedition = Expedition(run.folder, job.data, route)
        for _ in expedition.moments():
            pass
        found.append(expedition.record())
        if expedition.film and job.seed == DRAWN:
            write_bytes(job.out / "film.gif", exploration.film(expedition.film))
    return {
        "preset": job.preset,
        "seed": job.seed,
        "policies": found,
        **run.origin(),
    }


def write(record: Record, out: Path) -> None:
    """Write a raw file."""
    write_json(out / f"seed-{record['seed']}.json", rounded(record))


def read(folder: Path) -> list[Record]:
    """The raw records of a folder, by seed."""
    records = [read_json(path) for path in folder.glob("seed-*.json")]
    return sorted(records, key=lambda record: int(record["seed"]))


def tables(folder: Path) -> str:
    """What the raw files of a folder show; draws them, too."""
    records = read(folder)
    every = [policy for record in records for policy in record["policies"]]
    drawn = next((each for each in records if each["seed"] == DRAWN), records[0])
    write_bytes(folder / "places.png", style.png(exploration.places(drawn["policies"])))
    write_bytes(folder / "worth.png", style.png(exploration.worth(every)))
    return markdown(records)


def markdown(records: Sequence[Record]) -> str:
    """Worth, how much better than other policies, goals, and how much was seen."""
    return "\n\n".join([worth(records), gains(records), goals(records)])


def worth(records: Sequence[Record]) -> str:
    """A row per policy and world never seen, at the end; and before anything was explored."""
    worlds = list(_policy(records[0], OURS)["zero_shot"][0]["worlds"])
    rows = []
    for world in worlds:
        rows.append([world, "(before)", *_told(records, OURS, world, 0), "–"])
        for policy in POLICIES:
            share = [100 * _policy(record, policy)["coverage"]["share"][-1] for record in records]
            rows.append([world, policy, *_told(records, policy, world, -1), spread(share, 0)])
    head = (
        "never seen", "policy", "position MSE, 1e-4", "masked, 1e-4", "identity, %", "nats",
        "places seen, %",
    )  # fmt: skip
    return table(head, rows)


def gains(records: Sequence[Record]) -> str:
    """How many times lower position errors are than with other policies, paired by seed."""
    rows = []
    for world in _policy(records[0], OURS)["zero_shot"][0]["worlds"]:
        for other in POLICIES:
            if other != OURS:
                told = [_ratio(records, other, world, name) for name in ERRORS]
                rows.append([world, other, *told, len(records)])
    head = ("never seen", "policy", "its error over imagination's", "masked", "seeds")
    return table(head, rows)


def _ratio(records: Sequence[Record], other: str, world: str, name: str) -> str:
    """The geometric mean over seeds with its 95 % interval."""
    found = interval(
        [
            math.log(_end(record, other, world)[name] / _end(record, OURS, world)[name])
            for record in records
        ]
    )
    mean, low, high = (f"{math.exp(x):.2f}" for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]" if len(records) > 1 else mean


def goals(records: Sequence[Record]) -> str:
    """What became of imagined goals: of position, and of whatever else was imagined."""
    rows = []
    for kind, told in (("position", True), ("other latents", False)):
        every = [
            [row for row in _policy(record, OURS)["goals"] if ("coordinate" in row) == told]
            for record in records
        ]
        seeds = [own for own in every if own]
        if seeds:
            names = GOALS if told else [name for name in GOALS if name in ("reached", "steps")]
            cells = [
                spread([scale * _mean(own, name) for own in seeds]) if name in names else "–"
                for name, scale in GOALS.items()
            ]
            rows.append([kind, f"{sum(row['goals'] for own in seeds for row in own):,}", *cells])
    head = (
        "imagined", "goals", "reached, %", "in twice the fewest steps, %", "steps", "fewest steps",
        "median error, % of travel",
    )  # fmt: skip
    return table(head, rows)


def _mean(rows: Sequence[Record], name: str) -> float:
    """A figure over latents, each weighing as much as it has goals."""
    known = [row for row in rows if row[name] is not None]
    return float(np.average([row[name] for row in known], weights=[row["goals"] for row in known]))


def _policy(record: Record, name: str) -> Record:
    found: Record = next(each for each in record["policies"] if each["policy"] == name)
    return found


def _told(records: Sequence[Record], policy: str, world: str, entry: int) -> list[str]:
    told = [_policy(record, policy)["zero_shot"][entry]["worlds"][world] for record in records]
    return [
        spread([1e4 * each["position_mse"] for each in told]),
        spread([1e4 * each["masked_position_mse"] for each in told]),
        spread([100 * (each["identity"] or math.nan) for each in told]),
        spread([each["reconstruction_nats"] for each in told], 0),
    ]


def _end(record: Record, policy: str, world: str) -> Record:
    end: Record = _policy(record, policy)["zero_shot"][-1]["worlds"][world]
    return end
