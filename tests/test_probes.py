"""Probes against truths known by hand: schedules, oracle codes, and a tiny run."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import code_of
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits

from vase import build, config
from vase.domains.stream import Schedule
from vase.errors import CheckpointError, RunError
from vase.lifelong.learner import Learner
from vase.metrics import binned, mig
from vase.probes import detection, encode, evaluate, evaluate_run, forgetting, latents, readout
from vase.probes.disentangled import disentanglement_scores
from vase.probes.encode import Code
from vase.probes.readout import Examples, Readout
from vase.training import folder as folders
from vase.training.folder import RunFolder
from vase.training.loop import observe
from vase.training.recorder import Recorder, milestone_steps
from vase.training.schema import PROBES, checked

# --- detection --------------------------------------------------------------------------------

# a: 0-100, b: 100-200, a again: 200-300, c: 300-400
ABAC = Schedule.of([("a", 100), ("b", 100), ("a", 100), ("c", 100)])
PERFECT = [(0, "new", 0), (104, "new", 1), (207, "returned", 0), (303, "new", 2)]


def log(moves: list[tuple[int, str, int]], steps: int) -> tuple[list[Any], list[Any]]:
    """Events, and the lines of metrics that a learner with these events would have written."""
    events = [{"step": step, "kind": kind, "environment": index} for step, kind, index in moves]
    metrics, here = [], 0
    for step in range(steps):
        for event in events:
            if event["step"] == step and event["kind"] in ("new", "returned"):
                here = event["environment"]
        if step % 5 == 0:
            metrics.append({"step": step, "environment": here})
    return events, metrics


def scores(
    moves: list[tuple[int, str, int]], steps: int = 400, schedule: Schedule = ABAC
) -> dict[str, Any]:
    events, metrics = log(moves, steps)
    return detection.score_detection(schedule, events, metrics, steps)


def test_a_perfect_run_has_known_delays() -> None:
    found = scores(PERFECT)
    assert [switch["delay"] for switch in found["switches"]] == [4, 7, 3]
    assert [switch["to"] for switch in found["switches"]] == ["b", "a", "c"]
    assert [switch["returning"] for switch in found["switches"]] == [False, True, False]
    assert all(switch["correct"] for switch in found["switches"])
    assert found["mean_delay"] == pytest.approx(14 / 3)
    assert (found["missed"], found["false_alarms"]) == (0, [])
    assert (found["returns"], found["returns_recognised"]) == (1, 1)
    second = found["switches"][1]
    assert (second["step"], second["detected_at"]) == (200, 207)
    assert (second["decision"], second["index"]) == ("returned", 0)


def test_an_unnoticed_switch_is_missed_and_adds_no_delay() -> None:
    found = scores(PERFECT[:3])
    assert found["missed"] == 1
    assert found["mean_delay"] == 5.5
    last = found["switches"][-1]
    assert last["detected_at"] is last["delay"] is last["decision"] is last["index"] is None
    assert not last["correct"]


@pytest.mark.parametrize(
    ("move", "why"),
    [((207, "returned", 1), "the wrong index"), ((207, "new", 2), "opened as a new one")],
)
def test_a_return_can_be_recognised_wrongly(move: tuple[int, str, int], why: str) -> None:
    # Even if it then stands there longer than it ever stood in the right one.
    schedule = Schedule.of([("a", 100), ("b", 100), ("a", 300)])
    found = scores([*PERFECT[:2], move], 500, schedule)
    assert found["returns"] == 1, why
    assert found["returns_recognised"] == 0, why
    assert found["switches"][1]["delay"] == 7, "it was noticed all the same"


def test_a_first_appearance_taken_for_a_return_is_wrong() -> None:
    found = scores([*PERFECT[:3], (303, "returned", 1)])
    assert [switch["correct"] for switch in found["switches"]] == [True, True, False]


def test_only_the_first_event_after_a_switch_is_explained() -> None:
    unexplained = [(50, "new", 3), (60, "returned", 0), (150, "returned", 0), (350, "returned", 2)]
    found = scores(sorted([*PERFECT, *unexplained]))
    alarms = [(alarm["step"], alarm["kind"], alarm["index"]) for alarm in found["false_alarms"]]
    assert alarms == unexplained
    assert found["missed"] == 0


def test_the_start_explains_only_an_event_at_step_0() -> None:
    assert [a["step"] for a in scores([(7, "new", 0)], 100)["false_alarms"]] == [7]


def test_kept_and_snapshot_explain_nothing() -> None:
    found = scores(
        [(0, "new", 0), (40, "dismissed", 0), (104, "dismissed", 0), (120, "snapshot", 0)]
    )
    assert found["dismissed"] == 2
    assert found["missed"] == 3
    assert found["false_alarms"] == []


def test_without_switches_the_delay_is_undefined() -> None:
    found = scores([(0, "new", 0)], 100, Schedule.of([("a", 100)]))
    assert found["switches"] == []
    assert found["mean_delay"] is None
    assert (found["missed"], found["returns"]) == (0, 0)


def test_an_unfinished_stay_is_not_missed_yet() -> None:
    running = scores(PERFECT[:3], 350)
    assert len(running["switches"]) == 3
    assert running["missed"] == 0
    assert len(scores(PERFECT[:3], 300)["switches"]) == 2, "the last switch has not come yet"


def test_neighbouring_stays_in_one_domain_are_no_switch() -> None:
    schedule = Schedule.of([("a", 50), ("a", 50), ("b", 100)])
    found = scores([(0, "new", 0), (60, "new", 1), (104, "new", 2)], 200, schedule)
    assert [switch["step"] for switch in found["switches"]] == [100]
    assert [alarm["step"] for alarm in found["false_alarms"]] == [60]


def test_a_domain_is_assigned_where_the_learner_mostly_stood() -> None:
    _, metrics = log([(0, "new", 0), (104, "new", 1), (250, "returned", 0), (390, "new", 2)], 400)
    assert detection.matched_index(ABAC, metrics, "b") == 1
    assert detection.matched_index(ABAC, metrics, "a") == 0
    assert detection.matched_index(ABAC, metrics, "c") == 0, "noticed only at its very end"
    assert detection.matched_index(ABAC, metrics, "a", before=0) is None
    assert detection.matched_index(ABAC, metrics, "b", before=104) == 0, "not noticed yet"


# --- forgetting -------------------------------------------------------------------------------


def entry(**domains: tuple[float, float | None]) -> dict[str, Any]:
    """One milestone: domains with (identity, position MSE), the same for every readout."""
    return {
        "domains": {
            name: {
                "identity": dict.fromkeys(forgetting.READOUTS, identity),
                "position_mse": mse and dict.fromkeys(forgetting.READOUTS, mse),
            }
            for name, (identity, mse) in domains.items()
        }
    }


def test_forgetting_is_the_fall_from_the_best() -> None:
    timeline = [
        entry(a=(0.5, 0.03)),
        entry(a=(0.9, 0.01)),
        entry(a=(0.8, 0.02), b=(0.6, None)),
        entry(a=(0.7, 0.04), b=(0.8, None)),
    ]
    found = forgetting.summarise_forgetting(timeline)
    identity, position = found["identity"]["mlp"], found["position_mse"]["frozen"]
    assert identity["domains"]["a"] == pytest.approx({"max": 0.9, "end": 0.7, "change": -0.2})
    assert identity["domains"]["b"] == pytest.approx({"max": 0.8, "end": 0.8, "change": 0.0})
    overall = {key: identity[key] for key in ("max", "end", "change")}
    assert overall == pytest.approx({"max": 0.85, "end": 0.75, "change": -0.1})
    assert position["domains"].keys() == {"a"}
    assert position["min"] == 0.01
    assert position["change"] == pytest.approx(0.03)


def test_without_a_moving_domain_position_is_undefined() -> None:
    found = forgetting.summarise_forgetting([entry(b=(0.6, None))])["position_mse"]["linear"]
    assert found == {"min": None, "end": None, "change": None, "domains": {}}


# --- readouts ---------------------------------------------------------------------------------


def truths(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    generator = np.random.default_rng(seed)
    return generator.integers(5, size=count), generator.random((count, 2)), generator


def oracle(count: int, seed: int) -> Examples:
    """The code that is the truth itself: one latent per identity, then x and y."""
    identity, position, _ = truths(count, seed)
    return Examples(np.float32(np.hstack([3 * np.eye(5)[identity], position])), identity, position)


def blurred(count: int, seed: int) -> Examples:
    """Smooth nonlinear functions of identity and position plus noise, and 8 spare latents."""
    identity, position, generator = truths(count, seed)
    x, y = 2 * position.T - 1
    shape = np.random.default_rng(0).normal(size=(5, 6))[identity]
    shape += 0.7 * generator.normal(size=shape.shape)
    place = np.stack([1.6 * x + 0.3 * x**3, 1.5 * np.tanh(1.5 * y) + 0.2 * x * y], axis=1)
    place += 0.02 * generator.normal(size=place.shape)
    spare = 0.02 * generator.normal(size=(count, 8))
    return Examples(np.float32(np.hstack([place, shape, spare])), identity, position)


def noise(count: int, seed: int) -> Examples:
    identity, position, generator = truths(count, seed)
    return Examples(np.float32(generator.normal(size=(count, 6))), identity, position)


FITS = [readout.fit_linear, readout.fit_mlp]
both_readouts = pytest.mark.parametrize("fit", FITS, ids=["linear", "mlp"])


@both_readouts
def test_an_oracle_code_is_read_without_error(fit: Any) -> None:
    score = fit(oracle(600, 1)).score(oracle(300, 2))
    assert score.identity == 1.0
    assert score.position_mse < 1e-4


@both_readouts
def test_noise_is_read_at_chance(fit: Any) -> None:
    train, test = noise(1000, 1), noise(1000, 2)
    score, guess = fit(train).score(test), readout.chance_score(train, test)
    assert score.identity == pytest.approx(0.2, abs=0.05)
    assert guess.identity == pytest.approx(0.2, abs=0.05)
    assert guess.position_mse == pytest.approx(1 / 12, rel=0.05)
    assert score.position_mse > 0.95 * guess.position_mse


@both_readouts
def test_the_order_of_latents_does_not_matter(fit: Any) -> None:
    train, test = blurred(1000, 1), blurred(1000, 2)
    order = np.random.default_rng(3).permutation(train.code.shape[1])
    score = fit(train).score(test)
    again = fit(permuted(train, order)).score(permuted(test, order))
    assert again.identity == pytest.approx(score.identity, abs=0.02)
    assert again.position_mse == pytest.approx(score.position_mse, rel=0.5)


def permuted(examples: Examples, order: np.ndarray) -> Examples:
    return replace(examples, code=examples.code[:, order])


@pytest.fixture(scope="module")
def mlp() -> Readout:
    return readout.fit_mlp(blurred(3000, 1))


def test_the_mlp_finds_position_where_it_is(mlp: Readout) -> None:
    test = blurred(2000, 2)
    score = mlp.score(test)
    linear = readout.fit_linear(blurred(3000, 1)).score(test)
    assert score.position_mse is not None
    assert linear.position_mse is not None
    assert score.position_mse < 5e-4 < linear.position_mse
    assert score.identity > 0.8


def test_a_frozen_readout_sees_what_a_refitted_one_does_not(mlp: Readout) -> None:
    order = np.roll(np.arange(16), 3)
    test = permuted(blurred(2000, 2), order)
    frozen, refitted = mlp.score(test), readout.fit_mlp(permuted(blurred(3000, 1), order))
    again = refitted.score(test)
    assert again.identity > 0.8
    assert frozen.identity < 0.5
    assert again.position_mse is not None
    assert frozen.position_mse is not None
    assert frozen.position_mse > 10 * again.position_mse


def test_the_conditions_of_fitting_last_from_the_first_entry_to_the_last_exit() -> None:
    def state() -> tuple[int, list[Any], Any]:
        threads = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
        return max(threads), list(warnings.filters), readout.DERIVATIVES["relu"]

    with threadpool_limits(2, "blas"):
        before = state()
        with readout.FITTING:
            with readout.FITTING:
                inside = state()
            assert state() == inside  # the first exit is not the last
            assert inside[0] == 1
            assert inside[1][0][2] is ConvergenceWarning
            assert inside[2] is readout._relu_derivative
        assert state() == before
        assert before[0] == 2


def test_the_faster_derivative_gives_the_fit_of_scikit_learn_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = blurred(300, 1)
    found = readout.fit_mlp(train)
    monkeypatch.setattr(readout, "DERIVATIVES", {})  # as if it had moved: its own is used
    own = readout.fit_mlp(train)
    for one, other in ((found.classifier, own.classifier), (found.regressor, own.regressor)):
        assert all(map(np.array_equal, one.coefs_, other.coefs_))
        assert one.n_iter_ == other.n_iter_ > 1


def test_readouts_that_are_fitted_side_by_side_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def code(seed: int) -> Code:
        examples = blurred(300, seed)
        assert examples.position is not None
        factors = dict(zip("xy", examples.position.T, strict=True))
        return code_of(examples.code, examples.identity, factors, log_variance=-4.0)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    pairs = {name: evaluate.DomainCodes(code(1), code(2)) for name in ("a", "b")}
    every = np.ones(code(1).mean.shape[1], dtype=bool)
    frozen: dict[str, Readout] = {}
    found = evaluate._scores_side_by_side(pairs, dict.fromkeys(pairs, every), frozen)
    expected = readout.fit_mlp(blurred(300, 1)).score(blurred(300, 2))
    for name in pairs:
        for kind in ("mlp", "frozen"):
            assert found[name]["identity"][kind] == expected.identity
            assert found[name]["position_mse"][kind] == pytest.approx(expected.position_mse)
    assert set(frozen) == set(pairs)


def test_a_readout_of_some_latents_is_blind_to_the_others() -> None:
    train, test = blurred(600, 0), blurred(300, 1)
    found = readout.fit_mlp(train, np.array([0, 1]))
    noise = np.random.default_rng(0).normal(size=test.code[:, 2:].shape).astype(np.float32)
    other = np.concatenate([test.code[:, :2], noise], axis=1)
    assert found.score(Examples(other, test.identity, test.position)) == found.score(test)


def test_a_frozen_readout_does_not_hang_on_spare_latents(mlp: Readout) -> None:
    test = blurred(2000, 2)
    drift = np.zeros(16, dtype=np.float32)
    drift[8:] = 0.05  # more than two of their standard deviations, next to nothing in nats
    moved = mlp.score(replace(test, code=test.code + drift))
    assert moved.identity == pytest.approx(mlp.score(test).identity, abs=0.02)


def test_a_domain_at_rest_has_no_position() -> None:
    train, test = (replace(oracle(200, seed), position=None) for seed in (1, 2))
    for fit in FITS:
        assert fit(train).score(test).position_mse is None
    assert readout.chance_score(train, test).position_mse is None


@both_readouts
def test_a_domain_of_one_identity_has_nothing_to_tell_apart(fit: Any) -> None:
    alone = replace(oracle(100, 1), identity=np.full(100, 3))
    assert fit(alone).score(alone).identity is None


# --- latents ----------------------------------------------------------------------------------

SURE = np.log(0.01**2)  # log variance of a posterior that is sure
MASK_REST = np.array([False, False, True, True, True])


def code(count: int, seed: int, *, moving: bool) -> Code:
    """Latents: 0 is a cubic of x, 1 of y, 2 is identity, 3 knows x but is hardly used, 4 spare."""
    identity, position, generator = truths(count, seed)
    x, y = (2 * position.T - 1) if moving else (np.full(count, 2.5), np.full(count, 2.5))
    shape = (identity - 2) / 1.4
    mean = np.stack([x + x**3, 2 * y - y**3 / 2, shape, 0.01 * x, 0 * x], axis=1)
    factors = {"x": position[:, 0], "y": position[:, 1]} if moving else {}
    mean += np.array([0, 0, 0, 1e-3, 1e-3]) * generator.normal(size=mean.shape)
    return code_of(mean, identity, factors, log_variance=[SURE, SURE, SURE, 0, 0])


def test_the_mutual_information_gap_is_of_identity_and_position() -> None:
    """As the metric gives it for the probe's bins; a domain at rest has no position."""
    moving, resting = code(2000, 0, moving=True), code(2000, 0, moving=False)
    found, still = disentanglement_scores(moving), disentanglement_scores(resting)
    assert found is not None
    assert still is not None
    assert list(found["mig_by_factor"]) == ["identity", "x", "y"]
    assert list(still["mig_by_factor"]) == ["identity"]
    assert found["active_units"] == 3
    tenths = np.floor(10 * np.stack([moving.factors["x"], moving.factors["y"]], axis=1))
    factors = np.column_stack([moving.labels, np.minimum(tenths, 9)]).astype(int)
    assert found["mig"] == pytest.approx(mig(moving.mean, factors).score)
    assert binned(moving.mean).max() == 19
    # Latent 3 knows x as well as latent 0 does: no gap.
    assert found["mig_by_factor"]["x"] < 0.3 < found["mig_by_factor"]["identity"]


def test_too_few_images_have_no_mutual_information() -> None:
    assert disentanglement_scores(code(60, 0, moving=True)) is None


def domain(name: str, *, moving: bool) -> latents.DomainLatents:
    mask = np.ones(5, dtype=bool) if moving else MASK_REST
    train, test = code(2000, 1, moving=moving), code(2000, 2, moving=moving)
    return latents.measure_latents(name, 0, mask, train, test)


def test_latents_of_an_oracle_posterior() -> None:
    found = domain("moving", moving=True)
    assert (found.used, found.masked, found.spare) == ([0, 1, 2], [], [3, 4])
    assert found.to_json()["encodes"] == {"0": "x position", "1": "y position", "2": "shape"}
    assert found.r2["x"] == pytest.approx([1, 0, 0, 1, 0], abs=0.03)
    assert found.r2["y"] == pytest.approx([0, 1, 0, 0, 0], abs=0.03)
    # KL of N(m, s^2) to the prior in closed form; the spare latents are at the prior.
    mean_square = np.square(code(2000, 2, moving=True).mean[:, 2]).mean()
    assert found.kl[2] == pytest.approx((mean_square + 0.01**2 - 1 - SURE) / 2, rel=1e-5)
    assert found.kl[3:] == pytest.approx([0, 0], abs=1e-3)
    assert found.alpha[2:] == pytest.approx([0, 0, 0], abs=0.01)


def test_who_shares_position_and_who_masks_it() -> None:
    domains = [domain("rest", moving=False), domain("m1", moving=True), domain("m2", moving=True)]
    assert domains[0].masked == [0, 1]
    assert domains[0].kl[:2].tolist() == [0, 0]
    assert domains[0].alpha[0] > 10, "atypicality looks through the mask"
    assert domains[0].to_json()["encodes"] == {"2": "shape"}
    assert latents.shared_latents(domains) == [
        {"domains": ["rest", "m1"], "latents": [2]},
        {"domains": ["rest", "m2"], "latents": [2]},
        {"domains": ["m1", "m2"], "latents": [0, 1, 2]},
    ]
    assert latents.position_record(domains) == {
        "source": "m1",
        "latents": [0, 1],
        "masked_in": {"rest": [0, 1], "m1": [], "m2": []},
        "used_in": {"rest": [], "m1": [0, 1], "m2": [0, 1]},
    }


def test_without_a_moving_domain_no_latent_carries_position() -> None:
    found = latents.position_record([domain("rest", moving=False)])
    assert found == {"source": None, "latents": [], "masked_in": {}, "used_in": {}}


def test_r2_of_one_latent() -> None:
    generator = np.random.default_rng(0)
    z = np.hstack([generator.uniform(-2, 2, (1000, 1)), generator.normal(size=(1000, 1))])
    z = np.hstack([z, np.full((1000, 1), 0.7)])  # the last latent is constant
    y = z[:, :1] ** 3 - z[:, :1] + 0.5
    r2 = latents.single_latent_r2(z[:900], y[:900], z[900:], y[900:])
    assert r2[0] == pytest.approx(1, abs=1e-4)
    assert r2[1:] == pytest.approx([0, 0], abs=0.02)


def test_a_factor_that_does_not_vary_is_in_no_latent() -> None:
    z, still = np.random.default_rng(0).normal(size=(100, 2)), np.full((100, 1), 0.5)
    assert latents.single_latent_r2(z, still, z, still).tolist() == [0, 0]


def test_hue_wraps_around() -> None:
    hue = np.array([0.001, 0.999, 0.5])
    places = latents.regression_targets("hue", hue)
    near, far = places[[0, 2]] - places[1]
    assert np.linalg.norm(near) < 0.02 < np.linalg.norm(far)
    assert latents.regression_targets("x", hue).tolist() == hue[:, None].tolist()


@pytest.mark.parametrize(
    ("r2", "words"),
    [
        ({"x": 0.4, "y": 0.0}, "x position"),
        ({"x": 0.29, "y": 0.31}, "y position"),
        ({"x": 0.4, "y": 0.5}, "position"),
        ({"x": 0.4, "y": 0.5, "hue": 0.9}, "position and hue"),
        ({"x": 0.1, "y": 0.1, "hue": 0.1}, "shape"),
        ({}, "shape"),
    ],
)
def test_meaning_in_words(r2: dict[str, float], words: str) -> None:
    assert latents.meaning(0, {name: np.array([value]) for name, value in r2.items()}) == words


# --- a tiny run -------------------------------------------------------------------------------

SETTINGS = {
    "stream": {
        "batch_size": 16, "size": 16,
        "schedule": [["moving", 12], ["rest", 12], ["moving", 12]],
        "domains": {
            "moving": {"domain": "solids", "moving": True, "count": 200, "side": 8},
            "rest": {"domain": "strokes", "count": 200, "side": 8},
        },
    },
    "model": {"space_to_depth": 2, "latents": 6, "encoder_channels": 8, "hidden": 16},
    "detection": {"window": 20},
    "training": {"milestones": 2, "log_every": 5},
    "probes": {"train": 100, "test": 100},
}  # fmt: skip


def train(path: Path, settings: dict[str, Any]) -> RunFolder:
    run = config.parse(settings, "tiny")
    folder = folders.create(path, config.to_toml(run))
    stream = build.stream(run, build.DataOptions())
    shape = next(iter(stream.domains.values())).shape
    learner = Learner(build.architecture(run, shape), run, seed=0, device=torch.device("cpu"))
    recorder = Recorder(
        folder,
        learner,
        log_every=run.training.log_every,
        checkpoint_every=6,
        milestones=milestone_steps(stream.schedule, run.training.milestones),
    )
    with recorder:
        for _ in recorder.record(observe(learner, stream)):
            pass
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("probes") / "run", SETTINGS)


@pytest.fixture(scope="module")
def record(run: RunFolder) -> dict[str, Any]:
    return evaluate_run(run, build.DataOptions())


def test_what_is_found_is_written_without_nan(run: RunFolder, record: dict[str, Any]) -> None:
    written = json.loads(run.probes.read_text(), parse_constant=pytest.fail)
    assert written == record
    checked(run.probes, written, PROBES)
    assert set(written) == {
        "vase_version", "seed", "steps", "schedule", "detection", "assignment", "timeline",
        "summary", "latents", "calibration",
    }  # fmt: skip
    assert written["steps"] == 36
    assert [segment["start"] for segment in written["schedule"]] == [0, 12, 24]
    assert written["latents"]["count"] == 6
    assert written["latents"]["position"]["source"] == "moving"


def test_the_timeline_has_the_domains_seen_so_far(record: dict[str, Any]) -> None:
    first, both = ["moving"], ["moving", "rest"]
    expected = list(zip(range(6, 37, 6), [first] * 2 + [both] * 4, strict=True))
    assert [(entry["step"], list(entry["domains"])) for entry in record["timeline"]] == expected


def examples_at(run: RunFolder, step: int, name: str) -> tuple[Examples, Examples]:
    """Training and held-out codes of a domain as the weights of one milestone give them."""
    opened = evaluate.open_run(run, build.DataOptions())
    shape = build.architecture(opened.config, opened.train[name].shape)
    networks = encode.load_model(run.milestone(step), shape, torch.device("cpu")).networks
    found = []
    for split, count, seed in (
        (opened.train, 100, evaluate.TRAIN_SEED),
        (opened.test, 100, evaluate.TEST_SEED),
    ):
        code = encode.encode(networks, split[name], count, seed)
        factors = code.factors
        position = np.stack([factors["x"], factors["y"]], axis=1) if factors else None
        found.append(Examples(code.mean, code.labels, position))
    return found[0], found[1]


@pytest.mark.parametrize(
    ("name", "fitted_at", "scored_at"),
    [("moving", 12, 18), ("moving", 12, 24), ("moving", 30, 30), ("rest", 24, 36)],
)
def test_the_frozen_readout_is_of_the_latest_milestone_with_its_domain(
    run: RunFolder, record: dict[str, Any], name: str, fitted_at: int, scored_at: int
) -> None:
    fitted = readout.fit_mlp(examples_at(run, fitted_at, name)[0])
    expected = fitted.score(examples_at(run, scored_at, name)[1])
    (figures,) = (e["domains"][name] for e in record["timeline"] if e["step"] == scored_at)
    assert figures["identity"]["frozen"] == pytest.approx(expected.identity)
    if name == "moving":
        assert figures["position_mse"]["frozen"] == pytest.approx(expected.position_mse, rel=1e-4)
        same = figures["position_mse"]["frozen"] == figures["position_mse"]["mlp"]
        assert same == (fitted_at == scored_at)


def test_figures_at_the_end_agree(record: dict[str, Any]) -> None:
    end = record["timeline"][-1]["domains"]
    for found in record["latents"]["domains"]:
        assert sum(found["kl"]) == pytest.approx(end[found["name"]]["kl_nats"], rel=1e-4)
        parts = found["used"] + found["masked"] + found["spare"]
        assert sorted(parts) == list(range(6))
        assert found["index"] == record["assignment"][found["name"]]
    assert record["summary"]["identity"]["mlp"]["domains"]["rest"]["end"] == pytest.approx(
        end["rest"]["identity"]["mlp"]
    )


def test_the_same_run_gives_the_same_file(run: RunFolder, record: dict[str, Any]) -> None:
    before = run.probes.read_bytes()
    lines: list[str] = []
    assert evaluate_run(run, build.DataOptions(), progress=lines.append) == record
    assert run.probes.read_bytes() == before
    assert len(lines) == 10, "one line for each milestone and domain"
    assert "moving" in lines[0]


def test_a_run_without_milestones_is_probed_at_its_checkpoint(
    tmp_path: Path, run: RunFolder
) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_bytes(run.config.read_bytes())
    with pytest.raises(RunError, match="no milestone and no checkpoint"):
        evaluate.open_run(folder, build.DataOptions())
    folder.checkpoint.write_bytes(run.checkpoint.read_bytes())
    found = evaluate_run(folder, build.DataOptions())
    assert [entry["step"] for entry in found["timeline"]] == [36]
    checked(folder.probes, found, PROBES)


# --- encoding ---------------------------------------------------------------------------------


def test_held_out_images_are_of_other_sprites(run: RunFolder) -> None:
    opened = evaluate.open_run(run, build.DataOptions())
    train, test = (
        next(encode.sample_images(split["rest"], 50, 1))[0] for split in (opened.train, opened.test)
    )
    known = {image.tobytes() for image in train}
    assert not known & {image.tobytes() for image in test}


def test_a_code_counts_the_nats_of_mask_and_decoder(run: RunFolder) -> None:
    opened = evaluate.open_run(run, build.DataOptions())
    shape = build.architecture(opened.config, opened.test["moving"].shape)
    model = encode.load_model(run.milestones()[-1], shape, torch.device("cpu"))
    mask = np.array([True, False, True, True, False, True])
    home = replace(model.environments[0], mask=mask)
    found = encode.encode(model.networks, opened.test["moving"], 600, 1, home)
    assert found.mean.shape == (600, 6)
    assert found.rate.mean() == pytest.approx(found.kl[mask].sum(), rel=1e-5)
    # Slowly, image by image, with the same noise.
    generator = torch.Generator().manual_seed(1)
    noise = torch.cat([torch.randn(n, 6, generator=generator) for n in (500, 100)])
    images = np.concatenate(
        [part for part, _ in encode.sample_images(opened.test["moving"], 600, 1)]
    )
    for k in (0, 599):
        z = found.mean[k] + np.exp(found.log_variance[k] / 2) * noise[k].numpy()
        logits = model.networks.decoder(
            torch.from_numpy(z * mask).float()[None], torch.tensor([home.index])
        )
        p, x = torch.sigmoid(logits)[0].double().numpy(), images[k]
        nats = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
        assert found.distortion[k] == pytest.approx(nats, rel=1e-4)


def test_weights_of_another_shape_are_refused(run: RunFolder) -> None:
    opened = evaluate.open_run(run, build.DataOptions())
    shape = build.architecture(opened.config, opened.test["rest"].shape)
    shape = shape.model_copy(update={"latents": 7})
    with pytest.raises(
        CheckpointError, match=r"are not those of a model shaped .* Put back the config\.toml"
    ):
        encode.load_model(run.milestones()[0], shape, torch.device("cpu"))
