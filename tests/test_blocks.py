"""Rule `blocks`: statistical truths; that it does what it says is in test_naive_detector.py."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chi2, f_oneway
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate

from vase.bench.block_null import (
    autoregressive,
    chunks_of,
    evidence_of_block,
    run_lengths,
    steps_of,
)
from vase.bench.frame_detectors import NoModel
from vase.detection import BlockDetector, blocks
from vase.detection import block_identification as identification
from vase.detection.block_test import (
    TAIL,
    BlockTest,
    Chunk,
    abrupt_e_value,
    e_value,
    evidence_of,
    return_e_value,
    step_probability,
)
from vase.detection.blocks import (
    CHUNK,
    BlockStatistics,
    described,
    largest_step,
    likelihood_ratio,
    log_density,
    with_chunks,
)
from vase.domains.autoregressive import AutoregressiveDomain
from vase.nets import Architecture
from vase.records import Decision
from vase.settings import DetectionSettings, run_length_frames

SIZE = 6


def chunks(phi: float, frames: int, seed: int = 0, *, shift: float = 0.0, size: int = SIZE):
    """Features of an AR(1) process, [m, 32, size]."""
    series = next(autoregressive(phi, size, seed, part=frames)) + shift
    return series.reshape(-1, CHUNK, size)


def seen(phi: float, frames: int, seed: int = 0) -> BlockStatistics:
    return with_chunks(BlockStatistics(), chunks(phi, frames, seed))


# ---- the statistic ----------------------------------------------------------------------------


def test_the_correlation_time_is_that_of_the_process() -> None:
    for phi in (0.0, 0.5, 0.9):
        time = seen(phi, 4096).correlation_time
        assert time == pytest.approx((1 + phi) / (1 - phi), rel=0.2)


# ---- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 40])
def test_the_rank_of_a_block_is_uniform_whatever_its_distribution(count: int) -> None:
    """Chi-square of the ranks of heavy-tailed blocks, few or many: at the level of 1 in 1,000."""
    generator = np.random.default_rng(count)
    counts = np.zeros(count + 1)
    for _ in range(4000):
        draws = generator.standard_t(2, (count + 1, 5)) * generator.lognormal(size=(count + 1, 1))
        scores = blocks.conformal_scores(draws)
        counts[int((scores[:-1] >= scores[-1]).sum())] += 1
    expected = 4000 / (count + 1)
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(0.999, count)


def test_blocks_grow_until_they_are_nearly_independent_and_no_further() -> None:
    assert seen(0.0, 32_768).block == blocks.FIRST_BLOCK
    known = seen(0.99, 131_072)
    length = known.block * CHUNK
    assert 200 <= length <= 1600  # one to eight times the correlation time of 199 frames
    neighbours = np.corrcoef(known.blocks[:-1, 0], known.blocks[1:, 0])[0, 1]
    assert neighbours < 0.45


def test_chance_alone_does_not_lengthen_blocks_for_ever() -> None:
    """Of 8,000 series of independent blocks, these eight look dependent to who asks only once."""
    for seed in (1038, 1460, 2707, 2757, 2862, 6435, 7303, 7800):
        series = np.random.default_rng(seed).standard_normal((blocks.KEPT, 4))
        assert blocks.dependent(series)
        assert not blocks.dependent(series, 1_000_000)
    walk = np.cumsum(np.random.default_rng(0).standard_normal((blocks.KEPT, 4)), 0)
    assert blocks.dependent(walk, 1_000_000)


def test_moments_are_averaged_over_many_blocks_however_long_they_are() -> None:
    """A level that changes every 8,192 frames: moments of one or two of them would follow it."""
    generator, known = np.random.default_rng(0), BlockStatistics()
    level = np.repeat(generator.standard_normal((64, SIZE)), 256, axis=0)
    series = generator.standard_normal((64 * 256, CHUNK, SIZE)) / 3 + level[:, None]
    known = with_chunks(known, series[:8192])
    assert known.block * CHUNK >= 8192
    assert known.axes is not None
    descriptors = described(series, known.axes)
    expected = descriptors[:8192].mean(0)
    np.testing.assert_allclose(known.moments[:SIZE], expected[:SIZE], atol=0.35)
    ratios = likelihood_ratio(known, descriptors[8192:])  # of levels not seen before
    assert ratios.max() < 4 * likelihood_ratio(known, descriptors[:8192]).max()


# ---- the test ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 20, 256])
def test_e_values_have_a_mean_of_one_over_the_ranks(size: int) -> None:
    """Every rank is equally likely for exchangeable blocks: the mean is exact."""
    assert np.mean([e_value(r, size) for r in range(1, size + 2)]) == pytest.approx(1)


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_the_run_length_is_the_one_asked_for(phi: float) -> None:
    """A false alarm in 50 blocks, dependent frames or not; from the first frame on."""
    ((found,), _) = run_lengths(chunks_of(autoregressive(phi, SIZE, 3)), [50], most=60)
    assert 0.75 <= found.ratio <= 2.5


def test_abrupt_e_values_have_a_mean_of_at_most_one() -> None:
    """If the tail is the power that is assumed, and blocks are exchangeable, the mean is one."""
    generator, total, count = np.random.default_rng(0), 0.0, 20_000
    for _ in range(count):
        ratios = 1e4 * generator.pareto(TAIL, 21) + 1e4
        known = BlockStatistics(blocks=np.zeros((20, 4)), worst=tuple(ratios[:-1].tolist()))
        total += 2 * min(
            abrupt_e_value(known, float(ratios[-1])), 50
        )  # its own tail has no variance
    assert 0.1 < total / count < 1.1


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_density_is_one_of_the_features_themselves(phi: float) -> None:
    """Over all means that a chunk may have it adds up to one, however the axes lie."""
    mixing = np.array([[2.0, 0.0], [-1.0, 0.3]])
    series = next(autoregressive(phi, 2, 0, part=8192)) @ mixing
    known = with_chunks(BlockStatistics(), series.reshape(-1, CHUNK, 2))
    x, y = np.linspace(-9, 9, 601), np.linspace(-1.3, 1.3, 601)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 1, 2)
    assert known.axes is not None
    density = np.exp(log_density(known, described(points, known.axes)))
    assert density.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("phi", [0.0, 0.9])
@pytest.mark.parametrize("shift", [0.2, 1.0])
def test_other_environments_raise_no_more_alarms_than_were_asked_for(
    phi: float, shift: float
) -> None:
    """e-values have a mean of one at most, so that 20 blocks pass on average before an alarm."""
    known = seen(phi, 16_384)
    other = with_chunks(BlockStatistics(), chunks(phi, 16_384, 5, shift=shift))
    later, back = chunks(phi, 262_144, 7), chunks(phi, 16_384, 8, shift=shift)

    def e_values(some: np.ndarray) -> list[float]:
        there, here = (log_density(each, described(some, each.axes)) for each in (other, known))
        advantages = there - here
        found = [return_e_value(known, Chunk(np.zeros(0), 0.0, 0.0, a)) for a in advantages]
        return [each for each in found if each is not None]

    found, returned, alarms = e_values(later), 0.0, 0
    for e in found:
        returned = e * (returned + 1 / known.block)
        if returned >= 20:
            returned, alarms = 0.0, alarms + 1
    assert np.mean(found) < 1.1
    assert alarms <= 1.1 * len(found) / known.block / 20
    assert np.mean(np.log(e_values(back))) > np.mean(np.log(found)) + 0.01


@pytest.mark.parametrize("every", [3, 17, 255])
def test_an_environment_may_have_cuts_of_its_own_however_seldom(every: int) -> None:
    """Whatever share of its chunks holds one: another such is no news, one far beyond is."""
    generator = np.random.default_rng(every)
    steps = np.full(blocks.KEPT, 0.01)
    steps[::every] = generator.uniform(2, 12, len(steps[::every]))  # times SIZE, its variance
    known = replace(seen(0.0, 8192), steps=tuple(SIZE * steps))
    assert step_probability(known, SIZE * 12.0) > 1e-4
    assert abrupt_e_value(known, 0.0, SIZE * 12.0) < 100
    assert abrupt_e_value(known, 0.0, SIZE * 100.0) > 1e4


def test_evidence_at_the_end_of_a_block_is_that_chunk_by_chunk() -> None:
    known, block = seen(0.99, 8192), chunks(0.99, 16 * CHUNK * 8, 9)
    block, test, last, steps = block[: known.block], BlockTest(), None, []
    assert known.axes is not None
    for chunk in block:
        descriptor, step = described(chunk, known.axes), largest_step(chunk, last)
        ratio = float(likelihood_ratio(known, descriptor))
        evidence = evidence_of(test, known, Chunk(descriptor, ratio, step))
        test = BlockTest(chunks=evidence.chunks, worst=evidence.worst, step=evidence.step)
        last = chunk[-1]
        steps.append(step)
    assert steps_of(list(block), None) == pytest.approx(steps)
    found = evidence_of_block(known, block, max(steps))
    assert evidence.complete
    assert (found.gradual, found.abrupt, found.p) == (
        evidence.gradual,
        pytest.approx(evidence.abrupt),
        evidence.p,
    )


# ---- the evidence -----------------------------------------------------------------------------


def test_disagreement_is_the_f_ratio_of_an_analysis_of_variance() -> None:
    groups = [chunks(0.0, CHUNK, seed, shift=shift)[0] for seed, shift in enumerate((0, 0.5, 0))]
    expected = float(np.mean(f_oneway(*groups).statistic))
    assert identification.f_ratio(groups) == pytest.approx(expected, rel=1e-4)
    assert identification.f_ratio(groups[:1]) == 0


# ---- the detector -----------------------------------------------------------------------------

PIXELS = 16


def detector(**settings: object) -> BlockDetector:
    model = NoModel(Architecture(channels=PIXELS, height=1, width=1))
    changed = {"target_arl": "1000000 frames", **settings}
    return BlockDetector(DetectionSettings(**changed), model)  # type: ignore[arg-type]


def frames(phi: float, shift: float, start: int, count: int) -> torch.Tensor:
    domain = AutoregressiveDomain("x", phi=phi, size=PIXELS, shift=shift)
    return torch.from_numpy(domain.frames(np.arange(start, start + count), 0)[0])


def stays(*parts: tuple[float, int], phi: float = 0.9) -> torch.Tensor:
    """Frames of stays of (shift, frames), on one clock."""
    start, found = 0, []
    for shift, count in parts:
        found.append(frames(phi, shift, start, count))
        start += count
    return torch.cat(found)


def moves(images: torch.Tensor, batch: int, watching: BlockDetector) -> list[tuple[int, Decision]]:
    """All decisions but "same" and "deferred", with the frame at which they fell."""
    found = []
    for end in range(batch, len(images) + 1, batch):
        decision = watching.update(images[end - batch : end])
        if decision.kind not in ("same", "deferred"):
            found.append((end, decision))
    return found


def test_batches_of_any_size_give_the_same_decisions() -> None:
    """There and back, phi = 0.9: noticed within 5 correlation times, known again, none false."""
    images = stays((0, 2048), (3, 2048), (0, 2048), (3, 2048))
    kept = None
    for batch in (1, 8, 32):
        found = moves(images, batch, detector())
        what = [(d.kind, d.environment) for _, d in found]
        assert what == [("new", 0), ("new", 1), ("returned", 0), ("returned", 1)]
        at = [-(-end // CHUNK) for end, _ in found[1:]]
        kept = kept or at
        assert at == kept
    assert all(32 * end - 2048 * k <= 256 for end, k in zip(kept or (), (1, 2, 3), strict=True))


def pan(*stays: tuple[int, int], side: int = 32) -> torch.Tensor:
    """A slow pan over photographs, [n, 1, side, side]: stays of (which, frames), on one clock."""
    generator, found, clock = np.random.default_rng(0), [], 0
    scenes = []
    for photograph in load_sample_images().images:
        grey = torch.tensor(photograph).float().mean(2)[None, None] / 255
        scenes.append(interpolate(grey, scale_factor=side / 240, mode="area")[0])
    for which, count in stays:
        scene = scenes[which]
        room = np.array(scene.shape[1:]) - side
        for _ in range(count):
            clock += 1
            swing = 0.5 + 0.4 * np.sin(clock / np.array([31, 23]))
            y, x = np.clip(room * swing + generator.normal(0, 0.2, 2), 0, room).astype(int)
            found.append(scene[:, y : y + side, x : x + side])
    return torch.stack(found)


def test_what_is_back_is_known_even_from_a_place_of_which_little_is_known() -> None:
    """A flower is seen for four turns of a slow pan only, and so allows for much: it is left all
    the same when the palace is back, again and again, and known again itself."""
    images = pan((0, 600), (1, 500), (0, 1100), (1, 500), (0, 1100), (1, 500), (0, 500))
    model = NoModel(Architecture(height=32, width=32))
    settings = DetectionSettings(target_arl="30 days", frames_per_second=10)
    found = moves(images, 32, BlockDetector(settings, model))
    assert [(each.kind, each.environment) for _, each in found] == [
        *(("new", 0), ("new", 1)),
        *[("returned", 0), ("returned", 1)] * 2,
        ("returned", 0),
    ]
    changes = (600, 1100, 2200, 2700, 3800, 4300)
    assert all(at - change <= 256 for (at, _), change in zip(found[1:], changes, strict=True))


@pytest.mark.parametrize("batch", [128, 256, 1024])
def test_large_batches_are_decided_about_too(batch: int) -> None:
    """Of which fewer can be pooled than decisions wait for where batches are small."""
    images = stays((0, 8192), (3, 8192), (0, 8192), phi=0.0)
    what = [(each.kind, each.environment) for _, each in moves(images, batch, detector())]
    assert what == [("new", 0), ("new", 1), ("returned", 0)]


@pytest.mark.parametrize("spread", [1.0, 1.5])
def test_single_frames_tell_what_chunks_do_not(spread: float) -> None:
    """In a slow environment every chunk is far from its mean, as far as those of another domain.

    Frames of which none is farther than its own are the same one, however little they depend on
    one another; those of half as much spread again are another, and it is known again after them.
    """
    slow, other = frames(0.995, 0, 0, 46_000), frames(0.0, 0, 50_000, 6000)
    other = 0.5 + spread * (other - 0.5)
    watching = detector()
    found = moves(torch.cat([slow[:40_000], other, slow[40_000:]]), 64, watching)
    decided = [(decision.kind, decision.environment) for _, decision in found]
    if spread == 1:
        assert decided == [("new", 0)]
        return
    assert decided == [("new", 0), ("new", 1), ("returned", 0)]
    assert "single frames are too far" in found[1][1].reason
    assert found[1][0] - 40_000 < 6 * watching.environments[0].block * CHUNK
    assert found[2][0] - 46_000 < 512


@pytest.mark.parametrize("settings", [{"tolerance": 36.0}, {"z_threshold": 0.0}])
def test_single_frames_do_not_overrule_what_is_allowed(settings: dict[str, float]) -> None:
    """A tolerance of the user's own; and without any doubt about distances none is about frames."""
    known = seen(0.99, 40_960)
    chosen = DetectionSettings(**settings)  # type: ignore[arg-type]
    far = tuple(5 + chunks(0.0, 640))
    deferred = identification.Deferred(far, 64, 64, square=1e4)
    assert identification.frame_excess(known, deferred, 3.0)[1] > 1
    found = identification.candidate(0, known, deferred, chosen)
    assert not found.excluded
    assert not found.doubtful


@pytest.mark.parametrize("known_blocks", [16, 64])
@pytest.mark.parametrize("deferred_blocks", [1, 3, 8])
def test_frames_of_its_own_are_too_far_as_seldom_as_is_said(
    known_blocks: int, deferred_blocks: int
) -> None:
    """Blocks like the known ones: with z = 2 one time in 44, however few blocks are known."""
    generator, times = np.random.default_rng(0), 2000
    excluded = 0
    for _ in range(times):
        own, others = (np.exp(generator.normal(size=n)) for n in (known_blocks, deferred_blocks))
        known = BlockStatistics(blocks=np.stack([0 * own, own], 1), block=4)
        square = float(np.exp(np.log(others).mean()))
        deferred = identification.Deferred((), 0, 4 * deferred_blocks, square)
        excluded += identification.frame_excess(known, deferred, 2.0)[1] > 1
    expected = times * (1 - NormalDist().cdf(2.0))
    assert 0.4 * expected < excluded < 1.3 * expected


@pytest.mark.parametrize(("phi", "until"), [(0.0, 4096), (0.95, 8192), (0.995, 16_384)])
def test_axes_are_learnt_for_as_long_as_blocks_are_few(phi: float, until: int) -> None:
    """From 64 blocks, or as many frames as there may be."""
    known, learnt = BlockStatistics(), 0
    for chunk in chunks(phi, 20_480):
        learnt += known.learning
        known = with_chunks(known, chunk[None])
    assert learnt * CHUNK == until
    assert not known.first


def test_slow_drift_is_followed() -> None:
    """A shift of one standard deviation over 40,000 frames: the same environment."""
    images = frames(0.9, 0, 0, 40_000)
    slow = torch.linspace(0, 0.1, 40_000)[:, None, None, None]
    assert [d.kind for _, d in moves(images + slow, 64, detector())] == ["new"]


def test_a_stuck_camera_is_no_other_environment_and_leaves_no_trace() -> None:
    """However unusual the frame is at which it stops."""
    images = frames(0.9, 0, 0, 8192)
    stop = 4096 + int(images[4096:5120].sum((1, 2, 3)).argmax())
    held = images[[stop - 1]].expand(2048, -1, -1, -1)
    watching = detector()
    found = moves(torch.cat([images[:stop], held, images[stop:]]), 64, watching)
    assert [decision.kind for _, decision in found] == ["new"]
    assert watching.environments[0].frames <= 8192 + CHUNK


def test_what_is_kept_does_not_grow() -> None:
    watching = detector()
    for start in range(0, 60_000, 6000):
        moves(frames(0.9, 0, start, 6000), 60, watching)
    known = watching.environments[0]
    assert not known.first
    assert len(known.blocks) <= blocks.KEPT
    assert len(known.ratios) <= blocks.KEPT
    assert len(known.partial) < known.block


# ---- the run length ---------------------------------------------------------------------------


def test_a_run_length_in_time_or_frames() -> None:
    assert run_length_frames("30 days", 30) == 30 * 86400 * 30
    assert run_length_frames("1 hour", 10) == 36_000
    assert run_length_frames("5,000 frames", 99) == 5000
    assert DetectionSettings(target_arl=100).frames_between_alarms(64) == 6400
    timed = DetectionSettings(target_arl="2 minutes", frames_per_second=5)
    assert timed.frames_between_alarms(64) == 600
    for bad in ("soon", "3", "3 fortnights", "-1 day", "0 frames", "inf days"):
        with pytest.raises(ValidationError, match="is no run length"):
            DetectionSettings(target_arl=bad)
