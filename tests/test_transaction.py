"""A step is a transaction: it changes everything it should, or nothing; and roll-backs are whole.

A detector that plays back decisions drives a tiny learner of vectors, through sequences that no
real detector would make, and through steps that fail on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vase import build, config
from vase.detection import BlockDetector, ModelView
from vase.detection.block_identification import BlockEvidence
from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.errors import CheckpointError, ConfigError, VaseError
from vase.lifelong import learner as learning
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.learner import MAX_SKIPPED, Learner
from vase.lifelong.new_environment import raise_if_skipped_or_invalid
from vase.lifelong.state import restore, state, with_tensors, without_tensors
from vase.nets import Architecture, Networks
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.records import Decision
from vase.settings import REMOVED, DetectionSettings, LearnerSettings

CPU = torch.device("cpu")
VECTORS = Architecture(channels=3, height=1, width=1, latents=2, hidden=6, environments=1)
FAST = LearnerSettings.model_validate(
    {"replay": {"snapshot_every": 7}, "training": {"learning_rate": 0.01}}
)


class FailureError(Exception):
    """What goes wrong in a test."""


class PlaybackDetector:
    """Decides what `next` says, and remembers how many decisions it has made."""

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        self.next: Decision | None = None
        self.made: list[str] = []

    def update(self, images: torch.Tensor) -> Decision:
        self.made = [*self.made, "asked"]
        if self.next is None:
            raise FailureError("the detector fails")
        self.made = [*self.made, self.next.kind]
        return self.next

    def state_dict(self) -> dict[str, Any]:
        return {"made": self.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.made = list(state["made"])


def learner(settings: LearnerSettings = FAST) -> Learner:
    return Learner(VECTORS, settings, seed=0, device=CPU, detector=PlaybackDetector)


def vectors(step: int, size: int = 2) -> torch.Tensor:
    return torch.rand(size, 3, 1, 1, generator=torch.Generator().manual_seed(step))


def play(subject: Learner, decision: Decision | None, images: torch.Tensor | None = None) -> Any:
    subject.detector.next = decision
    return subject.observe(vectors(subject.step) if images is None else images)


def photograph(subject: Learner) -> tuple[dict[str, torch.Tensor], str]:
    """Everything that a checkpoint holds, copied."""
    tensors, record = state(subject)
    return {name: value.clone() for name, value in tensors.items()}, json.dumps(record)


def same(one: Any, other: Any) -> bool:
    tensors, others = one[0], other[0]
    equal = tensors.keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in tensors.items()
    )
    return equal and one[1] == other[1]


# ---- steps that fail ---------------------------------------------------------------------------


def broken(*_: Any, **__: Any) -> Any:
    raise FailureError("broken")


def in_the_detector(subject: Learner, patch: pytest.MonkeyPatch) -> Decision | None:
    return None


def in_the_networks(subject: Learner, patch: pytest.MonkeyPatch) -> Decision | None:
    patch.setattr(subject.networks.decoder, "forward", broken)
    return Decision("same", 0)


def in_a_new_record(subject: Learner, patch: pytest.MonkeyPatch) -> Decision | None:
    patch.setattr(learning, "create_environment", broken)  # weights were changed by then
    return Decision("new", 1)


def at_the_end(subject: Learner, patch: pytest.MonkeyPatch) -> Decision | None:
    patch.setattr(learning, "updated", broken)  # after the weights' step
    subject.step = 7  # a snapshot is due: everything is copied before
    return Decision("same", 0)


@pytest.mark.parametrize("fail", [in_the_detector, in_the_networks, in_a_new_record, at_the_end])
def test_a_step_that_fails_changes_nothing_and_the_run_goes_on(
    fail: Callable[[Learner, pytest.MonkeyPatch], Decision | None],
) -> None:
    subject, other = learner(), learner()
    for each in (subject, other):
        play(each, Decision("new", 0))
        for _ in range(4):
            play(each, Decision("same", 0))
        play(each, Decision("deferred", 0))
    with pytest.MonkeyPatch.context() as patch:
        decision = fail(subject, patch)
        other.step = subject.step
        before = photograph(subject)
        with pytest.raises(FailureError):
            play(subject, decision)
    assert same(photograph(subject), before)
    for each in (subject, other):  # the failure has left no trace
        play(each, Decision("new", 1, batches=2))
        play(each, Decision("same", 1))
    assert same(photograph(subject), photograph(other))


def test_a_loss_that_is_not_finite_changes_nothing_but_the_count_of_steps() -> None:
    subject = learner()
    play(subject, Decision("new", 0))
    play(subject, Decision("same", 0))
    before, made = photograph(subject), subject.detector.made
    seen = play(subject, Decision("same", 0), torch.full((2, 3, 1, 1), torch.nan))
    assert (seen.decision.kind, seen.learnt) == ("skipped", False)
    assert (subject.step, subject.skipped) == (3, 1)
    (event,) = seen.events
    assert (seen.step, event.step, event.kind) == (2, 2, "skipped")
    odd = "loss, reconstruction, kl, classifier"
    assert event.reason == seen.decision.reason == f"skipped: not finite: {odd}"
    assert (seen.kl_per_latent, seen.alpha) == ((), ())
    assert subject.detector.made == made
    subject.step, subject.skipped = 2, 0
    assert same(photograph(subject), before)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_first_batch_that_is_not_finite_leaves_a_fresh_learner(value: float) -> None:
    subject, fresh = learner(), learner()
    with pytest.raises(VaseError, match="first batch was skipped"):
        play(subject, Decision("new", 0), torch.full((2, 3, 1, 1), value))
    assert same(photograph(subject), photograph(fresh))
    for each in (subject, fresh):
        play(each, Decision("new", 0))
        play(each, Decision("same", 0))
    assert same(photograph(subject), photograph(fresh))


def test_a_gradient_that_is_not_finite_changes_nothing_and_the_run_goes_on() -> None:
    """The loss is finite; only on the way back does a number overflow."""
    subject, other = learner(), learner()
    for each in (subject, other):
        play(each, Decision("new", 0))
        play(each, Decision("same", 0))
    weight = subject.networks.decoder.what.weight
    handle = weight.register_hook(lambda gradient: gradient * torch.inf)
    seen = play(subject, Decision("same", 0))
    handle.remove()
    assert seen.decision.kind == "skipped"
    other.step, other.skipped = subject.step, subject.skipped
    assert same(photograph(subject), photograph(other))
    for each in (subject, other):
        play(each, Decision("same", 0))
    assert same(photograph(subject), photograph(other))


def test_too_many_in_a_row_end_the_run_in_a_sentence() -> None:
    subject = learner()
    play(subject, Decision("new", 0))
    nothing = torch.full((2, 3, 1, 1), torch.nan)
    for _ in range(MAX_SKIPPED - 1):
        play(subject, Decision("same", 0), nothing)
    with pytest.raises(VaseError, match=rf"skipped \({MAX_SKIPPED} in a row\)"):
        play(subject, Decision("same", 0), nothing)


# ---- roll-back ---------------------------------------------------------------------------------


def test_a_roll_back_restores_weights_and_moments_of_adam() -> None:
    subject = learner(LearnerSettings())
    play(subject, Decision("new", 0))
    for _ in range(5):
        play(subject, Decision("same", 0))
    play(subject, Decision("new", 1, provisional=True))
    opened = photograph(subject)[0]
    for _ in range(3):
        play(subject, Decision("same", 1, provisional=True))
    learnt = state(subject)[0]
    for part in ("encoder.layers.1.weight", "decoder.what.weight", "classifier.body.0.weight"):
        names = ("networks", "average", "optimizer.exp_avg", "optimizer.exp_avg_sq")
        for name in (f"{each}.{part}" for each in names):
            assert not torch.equal(opened[name], learnt[name]), name
    seen = play(subject, Decision("returned", 0, discards=True))
    assert seen.events[0].evidence["discarded"] == 1
    after = photograph(subject)[0]
    kinds = {".".join(name.split(".")[:2]) for name in opened if name.startswith("optimizer.")}
    assert kinds == {"optimizer.exp_avg", "optimizer.exp_avg_sq", "optimizer.step"}
    for name, value in opened.items():
        if name.split(".")[0] in ("networks", "average", "optimizer"):
            torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    assert len(subject.environments) == 1
    assert subject.rollback_optimizer is None


def test_what_a_roll_back_needs_is_saved_with_the_model() -> None:
    whole = learner(LearnerSettings())
    script = [Decision("new", 0), *[Decision("same", 0)] * 3, Decision("new", 1, provisional=True)]
    for decision in [*script, Decision("same", 1, provisional=True)]:
        play(whole, decision)
    part = learner(LearnerSettings())
    restore(part, *state(whole))
    for each in (whole, part):
        play(each, Decision("reopened", 1, discards=True, provisional=True))
        play(each, Decision("same", 1, provisional=True))
    assert same(photograph(whole), photograph(part))


# ---- the crash that was: a rule that opens an environment on probation -------------------------


class EagerDetector(BlockDetector):
    """Answers "new" to every alarm, on probation too, and "returned" to the third."""

    alarms = 0

    def decide(self, evidence: BlockEvidence) -> Decision:
        decision = super().decide(evidence)
        if evidence.batches < 3:
            return decision
        self.alarms += 1
        if self.alarms == 3:
            return replace(decision, kind="returned", environment=0)
        return replace(decision, kind="new", environment=len(evidence.candidates))


def test_the_only_environment_is_never_discarded() -> None:
    only = Environments().enter(
        Environment(0, np.ones(2, bool), Moments(np.zeros(4), np.ones(4), 1.0), Capacity())
    )
    for decision, words in (
        (Decision("reopened", 0, discards=True), "in environment 0 of 1, which it discards: that"),
        (Decision("returned", 0), "in environment 0 of 1: that"),
    ):
        with pytest.raises(VaseError, match=words):
            raise_if_skipped_or_invalid(decision, only, object(), 3)


def test_a_new_environment_on_probation_takes_the_place_of_the_present_one() -> None:
    """It used to end in "index 2 is out of bounds"."""
    small = ["model.hidden=8", "model.encoder_channels=4", "model.decoder_channels=4"]
    small += ["stream.size=16", "model.space_to_depth=1"]
    settings = config.load("toy", [*small, "detection.min_visit=1000"])  # longer than any
    subject = build.learner(settings, (1, 16, 16), detector=EagerDetector)
    solids, strokes = sprites("solids", 50, 8, 0), sprites("strokes", 50, 8, 0)
    domains = [
        CanvasDomain("a", solids, 16, moving=True),
        CanvasDomain("b", strokes, 16),
        CanvasDomain("c", solids, 16, inverted=True),
        CanvasDomain("a", solids, 16, moving=True),
    ]
    generator, kinds = np.random.default_rng(0), []
    for domain, steps in zip(domains, (60, 20, 20, 20), strict=True):
        for _ in range(steps):
            seen = subject.observe(torch.from_numpy(domain.sample(generator, 32)[0]))
            kinds += [(event.kind, event.environment) for event in seen.events]
            known = list(range(len(subject.environments)))
            assert list(subject.environments.records) == known
            assert sorted(subject.detector.environments) == known
            assert subject.detector.current == subject.environments.current
    assert kinds == [("new", 0), ("new", 1), ("reopened", 1), ("returned", 0)]
    assert list(subject.environments.records) == [0]
    assert subject.observe(torch.from_numpy(domains[0].sample(generator, 32)[0])).learnt


# ---- ten thousand decisions --------------------------------------------------------------------


@dataclass
class Expected:
    """Where the learner should be: how many environments there are, and the present one."""

    known: int = 0
    current: int = -1
    on_probation: bool = False

    def options(self) -> list[Decision]:
        """What can be decided now."""
        if not self.known:
            return [Decision("new", 0)]
        here, newest = self.current, self.known > 1 and self.current == self.known - 1
        probation = self.on_probation and newest
        waits = ("deferred", "dismissed", "undetermined")
        found = [Decision("same", here, provisional=probation)] * 3
        found += [Decision(kind, here, provisional=probation) for kind in waits]
        found += [Decision("same", here)] * 2  # it has lasted
        if not probation:
            found += [Decision("new", self.known, batches=2, provisional=True)] * 2
            found += [Decision("new", self.known)]
        for other in set(range(self.known)) - {here}:
            found += [Decision("returned", other, discards=probation)]
        found += [Decision("reopened", here, discards=True, provisional=True)] * probation
        return found

    def impossible(self) -> list[Decision]:
        """What cannot be carried out now."""
        here, count = self.current, self.known
        found = [Decision(kind, here, discards=True) for kind in ("same", "new", "dismissed")]
        found += [Decision("new", where) for where in (-1, count + 1)]
        found += [Decision("new", count, discards=True), Decision("returned", here)]
        found += [Decision(kind, count) for kind in ("same", "deferred", "returned", "reopened")]
        if count:
            found += [Decision("new", count - 1)]
        if count < 2 or here < count - 1:
            found += [Decision("reopened", here, discards=discards) for discards in (True, False)]
            found += [Decision("returned", k, discards=True) for k in range(count) if k != here]
        return found

    def follow(self, decision: Decision) -> None:
        """Go where a decision leads."""
        if decision.kind == "new":
            self.known += 1
        elif decision.kind == "returned" and decision.discards:
            self.known -= 1
        self.current, self.on_probation = decision.environment, decision.provisional


def check(subject: Learner, expected: Expected) -> None:
    """What always holds."""
    latents, rows = subject.architecture.latents, subject.architecture.environments
    assert list(subject.environments.records) == list(range(expected.known))
    assert subject.environments.current == expected.current
    assert subject.environments.present.index == expected.current
    assert rows >= expected.known
    every = (subject.networks, subject.average, *([subject.snapshot] if subject.snapshot else []))
    for networks in every:
        tables = networks.state_dict()
        assert networks.architecture.environments == rows
        assert [len(tables[name]) for name in Networks.TABLES] == [rows] * len(Networks.TABLES)
        assert all(bool(weight.isfinite().all()) for weight in tables.values())
    for key, known in subject.environments.records.items():
        assert known.index == key
        assert known.mask.shape == known.kl.shape == (latents,)
        assert known.moments.mean.shape == known.moments.variance.shape == (latents + 2,)
        assert np.isfinite([known.moments.mean, known.moments.variance]).all()
        assert np.isfinite(known.capacity.nats)
    weights = dict(subject.networks.named_parameters())
    assert set(subject.optimizer.param_groups[0]["params"]) == set(weights.values())
    moments = (subject.optimizer.state[weight] for weight in weights.values())
    for weight, slots in zip(weights.values(), moments, strict=True):
        assert slots["exp_avg"].shape == slots["exp_avg_sq"].shape == weight.shape
        assert bool(slots["exp_avg"].isfinite().all())
    assert subject.saved is None
    replay = subject.settings.replay.enabled
    assert subject.snapshot is None or replay
    assert subject.snapshot is not None or not replay or expected.known <= 1
    # What a roll-back needs is there for as long as it can happen, and no longer.
    assert (subject.rollback_optimizer is not None) == (expected.on_probation and replay)


FAILURES = [in_the_detector, in_the_networks, in_a_new_record]
VARIANTS = [
    {"replay": {"snapshot_every": 3}, "training": {"learning_rate": 0.01}},
    {"replay": {"method": "replay", "source": "prior"}, "objective": {"kind": "vae"}},
    {"replay": {"enabled": False}},
    {"masks": {"enabled": False}, "objective": {"two_sided": True}},
]
IMAGES = Architecture(
    height=8, width=8, latents=2, hidden=6, encoder_channels=2, decoder_channels=2,
    space_to_depth=1, environments=1,
)  # fmt: skip


def sequence(seed: int) -> int:
    """Up to eleven random decisions, some of which fail; return how many."""
    draw = np.random.default_rng(seed)
    settings = LearnerSettings.model_validate(VARIANTS[seed % len(VARIANTS)])
    shape = IMAGES if seed % 16 >= 12 else VECTORS
    subject, expected = tiny(shape, settings), Expected()
    length = int(draw.integers(2, 12))
    for _ in range(length):
        images = torch.from_numpy(draw.random((2, *shape.image), dtype=np.float32))
        fate, options = draw.random(), expected.options()
        decision = options[draw.integers(len(options))]
        if fate >= 0.35:
            assert play(subject, decision, images).decision == decision
            expected.follow(decision)
        else:
            before, steps = photograph(subject), (subject.step, subject.skipped)
            if fate < 0.1:
                failing_step(subject, expected, images, FAILURES[draw.integers(len(FAILURES))])
            elif fate < 0.2:
                wrong = expected.impossible()
                with pytest.raises(
                    VaseError, match=r"PlaybackDetector decided .* cannot be carried out"
                ):
                    play(subject, wrong[draw.integers(len(wrong))], images)
            elif fate < 0.3 and expected.known:
                images[0] = draw.choice([np.nan, np.inf])
                assert play(subject, decision, images).decision.kind == "skipped"
                subject.step, subject.skipped = steps
            else:
                subject = tiny(shape, settings)
                restore(subject, before[0], json.loads(before[1]))
            assert same(photograph(subject), before)
        if expected.known:
            check(subject, expected)
    return length


def failing_step(
    subject: Learner,
    expected: Expected,
    images: torch.Tensor,
    fail: Callable[[Learner, pytest.MonkeyPatch], Decision | None],
) -> None:
    """A step that fails on the way, wherever the learner is."""
    with pytest.MonkeyPatch.context() as patch:
        decision = (fail if expected.known else in_the_detector)(subject, patch)
        if decision is not None and decision.kind == "same":
            decision = replace(decision, environment=expected.current)
        elif decision is not None and expected.on_probation:
            decision = Decision("reopened", expected.current, discards=True)
        elif decision is not None:
            decision = replace(decision, environment=expected.known)
        with pytest.raises(FailureError):
            play(subject, decision, images)


def tiny(shape: Architecture, settings: LearnerSettings) -> Learner:
    return Learner(shape, settings, seed=0, device=CPU, detector=PlaybackDetector)


def test_random_decisions_leave_everything_consistent() -> None:
    assert sum(sequence(seed) for seed in range(80)) >= 500


@pytest.mark.slow
def test_ten_thousand_random_decisions_leave_everything_consistent() -> None:
    assert sum(sequence(seed) for seed in range(160, 1760)) >= 10_000


# ---- rules by name, and what is saved of a detector --------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (f"{__name__}.PlaybackDetector", "as module:attribute"),
        ("fails_on_import:It", r"module 'fails_on_import' fails with NameError: .*'nothing'"),
    ],
)
def test_a_rule_that_leads_nowhere_is_refused_in_a_sentence(
    rule: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_on_import.py").write_text("nothing")
    monkeypatch.syspath_prepend(tmp_path)
    settings = LearnerSettings(detection=DetectionSettings(rule=rule))
    with pytest.raises(ConfigError, match=words) as found:
        Learner(VECTORS, settings, seed=0, device=CPU)
    message = str(found.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_a_rule_of_ones_own_is_found_by_its_name() -> None:
    rule = f"{__name__}:PlaybackDetector"
    settings = LearnerSettings(detection=DetectionSettings(rule=rule))
    subject = Learner(VECTORS, settings, seed=0, device=CPU)
    assert isinstance(subject.detector, PlaybackDetector)
    assert play(subject, Decision("new", 0)).learnt


def test_a_loss_term_that_leads_nowhere_is_refused_before_anything_is_learnt() -> None:
    settings = LearnerSettings.model_validate({"objective": {"terms": {"kurtosis": 1.0}}})
    with pytest.raises(ConfigError, match="no loss term called 'kurtosis'"):
        Learner(VECTORS, settings, seed=0, device=CPU)


def test_a_checkpoint_of_another_detector_is_refused_in_a_sentence() -> None:
    saved = learner()
    play(saved, Decision("new", 0))
    other = Learner(VECTORS, FAST, seed=0, device=CPU)
    before = photograph(other)
    with pytest.raises(CheckpointError, match=r"PlaybackDetector, this one has .*BlockDetector"):
        restore(other, *state(saved))
    assert same(photograph(other), before)


def test_a_checkpoint_of_a_rule_that_was_removed_says_what_takes_its_place() -> None:
    subject = Learner(VECTORS, FAST, seed=0, device=CPU)
    tensors, record = state(subject)
    *_, removed = REMOVED
    with pytest.raises(CheckpointError, match=r"was removed: 'blocks', the default, takes its pla"):
        restore(subject, tensors, {**record, "detector_class": removed})


def test_a_detector_s_state_survives_json_bit_for_bit() -> None:
    subject = Learner(VECTORS, FAST, seed=0, device=CPU)
    for step in range(60):
        subject.observe(vectors(step, 16))
    for step in (98, 99):
        subject.observe(vectors(step, 16) / 50)  # another domain: deferred
    detector, tensors = subject.detector, {}
    record = json.loads(json.dumps(without_tensors(detector.state_dict(), "detector", tensors)))
    other = Learner(VECTORS, FAST, seed=1, device=CPU).detector
    other.load_state_dict(with_tensors(record, tensors))
    again: dict[str, torch.Tensor] = {}
    assert without_tensors(other.state_dict(), "detector", again) == record
    assert again.keys() == tensors.keys()
    assert all(
        torch.equal(value, again[name]) and value.dtype == again[name].dtype
        for name, value in tensors.items()
    )
    (known,) = other.environments.values()
    assert known.frames >= 900
    assert len(known.blocks) >= 8
    assert other.wait.batches == len(other.wait.chunks) == 1
    batches = [vectors(step, 16) for step in range(40, 60)]
    assert [detector.update(each) for each in batches] == [other.update(each) for each in batches]
