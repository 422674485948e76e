"""A learner on a GPU whose steps are a few launches: captured as CUDA graphs, then replayed.

Networks of this size keep a GPU waiting: a step is several hundred kernels of some microseconds,
and Python takes longer to launch one than the GPU to run it. What a step computes changes only
where a decision changes it, so the first steps after a decision are taken as they are written, and
one is captured; from then on images, capacity and the share of the average are copied in, and what
the step has to tell is fetched, once. Decisions stay where they are, in the learner.

Steps that cannot be captured go on as they are written: of several processes, of networks of the
user's, and of rivals that replay the past as data.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from vase.lifelong.learner import Learner
from vase.lifelong.step import Learnt, Told
from vase.lifelong.weights import follow
from vase.nets import BUILT_IN
from vase.records import Observation

SETTLED = 8  # steps in one situation, after which the next is captured

Result = TypeVar("Result")


class Capture(Protocol):
    """Makes of a computation one that is launched as a whole; see `cuda_graph`."""

    def __call__(
        self, compute: Callable[[], Result], generator: torch.Generator
    ) -> Callable[[], Result]: ...


@dataclass(frozen=True, eq=False)
class Graphs:
    """What is replayed in one situation: the eye, the weights' step, and that of their average."""

    eye: Callable[[], Tensor]
    step: Callable[[], Told]
    average: Callable[[], None]


def capturable(learner: Learner) -> bool:
    """Whether a learner's steps can be captured.

    Networks of the user's may wait for the device or branch on what they see, which a graph cannot.
    """
    alone = learner.device.type == "cuda" and learner.ranks.count == 1
    dreams = learner.settings.dream.method == "proximity" and learner.reservoir is None
    return alone and dreams and learner.shape.nets in BUILT_IN


def cuda_graph(compute: Callable[[], Result], generator: torch.Generator) -> Callable[[], Result]:
    """A computation whose kernels are launched as one; every replay draws anew from the generator.

    Its result lies where it is, and holds what the latest replay has computed.
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


class Captured:
    """A learner that observes as it would alone; only how its work is launched differs."""

    def __init__(self, learner: Learner, capture: Capture = cuda_graph) -> None:
        self.learner, self.capture = learner, capture
        self.situation: tuple[object, ...] = ()
        self.steps = 0  # in this situation
        self.images = torch.zeros(0)  # where graphs find them
        self.capacity, self.averaging = torch.zeros(2, device=learner.device).unbind()
        self.graphs: Graphs | None = None

    def observe(self, images: Tensor) -> Observation:
        """Take in [B, C, H, W] float in [0, 1]."""
        learner, features = self.learner, None
        if images.shape != self.images.shape:
            self.images, self.situation, self.graphs = torch.empty_like(images), (), None
        elif self.graphs is not None:
            self.images.copy_(images)
            features = self.graphs.eye()
        step = learner.begin(images, features)
        return learner.finish(step, self._learn(images) if step.learns else None)

    def _learn(self, images: Tensor) -> Learnt | None:
        learner, now = self.learner, self._situation()
        if not self._same(now):
            self.situation, self.steps, self.graphs = now, 0, None
        self.steps += 1
        if self.steps <= SETTLED:
            return learner.learn(images)
        if self.graphs is None:
            self.images.copy_(images)
            self.graphs = self._captured()
        self.capacity.fill_(learner.memory.here.capacity.nats)
        told = self.graphs.step()
        _ = learner.memory.here.signature.axes  # for the next batch, while the GPU is at work
        learnt = told.read()
        if learnt is not None:
            self.averaging.fill_(learner.averaging)
            self.graphs.average()
        return learnt

    def _situation(self) -> tuple[object, ...]:
        """All that a captured step takes for granted, as objects that are replaced, not changed."""
        learner, here, past = self.learner, self.learner.memory.here, self.learner.past
        weights = (learner.networks, learner.average, learner.snapshot, learner.optimizer)
        dreams: list[object] = [known.mask for known in past]
        if learner.settings.dream.source == "marginal":
            dreams += [known.moments for known in past]
        return (*weights, here.mask, *dreams)

    def _same(self, now: tuple[object, ...]) -> bool:
        """Whether these are the very objects that there were."""
        before = self.situation
        return len(now) == len(before) and all(map(operator.is_, now, before))

    def _captured(self) -> Graphs:
        """The steps as functions of tensors whose places do not change."""
        learner, now = self.learner, self.learner.situation()
        for group in learner.optimizer.param_groups:
            group["capturable"] = learner.device.type == "cuda"
        average, networks, generator = learner.average, learner.networks, learner.generator
        return Graphs(
            self.capture(lambda: learner.eye(self.images), generator),
            self.capture(lambda: learner.descend(self.images, now, self.capacity), generator),
            self.capture(lambda: follow(average, networks, self.averaging), generator),
        )
