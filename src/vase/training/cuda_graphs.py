"""A learner on a GPU whose steps are a few launches: captured as CUDA graphs, then replayed.

Networks of this size keep a GPU waiting: a step is several hundred kernels of some microseconds,
and Python takes longer to launch one than the GPU to run it. What a step computes changes only
where a decision changes it. So the first steps after a decision run as they are written, and one is
captured; from then on images, capacity and the decay of the average are copied in, and the result
is fetched, once. The learner itself does not know of it.

Steps that cannot be captured run as they are written: with a reservoir or images learnt as data,
and with networks or loss terms that say `capturable = False`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from vase.lifelong import loss
from vase.lifelong.learner import Learner
from vase.lifelong.loss import StepContext
from vase.lifelong.update_result import UpdateResult
from vase.lifelong.weights import update_average

WARMUP_STEPS = 8  # steps with nothing new, after which the next is captured

Result = TypeVar("Result")


class Capture(Protocol):
    """Makes of a computation one that is launched as a whole; see `cuda_graph`."""

    def __call__(
        self, compute: Callable[[], Result], generator: torch.Generator
    ) -> Callable[[], Result]: ...


@dataclass(frozen=True, eq=False)
class Graphs:
    """What is replayed: the feature extractor, the update of the weights, and of their average."""

    features: Callable[[], Tensor] | None
    update: Callable[[], UpdateResult]
    average: Callable[[], None]


def cuda_graph(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
    """A computation whose kernels are launched as one; every replay draws anew from the generator.

    Its result keeps its place in memory, and holds what the latest replay has computed.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = compute()
    return partial(_replayed, graph, result, compute)


def _replayed(graph: torch.cuda.CUDAGraph, result: Result, _: Callable[[], Result]) -> Result:
    """One replay. What was computed is kept, for it owns tensors that the graph reads."""
    graph.replay()
    return result


class CudaGraphLearner(Learner):
    """A learner that goes where it would go without graphs; only how work is launched differs."""

    def __init__(self, *arguments: Any, capture: Capture = cuda_graph, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.capture = capture
        self.situation: tuple[object, ...] = ()
        self.shape = torch.Size()  # of a batch in this situation
        self.steps = 0  # in this situation
        self.images = torch.zeros(0)  # where graphs find them
        self.capacity, self.decay = torch.zeros(2, device=self.device).unbind()
        self.fixed: StepContext | None = None  # what graphs take for granted
        self.graphs: Graphs | None = None
        self.extractor = getattr(self.detector, "feature_extractor", None)
        if self.extractor is not None:
            self.detector.feature_extractor = Extractor(self)  # type: ignore[attr-defined]

    @property
    def capturable(self) -> bool:
        """Whether this learner's steps can be captured at all."""
        terms = [loss.loss_term(name) for name in self.settings.objective.terms]
        return (
            self.settings.replay.method == "proximity"
            and self.reservoir is None
            and self.networks.capturable
            and all(getattr(term, "capturable", True) for term in terms)
        )

    def update(self, images: Tensor) -> UpdateResult:
        """Update by a graph once nothing new has happened for `WARMUP_STEPS` steps."""
        now, same = self._now(), images.shape == self.shape
        same = same and len(now) == len(self.situation)
        if not (same and all(map(operator.is_, now, self.situation))):
            self.situation, self.shape, self.steps = now, images.shape, 0
            self.graphs = self.fixed = None
        self.steps += 1
        if self.steps <= WARMUP_STEPS or not self.capturable:
            return super().update(images)
        if self.graphs is None:
            self.images = images.clone()
            self.graphs = self._captured()
        self.images.copy_(images)
        self.capacity.fill_(self.environments.present.capacity.nats)
        return replace(self.graphs.update())  # a new record: what it read before is stale

    def update_average(self) -> None:
        if self.graphs is None:
            super().update_average()
            return
        self.decay.fill_(self.ema_decay)
        self.graphs.average()

    def context(self) -> StepContext:
        return super().context() if self.fixed is None else self.fixed

    def extract(self, images: Tensor) -> Tensor:
        """The features of images, [B, F], by the graph if there is one for as many."""
        graphs = self.graphs
        if graphs is None or graphs.features is None or images.shape != self.images.shape:
            found: Tensor = self.extractor(images)  # type: ignore[misc]
            return found
        self.images.copy_(images)
        return graphs.features()

    def _now(self) -> tuple[object, ...]:
        """All that a captured step takes for granted, as objects that are replaced, not changed."""
        present, replayed = self.environments.present, self.replayed_environments
        weights = (self.networks, self.average, self.snapshot, self.optimizer)
        replays: list[object] = [known.mask for known in replayed]
        if self.settings.replay.source == "marginal":
            replays += [known.moments for known in replayed]
        return (*weights, self.paired, self.extended, present.mask, *replays)

    def _captured(self) -> Graphs:
        """The step as functions of tensors that keep their places."""
        for group in self.optimizer.param_groups:
            group["capturable"] = self.device.type == "cuda"
        average, networks, extractor = self.average, self.networks, self.extractor
        self.fixed = replace(super().context(), capacity=self.capacity)
        self.capacity.fill_(self.environments.present.capacity.nats)
        update, features = super().update, None
        if extractor is not None:
            features = self.capture(lambda: extractor(self.images), self.generator)
        return Graphs(
            features,
            self.capture(lambda: update(self.images), self.generator),
            self.capture(lambda: update_average(average, networks, self.decay), self.generator),
        )


class Extractor:
    """The detector's feature extractor, launched by the learner's graph."""

    def __init__(self, learner: CudaGraphLearner) -> None:
        self.learner = learner

    def __call__(self, images: Tensor) -> Tensor:
        return self.learner.extract(images)

    def state_dict(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.learner.extractor.state_dict()  # type: ignore[union-attr]
        return found

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.learner.extractor.load_state_dict(state)  # type: ignore[union-attr]
