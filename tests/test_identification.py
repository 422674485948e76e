"""Identification: pure functions on hand-written numbers, and on simulated domains."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vase.detection import statistics
from vase.detection.detector import FeatureStatisticsDetector, recorded
from vase.detection.identification import (
    Candidate,
    EnvironmentStatistics,
    Evidence,
    agreeing,
    collect_evidence,
    compare,
    identify,
    usual_score,
)
from vase.detection.published import decide
from vase.detection.sequential import DetectorState
from vase.lifelong.environments import Environment, Environments, updated
from vase.nets import Architecture
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.records import Decision
from vase.settings import DetectionSettings

RULE = DetectionSettings()
SIZE = 6


def evidence(*distances: float, **changes: object) -> Evidence:
    """Distances from environments 0, 1, ...; the learner stands in 0."""
    candidates = tuple(Candidate(k, distance, 0.05) for k, distance in enumerate(distances))
    base = Evidence(candidates, current=0, images=192, batches=3, waited=3)
    return replace(base, **changes)  # type: ignore[arg-type]


# ---- the decision -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distances", "kind", "index"),
    [
        ((0.1,), "dismissed", 0),
        ((2.0,), "new", 1),
        ((2.0, 0.1), "returned", 1),
        ((0.1, 0.05), "returned", 1),  # the nearest, wherever it is
        ((0.05, 0.1), "dismissed", 0),
        ((2.0, 9.0, 9.0), "new", 3),
        ((0.65, 9.0), "deferred", 0),  # within three standard deviations of the tolerance
        ((0.55, 9.0), "deferred", 0),
    ],
)
def test_the_nearest_if_it_is_near_enough(
    distances: tuple[float, ...], kind: str, index: int
) -> None:
    decision = identify(evidence(*distances), RULE)
    assert (decision.kind, decision.environment) == (kind, index)


def test_what_cannot_be_told_is_decided_when_the_pool_is_full() -> None:
    for distance, kind in ((0.55, "dismissed"), (0.65, "new")):
        assert identify(evidence(distance, images=512, batches=8), RULE).kind == kind


def test_the_present_environment_is_not_given_up_for_a_few_bad_batches() -> None:
    """Those that raised the alarm were the worst of many: the decision waits for others."""
    for distances, kind in (((1.0,), "new"), ((1.0, 0.1), "returned")):
        assert identify(evidence(*distances), RULE).kind == "deferred"
        assert identify(evidence(*distances, batches=6, images=384), RULE).kind == kind


def test_batches_that_do_not_agree_decide_nothing() -> None:
    decision = identify(evidence(9.0, batches=2, waited=40), RULE)
    assert decision.kind == "deferred"
    assert "do not agree" in decision.reason


def test_a_known_domain_needs_fewer_images_than_a_new_one() -> None:
    assert identify(evidence(9.0, 0.1, images=60), RULE).kind == "returned"
    assert identify(evidence(9.0, 8.0, images=60), RULE).kind == "deferred"


def test_a_mixture_is_waited_for_but_not_for_ever() -> None:
    between = (1, 0.4)
    decision = identify(evidence(2.0, 30.0, between=between, waited=20), RULE)
    assert decision.kind == "deferred"
    assert "40% of the images" in decision.reason
    assert identify(evidence(2.0, 30.0, between=between, waited=64), RULE).kind == "new"


def test_a_new_environment_that_does_not_last_is_reopened() -> None:
    on_probation = evidence(9.0, 2.0, current=1, on_probation=True)
    decision = identify(on_probation, RULE)
    assert (decision.kind, decision.environment) == ("reopened", 1)
    assert identify(replace(on_probation, on_probation=False), RULE).kind == "new"


def test_the_reason_says_how_far_the_nearest_two_are() -> None:
    reason = identify(evidence(2.0, 3.0, 9.0), RULE).reason
    assert "2.00 nats from environment 0, 3.00 nats from environment 1" in reason
    assert "0.6 are allowed" in reason


# ---- the evidence ------------------------------------------------------------------------------


def domain(seed: int, count: int = 64) -> Tensor:
    """Features of a domain of its own for every ten seeds."""
    place = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed // 10 + 100)) * 3
    return (
        torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed)) + place
    ).double()


def environment(first_seed: int) -> EnvironmentStatistics:
    """What is kept of an environment after batches of 30 times 64 images and more."""
    known = EnvironmentStatistics(statistics.feature_statistics(domain(first_seed, 640)))
    for seed in range(first_seed, first_seed + 9):
        for part in domain(seed, 320).split(64):
            score = statistics.likelihood_ratio(part, known.statistics)
            known = replace(known, batches=known.batches + 1)
            known = recorded(known, part, score, RULE)
    return known


FIRST, SECOND = environment(0), environment(10)
KNOWN = {0: FIRST, 1: SECOND}


def evidence_of(deferred: list[Tensor], waited: int) -> Evidence:
    return collect_evidence(KNOWN, 0, deferred, waited, RULE)


def test_the_own_domain_is_at_no_distance_and_another_is_far() -> None:
    pooled = torch.cat([domain(seed) for seed in (5, 6, 7)])
    assert abs(compare(pooled, 0, FIRST).distance) < 0.1
    assert compare(pooled, 1, SECOND).distance > 1
    assert compare(pooled, 0, FIRST).deviation < 0.05


@pytest.mark.parametrize(
    ("seed", "kind", "index"), [(5, "dismissed", 0), (15, "returned", 1), (25, "new", 2)]
)
def test_same_returned_or_new_from_features(seed: int, kind: str, index: int) -> None:
    deferred = [domain(seed + k) for k in range(3)]
    decision = identify(evidence_of(deferred, 3), RULE)
    assert (decision.kind, decision.environment) == (kind, index)


def test_the_way_to_a_known_domain_is_seen() -> None:
    deferred = [torch.cat([domain(k, 40), domain(10 + k, 24)]) for k in range(3)]
    found = evidence_of(deferred, 3)
    assert found.between is not None
    assert found.between[0] == 1
    assert found.between[1] == pytest.approx(24 / 64, abs=0.05)


def test_only_the_newest_batches_of_one_domain_are_weighed() -> None:
    deferred = [domain(25), domain(5), domain(15), domain(16), domain(17)]
    assert len(agreeing(deferred, RULE.max_f_ratio)) == 3
    assert len(agreeing([domain(25), domain(35), domain(45)], RULE.max_f_ratio)) == 1
    assert evidence_of(deferred, 5).images == 192


def test_what_is_usual_comes_from_the_environment_s_own_scores() -> None:
    assert usual_score(replace(FIRST, scores=())) == (
        2 * SIZE,
        pytest.approx(2 * np.sqrt(2 * SIZE)),
    )
    median, spread = usual_score(replace(FIRST, scores=tuple(float(k) for k in range(101))))
    assert (median, spread) == (50.0, pytest.approx(25 * 1.4826))


@dataclass(frozen=True)
class NoModel:
    """All that the detector asks of a model."""

    architecture: Architecture = Architecture()  # noqa: RUF009, frozen
    device: torch.device = torch.device("cpu")  # noqa: RUF009


def test_a_wait_after_an_alarm_leaves_no_scores_behind() -> None:
    """Deferred noise joins the null distribution; what had raised the alarm does not."""
    detector = FeatureStatisticsDetector(RULE, NoModel())  # type: ignore[arg-type]
    noise = DetectorState(10.0, (5e3,), 1)
    for before, last in ((noise, 5e3), (replace(noise, alarm=True), FIRST.scores[-1])):
        detector.environments = dict(KNOWN)
        detector._end_wait(before)
        assert detector.environments[0].scores[-1] == last


# ---- the published rule ------------------------------------------------------------------------


def published(loss: float, masks_agree: bool, guess: int = 0) -> Decision:
    """The published decision in environment 0, one of two, against 280 nats on record."""
    return decide(guess, loss, 280, masks_agree=masks_agree, kappa=1.5, present=0, known=2)


def test_the_published_rule_lets_a_cheaper_domain_pass() -> None:
    """The trap of the published rule: digits cost less than clothes, and their masks agree."""
    assert published(224, masks_agree=True).kind == "same"


@pytest.mark.parametrize(
    ("loss", "masks_agree", "guess", "kind", "where"),
    [
        (500, True, 0, "new", 2),
        (300, False, 0, "new", 2),
        (300, True, 1, "returned", 1),
        (420, True, 0, "same", 0),
    ],
)
def test_the_published_rule_asks_for_the_loss_and_for_equal_masks(
    loss: float, masks_agree: bool, guess: int, kind: str, where: int
) -> None:
    decision = published(loss, masks_agree, guess)
    assert (decision.kind, decision.environment) == (kind, where)


# ---- records -----------------------------------------------------------------------------------


def record(index: int, mask: list[bool], kl: list[float], batches: int = 0) -> Environment:
    moments = Moments(np.zeros(len(mask) + 2), np.ones(len(mask) + 2), 1.0)
    return Environment(index, np.array(mask), moments, Capacity(), batches, np.array(kl))


BOTH = [True, True]
RECORDS = Environments().enter(record(1, BOTH, [1, 2])).enter(record(0, BOTH, [0.5]))


def test_records_survive_json_and_say_what_is_absent() -> None:
    again = Environments.from_json(RECORDS.to_json())
    assert again.current == 0
    assert [known.index for known in again] == [0, 1]
    assert [known.index for known in again.absent] == [1]
    assert again.present.kl.tolist() == [0.5]
    assert again.to_json() == RECORDS.to_json()


def test_a_record_is_removed_by_its_id() -> None:
    assert [known.index for known in RECORDS.without(1, 0)] == [0]
    assert [known.index for known in RECORDS.without(0, 1)] == [1]
    assert RECORDS.without(0, 1).present.index == 1


def test_moments_follow_what_is_learnt() -> None:
    clothes = Moments(np.array([0.0, 280]), np.ones(2), 256)
    digits = Moments(np.array([0.0, 130]), np.ones(2), 64)
    before = replace(record(0, [True], [1.0]), moments=clothes)
    after = updated(before, digits, [3.0])
    assert after.batches == before.batches + 1
    assert clothes.mean[1] > after.moments.mean[1] > digits.mean[1]


def test_the_kl_of_latents_is_the_mean_over_the_latest_batches() -> None:
    known = record(0, [True, True], [0.0, 0.0])
    for nats in (1.0, 2.0, 6.0):
        known = updated(known, known.moments, [nats, 0.4])
    np.testing.assert_allclose(known.kl, [3.0, 0.4])
    for _ in range(200):  # what was long ago no longer counts
        known = updated(known, known.moments, [0.1, 0.9])
    np.testing.assert_allclose(known.kl, [0.1, 0.9], atol=1e-3)
    assert known.used.tolist() == [False, True]


def test_the_most_kl_is_of_any_environment_but_one() -> None:
    first = record(0, [True, True, False], [3.0, 0.4, 9.0])
    second = record(1, [True] * 3, [1.0, 2.0, 0.0])
    fresh = Environment(2, np.ones(3, bool), first.moments, Capacity())  # nothing learnt yet
    environments = Environments.of([first, second, fresh], 2)
    assert environments.most_kl(2).tolist() == [3.0, 2.0, 0.0]
    assert environments.most_kl(1).tolist() == [3.0, 0.0, 0.0]


def test_a_young_environment_keeps_the_newer_of_its_scores() -> None:
    """Against statistics of few images every batch fits badly: such scores are dropped."""
    known = replace(FIRST, batches=0, scores=())
    few = RULE.model_copy(update={"window": 16})
    for k in range(40):
        known = recorded(known, domain(k % 9), float(k), few)
        assert len(known.scores) <= 1 + 3 * known.batches // 4
        known = replace(known, batches=known.batches + 1)
    assert known.scores == tuple(float(k) for k in range(24, 40))
