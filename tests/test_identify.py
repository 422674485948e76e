"""Identification: pure functions on hand-written numbers, and on simulated worlds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vase.lifelong.detector import Suspicion
from vase.lifelong.identify import (
    Candidate,
    Evidence,
    IdentificationRule,
    agreeing,
    compare,
    identify,
    usual_score,
    weigh,
)
from vase.lifelong.kappa import Guess, KappaRule
from vase.lifelong.memory import Environment, Memory, recognise, released, remember
from vase.objective import signature
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments

RULE = IdentificationRule()
SIZE = 6


def evidence(*distances: float, **changes: object) -> Evidence:
    """Distances from environments 0, 1, ...; the learner stands in 0."""
    candidates = tuple(Candidate(k, distance, 0.05) for k, distance in enumerate(distances))
    base = Evidence(candidates, current=0, images=192, batches=3, waited=3)
    return replace(base, **changes)  # type: ignore[arg-type]


# ---- the verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distances", "kind", "index"),
    [
        ((0.1,), "kept", 0),
        ((2.0,), "new", 1),
        ((2.0, 0.1), "back", 1),
        ((0.1, 0.05), "back", 1),  # the nearest, wherever it is
        ((0.05, 0.1), "kept", 0),
        ((2.0, 9.0, 9.0), "new", 3),
        ((0.65, 9.0), "held", 0),  # within three standard deviations of the tolerance
        ((0.55, 9.0), "held", 0),
    ],
)
def test_the_nearest_if_it_is_near_enough(
    distances: tuple[float, ...], kind: str, index: int
) -> None:
    verdict = identify(evidence(*distances), RULE)
    assert (verdict.kind, verdict.environment) == (kind, index)


def test_what_cannot_be_told_is_decided_when_the_pool_is_full() -> None:
    for distance, kind in ((0.55, "kept"), (0.65, "new")):
        assert identify(evidence(distance, images=512, batches=8), RULE).kind == kind


def test_the_present_environment_is_not_given_up_for_a_few_bad_batches() -> None:
    """Those that raised the alarm were the worst of many: the verdict waits for others."""
    for distances, kind in (((1.0,), "new"), ((1.0, 0.1), "back")):
        assert identify(evidence(*distances), RULE).kind == "held"
        assert identify(evidence(*distances, batches=6, images=384), RULE).kind == kind


def test_batches_that_do_not_agree_decide_nothing() -> None:
    verdict = identify(evidence(9.0, batches=2, waited=40), RULE)
    assert verdict.kind == "held"
    assert "do not agree" in verdict.reason


def test_a_known_world_needs_fewer_images_than_a_new_one() -> None:
    assert identify(evidence(9.0, 0.1, images=60), RULE).kind == "back"
    assert identify(evidence(9.0, 8.0, images=60), RULE).kind == "held"


def test_a_mixture_is_waited_for_but_not_for_ever() -> None:
    between = (1, 0.4)
    verdict = identify(evidence(2.0, 30.0, between=between, waited=20), RULE)
    assert verdict.kind == "held"
    assert "40% of the images" in verdict.reason
    assert identify(evidence(2.0, 30.0, between=between, waited=64), RULE).kind == "new"


def test_a_new_environment_that_does_not_last_is_founded_anew() -> None:
    on_trial = evidence(9.0, 2.0, current=1, on_trial=True)
    verdict = identify(on_trial, RULE)
    assert (verdict.kind, verdict.environment) == ("revised", 1)
    assert identify(replace(on_trial, on_trial=False), RULE).kind == "new"


def test_the_reason_says_how_far_the_nearest_two_are() -> None:
    reason = identify(evidence(2.0, 3.0, 9.0), RULE).reason
    assert "2.00 nats from environment 0, 3.00 nats from environment 1" in reason
    assert "0.6 are allowed" in reason


# ---- the evidence ------------------------------------------------------------------------------


def world(seed: int, count: int = 64) -> Tensor:
    """Features of a world of its own for every ten seeds."""
    place = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed // 10 + 100)) * 3
    return (
        torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed)) + place
    ).double()


def environment(index: int, first_seed: int) -> Environment:
    """A record that has seen 30 batches of a world."""
    blank = Moments(np.zeros(3), np.ones(3), 1.0)
    known = Environment(
        index, np.ones(1, bool), blank, Capacity(), signature=signature.of(world(first_seed, 640))
    )
    for seed in range(first_seed, first_seed + 9):
        for part in world(seed, 320).split(64):
            score = signature.likelihood_ratio(part, known.signature)
            known = replace(known, batches=known.batches + 1)
            known = recognise(known, part, score, span=8192, window=256)
    return known


FIRST, SECOND = environment(0, 0), environment(1, 10)
MEMORY = Memory().enter(SECOND).enter(FIRST)


def test_the_own_world_is_at_no_distance_and_another_is_far() -> None:
    pooled = torch.cat([world(seed) for seed in (5, 6, 7)])
    assert abs(compare(pooled, FIRST).distance) < 0.1
    assert compare(pooled, SECOND).distance > 1
    assert compare(pooled, FIRST).deviation < 0.05


@pytest.mark.parametrize(
    ("seed", "kind", "index"), [(5, "kept", 0), (15, "back", 1), (25, "new", 2)]
)
def test_same_back_or_new_from_features(seed: int, kind: str, index: int) -> None:
    held = [world(seed + k) for k in range(3)]
    verdict = identify(weigh(MEMORY, held, 3, RULE), RULE)
    assert (verdict.kind, verdict.environment) == (kind, index)


def test_the_way_to_a_known_world_is_seen() -> None:
    held = [torch.cat([world(k, 40), world(10 + k, 24)]) for k in range(3)]
    found = weigh(MEMORY, held, 3, RULE)
    assert found.between is not None
    assert found.between[0] == 1
    assert found.between[1] == pytest.approx(24 / 64, abs=0.05)


def test_only_the_newest_batches_of_one_world_are_weighed() -> None:
    held = [world(25), world(5), world(15), world(16), world(17)]
    assert len(agreeing(held, RULE.agree)) == 3
    assert len(agreeing([world(25), world(35), world(45)], RULE.agree)) == 1
    assert weigh(MEMORY, held, 5, RULE).images == 192


def test_what_is_usual_comes_from_the_environment_s_own_scores() -> None:
    assert usual_score(replace(FIRST, scores=())) == (
        2 * SIZE,
        pytest.approx(2 * np.sqrt(2 * SIZE)),
    )
    median, spread = usual_score(replace(FIRST, scores=tuple(float(k) for k in range(101))))
    assert (median, spread) == (50.0, pytest.approx(25 * 1.4826))


def test_a_wait_after_an_alarm_leaves_no_scores_behind() -> None:
    """Noise that was held joins the null distribution; what had raised the alarm does not."""
    noise = Suspicion(10.0, (5e3,), 1)
    assert released(FIRST, noise, 256).scores[-1] == 5e3
    assert released(FIRST, replace(noise, alarm=True), 256).scores == FIRST.scores


# ---- the published rule ------------------------------------------------------------------------


def guess(loss: float, recorded: float, alpha: list[float], index: int = 0) -> Guess:
    known = Environment(
        index,
        np.ones(3, bool),
        Moments(np.array([0, 0, 0, recorded, 10]), np.ones(5), 64),
        Capacity(),
    )
    return Guess(known, loss, np.array(alpha), current=0, fresh=2)


def test_the_kappa_rule_lets_a_cheaper_world_pass() -> None:
    """The trap of the published rule: digits cost less than clothes, and their masks agree."""
    assert KappaRule().identify(guess(224, 280, [0, 0, 0])).kind == "same"


@pytest.mark.parametrize(
    ("loss", "alpha", "index", "kind"),
    [
        (500, [0, 0, 0], 0, "new"),
        (300, [0, 1, 0], 0, "new"),  # a latent that is used here is atypical
        (300, [0, 0, 0], 1, "back"),
    ],
)
def test_the_kappa_rule_asks_for_the_loss_and_for_equal_masks(
    loss: float, alpha: list[float], index: int, kind: str
) -> None:
    assert KappaRule().identify(guess(loss, 280, alpha, index)).kind == kind


# ---- memory ------------------------------------------------------------------------------------


def test_memory_survives_json_and_knows_what_is_elsewhere() -> None:
    again = Memory.from_json(MEMORY.to_json())
    assert again.current == 0
    assert [known.index for known in again.elsewhere] == [1]
    assert again.here.scores == FIRST.scores
    assert again.here.signature.count == FIRST.signature.count


def test_forgetting_the_newest_record() -> None:
    assert [known.index for known in MEMORY.without(1, 0).environments] == [0]


def test_remembering_moves_the_moments() -> None:
    clothes = Moments(np.array([0.0, 280]), np.ones(2), 256)
    digits = Moments(np.array([0.0, 130]), np.ones(2), 64)
    before = replace(FIRST, moments=clothes)
    after = remember(before, digits, [3.0])
    assert after.batches == before.batches + 1
    assert clothes.mean[1] > after.moments.mean[1] > digits.mean[1]


def test_what_latents_carry_is_the_mean_of_the_latest_batches() -> None:
    known = replace(FIRST, batches=0, mask=np.ones(2, bool))
    for nats in (1.0, 2.0, 6.0):
        known = remember(known, known.moments, [nats, 0.4])
    np.testing.assert_allclose(known.kl, [3.0, 0.4])
    for _ in range(200):  # what was long ago no longer counts
        known = remember(known, known.moments, [0.1, 0.9])
    np.testing.assert_allclose(known.kl, [0.1, 0.9], atol=1e-3)
    assert known.used.tolist() == [False, True]


def test_what_was_carried_is_the_most_of_any_environment_but_one() -> None:
    mask = np.array([True, True, False])
    first = replace(FIRST, mask=mask, kl=np.array([3.0, 0.4, 9.0]))
    second = replace(SECOND, mask=np.ones(3, bool), kl=np.array([1.0, 2.0, 0.0]))
    trial = replace(SECOND, index=2, mask=np.ones(3, bool))  # has learnt nothing yet
    memory = Memory((first, second, trial), 2)
    assert memory.carried(2).tolist() == [3.0, 2.0, 0.0]
    assert memory.carried(1).tolist() == [3.0, 0.0, 0.0]


def test_a_young_environment_keeps_the_newer_of_its_scores() -> None:
    """Against a signature of few images every batch fits badly: such scores are dropped."""
    known = replace(FIRST, batches=0, scores=())
    for k in range(40):
        known = recognise(known, world(k % 9), float(k), span=8192, window=16)
        assert len(known.scores) <= 1 + 3 * known.batches // 4
        known = replace(known, batches=known.batches + 1)
    assert known.scores == tuple(float(k) for k in range(24, 40))
