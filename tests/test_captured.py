"""A captured step: the learner's own, only launched otherwise.

Where there is no GPU the step that would be captured is run as it is, with its inputs copied in;
where there is one it is captured in truth.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest
import torch

from vase.errors import VaseError
from vase.lifelong.captured import SETTLED, Captured, capturable, cuda_graph
from vase.lifelong.detector import DetectorRule
from vase.lifelong.dream import DreamRule
from vase.lifelong.learner import MOST_SKIPPED, Learner
from vase.lifelong.settings import Settings
from vase.lifelong.step import Told
from vase.nets import Architecture
from vase.objective.capacity import CapacityRule
from vase.records import Observation
from vase.worlds.canvas import CanvasWorld
from vase.worlds.shapes import sprites
from vase.worlds.stream import Schedule, Stream

SHAPE = Architecture(
    channels=1, height=16, width=16, latents=4, features=8, hidden=16, cells=8, fold=2,
    environments=2,
)  # fmt: skip
SETTINGS = Settings(
    learning_rate=2e-3, capacity=CapacityRule(growth=0.05), detector=DetectorRule(window=64)
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GPU = pytest.param(
    CUDA, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
)
Result = TypeVar("Result")

# One environment, whose moments change at every step while it is dreamed of.
ALONE = {"infer": False, "masks": False, "dream": DreamRule(refresh=30)}
SWITCH, OPENED, STEPS = 60, 71, 88


def as_it_is(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
    return compute


def learner(device: torch.device, **changes: object) -> Learner:
    return Learner(SHAPE, replace(SETTINGS, **changes), seed=0, device=device)  # type: ignore[arg-type]


def captured(subject: Learner) -> Captured:
    return Captured(subject, cuda_graph if subject.device.type == "cuda" else as_it_is)


def stream() -> Stream:
    worlds = {
        "moving": CanvasWorld("moving", sprites("solids", 100, 7, 0), 16, moving=True),
        "inverted": CanvasWorld("inverted", sprites("strokes", 100, 7, 0), 16, inverted=True),
    }
    return Stream(Schedule.of([("moving", SWITCH), ("inverted", STEPS)]), worlds, 16, 0)


def observed(subject: Learner | Captured, device: torch.device, steps: int) -> list[Observation]:
    return [
        subject.observe(torch.from_numpy(stream().batch(step)[0]).to(device))
        for step in range(steps)
    ]


def apart(one: Learner, other: Learner, average: bool = False) -> float:
    """The norm of the difference of all weights over that of the weights."""
    first, second = (
        torch.cat([w.flatten() for w in (each.average if average else each.networks).parameters()])
        for each in (one, other)
    )
    return float((first - second).detach().norm() / second.detach().norm())


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("changes", [{}, ALONE])
def test_a_captured_learner_goes_where_it_would_have_gone(
    device: torch.device, changes: dict[str, object]
) -> None:
    """Through a switch: the same draws and decisions, and the same weights but for rounding."""
    one, other = learner(device, **changes), learner(device, **changes)
    tape = observed(captured(one), device, STEPS)
    plain = observed(other, device, STEPS)
    told = [(event.step, event.kind) for seen in tape for event in seen.events]
    assert told == [(event.step, event.kind) for seen in plain for event in seen.events]
    assert (OPENED, "new") in told or changes == ALONE
    for seen, expected in zip(tape, plain, strict=True):
        assert list(seen.terms) == list(expected.terms)
        for name, value in expected.terms.items():
            assert seen.terms[name] == pytest.approx(value, rel=1e-2, abs=1e-2), name
    assert apart(one, other) < 1e-2
    assert apart(one, other, average=True) < 1e-2


def test_steps_are_captured_once_a_situation_has_settled_and_anew_after_a_decision() -> None:
    captures: list[int] = []
    subject = learner(CPU)

    def capture(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
        captures.append(subject.step)
        return compute

    observed(Captured(subject, capture), CPU, STEPS)
    once, anew = SETTLED, OPENED + 1 + SETTLED
    assert captures == [once] * 3 + [anew] * 3  # the eye, the step and its average


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_captured_step_that_is_no_number_changes_no_weight(device: torch.device) -> None:
    subject = learner(device)
    steps = captured(subject)
    observed(steps, device, 2 * SETTLED)
    with torch.no_grad():
        subject.networks.decoder.latents.bias[0] = float("nan")
    before = [[w.clone() for w in n.parameters()] for n in (subject.networks, subject.average)]
    batch = torch.from_numpy(stream().batch(0)[0]).to(device)
    seen = steps.observe(batch)
    assert [event.kind for event in seen.events] == ["skipped"]
    for kept, networks in zip(before, (subject.networks, subject.average), strict=True):
        for one, two in zip(kept, networks.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)
    for _ in range(MOST_SKIPPED - 2):
        steps.observe(batch)
    with pytest.raises(VaseError, match="in a row"):
        steps.observe(batch)


def test_graphs_are_let_go_with_the_size_of_a_batch() -> None:
    """Also where the batch of another size is held back, and so not learnt."""
    subject = captured(learner(CPU))
    observed(subject, CPU, SETTLED + 2)
    assert subject.graphs is not None
    seen = subject.observe(1 - torch.from_numpy(stream().batch(0)[0])[:8])
    assert not seen.learnt
    assert subject.graphs is None


def test_what_cannot_be_captured_is_told() -> None:
    assert not capturable(learner(CPU))
    subject = learner(CPU)
    subject.device = CUDA  # nothing is computed there
    assert capturable(subject)
    subject.shape = replace(SHAPE, nets="of the user's")
    assert not capturable(subject)
    subject = learner(CPU, dream=DreamRule(method="replay"))
    subject.device = CUDA
    assert not capturable(subject)


def test_with_one_environment_steps_are_captured_where_dreams_do_not_follow_it() -> None:
    """Dreams from the prior are the same while the mask is; those from its own moments are not."""
    captures: list[DreamRule] = []

    def capture(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
        captures.append(rule)
        return compute

    for rule in (DreamRule(refresh=10), DreamRule(refresh=10, source="prior")):
        subject = learner(CPU, infer=False, dream=rule)
        observed(Captured(subject, capture), CPU, 2 * 10 + SETTLED + 3)
    assert {rule.source for rule in captures} == {"prior"}


def test_what_a_step_tells_is_packed_and_read_in_one_piece() -> None:
    table = torch.tensor([[0.5, -1.0, 3.0, 7.0], [0.25, 1.0, 2.0, 4.0]])
    terms = {"loss": torch.tensor(10.0), "kl": torch.tensor(2.5)}
    kl = torch.tensor([1.5, 1.0])
    learnt = Told.of(terms, kl, table, torch.tensor(True), 64).read()
    assert learnt is not None
    assert learnt.numbers == {"loss": 10.0, "kl": 2.5}
    assert learnt.kl == (1.5, 1.0)
    assert learnt.moments.mean.tolist() == table[0].tolist()
    assert learnt.moments.variance.tolist() == table[1].tolist()
    assert Told.of(terms, kl, table, torch.tensor(False), 64).read() is None
