"""Rule `blocks` does, frame by frame, what the naive detector does: on journeys drawn at random."""

from dataclasses import replace
from typing import Any

import naive_detector as naive
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves

from vase.bench.block_null import autoregressive
from vase.bench.frame_detectors import NoModel
from vase.detection import block_detector, blocks
from vase.detection import block_identification as identification
from vase.detection.block_test import (
    BlockTest,
    Chunk,
    Verdict,
    abrupt_e_value,
    alarm_threshold,
    evidence_of,
    next_test,
    step_probability,
    tail_probability,
    usual_step,
)
from vase.detection.blocks import CHUNK, BlockStatistics, with_chunks
from vase.nets import Architecture
from vase.records import Decision
from vase.settings import OVERSHOOT, DetectionSettings

SIZE = 6  # features, which are here the pixels themselves


class Pixels(nn.Module):
    count = SIZE

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@pytest.fixture(autouse=True)
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (block_detector, naive):
        monkeypatch.setattr(module, "random_features", lambda _: Pixels())


def journey(seed: int, length: int = 7000) -> torch.Tensor:
    """Frames of four domains of one correlation, with all that happens to a camera between them."""
    generator = np.random.default_rng(seed)
    phi = generator.choice([0, 0, 0.5, 0.9, 0.95, 0.99])
    apart = generator.choice([0.3, 1, 2, 5], size=(3, 1)) * generator.standard_normal((3, SIZE))
    centres = np.concatenate([np.zeros((1, SIZE)), apart])
    scales = np.array([1.0, *generator.choice([0.5, 1, 2], size=3)])
    found: list[Any] = []
    state, here = generator.standard_normal(SIZE), 0
    while sum(map(len, found)) < length:
        count = int(generator.choice([1600, 800, 300, 100, 64])) if found else 1600
        what = generator.choice(["stay"] * 6 + ["fade", "stuck", "outlier", "mixture", "drift"])
        series = np.empty((count, SIZE))
        for k in range(count):
            state = phi * state + np.sqrt(1 - phi**2) * generator.standard_normal(SIZE)
            series[k] = state * (1 + np.arange(SIZE) / SIZE)
        there = int(generator.integers(4))
        if what == "stay":
            here = there
        frames, other = (series * scales[k] + centres[k] for k in (here, there))
        if what in ("fade", "mixture"):
            share = np.linspace(0, 1, count) if what == "fade" else generator.random(count) < 0.5
            frames, here = frames + share[:, None] * (other - frames), there
        elif what == "stuck":
            frames = np.repeat(frames[:1], count, 0)
        elif what == "outlier":
            frames[count // 2 :][: generator.choice([1, 32])] += 10 * generator.standard_normal(
                SIZE
            )
        elif what == "drift":
            frames = frames + np.linspace(0, 1, count)[:, None]
        found.append(frames)
    return torch.from_numpy(np.concatenate(found)).float()[..., None, None]


def settings(generator: np.random.Generator) -> DetectionSettings:
    chosen: dict[str, Any] = {
        "target_arl": f"{generator.choice([20_000, 1_000_000])} frames",
        "max_wait": int(generator.choice([4, 16, 64])),
        "min_visit": float(generator.choice([2, 8, 100])),
        "max_transition": float(generator.choice([1000, 4096])),
        "tolerance": float(generator.choice([0.3, 0.6])),
        "max_pooled_images": int(generator.choice([192, 512])),
        "window": int(generator.choice([16, 256])),
    }
    if generator.random() < 0.3:
        chosen["target_arl"] = 2000.0  # batches
    return DetectionSettings(**chosen)


def equal(one: Any, other: Any, within: float = 1e-9) -> bool:
    """Up to rounding; numbers of the evidence are rounded to thousandths of a nat."""
    if isinstance(other, dict):
        return set(one) == set(other) and all(equal(one[k], other[k], 1.1e-3) for k in other)
    if isinstance(other, float):
        return bool(abs(one - other) <= within + 1e-6 * abs(other))
    return bool(one == other)


@pytest.mark.parametrize(
    "seed", [76, 70, 44, 123, 94, 99, 24, 1, 54, 11, 34, 36]
)  # all that can happen
def test_the_detector_does_what_the_naive_one_does(seed: int) -> None:
    """Also if it is saved now and then, and another one goes on with what was saved."""
    generator, images = np.random.default_rng(1000 + seed), journey(seed)
    chosen, batch = settings(generator), int(generator.choice([8, 32, 40, 64]))
    shape = Architecture(channels=SIZE, height=1, width=1)
    model: Any = NoModel(shape)
    detector, slow = block_detector.BlockDetector(chosen, model), naive.NaiveDetector(chosen, shape)
    images[20 * batch : 21 * batch] *= float("nan")
    for k, part in enumerate(images[: len(images) // batch * batch].split(batch)):
        if k % 7 == 1:
            tensors = [each for each in tree_leaves(detector.state_dict()) if torch.is_tensor(each)]
            assert all(t.stride() == torch.empty(t.shape).stride() for t in tensors)
            saved, detector = detector.state_dict(), block_detector.BlockDetector(chosen, model)
            detector.load_state_dict(saved)
            assert (detector.last is None) == (slow.last is None)
            assert slow.last is None or np.array_equal(detector.last, slow.last)
        found = detector.update(part)
        if found.kind == "skipped":
            assert found.reason == "its images contain NaN or infinity"
        for name, value in slow.update(part).items():
            assert equal(getattr(found, name), value), (k, name, getattr(found, name), value)
        assert (detector.current, detector.opened_from) == (slow.current, slow.opened_from)
        assert detector.wait.seen == len(slow.seen)
        if slow.seen:
            plain = [known for known in slow.environments.values() if known.axes]
            squares = [
                sum(sum(known.describe(chunk)[1]) for chunk in slow.seen[1:]) for known in plain
            ]
            assert detector.wait.squares == pytest.approx(squares, rel=1e-6)


@pytest.mark.parametrize("count", [7, 8, 9, 40])
@pytest.mark.parametrize("phi", [0.0, 0.9, 1.0])
def test_the_time_over_which_ratios_are_correlated(count: int, phi: float) -> None:
    """Of logarithms; nothing below one is told apart."""
    generator, values = np.random.default_rng(count), [0.5]
    while len(values) < count:
        values.append(phi * values[-1] + (1 - phi) * float(generator.normal(2, 3)))
    for given_values in (values, np.exp(values).tolist(), [7.0] * count):
        expected = naive.integrated_time(given_values)
        assert blocks.integrated_time(given_values) == pytest.approx(expected, rel=1e-9)
    ramp = np.exp(np.arange(count)).tolist()  # each says much of the next, and of the one after
    assert blocks.integrated_time(ramp) == pytest.approx(naive.integrated_time(ramp), rel=1e-9)


@pytest.mark.parametrize("count", [7, 8, 9, 40])
def test_what_ratios_are_usual(count: int) -> None:
    generator = np.random.default_rng(count)
    known = with_chunks(BlockStatistics(), generator.standard_normal((40, CHUNK, SIZE)))
    for ratios in (12 + generator.standard_normal(count), 12 + generator.pareto(1, count)):
        plain = naively(known)
        plain.ratios = ratios.tolist()
        found = identification.usual_ratio(replace(known, ratios=tuple(ratios.tolist())))
        assert found == pytest.approx(plain.usual_ratio(), rel=1e-9)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0])
def test_the_correlation_time_within_chunks(phi: float, scale: float) -> None:
    generator, state, rows = np.random.default_rng(0), np.zeros(SIZE), []
    for _ in range(3 * CHUNK):
        state = phi * state + (1 - phi**2) ** 0.5 * generator.standard_normal(SIZE)
        rows.append(scale * state)
    chunks = list(np.reshape(rows, (3, CHUNK, SIZE)))
    assert identification.time_within(chunks) == pytest.approx(naive.time_within(chunks), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [-0.1, 0.1, 0.5, 0.9, 1.1])
def test_a_mixture_with_an_absent_environment_is_known_up_to_the_tolerance(
    seed: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((3, 80, CHUNK, SIZE))
    apart = generator.standard_normal(SIZE)
    present, absent = (
        with_chunks(BlockStatistics(), noise[k] * (1 + k) + k * apart) for k in (0, 1)
    )
    chunks = list(noise[2][:6] * (1 + share) + share * apart)
    plain = naively(present)
    plain.ratios, plain.chunks, plain.spread = list(present.ratios), present.chunks, present.spread
    found, distance = naive.mixture(plain, naively(absent), chunks)
    if distance == np.inf:
        assert not identification.LEAST < found < identification.MOST
        assert identification.between(present, {5: absent}, chunks, 1e9) is None
        return
    above, below = (distance + side * 1e-6 for side in (1, -1))
    assert identification.between(present, {5: absent}, chunks, below) is None
    environment, told = identification.between(present, {5: absent}, chunks, above) or (0, 0.0)
    assert (environment, told) == (5, pytest.approx(found, rel=1e-9))


def test_of_absent_environments_every_one_is_asked_for_a_mixture() -> None:
    noise, apart = np.random.default_rng(0).standard_normal((4, 80, CHUNK, SIZE)), np.eye(SIZE)[:2]
    present, other, right = (
        with_chunks(BlockStatistics(), noise[k] + 5 * each)
        for k, each in enumerate((0 * apart[0], apart[0], apart[1]))
    )
    chunks = list(noise[3][:6] + 2 * apart[1])
    found = identification.between(present, {1: other, 2: right}, chunks, 1e9)
    assert found is not None
    assert found[0] == 2


@pytest.mark.parametrize("seen", [0, 256, 3000, 10**6])
@pytest.mark.parametrize("count", [8, 24, 63, 64, 65, 130])
def test_blocks_depend_on_one_another_as_it_is_written_down(count: int, seen: int) -> None:
    """From independent to much alike, in what they show or in how much, near every border."""
    plain, generator, both = naive.Environment(), np.random.default_rng(count), set()
    for strength in np.linspace(-0.2, 0.8, 90):
        table, wanders = generator.standard_normal((count, 4)), generator.standard_normal(count)
        calm = bool(generator.integers(2))
        for k in range(1, count):
            wanders[k] += 0.95 * wanders[k - 1]
            table[k] += (strength if calm else 0) * table[k - 1]
        if not calm:
            table *= np.exp(strength * wanders)[:, None]
        table *= generator.choice([1, 1e-9])
        plain.blocks = list(table)
        found = blocks.dependent(table, seen)
        both.add(found)
        assert found == plain.dependent(seen), strength
    assert both == {True, False}


@pytest.mark.parametrize("count", [23, 24, 25, 32, 200])
@pytest.mark.parametrize("block", [8, 2048, 4096])
@pytest.mark.parametrize("asked", [0, 1, 8000])
def test_blocks_are_joined_as_it_is_written_down(count: int, block: int, asked: int) -> None:
    generator = np.random.default_rng(count)
    for strength in (0, 1, *[0.2] * 12):  # as independent, a walk, or of a spread that wanders
        table = generator.standard_normal((count, 2 * SIZE))
        if strength == 1:
            table = np.cumsum(table, 0)
        else:
            table *= np.exp(strength * np.cumsum(generator.standard_normal(count)))[:, None]
        worst, steps = generator.random((2, count))
        frames = (8 * count + asked) * block * CHUNK
        known = BlockStatistics(
            frames=frames, block=block, blocks=table, worst=(*worst,), steps=(*steps,)
        )
        plain = naive.Environment()
        plain.frames, plain.block, plain.blocks = frames, block, list(table)
        plain.worst, plain.steps = list(worst), list(steps)
        plain.lengthen()
        found = blocks.with_longer_blocks(known)
        assert (found.block, found.worst, found.steps) == (
            plain.block, tuple(plain.worst), tuple(plain.steps)
        )  # fmt: skip
        np.testing.assert_allclose(found.blocks, plain.blocks)


def test_alike_blocks_are_of_the_lowest_rank_and_little_is_known_of_few_chunks() -> None:
    known = with_chunks(BlockStatistics(), np.random.default_rng(0).random((40, CHUNK, SIZE)))
    same = np.ones_like(known.blocks)
    assert blocks.rank_among(replace(known, blocks=same), same[0]) == (len(same) + 1, len(same))
    assert blocks.largest_step(np.ones((1, SIZE)), None) == 0
    faint, other = 1e-4 * known.blocks, naive.Environment()  # far below the least variance
    other.blocks = list(faint)
    for row in faint[:5]:
        assert blocks.rank_among(replace(known, blocks=faint), row * 1.1) == other.rank(row * 1.1)
    plain = naively(known)
    for chunks, mean in ((1, 0.0), (2, 0.0), (1, 9.0), (40, 0.5)):
        spread = np.stack([np.full(SIZE, mean), np.full(SIZE, mean**2)])
        plain.chunks, plain.spread = chunks, spread
        still = np.concatenate([known.blocks[0, :SIZE], known.blocks[0, :SIZE] ** 2])
        for descriptor in (still, *known.blocks[:5] * 0.9):  # the first varies not at all
            found = blocks.likelihood_ratio(
                replace(known, chunks=chunks, spread=spread), descriptor
            )
            expected = plain.ratio((descriptor[:SIZE], descriptor[SIZE:]))
            assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("parts", [(128, 3), (128, 300), (260,), (64, 200)])
def test_chunks_that_come_together_are_judged_as_it_is_written_down(parts: tuple[int, ...]) -> None:
    """Before the axes are learnt, after 4,096 frames, and beyond; more at once than are kept."""
    series = np.random.default_rng(0).standard_normal((sum(parts), CHUNK, SIZE))
    known, plain = BlockStatistics(), naive.Environment()
    for part in np.split(series, np.cumsum(parts)[:-1]):
        known = with_chunks(known, part)
        plain.record(list(part), [])
        assert all(chunk.dtype == np.float32 for chunk in known.first)
    np.testing.assert_allclose(known.ratios, plain.ratios, rtol=1e-6)
    np.testing.assert_allclose(known.spread, plain.spread, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(known.blocks, plain.blocks, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1.0])
@pytest.mark.parametrize("slow", [False, True])
def test_the_correlation_time_is_the_one_that_is_written_down(scale: float, slow: bool) -> None:
    """Of frames that hardly vary too, and of half a wave, which is alike over a third of it."""
    generator, count = np.random.default_rng(0), 128 * CHUNK
    wave = np.cos(np.pi * np.arange(count) / count)[:, None] * np.ones(SIZE)
    series = scale * (wave if slow else np.cumsum(generator.standard_normal((count, SIZE)), 0))
    axes, plain = blocks.principal_axes(series), naive.Environment()
    plain.axes = axes.mean, axes.scaled, axes.noise
    noise = max(blocks.REGULARISATION * series.var(0).sum(), blocks.SENSOR_NOISE)
    expected = plain.correlation_time(series, noise / axes.noise)
    assert blocks.correlation_time(series, axes) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("least", "unlikely"), [(0.01, True), (0.058, True), (0.0588, False)])
def test_a_pair_of_chunks_is_held_back_up_to_the_least_p_value_that_counts(
    least: float, unlikely: bool
) -> None:
    """The least of 16 blocks, p = 1/17, against a window of 16; more is asked for beyond it."""
    known = with_chunks(BlockStatistics(), np.random.default_rng(0).random((128, CHUNK, SIZE)))
    known = replace(known, blocks=known.blocks[:16], worst=known.worst[:16])
    far = Chunk(known.blocks[0] + 100, 12.0)
    half = BlockTest(chunks=(far.descriptor,))
    window = 16 if unlikely else 400
    chosen = DetectionSettings(hold_p_value=least, window=window)
    found = evidence_of(half, known, far)
    assert (found.complete, found.p) == (True, 1 / 17)
    _, verdict = next_test(half, known, far, 1e9, chosen)
    assert verdict.block_improbable == unlikely


def test_what_is_no_tail_is_certain() -> None:
    known = with_chunks(BlockStatistics(), np.random.default_rng(0).random((128, CHUNK, SIZE)))
    known = replace(known, steps=(50.0,) * 20, worst=(100.0,) * 20)
    assert tail_probability(known, 100.0) == step_probability(known, 50.0) == 1
    assert tail_probability(known, 101.0) < 1 > step_probability(known, 51.0)
    assert abrupt_e_value(known, 0.0) == 0 < abrupt_e_value(known, 0.0, 51.0)
    faint = with_chunks(BlockStatistics(), np.random.default_rng(0).random((128, CHUNK, SIZE)) / 99)
    faint = replace(faint, steps=(0.01,) * 20)
    assert abrupt_e_value(faint, 0.0) == abrupt_e_value(faint, 0.0, 0.0) == 0


def test_a_cut_and_something_else_begin_the_wait_anew_but_not_its_count() -> None:
    model: Any = NoModel(Architecture(channels=SIZE, height=1, width=1))
    watching = block_detector.BlockDetector(DetectionSettings(), model)
    known = with_chunks(BlockStatistics(), np.random.default_rng(0).random((128, CHUNK, SIZE)))
    watching.environments = {0: replace(known, steps=(0.01,) * 20)}
    chunk, step = known.blocks[:CHUNK, :SIZE], usual_step(watching.environments[0])
    before = block_detector.Wait((chunk,), (20.0,), (0.0,), batches=5, images=300, reported=True)
    calm = Verdict(True, False, False, False, False, False, 0.0)
    for ratio, jump, alarm, gradual in (
        (80.0, 0.0, False, False),
        (81.0, 0.0, True, True),
        (81.0, 2.01 * step, True, False),
    ):
        watching.wait = before
        verdict = replace(calm, alarm=alarm, gradual=gradual)
        watching._defer((chunk,), (ratio, jump), verdict)
        found, cut = watching.wait, jump > 0
        assert (found.batches, found.images, found.reported) == (5, 300, True)
        assert (found.alarm, found.gradual, found.cut) == (alarm, gradual, cut)
        kept = () if cut else (ratio,) if ratio > 80 else (20.0, ratio)
        assert found.ratios == kept
        assert len(found.chunks) == len(kept)
        watching._defer((chunk,), (ratio, 0.0), calm)
        assert (watching.wait.alarm, watching.wait.gradual) == (alarm, gradual)


def test_a_wait_says_why_it_goes_on() -> None:
    """Frames that never agree: at first more are needed, and at last their number is said."""
    generator = np.random.default_rng(3)
    model: Any = NoModel(Architecture(channels=SIZE, height=1, width=1))
    watching = block_detector.BlockDetector(DetectionSettings(max_wait=4), model)
    known = generator.standard_normal((2048, SIZE))
    never = np.repeat(20 * generator.standard_normal((40, SIZE)), CHUNK, 0)
    frames = np.concatenate([known, never + generator.standard_normal(never.shape)])
    images = torch.from_numpy(frames).float()[..., None, None]
    found = [watching.update(part) for part in images.split(16)]
    reasons = {decision.kind: decision.reason for decision in reversed(found)}
    assert reasons["deferred"].startswith("surprising: more frames are needed")
    assert reasons["undetermined"].startswith("nothing was learnt from the last ")
    assert "agree" in reasons["undetermined"]


def test_the_threshold_is_no_lower_than_ten_blocks_ask_for() -> None:
    assert alarm_threshold(3) == alarm_threshold(10) == 10 / OVERSHOOT
    assert alarm_threshold(11) == 11 / OVERSHOOT


@pytest.mark.parametrize("phi", [0.9, 0.95, 0.99])
def test_axes_that_are_learnt_for_long_are_the_naive_ones(phi: float) -> None:
    """Over 17,000 frames, of which 4,096 to 16,384 give the axes; and then blocks follow them."""
    series = next(autoregressive(phi, SIZE, 0, part=17 * 1024)).reshape(-1, CHUNK, SIZE)
    known, plain = BlockStatistics(), naive.Environment()
    for chunk in series:
        step = float(np.abs(np.diff(chunk, axis=0)).max())
        known = with_chunks(known, chunk[None], (step,))
        plain.record([chunk], [step])
    assert known.axes is not None
    for mine, other in zip(
        (known.axes.mean, known.axes.scaled, known.axes.noise), plain.axes, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert (known.frames, known.block) == (plain.frames, plain.block)
    assert known.correlation_time == pytest.approx(plain.time)
    np.testing.assert_allclose(known.blocks, plain.blocks, rtol=1e-6)
    for name in ("ratios", "worst", "steps"):
        np.testing.assert_allclose(getattr(known, name), getattr(plain, name), rtol=1e-6)


def naively(known: BlockStatistics) -> naive.Environment:
    found, axes = naive.Environment(), known.axes
    assert axes is not None
    found.axes, found.frames = (axes.mean, axes.scaled, axes.noise), known.frames
    found.moments = known.moments[:SIZE], known.moments[SIZE:]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_how_far_a_domain_is_from_a_mixture_of_its_neighbours(seed: int) -> None:
    """Domains of any size, shape and place on the way between two others, and off it."""
    generator, parts = np.random.default_rng(seed), []
    for place in (0.0, generator.uniform(-0.2, 1.2), 1.0):
        mixing = generator.standard_normal((SIZE, SIZE))
        noise = generator.standard_normal((40, CHUNK, SIZE)) @ mixing
        parts.append(noise + 4 * place + 0.2 * generator.standard_normal(SIZE))
    before, present = (with_chunks(BlockStatistics(), each) for each in parts[:2])
    last = list(parts[2][:5])
    assert identification.transition_divergence(BlockStatistics(), present, last) == np.inf
    found = identification.transition_divergence(before, present, last)
    expected = naive.divergence(naively(before), naively(present), last)
    assert found == pytest.approx(expected, rel=1e-9)


# On, and on either side of, every border of the decision: the tolerance is 1/2, four standard
# deviations make a margin, and all are numbers that a computer has exactly.
distances = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0])
deviations = st.sampled_from([0.0, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75])
rare = st.sampled_from([False, False, True])


BORDERS = {"tolerance": 0.5, "z_threshold": 4.0}


@settings_of_hypothesis(max_examples=1500, deadline=None)
@given(
    st.lists(st.tuples(distances, deviations, rare, rare), min_size=1, max_size=3),
    st.integers(0, 2),
    st.sampled_from([1, 2, 3, 4, 6, 16]),
    st.integers(1, 8),
    st.sampled_from([0.5, 64.0, 65.0]),
    st.tuples(*[st.sampled_from([True, True, False])] * 2, *[st.booleans()] * 4),
    st.sampled_from([1, 2, 5, 100]),
)
def test_a_decision_is_the_one_that_is_written_down_on_every_border(
    candidates: list[tuple[float, float, bool, bool]],
    current: int,
    chunks: int,
    batches: int,
    waited: float,
    flags: tuple[bool, ...],
    most: int,
) -> None:
    agree, cut, smooth, by_blocks, mixed, brief = flags
    current, chosen = min(current, len(candidates) - 1), DetectionSettings(**BORDERS)
    evidence = identification.BlockEvidence(
        tuple(identification.Candidate(k, *each) for k, each in enumerate(candidates)),
        current, CHUNK * chunks, batches, waited, by_blocks, agree, cut, smooth,
        (7, 0.256) if mixed else None, "briefly" if brief else "", most,
    )  # fmt: skip
    found = identification.identify(evidence, chosen)
    kind, environment, why = naive.decided(
        chosen, dict(enumerate(candidates)), current, CHUNK * chunks, batches, waited, agree=agree,
        cut=cut, smooth=smooth, by_blocks=by_blocks, mixed=mixed, brief=brief, most=most,
    )  # fmt: skip
    assert (found.kind, found.environment, found.batches) == (kind, environment, batches)
    assert found.reason.startswith(why)


def test_a_decision_says_the_numbers_that_it_rests_on() -> None:
    near, far, farther = (
        identification.Candidate(k, distance, deviation)
        for k, distance, deviation in ((0, 3.14159, 0.01234), (1, 9.0, 1.0), (2, 4.0, 0.5))
    )
    evidence = identification.BlockEvidence((near, far, farther), 1, 512, 8, 9.0, False, True)
    found = identification.identify(evidence, DetectionSettings())
    assert found.reason == (
        "like no known environment: 3.14 nats from environment 0 (0.6 are allowed), 4.00 nats from "
        "environment 2 (1.5 are allowed)"
    )
    assert found.numbers == {
        "images": 512,
        "batches": 8,
        "tolerance_nats": 0.6,
        "distance_nats": {"0": 3.142, "1": 9.0, "2": 4.0},
        "deviation_nats": {"0": 0.012, "1": 1.0, "2": 0.5},
    }
    excluded = replace(evidence, candidates=(near, replace(far, excluded=True), farther))
    numbers = identification.identify(excluded, DetectionSettings()).numbers
    assert numbers["excluded_by_frames"] == [1]
    passed_over = replace(near, distance=0.1, excluded=True)
    back = replace(evidence, candidates=(passed_over, far, replace(farther, distance=0.2)))
    assert identification.identify(back, DetectionSettings()).reason == (
        "known from before: 0.20 nats from environment 2 (1.5 are allowed), 0.10 nats from "
        "environment 0 (0.6 are allowed, but single frames are too far)"
    )
    mixed = replace(evidence, between=(2, 0.256))
    found = identification.identify(mixed, DetectionSettings())
    assert found.reason == "on the way to environment 2: 26% of the images look like it"
    again = identification.identify(replace(evidence, brief="was brief"), DetectionSettings())
    assert again.reason.startswith("started again, since what was opened was brief: 3.14 nats")


@pytest.mark.parametrize("chunks", [1, 2, 3, 5])
@pytest.mark.parametrize("centre", [0.0, 3.0, 1000.0])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0])
def test_the_f_ratio_is_that_of_an_analysis_of_variance(
    chunks: int, centre: float, spread: float
) -> None:
    generator = np.random.default_rng(chunks)
    means = generator.standard_normal((chunks, 1, SIZE)) / 5
    drawn = centre + means + spread * generator.standard_normal((chunks, CHUNK, SIZE))
    found = identification.f_ratio(list(drawn))
    assert found == pytest.approx(naive.f_ratio(list(drawn)), rel=1e-6)


def test_a_new_environment_takes_the_place_of_one_that_did_not_last_whoever_decides() -> None:
    """A decision of one's own need not know that the present environment is discarded."""

    class Own(block_detector.BlockDetector):
        def decide(self, evidence: identification.BlockEvidence) -> Decision:
            found = super().decide(evidence)
            if found.kind != "reopened":
                return found
            return replace(found, kind="new", environment=len(evidence.candidates))

    generator, images = np.random.default_rng(1070), journey(70)
    chosen, batch = settings(generator), int(generator.choice([8, 32, 40, 64]))
    model: Any = NoModel(Architecture(channels=SIZE, height=1, width=1))
    one, other = block_detector.BlockDetector(chosen, model), Own(chosen, model)
    kinds = []
    for part in images.split(batch):
        kinds.append(one.update(part))
        assert other.update(part) == kinds[-1]
    assert "reopened" in [decision.kind for decision in kinds]
    reasons = [decision.reason for decision in kinds if decision.kind == "reopened"]
    assert all("lasted for" in reason and "effective images only" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("frames", "why"), [(63, "lasted for 63.0 effective images only"), (64, "")]
)
def test_a_visit_is_brief_below_what_is_asked_for_and_not_at_it(frames: int, why: str) -> None:
    model: Any = NoModel(Architecture(channels=SIZE, height=1, width=1))
    detector = block_detector.BlockDetector(DetectionSettings(min_visit=64), model)
    present = with_chunks(BlockStatistics(), np.random.default_rng(0).random((4, CHUNK, SIZE)))
    present = replace(present, frames=frames, correlation_time=1.0)
    detector.environments = {0: BlockStatistics(), 1: present}  # what was before is not known
    detector.current = 1
    assert detector._brief() == why
