"""The working memory: what stays in it, when it is emptied, and what a step learns from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_transaction import (
    VECTORS,
    FailureError,
    PlaybackDetector,
    at_the_end,
    in_the_networks,
    photograph,
    play,
    same,
    vectors,
)

from vase import build, config
from vase.errors import ConfigError
from vase.lifelong.learner import Learner
from vase.lifelong.state import restore, state
from vase.lifelong.working_memory import WorkingMemory, redundant, uses_memory
from vase.records import Decision, Observation
from vase.settings import LearnerSettings, MemorySettings
from vase.training.data_parallel import DataParallelLearner

CPU = torch.device("cpu")
NEW, SAME = Decision("new", 0), Decision("same", 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, seed: int, channels: int = 1, side: int = 8) -> torch.Tensor:
    """Images of which no two are alike, with pixels that uint8 holds exactly."""
    shape = (count, channels, side, side)
    return torch.randint(256, shape, generator=generator(seed)).float() / 255


def filled(capacity: int, batches: Iterator[torch.Tensor]) -> WorkingMemory:
    memory = WorkingMemory(capacity)
    for step, images in enumerate(batches):
        memory = memory.waiting_for_step(images).merged(generator(step))
        assert len(memory) <= capacity
    return memory


def count_of(memory: WorkingMemory, image: torch.Tensor) -> int:
    """How many frames of the memory are this image, [C, H, W]."""
    kept = torch.stack(memory.frames).float() / 255
    return int((kept - image).abs().flatten(1).amax(1).lt(1e-6).sum())


# ---- what stays --------------------------------------------------------------------------------


@pytest.mark.parametrize(("capacity", "size"), [(100, 64), (100, 7), (40, 64), (64, 64)])
def test_it_never_holds_more_frames_than_it_may(capacity: int, size: int) -> None:
    memory = filled(capacity, (noise(size, k) for k in range(20)))
    assert len(memory) == len(memory.frames) == capacity
    assert memory.descriptors is not None
    assert len(memory.descriptors) == capacity


def test_until_it_is_full_every_frame_is_kept_as_it_is() -> None:
    images = noise(96, 3, channels=3)
    memory = filled(100, iter(images.split(32)))
    assert torch.equal(torch.stack(memory.frames).float() / 255, images)
    assert {frame.dtype for frame in memory.frames} == {torch.uint8}
    assert all(frame.untyped_storage().nbytes() == 3 * 8 * 8 for frame in memory.frames)


@pytest.mark.parametrize("size", [1, 32])
def test_a_stream_that_stands_still_for_ten_thousand_frames_leaves_one_frame(size: int) -> None:
    """All frames can be compared here, so that exactly one place is lost, to the standing image."""
    before, still = noise(256, 0), noise(1, 1)
    memory = WorkingMemory(256).waiting_for_step(before).merged(generator())
    for step in range(10_000 // (32 * size)):
        images = still.expand(32 * size, -1, -1, -1)
        memory = memory.waiting_for_step(images).merged(generator(step))
    assert count_of(memory, still[0]) == 1
    assert sum(count_of(memory, image) for image in before) == 255


def test_a_large_memory_loses_a_few_frames_to_ten_thousand_that_stand_still() -> None:
    """A random quarter of it is compared, at n = 156 steps. One more of c copies stays where none
    of them is in that part, with probability (3/4)^c: about ln(1 + n ln(4/3)) / ln(4/3) = 13.
    """
    before, still = noise(1024, 0), noise(1, 1).expand(64, -1, -1, -1)
    memory = filled(1024, iter([before, *[still] * (10_000 // 64)]))
    assert 7 <= count_of(memory, still[0]) <= 20
    assert len(memory) == 1024


def test_of_frames_that_are_alike_one_stays() -> None:
    groups = torch.eye(3).repeat_interleave(5, dim=0) + 0.01 * torch.rand(15, 3)
    for seed in range(20):
        gone = set(redundant(groups, 12, generator(seed)).tolist())
        assert len(gone) == 12
        assert sorted(row // 5 for row in range(15) if row not in gone) == [0, 1, 2]


def test_black_frames_are_alike() -> None:
    memory = filled(64, iter([noise(63, 0), *[torch.zeros(32, 1, 8, 8)] * 10]))
    assert count_of(memory, torch.zeros(1, 8, 8)) == 1


def test_vectors_are_kept_to_the_last_bit() -> None:
    rows = torch.rand(40, 5, 1, 1, generator=generator())
    memory = filled(64, iter(rows.split(8)))
    assert torch.equal(torch.stack(memory.frames), rows)


def test_images_are_drawn_without_repetition_if_there_are_enough() -> None:
    images = noise(64, 0)
    memory = filled(100, iter([images]))
    drawn = memory.draw(64, generator(5))
    assert drawn.dtype == torch.float32
    assert not torch.equal(drawn, images)
    assert torch.equal(drawn.flatten(1).unique(dim=0), images.flatten(1).unique(dim=0))
    assert torch.equal(drawn, memory.draw(64, generator(5)))
    more = memory.draw(130, generator(5))  # each twice, and two once more
    _, counts = more.flatten(1).unique(dim=0, return_counts=True)
    assert sorted(counts.tolist()) == [2] * 62 + [3] * 2


# ---- when it is used ---------------------------------------------------------------------------


def test_it_is_used_where_frames_depend_on_one_another() -> None:
    usual = MemorySettings()
    assert not uses_memory(usual, 1.0)
    assert not uses_memory(usual, 1.5)
    assert uses_memory(usual, 2.0)
    assert uses_memory(MemorySettings(use="always"), 1.0)
    assert not uses_memory(MemorySettings(use="always", frames=0), 100.0)


def settings(**memory: Any) -> LearnerSettings:
    memory = {"use": "always", "frames": 64, "frames_per_step": 8, **memory}
    return LearnerSettings.model_validate(
        {"memory": memory, "training": {"learning_rate": 0.01}, "replay": {"snapshot_every": 7}}
    )


def learner(**memory: Any) -> Learner:
    return Learner(VECTORS, settings(**memory), seed=0, device=CPU, detector=PlaybackDetector)


def observe(subject: Learner, steps: int, size: int = 1) -> list[Observation]:
    return [
        play(subject, SAME if subject.environments else NEW, vectors(subject.step, size))
        for _ in range(steps)
    ]


@pytest.mark.parametrize(("size", "every", "drawn"), [(1, 8, 8), (3, 3, 9), (8, 1, 8), (20, 1, 20)])
def test_a_step_learns_as_soon_as_enough_frames_are_new(
    size: int, every: int, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, batches = learner(), []
    update = subject.update
    monkeypatch.setattr(subject, "update", lambda x: (batches.append(len(x)), update(x))[1])
    seen = observe(subject, 4 * every, size)
    assert [each.learnt for each in seen] == ([False] * (every - 1) + [True]) * 4
    assert batches == [drawn] * 4
    assert subject.environments.present.batches == 4


def test_a_batch_that_waits_changes_no_weight_and_no_record() -> None:
    subject = learner()
    observe(subject, 8)
    tensors, record = state(subject)
    before = {name: value.clone() for name, value in tensors.items()}
    observe(subject, 4)
    tensors, later = state(subject)
    assert all(torch.equal(value, before[name]) for name, value in tensors.items())
    assert later["environments"] == record["environments"]
    assert len(subject.memory.waiting) == 4


def test_independent_batches_are_learnt_as_without_a_memory() -> None:
    subject, other = learner(use="auto"), learner(frames=0)
    observe(subject, 10, 4)
    observe(other, 10, 4)
    assert same(photograph(subject), photograph(other))
    assert len(subject.memory) == 0


def test_what_a_detector_measures_decides_and_independent_frames_empty_it() -> None:
    subject = learner(use="auto")
    play(subject, NEW, vectors(0, 8))
    play(subject, replace(SAME, correlation_time=5.0), vectors(1, 8))
    assert len(subject.memory) == 8
    play(subject, SAME, vectors(2, 8))
    assert len(subject.memory) == 0


def test_two_runs_with_a_memory_are_bit_identical() -> None:
    subject, other = learner(), learner()
    for each in (subject, other):
        observe(each, 60, 3)
    assert same(photograph(subject), photograph(other))
    assert len(subject.memory) == 64 + 60 * 3 % 9


# ---- pairs of frames -----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [3, 1, 7, 2, 7]])
def test_a_frame_is_kept_with_the_one_so_many_frames_before_it(sizes: list[int]) -> None:
    """Whatever the batches, and before the first frames there is the first."""
    images, memory = noise(20, 0, channels=3), WorkingMemory(100, pairs=4)
    for step, batch in enumerate(images.split(sizes)):
        memory = memory.waiting_for_step(batch)
        memory = memory.merged(generator(step)) if step % 2 else memory
    memory = memory.merged(generator()) if memory.waiting else memory
    kept = torch.stack(memory.frames).float() / 255
    earlier, later = kept.chunk(2, dim=1)
    assert torch.equal(later, images)
    assert torch.equal(earlier, images[[max(0, k - 4) for k in range(20)]])


@pytest.mark.parametrize("count", [10, 11])
def test_both_of_a_pair_are_drawn_together(count: int) -> None:
    images = noise(64, 1, channels=2)
    memory = WorkingMemory(100, pairs=1).waiting_for_step(images).merged(generator())
    drawn = memory.draw(count, generator(3))
    assert drawn.shape == (count + count % 2, 2, 8, 8)
    rows = [int((images - each).abs().flatten(1).amax(1).argmin()) for each in drawn]
    assert all(
        max(0, second - 1) == first for first, second in zip(rows[::2], rows[1::2], strict=True)
    )


def test_frames_are_redundant_by_the_second_of_a_pair() -> None:
    """A camera that stands still leaves one pair of it, though what came before differs."""
    still, memory = noise(1, 0).expand(60, -1, -1, -1), WorkingMemory(20, pairs=2)
    for step, batch in enumerate([noise(19, 1), still]):
        memory = memory.waiting_for_step(batch).merged(generator(step))
    seconds = torch.stack(memory.frames).chunk(2, dim=1)[1].float() / 255
    assert int((seconds - still[0]).abs().flatten(1).amax(1).lt(1e-6).sum()) == 1


def test_no_pair_reaches_into_the_environment_that_was_left() -> None:
    subject = learner(pairs=3)
    observe(subject, 5, 4)
    play(subject, Decision("new", 1), vectors(50, 8))
    play(subject, Decision("same", 1, provisional=True), vectors(51, 2))
    first = vectors(51, 2)[:1]
    assert torch.equal(
        torch.stack(subject.memory.waiting).chunk(2, dim=1)[0], first.expand(2, -1, 1, 1)
    )


def test_what_is_learnt_is_paired_where_the_memory_gives_pairs() -> None:
    subject = learner(pairs=3)
    assert not subject.paired
    observe(subject, 12, 4)
    assert subject.paired
    assert subject.context().paired
    single = learner()
    observe(single, 12, 4)
    assert not single.context().paired
    independent = learner(pairs=3, use="auto")
    observe(independent, 12, 4)
    assert not independent.context().paired


# ---- nothing of the past, nothing on disk, nothing of a step that fails -------------------------


@pytest.mark.parametrize(
    ("begun", "leaves"),
    [
        (1, Decision("new", 1)),
        (2, Decision("returned", 0)),
        (2, Decision("reopened", 1, discards=True)),
    ],
)
def test_it_is_emptied_when_the_environment_is_left(begun: int, leaves: Decision) -> None:
    subject = learner()
    for index in range(begun):
        play(subject, Decision("new", index), vectors(index, 8))
        for step in range(5):
            play(subject, Decision("same", index, provisional=index > 0), vectors(step, 5))
    assert len(subject.memory) > 20
    play(subject, leaves, vectors(50, 8))
    assert len(subject.memory) == 0
    play(subject, Decision("same", leaves.environment), vectors(51, 3))
    assert torch.equal(torch.stack(subject.memory.waiting), vectors(51, 3))


@pytest.mark.parametrize("kind", ["deferred", "undetermined", "dismissed"])
def test_what_is_not_taken_to_be_of_the_environment_does_not_enter(kind: Any) -> None:
    subject = learner()
    observe(subject, 5, 4)
    before = subject.memory
    play(subject, Decision(kind, 0), vectors(50, 8))
    assert subject.memory is before


@pytest.mark.parametrize("fail", [in_the_networks, at_the_end])
def test_a_step_that_fails_leaves_it_as_it_was(
    fail: Callable[[Learner, pytest.MonkeyPatch], Decision | None],
) -> None:
    subject = learner()
    observe(subject, 20, 8)
    before, frames = subject.memory, torch.stack(subject.memory.frames)
    with pytest.MonkeyPatch.context() as patch:
        fail(subject, patch)
        with pytest.raises(FailureError):
            play(subject, SAME, vectors(50, 8))
    assert subject.memory is before
    assert torch.equal(torch.stack(before.frames), frames)


def test_images_that_are_no_numbers_never_enter() -> None:
    subject = learner()
    observe(subject, 9, 4)
    before = subject.memory
    spoilt = vectors(50, 4)
    spoilt[2, 1] = torch.nan
    assert play(subject, SAME, spoilt).decision.kind == "skipped"
    assert subject.memory is before


def test_a_checkpoint_holds_none_of_it_and_what_goes_on_begins_with_none() -> None:
    subject, without = learner(), learner(frames=0)
    observe(subject, 20, 8)
    observe(without, 20, 8)
    tensors, record = state(subject)
    others, other = state(without)
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in others.items()
    }
    assert record.keys() == other.keys()
    restore(subject, tensors, record)
    assert len(subject.memory) == 0
    assert observe(subject, 1, 8)[0].learnt


# ---- around the learner ------------------------------------------------------------------------


class Threads:
    """Two learners in two threads as a group: what one gives waits for what the other gives."""

    count = 2

    def __init__(self, rank: int, board: dict[int, torch.Tensor], barrier: threading.Barrier):
        self.rank, self.board, self.barrier = rank, board, barrier

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        self.board[self.rank] = rows.detach().clone()
        self.barrier.wait(timeout=60)
        both = torch.cat([self.board[rank] for rank in range(self.count)])
        self.barrier.wait(timeout=60)
        return both

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return self.gather(values[None]).mean(0)


def test_processes_that_share_a_batch_draw_the_same_images() -> None:
    """Each brings two of four frames; they learn as one that sees the four."""
    board: dict[int, torch.Tensor] = {}
    barrier = threading.Barrier(2)
    options = {"seed": 0, "device": CPU, "detector": PlaybackDetector}
    pair = [
        DataParallelLearner(VECTORS, settings(), group=Threads(k, board, barrier), **options)
        for k in range(2)
    ]
    one = learner()

    def go(rank: int) -> None:
        for step in range(40):
            rows = vectors(step, 4)[2 * rank : 2 * rank + 2]
            play(pair[rank], SAME if step else NEW, rows)

    threads = [threading.Thread(target=go, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in range(40):
        play(one, SAME if step else NEW, vectors(step, 4))
    for each in pair:
        assert torch.equal(torch.stack(each.memory.frames), torch.stack(one.memory.frames))
        for name, value in each.networks.state_dict().items():
            expected = one.networks.state_dict()[name]
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)


def test_devices_that_could_not_share_a_step_from_the_memory_are_refused() -> None:
    """Batches of 12, 4 images replayed beside each, 13 beside the 36 of a step: of 4 devices."""
    overrides = ["stream.batch_size=12", "replay.ratio=0.35", "training.accelerator=cpu"]
    with pytest.raises(ConfigError, match="a step from the working memory evenly: 13 is no"):
        build.devices(config.load("toy", [*overrides, "training.devices=4"]))
