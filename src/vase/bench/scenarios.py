"""Named streams that are hard for change detection, with real images on a canvas of 32 x 32.

A scenario defines its domains, their schedule, and how the stream is corrupted. All scenarios use
the same small networks, and take about a minute on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vase import build
from vase.config import Config, nested, parse
from vase.domains.canvas import CanvasDomain
from vase.domains.hostile import Drifting, Endless, Glitched, Ramped
from vase.domains.stream import Batches, Segment, Stream
from vase.domains.stream import Schedule as Segments

Domain = Mapping[str, Any]
Schedule = tuple[tuple[str, int], ...]
Wrap = Callable[[Stream, int], Batches]

DIGITS: Domain = {"domain": "mnist", "shrink": 2}
CLOTHES: Domain = {"domain": "fashion-mnist", "shrink": 2}
MOVING: Domain = {"moving": True}

DOMAINS: Mapping[str, Domain] = {
    "moving-fashion": {**CLOTHES, **MOVING},
    "fashion": CLOTHES,
    "turned-fashion": {**CLOTHES, **MOVING, "turn": 1},
    "dim-fashion": {**CLOTHES, **MOVING, "brightness": 0.5},
    "inverted-fashion": {**CLOTHES, "inverted": True},
    "trousers": {**CLOTHES, "classes": [1]},
    "moving-mnist": {**DIGITS, **MOVING},
    "mnist": DIGITS,
    "turned-mnist": {**DIGITS, **MOVING, "turn": 1},
    "left-mnist": {**DIGITS, **MOVING, "columns": [0.0, 0.4]},
    "inverted-mnist": {**DIGITS, **MOVING, "inverted": True},
    "threes": {**DIGITS, **MOVING, "classes": [3]},
    "grey-mnist": {**DIGITS, **MOVING, "channels": 3, "hue": "none"},
    "red-mnist": {**DIGITS, **MOVING, "channels": 3, "hue": 0.0},
    **{f"digit-{k}": {**DIGITS, "classes": [k]} for k in range(10)},
    **{f"garment-{k}": {**CLOTHES, "classes": [k]} for k in range(10)},
}
SUITE = tuple(list(DOMAINS)[:12])

RUN_LENGTH = 100_000.0  # batches between false alarms

NETWORKS = {
    "stream.size": 32,
    "training.accelerator": "cpu",
    "detection.target_arl": RUN_LENGTH,
    "model.encoder_channels": 32,
    "model.decoder_channels": 48,
    "model.hidden": 128,
    "objective.c_increment": 0.03,
    "probes.train": 2000,
    "probes.test": 2000,
}


def as_it_is(stream: Stream, seed: int) -> Batches:  # noqa: ARG001
    """Return the stream unchanged."""
    return stream


@dataclass(frozen=True)
class Scenario:
    """One kind of stream.

    why: what makes it hard, in a sentence. schedule: (domain, steps) for a seed. wrap: the
    corruption of the stream. switches: False if there is no true switch. settings: more of the
    configuration, by dotted name.
    """

    name: str
    why: str
    schedule: Callable[[int], Schedule]
    wrap: Wrap = as_it_is
    batch_size: int = 64
    switches: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, seed: int) -> Config:
        """Return the configuration of a run; `seed` sets weights and stream."""
        schedule = self.schedule(seed)
        values = {
            **NETWORKS,
            "description": self.why,
            "stream.schedule": [list(segment) for segment in schedule],
            "stream.domains": {name: dict(DOMAINS[name]) for name, _ in schedule},
            "stream.batch_size": self.batch_size,
            "training.seed": seed,
            **self.settings,
        }
        return parse(nested(values), f"scenario {self.name}")

    def stream(self, config: Config, data: build.DataOptions) -> Batches:
        """Return the stream of a run."""
        return self.wrap(build.stream(config, data), config.training.seed)

    def visits(self, seed: int) -> tuple[Segment, ...]:
        """Return the true segments; a single one if there is no switch to find."""
        segments = Segments.of(self.schedule(seed))
        if not self.switches:
            return (Segment(segments.at(0), 0, segments.steps),)
        return segments.segments


def turns(
    first: str, second: str, learn: int = 300, dwell: int = 150, times: int = 2
) -> Callable[[int], Schedule]:
    """Return a schedule of two domains in turn: each learned once, then `times` each again."""
    schedule = ((first, learn), (second, learn), *(((first, dwell), (second, dwell)) * times))
    return lambda _: schedule


def staying(domain: str, steps: int) -> Callable[[int], Schedule]:
    """Return a schedule of one domain."""
    return lambda _: ((domain, steps),)


def random_order(
    names: Sequence[str], visits: int, learn: int, dwell: tuple[int, int]
) -> Callable[[int], Schedule]:
    """Return a schedule in random order without repeats: long first segments, short later ones."""

    def schedule(seed: int) -> Schedule:
        generator = np.random.default_rng([seed, visits])
        order: list[str] = []
        while len(order) < visits:
            left = [name for name in names if name not in order]
            due = visits - len(order) <= len(left)  # the unseen domains must come now
            choice = str(generator.choice(left if due and left else list(names)))
            if not order or choice != order[-1]:
                order.append(choice)
        first = {name: order.index(name) for name in names}
        return tuple(
            (name, learn if first[name] == k else int(generator.integers(*dwell)))
            for k, name in enumerate(order)
        )

    return schedule


def blurred(stream: Stream, seed: int) -> Batches:
    """Return the stream with boundaries that ramp over 50 batches."""
    return Ramped(stream, 50, [segment.start for segment in stream.schedule.segments], seed)


def darkening(stream: Stream, seed: int) -> Batches:  # noqa: ARG001
    """Return the stream with brightness that falls to half over 1,000 batches."""
    return Drifting(stream, 0.5, 500, 1500)


def glitching(stream: Stream, seed: int) -> Batches:
    """Return the stream with one bad batch in a hundred."""
    return Glitched(stream, 0.01, seed)


def never_twice(stream: Stream, seed: int) -> Batches:
    """Return a stream whose batches are all new domains, after 400 batches of one domain."""
    domain = stream.domains[stream.schedule.at(0)]
    assert isinstance(domain, CanvasDomain)
    return Endless(stream, domain.sprites, domain.size, stream.batch_size, start=400, seed=seed)


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "static",
            "a subset: digits that rest against digits that move",
            turns("moving-mnist", "mnist"),
        ),
        Scenario("one-class", "a subset: one class of ten", turns("moving-mnist", "threes")),
        Scenario("inverted", "one factor: dark on light", turns("moving-mnist", "inverted-mnist")),
        Scenario("turned", "one factor: a quarter turn", turns("moving-fashion", "turned-fashion")),
        Scenario("tinted", "one factor: red instead of grey", turns("grey-mnist", "red-mnist")),
        Scenario(
            "shifted", "one factor: another range of places", turns("moving-mnist", "left-mnist")
        ),
        Scenario(
            "fuzzy",
            "boundaries that ramp over 50 batches",
            turns("moving-fashion", "mnist", dwell=200),
            blurred,
        ),
        Scenario(
            "fuzzy-close",
            "the same between two domains that are alike",
            turns("moving-mnist", "threes", dwell=200),
            blurred,
        ),
        Scenario(
            "drift",
            "brightness falls to half over 1,000 batches; no switch",
            staying("moving-fashion", 2000),
            darkening,
            switches=False,
        ),
        Scenario(
            "alternation",
            "five batches here, five there, twenty times",
            turns("moving-fashion", "mnist", dwell=5, times=20),
        ),
        Scenario(
            "glitches",
            "one bad batch in a hundred: black, noise, or one image repeated",
            turns("moving-fashion", "moving-mnist", 500, 300),
            glitching,
        ),
        Scenario(
            "batch-8",
            "batches of 8 images",
            turns("moving-fashion", "moving-mnist", 600, 300),
            batch_size=8,
        ),
        Scenario(
            "batch-256",
            "batches of 256 images",
            turns("moving-fashion", "moving-mnist", 150, 80),
            batch_size=256,
        ),
        Scenario(
            "endless",
            "a stream that never repeats, after 400 batches of one domain; no switch",
            staying("moving-mnist", 900),
            never_twice,
            switches=False,
        ),
        Scenario(
            "many",
            "twenty domains of one class each, then all of them again",
            random_order(
                [name for name in DOMAINS if name[:5] in ("digit", "garme")], 40, 120, (30, 50)
            ),
        ),
        Scenario(
            "suite",
            "twelve domains, 64 visits in random order",
            random_order(SUITE, 64, 400, (80, 160)),
        ),
    )
}
