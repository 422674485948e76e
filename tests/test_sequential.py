"""The detector: a known false-alarm rate, on simulated scores of any distribution."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vase.bench.null import rate
from vase.detection.sequential import DetectorState, e_value, next_state, rank
from vase.settings import DetectionSettings

NULL = tuple(np.random.default_rng(0).chisquare(8, size=256))
USUAL = float(np.median(NULL))


@pytest.mark.parametrize("size", [1, 20, 256])
def test_e_values_have_a_mean_of_one_over_the_ranks(size: int) -> None:
    """Every rank is equally likely for exchangeable scores: the mean is exact."""
    null = list(range(size))
    ranks = [rank(value, null) for value in np.arange(size + 1) - 0.5]
    assert sorted(ranks) == list(range(1, size + 2))
    assert np.mean([e_value(r, size) for r in ranks]) == pytest.approx(1)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "gaussian": lambda generator, size: generator.standard_normal(size),
    "heavy tails": lambda generator, size: generator.standard_t(2, size) ** 2,
    "one in a hundred far out": lambda generator, size: (
        generator.standard_normal(size) + 1e6 * (generator.random(size) < 0.01)
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("asked", [100.0, 400.0])
def test_the_run_length_is_the_mean_number_of_batches_between_false_alarms(
    name: str, asked: float
) -> None:
    """Whatever the distribution, outliers included: within a quarter of what was asked for.

    At these rates 50,000 scores hold some 500 and 125 alarms.
    """
    scores = DISTRIBUTIONS[name](np.random.default_rng(0), 50_000)
    measured = rate(scores.tolist(), asked, 256)["measured"]
    assert asked / 1.25 < measured < asked * 1.25


def alarm_after(score: float, rule: DetectionSettings, most: int = 200) -> int:
    """How many batches of one score in a row raise the alarm."""
    state = DetectorState()
    for batches in range(1, most + 1):
        state = next_state(state, score, NULL, rule)
        if state.alarm:
            return batches
    return most + 1


def test_three_batches_worse_than_a_full_window_raise_the_alarm() -> None:
    assert alarm_after(1e9, DetectionSettings()) == 3


def test_weak_evidence_adds_up() -> None:
    """Scores at the 95th percentile of the null: no single one would raise an alarm."""
    weak = float(np.quantile(NULL, 0.95))
    assert 3 < alarm_after(weak, DetectionSettings()) < 15
    assert alarm_after(USUAL, DetectionSettings()) > 200


@pytest.mark.parametrize("bad", [1, 2])
def test_one_or_two_bad_batches_are_held_and_raise_no_alarm(bad: int) -> None:
    rule, state = DetectionSettings(), DetectorState()
    for batches in range(bad):
        state = next_state(state, 1e9, NULL, rule)
        assert state.batches == batches + 1
        assert not state.alarm
    assert not next_state(state, USUAL, NULL, rule).deferred


def test_a_gross_outlier_is_held_though_the_window_holds_worse() -> None:
    null = (*NULL[:-3], 1e6, 1e7, 1e8)
    assert next_state(DetectorState(), 1e5, null, DetectionSettings()).deferred
    assert not next_state(DetectorState(), 2 * USUAL, null, DetectionSettings()).deferred


def test_a_higher_run_length_asks_for_more_evidence() -> None:
    assert alarm_after(1e9, DetectionSettings(target_arl=1e9)) > 3
    assert alarm_after(1e9, DetectionSettings(target_arl=50)) == 1


def test_a_young_environment_suspects_only_what_is_grossly_out_of_place() -> None:
    young = NULL[:10]
    usual = float(np.median(young))
    assert next_state(DetectorState(), 3 * usual, young, DetectionSettings()) == DetectorState()
    assert next_state(DetectorState(), 5 * usual, young, DetectionSettings()).deferred
    assert next_state(DetectorState(), 1e9, NULL[:1], DetectionSettings()) == DetectorState()


def test_a_long_wait_holds_a_bounded_number_of_scores() -> None:
    state = DetectorState()
    for _ in range(600):
        state = next_state(state, 1e9, NULL, DetectionSettings())
    assert state.batches == 600
    assert len(state.deferred) == 256
    assert np.isfinite(state.statistic)


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=50),
    st.floats(0, 1e6, allow_subnormal=False),
)
def test_ranks_count_from_the_top(null: list[float], value: float) -> None:
    assert 1 <= rank(value, null) <= len(null) + 1
    assert rank(value + 1, null) <= rank(value, null)
