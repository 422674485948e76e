"""Change detectors that are chosen by name, each through a learner: what they decide, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from vase.detection import (
    DETECTORS,
    AtypicalityDetector,
    KappaDetector,
    PublishedDetector,
    detector_class,
)
from vase.detection.protocol import deferred_batches
from vase.detection.published import decide
from vase.errors import ConfigError, VaseError
from vase.lifelong.learner import Learner
from vase.lifelong.state import restore, state
from vase.nets import Architecture
from vase.objective.atypicality import atypicality
from vase.objective.moments import Moments
from vase.records import Decision
from vase.settings import DetectionSettings, LearnerSettings
from vase.training.checkpoint import digest

VECTORS = Architecture(channels=3, height=1, width=1, latents=2, hidden=6, environments=1)
CPU = torch.device("cpu")
ANY = 1e9  # nats: no latent is atypical
NONE = 1e-9  # nats: every latent is


def learner(rule: str, threshold: float = ANY, **detection: Any) -> Learner:
    sections = {
        "detection": {"rule": rule, **detection},
        "masks": {"threshold": threshold},
        "replay": {"snapshot_every": 50},
    }
    settings = LearnerSettings.model_validate(sections)
    return Learner(VECTORS, settings, seed=0, device=CPU)


def vectors(step: int, size: int = 8) -> torch.Tensor:
    return torch.rand(size, 3, 1, 1, generator=torch.Generator().manual_seed(step))


def observe(subject: Learner, steps: int = 1) -> list[tuple[str, int]]:
    """What is decided about the next batches."""
    found = [subject.observe(vectors(subject.step)).decision for _ in range(steps)]
    return [(decision.kind, decision.environment) for decision in found]


# ---- the published rule, and masks alone -------------------------------------------------------


def begun(rule: str, threshold: float = ANY, **detection: Any) -> Learner:
    """A learner that has learnt one batch."""
    subject = learner(rule, threshold, **detection)
    assert observe(subject) == [("new", 0)]
    return subject


def recorded(subject: Learner, nats: float, mask: list[bool] | None = None, index: int = 0) -> None:
    """Write into a record that its images cost so many nats, and its mask."""
    known = subject.environments[index]
    mean = known.moments.mean.copy()
    mean[-2] = nats
    known = replace(known, moments=replace(known.moments, mean=mean))
    known = known if mask is None else replace(known, mask=np.array(mask))
    records = {**subject.environments.records, index: known}
    subject.environments = replace(subject.environments, records=records)


def next_loss(subject: Learner) -> float:
    """What the published rule finds that the next batch costs, in nats; the learner stays."""
    twin = learner("published", kappa=ANY)
    restore(twin, *state(subject))
    return float(twin.observe(vectors(twin.step)).decision.numbers["loss_nats"])


@pytest.mark.parametrize(
    ("rule", "kappa", "share", "kind"),
    [
        ("published", 1.5, 1 / 1.4, "same"),
        ("published", 1.5, 1 / 1.6, "new"),
        ("published", 1.7, 1 / 1.6, "same"),
        ("published", 1.5, 100.0, "same"),  # however cheap: the trap of the rule
        ("atypicality", 1.5, 1 / 1.6, "same"),
        ("atypicality", 1.5, 1e-6, "same"),  # however dear
    ],
)
def test_kappa_bounds_the_loss_where_the_rule_asks_for_it(
    rule: str, kappa: float, share: float, kind: str
) -> None:
    subject = begun(rule, kappa=kappa)
    loss = next_loss(begun("published", kappa=kappa))
    recorded(subject, share * loss)
    decision = subject.observe(vectors(subject.step)).decision
    assert (decision.kind, decision.environment) == (kind, int(kind == "new"))
    assert decision.numbers["loss_nats"] == pytest.approx(loss, abs=0.01)
    assert decision.numbers["recorded_nats"] == pytest.approx(share * loss, abs=0.01)
    assert decision.numbers["kappa"] == (kappa if rule == "published" else None)
    assert decision.numbers["masks_agree"] is True
    begins = "new, since" if kind == "new" else "environment 0, since"
    assert decision.reason.startswith(
        f"{begins} the best guess, environment 0, costs {loss:.0f} nats"
    )


@pytest.mark.parametrize("rule", ["published", "atypicality"])
def test_masks_that_differ_are_of_a_new_environment(rule: str) -> None:
    subject = begun(rule, NONE)
    recorded(subject, ANY)
    seen = subject.observe(vectors(1))
    assert (seen.decision.kind, seen.decision.environment) == ("new", 1)
    assert seen.decision.numbers["masks_agree"] is False
    (event,) = seen.events
    assert (event.kind, event.environment) == ("new", 1)
    assert event.evidence["loss_nats"] > 0
    assert len(subject.environments) == 2


@pytest.mark.parametrize("rule", ["published", "atypicality"])
@pytest.mark.parametrize("agree", [True, False])
def test_masks_are_compared_latent_by_latent(rule: str, agree: bool) -> None:
    """One latent is typical of the next batch, one is not; the record says so, or the reverse."""
    alpha = atypicality(begun(rule).detector.model.evaluate(vectors(1), 0))[:2]
    subject = begun(rule, float(alpha.mean()))
    typical = alpha < alpha.mean()
    assert typical.sum() == 1
    recorded(subject, ANY, list(typical if agree else ~typical))
    assert observe(subject) == [("same", 0) if agree else ("new", 1)]


@pytest.mark.parametrize("rule", ["published", "atypicality"])
def test_the_best_guess_of_the_classifier_is_the_environment_that_returns(rule: str) -> None:
    subject = begun(rule, kappa=1.5)
    restore(subject, *state(opened(subject)))
    assert (subject.environments.current, len(subject.environments)) == (1, 2)
    for index in (0, 1):
        recorded(subject, ANY, [True, True], index)
    for guess, kind in ((1, "same"), (0, "returned"), (0, "same"), (1, "returned")):
        bias = subject.average.classifier.body[2].bias
        with torch.no_grad():
            bias.copy_(50 * torch.eye(len(bias))[guess])
        recorded(subject, ANY, [True, True], guess)
        assert observe(subject) == [(kind, guess)]
        assert subject.environments.current == guess
    assert subject.detector.known == 2


def opened(subject: Learner) -> Learner:
    """The same learner, after its detector has opened a second environment."""
    subject.settings = subject.settings.model_copy(
        update={"masks": subject.settings.masks.model_copy(update={"threshold": NONE})}
    )
    assert observe(subject) == [("new", 1)]
    subject.settings = subject.settings.model_copy(
        update={"masks": subject.settings.masks.model_copy(update={"threshold": ANY})}
    )
    return subject


def test_the_rules_take_their_numbers_from_the_settings() -> None:
    published, masks = learner("published", 0.25, kappa=2.0), learner("atypicality", kappa=2.0)
    assert isinstance(published.detector, PublishedDetector)
    assert (published.detector.kappa, published.detector.model.mask_threshold) == (2.0, 0.25)
    assert isinstance(masks.detector, AtypicalityDetector)
    assert masks.detector.kappa == np.inf


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


class Seen:
    """A model of three latents of which each question has its own answer."""

    present, mask_threshold = 0, 0.5

    def classify(self, images: torch.Tensor) -> Any:
        return np.array([-3.0, -0.1])

    def evaluate(self, images: torch.Tensor, environment: int) -> Moments:
        assert environment == 1
        return Moments(np.array([0.0, 3.0, 0.0, 51.2345, 7.0]), np.ones(5), 64.0)

    def moments(self, environment: int) -> Moments:
        return Moments(np.array([0.1, 0.2, 0.3, 40.9876, 9.0]), np.ones(5), 64.0)

    def mask(self, environment: int) -> Any:
        return np.array([True, False, True])


@pytest.mark.parametrize(("kappa", "kind"), [(1.3, "returned"), (1.2, "new")])
def test_the_published_rule_asks_the_guessed_environment_what_the_batch_costs(
    kappa: float, kind: str
) -> None:
    model: Any = Seen()
    detector = PublishedDetector(DetectionSettings(kappa=kappa), model)
    detector.update(vectors(0))
    found = detector.update(vectors(1))
    assert (found.kind, found.environment) == (kind, 1)
    assert found.numbers == {
        "guess": 1, "loss_nats": 51.23, "recorded_nats": 40.99, "kappa": kappa, "masks_agree": True,
    }  # fmt: skip
    assert "costs 51 nats against 41 on record, and the masks agree" in found.reason


class Answers:
    """A model of two latents: what images cost and how atypical they are says their first number.

    alpha: of the second latent in an image, by its first number. The record of every environment
    has 100 nats, and an atypicality of `recorded`.
    """

    mask_threshold, device = 0.5, CPU

    def __init__(self, recorded: float = 0.0, guess: int = 0) -> None:
        self.present, self.recorded, self.guess = 0, recorded, guess
        self.asked: list[tuple[int, int]] = []

    def classify(self, images: torch.Tensor) -> Any:
        return -np.abs(np.arange(2) - self.guess)

    def evaluate(self, images: torch.Tensor, environment: int) -> Moments:
        """Pixels are (nats, alpha) in environment 0; in 1 images of 400 nats cost 100."""
        self.asked.append((environment, len(images)))
        nats, alpha = images.flatten(1).double().mean(0).numpy()
        return self._moments(nats / 4 if environment else nats, 0.0 if environment else alpha)

    def moments(self, environment: int) -> Moments:
        return self._moments(100.0, 0.0 if environment else self.recorded)

    def _moments(self, nats: float, alpha: float) -> Moments:
        return Moments(np.array([0.0, (2 * alpha) ** 0.5, nats, 7.0]), np.ones(4), 64.0)


def kappa_decisions(
    batches: list[tuple[float, float]], model: Answers, **settings: Any
) -> list[tuple[str, int, int]]:
    """What is decided of batches of eight images, each of so many nats and such an atypicality."""
    chosen = DetectionSettings(min_batches=2, min_images=24, **settings)
    detector = KappaDetector(chosen, model)  # type: ignore[arg-type]
    found = []
    for nats, alpha in batches:
        decision = detector.update(torch.tensor([[nats, alpha]]).repeat(8, 1)[..., None, None])
        model.present = decision.environment
        found.append((decision.kind, decision.environment, decision.batches))
    return found[1:]


FITS = (100.0, 0.0)


@pytest.mark.parametrize(
    ("batch", "recorded", "fits"),
    [
        ((149, 0.0), 0.0, True),
        ((151, 0.0), 0.0, False),
        ((100, 0.9), 0.0, True),  # beyond lambda, within h lambda
        ((100, 1.1), 0.0, False),
        ((100, 5.0), 0.6, True),  # atypical, and so on record
        ((100, 0.3), 0.6, True),  # typical, but not by enough
        ((100, 0.2), 0.6, False),
    ],
)
def test_kappa_asks_what_changed_beyond_the_record_by_a_margin(
    batch: tuple[float, float], recorded: float, fits: bool
) -> None:
    (found,) = kappa_decisions([FITS, batch], Answers(recorded))
    assert found == (("same", 0, 1) if fits else ("deferred", 0, 1))


def test_kappa_decides_once_on_pooled_batches_and_asks_the_present_environment_first() -> None:
    strange = (400.0, 0.0)
    model = Answers(guess=0)
    assert kappa_decisions([FITS, strange, strange, strange, FITS], model) == [
        ("deferred", 0, 1),
        ("deferred", 0, 2),  # two batches, but sixteen images
        ("new", 1, 3),
        ("same", 1, 1),  # whatever the classifier says
    ]
    assert model.asked[-2:] == [(0, 24), (1, 8)]


def test_kappa_drops_a_suspicion_that_pooled_batches_do_not_bear_out() -> None:
    found = kappa_decisions([FITS, (180.0, 0.0), FITS, FITS], Answers())
    assert found == [("deferred", 0, 1), ("dismissed", 0, 2), ("same", 0, 1)]


@pytest.mark.parametrize(
    ("nats", "kind"),
    [
        (400.0, "returned"),
        (590.0, "returned"),
        (610.0, "new"),
        (270.0, "returned"),  # costs 67.5 there, of 100 on record
        (260.0, "new"),  # too cheap for an absent environment
    ],
)
def test_kappa_knows_an_environment_that_returns_by_the_classifier_s_best_guess(
    nats: float, kind: str
) -> None:
    chosen = DetectionSettings(min_batches=1, min_images=8)
    model = Answers(guess=1)
    detector = KappaDetector(chosen, model)  # type: ignore[arg-type]
    detector.load_state_dict({"known": 2, "waiting": [], "recent": []})
    found = detector.update(torch.tensor([nats, 0.0]).expand(8, 2)[..., None, None])
    where = 1 if kind == "returned" else 2
    assert (found.kind, found.environment, detector.known) == (kind, where, 2 + (kind == "new"))
    assert found.numbers["environment"] == 1
    assert detector.state_dict() == {"known": detector.known, "waiting": [], "recent": []}


def test_kappa_asks_an_absent_environment_for_its_latents_too() -> None:
    """It costs what is on record there, but a latent that was typical is far out."""

    class FarOut(Answers):
        def evaluate(self, images: torch.Tensor, environment: int) -> Moments:
            return self._moments(400.0 if environment == 0 else 100.0, 3.0)

    detector = KappaDetector(
        DetectionSettings(min_batches=1, min_images=8),
        FarOut(guess=1),  # type: ignore[arg-type]
    )
    detector.load_state_dict({"known": 2, "waiting": [], "recent": []})
    found = detector.update(torch.zeros(8, 2, 1, 1))
    assert (found.kind, found.environment, found.numbers["changed"]) == ("new", 2, [1])


@pytest.mark.parametrize("size", [1, 3, 8])
def test_kappa_judges_few_images_together_with_those_before_them(size: int) -> None:
    """Typical codes: a latent looks atypical in a batch of one, and is not."""

    class Drawn(Answers):
        def evaluate(self, images: torch.Tensor, environment: int) -> Moments:
            codes = images.flatten(1).double().numpy()
            mean, variance = codes.mean(0), codes.var(0) + 0.01
            return Moments(np.append(mean, [100.0, 7.0]), np.append(variance, [1, 1]), len(codes))

    detector = KappaDetector(DetectionSettings(), Drawn())  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    kinds = [
        detector.update(torch.randn(size, 2, 1, 1, generator=generator)).kind for _ in range(200)
    ]
    begin = 32 // size + 2  # until there are enough for once
    assert set(kinds[begin:]) == {"same"}
    assert sum(map(len, detector.recent)) < 32


def test_kappa_refuses_settings_under_which_it_never_decides() -> None:
    for wrong in ({"kappa": 0.9}, {"min_images": 192, "max_pooled_images": 300}):
        with pytest.raises(ConfigError, match="Rule kappa needs"):
            learner("kappa", **wrong)


def test_the_present_environment_may_get_cheaper_while_it_is_learnt() -> None:
    assert kappa_decisions([FITS, (20.0, 0.0)], Answers()) == [("same", 0, 1)]


METHODS = ("update", "state_dict", "load_state_dict")
NoUpdate, NoState, NoLoading = (
    type("Partly", (), {name: print for name in METHODS if name != lacking}) for lacking in METHODS
)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("publishd", r"There is no change detector called 'publishd'\. Did you mean 'published'"),
        (f"{__name__}:NoUpdate", r"is not a change detector: it has no update\."),
        (f"{__name__}:NoState", r"is not a change detector: it has no state_dict\."),
        (f"{__name__}:NoLoading", r"is not a change detector: it has no load_state_dict\."),
        ("feature-statistics", r"detection\.rule: .*removed"),
        ("oracle", r"The oracle has to be told: set detection\.options\.switches"),
    ],
)
def test_a_rule_that_cannot_be_one_is_refused(rule: str, words: str) -> None:
    model: Any = Seen()
    with pytest.raises(ConfigError, match=words):
        detector_class(rule)(DetectionSettings.model_construct(options={}), model)


# ---- the oracle, and one environment for ever --------------------------------------------------

SWITCHES = [[3, 1], [5, 0], [8, 2], [9, 1]]


def test_the_oracle_knows_every_switch_at_its_first_batch() -> None:
    subject = learner("oracle", options={"switches": SWITCHES})
    kinds = observe(subject, 11)
    same = [("same", 0), ("same", 0)]
    assert kinds[:5] == [("new", 0), *same, ("new", 1), ("same", 1)]
    assert kinds[5:8] == [("returned", 0), *same]
    assert kinds[8:] == [("new", 2), ("returned", 1), ("same", 1)]
    assert list(subject.environments.records) == [0, 1, 2]
    learnt = [known.batches for known in subject.environments]
    assert learnt == [5, 2, 0]  # the first batch of an environment is looked at only
    subject.detector.switches[11] = 0
    assert subject.observe(vectors(0)).decision.reason == "as told"


@pytest.mark.parametrize("rule", DETECTORS)
def test_a_rule_goes_on_from_its_state_in_the_middle(rule: str) -> None:
    whole, part = (learner(rule, options={"switches": SWITCHES}) for _ in range(2))
    assert type(whole.detector) is DETECTORS[rule]
    first = whole.observe(vectors(0)).decision
    assert (first.kind, first.environment) == ("new", 0)
    assert first.reason == "the first images of the stream"
    observe(whole, 5)
    restore(part, *state(whole))
    assert observe(whole, 5) == observe(part, 5)
    (tensors, record), (others, expected) = state(whole), state(part)
    assert record == expected
    assert digest(tensors) == digest(others)


def test_a_switch_is_not_missed_where_its_first_batch_is_skipped() -> None:
    subject = learner("oracle", options={"switches": SWITCHES})
    observe(subject, 3)
    spoilt = torch.full((8, 3, 1, 1), torch.nan)
    assert subject.observe(spoilt).decision.kind == "skipped"
    assert observe(subject, 2) == [("new", 1), ("returned", 0)]
    assert all(np.isfinite(known.moments.mean).all() for known in subject.environments)


def test_an_oracle_that_leaves_out_an_environment_is_refused_in_a_sentence() -> None:
    subject = learner("oracle", options={"switches": [[2, 5]]})
    observe(subject, 2)
    with pytest.raises(VaseError, match=r"OracleDetector decided 'returned' for environment 5"):
        observe(subject)
    assert (subject.step, subject.detector.present, subject.detector.known) == (2, 0, 1)


def test_without_detection_there_is_one_environment_whatever_comes() -> None:
    subject = learner("none")
    seen: list[Decision] = [subject.observe(vectors(k)).decision for k in range(5)]
    seen += [subject.observe(1 - vectors(k) / 50).decision for k in range(5)]
    assert [(decision.kind, decision.environment) for decision in seen] == [
        ("new", 0),
        *[("same", 0)] * 9,
    ]
    assert subject.environments.present.batches == 10


# ---- what is deferred --------------------------------------------------------------------------


@given(st.lists(st.integers(1, 80), min_size=1, max_size=12), st.integers(1, 3))
@example([25] * 6, 1)
def test_deferred_batches_are_kept_as_far_back_as_a_decision_can_rest_on_them(
    sizes: list[int], min_batches: int
) -> None:
    """One more, and there were more images than are pooled, and more batches than it takes."""
    chosen = DetectionSettings(max_pooled_images=100, min_batches=min_batches)
    kept: tuple[torch.Tensor, ...] = ()
    for size in sizes:
        kept = deferred_batches(kept, torch.zeros(size, 1), chosen)
    found = [len(batch) for batch in kept]
    assert found == sizes[len(sizes) - len(found) :]
    assert sum(found) <= 100 or len(found) <= 2 * min_batches
    more = sizes[-len(found) - 1 :]
    assert more == found or (sum(more) > 100 and len(more) > 2 * min_batches)
