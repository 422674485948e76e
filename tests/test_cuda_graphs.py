"""A captured step: the learner's own, only launched otherwise.

Where there is no GPU the step that would be captured is run as it is, with its inputs copied in;
where there is one it is captured in truth.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import pytest
import torch
from test_transaction import photograph, same

from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.domains.stream import Schedule, Stream
from vase.errors import VaseError
from vase.lifelong import muon
from vase.lifelong.learner import MAX_SKIPPED, Learner
from vase.nets import Architecture
from vase.records import Decision, Observation
from vase.settings import LearnerSettings
from vase.training.cuda_graphs import WARMUP_STEPS, CudaGraphLearner, cuda_graph

ARCHITECTURE = Architecture(
    channels=1, height=16, width=16, latents=4, encoder_channels=8, hidden=16,
    decoder_channels=8, space_to_depth=2, environments=2,
)  # fmt: skip
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GPU = pytest.param(
    CUDA, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
)
Result = TypeVar("Result")

Changes = dict[str, dict[str, Any]]

# One environment, whose moments change at every step while it is replayed.
ALONE: Changes = {
    "detection": {"rule": "none"},
    "masks": {"enabled": False},
    "replay": {"snapshot_every": 30},
}
# Batches of 16, of which two are learnt together out of the working memory.
REMEMBERED: Changes = {"memory": {"use": "always", "frames": 256, "frames_per_step": 32}}
EXTENDED: Changes = {"objective": {"terms": {"latent_sparsity": 5.0}, "terms_after": 16}}
ORTHOGONAL: Changes = {"training": {"optimizer": "muon"}}
SWITCH, STEPS = 30, 54


def settings(changes: Changes) -> LearnerSettings:
    base = {
        "training": {"learning_rate": 2e-3},
        "objective": {"c_increment": 0.05},
        "detection": {"window": 64},
    }
    sections = {**base, **changes}
    return LearnerSettings.model_validate(
        {name: {**base.get(name, {}), **section} for name, section in sections.items()}
    )


def as_it_is(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
    return compute


def learner(device: torch.device, changes: Changes | None = None) -> Learner:
    return Learner(ARCHITECTURE, settings(changes or {}), seed=0, device=device)


def captured(
    device: torch.device, changes: Changes | None = None, capture: Any = None
) -> CudaGraphLearner:
    how = capture or (cuda_graph if device.type == "cuda" else as_it_is)
    return CudaGraphLearner(
        ARCHITECTURE, settings(changes or {}), seed=0, device=device, capture=how
    )


@cache
def stream() -> Stream:
    domains = {
        "moving": CanvasDomain("moving", sprites("solids", 100, 7, 0), 16, moving=True),
        "inverted": CanvasDomain("inverted", sprites("strokes", 100, 7, 0), 16, inverted=True),
    }
    return Stream(Schedule.of([("moving", SWITCH), ("inverted", STEPS)]), domains, 16, 0)


def observed(subject: Learner, device: torch.device, steps: int) -> list[Observation]:
    return [
        subject.observe(torch.from_numpy(stream().batch(step)[0]).to(device))
        for step in range(steps)
    ]


@cache
def opened() -> int:
    """The step at which the learner that is not captured opens its second environment."""
    seen = observed(learner(CPU), CPU, STEPS)
    return [event.step for each in seen for event in each.events if event.kind == "new"][1]


def apart(one: Learner, other: Learner, average: bool = False) -> float:
    """The norm of the difference of all weights over that of the weights."""
    first, second = (
        torch.cat([w.flatten() for w in (each.average if average else each.networks).parameters()])
        for each in (one, other)
    )
    return float((first - second).detach().norm() / second.detach().norm())


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("changes", [{}, ALONE, REMEMBERED, EXTENDED, ORTHOGONAL])
def test_a_captured_learner_goes_where_it_would_have_gone(
    device: torch.device, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a switch: the same draws and decisions, and the same weights but for rounding."""
    monkeypatch.setattr(muon, "SMALLEST", ARCHITECTURE.hidden)
    one, other = captured(device, changes), learner(device, changes)
    graphed = observed(one, device, STEPS)
    plain = observed(other, device, STEPS)
    told = [(event.step, event.kind) for seen in graphed for event in seen.events]
    assert told == [(event.step, event.kind) for seen in plain for event in seen.events]
    assert sum(kind == "new" for _, kind in told) == 1 + (changes != ALONE)
    for seen, expected in zip(graphed, plain, strict=True):
        assert list(seen.terms) == list(expected.terms)
        for name, value in expected.terms.items():
            assert seen.terms[name] == pytest.approx(value, rel=1e-2, abs=1e-2), name
    assert apart(one, other) < 1e-2
    assert apart(one, other, average=True) < 1e-2


def test_steps_are_captured_once_a_situation_has_settled_and_again_after_a_decision() -> None:
    captures: list[int] = []

    def capture(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
        captures.append(subject.step)
        return compute

    subject = captured(CPU, capture=capture)
    observed(subject, CPU, STEPS)
    once, again = WARMUP_STEPS, opened() + 1 + WARMUP_STEPS
    assert captures == [once] * 3 + [again] * 3  # features, the update, and the average


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_captured_step_that_is_no_number_changes_no_weight(device: torch.device) -> None:
    subject = captured(device)
    observed(subject, device, 2 * WARMUP_STEPS)
    with torch.no_grad():
        subject.networks.decoder.latents.bias[0] = float("nan")
    before = [[w.clone() for w in n.parameters()] for n in (subject.networks, subject.average)]
    batch = torch.from_numpy(stream().batch(0)[0]).to(device)
    seen = subject.observe(batch)
    assert [event.kind for event in seen.events] == ["skipped"]
    for kept, networks in zip(before, (subject.networks, subject.average), strict=True):
        for one, two in zip(kept, networks.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)
    for _ in range(MAX_SKIPPED - 2):
        subject.observe(batch)
    with pytest.raises(VaseError, match="in a row"):
        subject.observe(batch)


def test_a_captured_learner_takes_a_step_again_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its graphs stay, and it goes where it goes without the failure."""
    one, other = captured(CPU), captured(CPU)
    observed(other, CPU, opened() + 4)
    for step in range(opened() + 4):
        batch = torch.from_numpy(stream().batch(step)[0])
        if step == opened():
            graphs, before = one.graphs, photograph(one)
            assert graphs is not None
            with monkeypatch.context() as patch:
                patch.setattr("vase.lifelong.learner.create_environment", fails)
                with pytest.raises(ZeroDivisionError):
                    one.observe(batch)
            assert one.graphs is graphs
            assert same(photograph(one), before)
        one.observe(batch)
    assert len(one.environments) == 2
    assert same(photograph(one), photograph(other))


def fails(*_: Any) -> Any:
    return 1 / 0


def test_a_batch_of_another_size_runs_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deferred, it leaves the graphs as they are; learnt, it begins a situation of its own."""
    subject = captured(CPU)
    observed(subject, CPU, WARMUP_STEPS + 2)
    graphs = subject.graphs
    assert graphs is not None
    batch = torch.from_numpy(stream().batch(0)[0])
    with monkeypatch.context() as patch:
        patch.setattr(subject.detector, "update", lambda _: Decision("deferred", 0))
        assert not subject.observe(batch[:8]).learnt
    assert subject.graphs is graphs
    assert subject.observe(batch[:8]).learnt
    assert subject.graphs is None


def test_what_cannot_be_captured_runs_as_it_is_written() -> None:
    assert captured(CPU).capturable
    assert not captured(CPU, {"replay": {"method": "replay"}}).capturable
    stored = {"detection": {"rule": "none"}, "replay": {"method": "replay", "stored_images": 9}}
    assert not captured(CPU, stored).capturable
    subject = captured(CPU)
    subject.networks.decoder.capturable = False
    assert not subject.capturable
    observed(subject, CPU, WARMUP_STEPS + 2)
    assert subject.graphs is None


def test_with_one_environment_steps_are_captured_where_replay_does_not_follow_it() -> None:
    """Replay from the prior is the same while the mask is; from its own moments it is not."""
    captures: list[str] = []

    def capture(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
        captures.append(source)
        return compute

    for source in ("marginal", "prior"):
        changes = {"detection": ALONE["detection"],
                   "replay": {"snapshot_every": 10, "source": source}}  # fmt: skip
        observed(captured(CPU, changes, capture), CPU, 2 * 10 + WARMUP_STEPS + 3)
    assert set(captures) == {"prior"}
