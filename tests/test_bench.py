"""The detection benchmark: scores on hand-written alarms, streams, detectors, and the page."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vase import build
from vase.bench import detect, page, suite
from vase.bench.detectors import RIVER, Trace
from vase.bench.scenarios import SCENARIOS, SUITE, Scenario, random_order, turns
from vase.bench.scores import Alarm, beliefs, confusion, delays, identified, pooled, score
from vase.domains.canvas import CanvasDomain
from vase.domains.hostile import Drifting, Endless, Glitched, Ramped
from vase.domains.shapes import sprites
from vase.domains.stream import Schedule, Segment, Stream
from vase.errors import ConfigError
from vase.settings import REMOVED
from vase.training.folder import defined

# ---- scores ------------------------------------------------------------------------------------

VISITS = (Segment("a", 0, 10), Segment("b", 10, 20), Segment("a", 20, 30), Segment("b", 30, 40))
RIGHT = (Alarm(12, 1), Alarm(20, 0), Alarm(35, 1))


def test_a_detector_that_is_right_has_only_its_delays() -> None:
    found = score(VISITS, RIGHT, 40)
    assert delays(VISITS, RIGHT) == [2, 0, 5]
    assert (found["switches"], found["missed"], found["false"]) == (3, 0, 0)
    assert (found["delay_median"], found["delay_worst"]) == (2, 5)
    assert (found["returns"], found["returns_identified"]) == (2, 1)
    assert found["confusion"] == {"a": {"0": 2}, "b": {"1": 2}}


def test_the_first_alarm_explains_a_switch_and_the_others_are_false() -> None:
    alarms = [Alarm(3, 1), Alarm(12, 2), Alarm(15, 3), Alarm(16, 1), Alarm(35, 1)]
    found = score(VISITS, alarms, 40)
    assert (found["missed"], found["false"]) == (1, 3)
    assert found["false_per_100k"] == pytest.approx(3e5 / 40)


def test_a_return_is_right_if_it_ends_where_the_first_visit_did() -> None:
    assert identified(VISITS, RIGHT) == [True, True, True]
    swapped = (Alarm(12, 1), Alarm(20, 2), Alarm(35, 0))
    assert identified(VISITS, swapped) == [True, False, False]
    assert identified(VISITS, ()) == [False, True, False]  # b was taken for a
    assert beliefs(VISITS, swapped) == [0, 1, 2, 0]
    assert confusion(VISITS, swapped) == {"a": {"0": 1, "2": 1}, "b": {"1": 1, "0": 1}}


def test_what_is_undefined_is_nan() -> None:
    nothing = score(VISITS, (), 40)
    assert all(math.isnan(nothing[key]) for key in ("delay_median", "delay_95", "delay_worst"))
    nameless = score(VISITS, [Alarm(12)], 40)
    assert math.isnan(nameless["returns_identified"])
    assert nameless["confusion"] == {}
    assert math.isnan(score(VISITS[:2], RIGHT[:1], 20)["returns_identified"])


def test_pooling_adds_counts_and_pools_delays() -> None:
    both = pooled([score(VISITS, RIGHT, 40), score(VISITS, (), 60)])
    assert (both["switches"], both["missed"], both["delay_worst"]) == (6, 3, 5)
    assert both["returns_identified"] == pytest.approx((1 + 0.5) / 2)


# ---- hostile streams ---------------------------------------------------------------------------

SOLIDS = sprites("solids", 60, 10, 0)
DOMAINS = {
    "light": CanvasDomain("light", SOLIDS, 16),
    "dark": CanvasDomain("dark", SOLIDS, 16, inverted=True),
}
PLAIN = Stream(Schedule.of([("light", 100), ("dark", 100)]), DOMAINS, 32, 0)
HOSTILE = {
    "ramped": Ramped(PLAIN, 50, [0, 100]),
    "drifting": Drifting(PLAIN, 0.5, 20, 120),
    "glitched": Glitched(PLAIN, 0.1),
    "endless": Endless(PLAIN, SOLIDS, 16, 32, start=50),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_batch_is_a_function_of_its_step(name: str) -> None:
    for step in (0, 60, 130):
        once, again = HOSTILE[name].batch(step)[0], HOSTILE[name].batch(step)[0]
        np.testing.assert_array_equal(once, again)
        assert once.shape == (32, 1, 16, 16)
        assert 0 <= once.min() <= once.max() <= 1
        assert once.dtype == np.float32


def test_a_ramp_goes_evenly_from_the_old_domain_to_the_new() -> None:
    shares = [
        float((HOSTILE["ramped"].batch(step)[0][:, 0, 0, 0] > 0.5).mean())  # corners of dark
        for step in range(90, 160)
    ]
    assert shares[:10] == [0] * 10
    assert np.mean(shares[30:40]) == pytest.approx(0.5, abs=0.15)
    assert np.corrcoef(shares[10:60], range(50))[0, 1] > 0.9
    assert shares[60:] == [1] * 10


def test_drift_is_gradual_and_ends() -> None:
    plain, drifting = PLAIN.batch(70)[0], HOSTILE["drifting"].batch(70)[0]
    np.testing.assert_allclose(drifting, 0.75 * plain, rtol=1e-6)
    np.testing.assert_allclose(HOSTILE["drifting"].batch(190)[0], 0.5 * PLAIN.batch(190)[0])
    np.testing.assert_array_equal(HOSTILE["drifting"].batch(10)[0], PLAIN.batch(10)[0])


def test_an_endless_stream_shows_a_domain_per_batch() -> None:
    truths = [HOSTILE["endless"].batch(step)[1] for step in range(50, 90)]
    assert len({truth.domain for truth in truths}) == 40
    assert all(len(set(truth.labels.tolist())) == 1 for truth in truths)


# ---- scenarios ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_a_configuration_and_visits_that_fit(name: str) -> None:
    scenario = SCENARIOS[name]
    settings = scenario.config(1)
    visits = scenario.visits(1)
    assert settings.training.seed == 1
    assert visits[-1].end == sum(steps for _, steps in settings.stream.schedule)
    assert len(visits) == (len(settings.stream.schedule) if scenario.switches else 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_order_visits_every_domain_and_none_twice_running(seed: int) -> None:
    schedule = random_order(SUITE, 64, 400, (80, 160))(seed)
    names = [name for name, _ in schedule]
    assert len(names) == 64
    assert set(names) == set(SUITE)
    assert all(a != b for a, b in pairwise(names))
    first = {name: names.index(name) for name in SUITE}
    assert all((steps == 400) == (first[name] == k) for k, (name, steps) in enumerate(schedule))


# ---- detectors ---------------------------------------------------------------------------------


def toy() -> Scenario:
    """Drawn by the program, small: no data is needed."""
    drawn = {"side": 8, "count": 200}
    domains = {
        "light": {"domain": "solids", "moving": True, **drawn},
        "dark": {"domain": "strokes", "inverted": True, **drawn},
    }
    networks = {"latents": 4, "encoder_channels": 8, "decoder_channels": 16, "hidden": 32}
    return Scenario(
        "toy",
        "two domains",
        turns("light", "dark", 32, 16),
        settings={
            "stream.size": 16,
            "stream.domains": domains,
            "detection.window": 32,
            **{f"model.{name}": value for name, value in networks.items()},
        },
        batch_size=32,
    )


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """The toy among the scenarios, in the place of domains that need data."""
    scenario = toy()
    monkeypatch.setattr("vase.bench.scenarios.DOMAINS", scenario.settings["stream.domains"])
    monkeypatch.setattr(detect, "SCENARIOS", {"toy": scenario})
    return scenario


@pytest.mark.parametrize("detector", RIVER, ids=lambda drift: f"{drift.name}-{drift.on}")
def test_river_s_detectors_find_a_jump_and_name_nothing(detector: object) -> None:
    generator = np.random.default_rng(0)
    jump = 10.0 * (np.arange(600) >= 300)[:, None]
    signals = generator.standard_normal((600, 3)) * 0.1 + jump
    alarms = detector.on_trace(Trace(signals[:, 0], signals))  # type: ignore[attr-defined]
    assert any(300 <= alarm.step < 400 for alarm in alarms)
    assert all(alarm.index is None for alarm in alarms)


def test_names_that_are_not_known_are_refused() -> None:
    with pytest.raises(ConfigError, match="no scenario statics"):
        detect.jobs(["statics"], [0], "ours", build.DataOptions())
    with pytest.raises(ConfigError, match="--detectors is one of"):
        detect.jobs([], [0], "river", build.DataOptions())
    with pytest.raises(ConfigError, match="was removed: 'blocks', the default, takes its place"):
        detect.jobs([], [0], "ours", build.DataOptions(), next(iter(REMOVED)))


@pytest.mark.parametrize(("batch_size", "dwell"), [(8, 36), (200, 10)])
def test_small_and_large_batches_come_to_a_decision(
    toys: Scenario, batch_size: int, dwell: int
) -> None:
    there_and_back = turns("light", "dark", 2 * dwell, dwell)(0)[:4]
    scenario = replace(toys, batch_size=batch_size, schedule=lambda _: there_and_back)
    alarms = suite.travel(scenario, 0, build.DataOptions(), "blocks").alarms
    found = score(scenario.visits(0), alarms, 6 * dwell)
    assert (found["missed"], found["false"]) == (0, 0)


# ---- a job, and the page -----------------------------------------------------------------------


def test_a_job_s_record_makes_the_page(
    toys: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "MAX_ENVIRONMENTS", 4)  # each costs time at every snapshot
    record = defined(detect.work(detect.Job("toy", 0, "all", build.DataOptions())))
    (tmp_path / "toy-seed-0.json").write_text(json.dumps(record, allow_nan=False))
    tables, picture = detect.write_page(tmp_path)
    text = tables.read_text()
    assert "| **ours** | 5 | 0 | 0 |" in text
    assert "| oracle | 5 | 0 | 0 |" in text
    assert "`toy`: two domains" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    titles = [title for title, _ in page.terminal(page.read(tmp_path))]
    assert titles == ["Every detector, over all streams"]
    Console(quiet=True).print(titles)


def test_the_suite_s_figures_on_the_toy(toys: Scenario) -> None:
    """Readouts of every domain; harmless outliers told apart."""
    few = {**toys.settings, "probes.train": 100, "probes.test": 100}
    scenario = replace(
        toys,
        schedule=turns("light", "dark", 32, 16, times=1),
        settings=few,
        wrap=lambda stream, seed: Glitched(stream, 0.02, seed),
    )
    data = build.DataOptions()
    journey = suite.travel(scenario, 0, data, "blocks")
    assert 0.1 < suite.step_ratio(journey, scenario.visits(0)) < 10
    told = suite.forgetting(scenario, 0, data, journey)
    assert set(told["timeline"][-1]["domains"]) == {"light", "dark"}
    assert 0 <= told["summary"]["identity"]["mlp"]["end"] <= 1
    both = suite.unharmed(scenario, 0, data, "blocks")
    assert both["with"]["identity"] == told["summary"]["identity"]["mlp"]["end"]
    assert both["with"] != both["without"]
    row = page.outlier_table([{"seed": 0, "unharmed": both}]).splitlines()[-1]
    assert f"{100 * both['without']['identity']:.1f}" in row
