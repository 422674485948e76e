"""Detection and identification: pure functions, on hand-written numbers and simulated streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vase.lifelong.detector import DetectorRule, Suspicion, e_value, p_value, suspect
from vase.lifelong.identify import Candidate, DivergenceRule, Evidence, KappaRule
from vase.lifelong.memory import Environment, Memory, remember
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments

LATENTS = 3


def moments(mean: list[float], variance: list[float], count: float = 256) -> Moments:
    return Moments(np.array(mean), np.array(variance), count)


# Three latents, then distortion and rate in nats.
CLOTHES = moments([0, 0, 0, 280, 14], [1, 1, 1, 5000, 4])
DIGITS = moments([0, 0, 0, 130, 10], [0.02, 0.02, 1, 900, 3])


def environment(index: int, expected: Moments, mask: list[bool] | None = None) -> Environment:
    return Environment(index, np.array(mask or [True] * LATENTS), expected, Capacity(), batches=500)


def candidate(known: Environment, seen: Moments, belief: float = 0.0) -> Candidate:
    return Candidate(known, seen, known.moments, belief)


def evidence(
    *candidates: Candidate, current: int = 0, alpha: list[float] | None = None
) -> Evidence:
    return Evidence(candidates, np.array(alpha or [0.0] * LATENTS), current, len(candidates))


# ---- the e-detector ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 20, 256])
def test_e_values_have_a_mean_of_at_most_one_under_the_null(size: int) -> None:
    """Every rank is equally likely for exchangeable scores: the mean over ranks is exact."""
    null = list(range(size))
    ranks = [p_value(value, null) for value in np.arange(size + 1) - 0.5]
    assert sorted(ranks) == pytest.approx((np.arange(size + 1) + 1) / (size + 1))
    assert np.mean([e_value(p) for p in ranks]) <= 1


def test_false_alarms_are_rarer_than_the_run_length_on_null_streams() -> None:
    """Simulated exchangeable scores with heavy tails; the bound holds for any distribution."""
    rule = DetectorRule(run_length=300, window=64)
    generator = np.random.default_rng(0)
    alarms, steps = 0, 60_000
    scores = list(generator.standard_t(2, size=rule.window) ** 2)
    state = Suspicion()
    for value in generator.standard_t(2, size=steps) ** 2:
        state = suspect(state, value, scores, rule)
        alarms += state.alarm
        if state.alarm:
            state = Suspicion()
        scores = [*scores[1:], value]
    assert alarms <= steps / rule.run_length


def test_a_lasting_change_is_found_within_a_few_batches() -> None:
    rule = DetectorRule()
    null = tuple(np.random.default_rng(0).chisquare(8, size=rule.window))
    state, delay = Suspicion(), 0
    while not state.alarm:
        state, delay = suspect(state, 100.0, null, rule), delay + 1
    assert delay <= 7


def test_weak_evidence_adds_up() -> None:
    """Scores at the 95th percentile of the null: no single one would raise an alarm."""
    rule = DetectorRule()
    null = tuple(np.random.default_rng(0).chisquare(8, size=rule.window))
    weak = float(np.quantile(null, 0.95))
    state, delay = Suspicion(), 0
    while not state.alarm and delay < 100:
        state, delay = suspect(state, weak, null, rule), delay + 1
    assert 7 < delay < 30


def test_one_bad_batch_is_held_and_raises_no_alarm() -> None:
    rule = DetectorRule()
    null = tuple(np.random.default_rng(0).chisquare(8, size=rule.window))
    usual = float(np.median(null))
    state = suspect(Suspicion(), 1e9, null, rule)
    assert state.held
    assert not state.alarm
    state = suspect(state, usual, null, rule)
    assert not state.held


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=50),
    st.floats(0, 1e6, allow_subnormal=False),
)
def test_p_values_lie_in_the_unit_interval_and_fall_with_the_score(
    null: list[float], value: float
) -> None:
    assert 0 < p_value(value, null) <= 1
    assert p_value(value + 1, null) <= p_value(value, null)


# ---- identification ----------------------------------------------------------------------------


def test_the_same_data_is_kept() -> None:
    verdict = DivergenceRule().identify(evidence(candidate(environment(0, CLOTHES), CLOTHES)))
    assert verdict.kind == "kept"


def test_a_cheaper_but_different_world_is_new() -> None:
    """The trap of the published rule: digits cost less than clothes, so kappa lets them pass."""
    seen = moments([0, 0, 0, 224, 12], [0.02, 0.02, 0.8, 900, 3])
    known = candidate(environment(0, CLOTHES), seen)
    verdict = DivergenceRule().identify(evidence(known))
    assert (verdict.kind, verdict.environment) == ("new", 1)
    assert "latent 0" in verdict.reason
    fooled = KappaRule(kappa=1.5).identify(evidence(known))
    assert fooled.kind == "kept"


def test_a_known_world_is_back() -> None:
    drifted = moments([0.1, 0, 0.1, 140, 10], [0.03, 0.02, 1.1, 1000, 3])
    verdict = DivergenceRule().identify(
        evidence(
            candidate(environment(0, CLOTHES), moments([2, 0, 0, 500, 30], [0.02, 1, 1, 900, 9])),
            candidate(environment(1, DIGITS), drifted),
        )
    )
    assert (verdict.kind, verdict.environment) == ("back", 1)


def at(distance: float, index: int) -> Candidate:
    """A candidate at about `distance` nats: one latent's mean is moved by sqrt(2 d)."""
    seen = moments([np.sqrt(2 * distance), 0, 0, 280, 14], [1, 1, 1, 5000, 4])
    return candidate(environment(index, CLOTHES), seen)


@pytest.mark.parametrize(
    ("here", "away", "kind", "index"),
    [
        (0.2, 0.1, "kept", 0),  # it fits where it is, so it stays, though another fits better
        (0.5, 0.9, "back", 1),  # it does not fit here, and does there, at the wider limit
        (0.5, 1.5, "new", 2),
        (2.0, 0.1, "back", 1),
    ],
)
def test_the_present_comes_first_and_the_absent_get_more_room(
    here: float, away: float, kind: str, index: int
) -> None:
    verdict = DivergenceRule(here=0.3, away=1.0, resolution=0).identify(
        evidence(at(here, 0), at(away, 1))
    )
    assert (verdict.kind, verdict.environment) == (kind, index)


def test_what_resembles_nothing_known_is_new_with_the_next_index() -> None:
    seen = moments([3, 0, 0, 900, 40], [1, 0.1, 1, 100, 9])
    verdict = DivergenceRule().identify(
        evidence(candidate(environment(0, CLOTHES), seen), candidate(environment(1, DIGITS), seen))
    )
    assert (verdict.kind, verdict.environment) == ("new", 2)


def test_the_kappa_rule_asks_for_equal_masks() -> None:
    known = candidate(environment(0, CLOTHES), CLOTHES)
    rule = KappaRule(kappa=1.5, atypical=0.5)
    assert rule.identify(evidence(known, alpha=[0, 0, 0])).kind == "kept"
    assert rule.identify(evidence(known, alpha=[0, 1.0, 0])).kind == "new"


def test_the_kappa_rule_follows_the_classifier_s_best_guess() -> None:
    known = [
        candidate(environment(0, CLOTHES), CLOTHES, belief=-3.0),
        candidate(environment(1, DIGITS), DIGITS, belief=-0.1),
    ]
    verdict = KappaRule().identify(evidence(*known))
    assert (verdict.kind, verdict.environment) == ("back", 1)


# ---- memory ------------------------------------------------------------------------------------


def test_memory_survives_json_and_knows_what_is_elsewhere() -> None:
    memory = (
        Memory().enter(environment(0, CLOTHES)).enter(environment(1, DIGITS, [True, False, True]))
    )
    again = Memory.from_json(memory.to_json())
    assert again.current == 1
    assert [known.index for known in again.elsewhere] == [0]
    assert again.here.mask.tolist() == [True, False, True]
    np.testing.assert_array_equal(again.environments[0].moments.mean, CLOTHES.mean)


def test_remembering_moves_one_record_and_keeps_the_latest_scores() -> None:
    before = environment(0, CLOTHES)
    after = before
    for score in range(5):
        after = remember(after, DIGITS, float(score), span=10, window=3)
    assert before.scores == ()
    assert after.scores == (2.0, 3.0, 4.0)
    assert after.batches == before.batches + 5
    assert CLOTHES.mean[3] > after.moments.mean[3] > DIGITS.mean[3]
