"""Streams in order: bouncing sprites, vectors, files, and how a stream takes frames from them."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import film
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vase import ConfigError, build, config
from vase.domains import own
from vase.domains.autoregressive import CHUNK, AutoregressiveDomain
from vase.domains.bouncing import BLOCK, Motion, bounced, lives, moving_time
from vase.domains.canvas import CanvasDomain
from vase.domains.frames import FrameDomain, reflected
from vase.domains.shapes import sprites
from vase.domains.stream import Order, Schedule, Stream
from vase.settings import DomainSettings

SOLIDS = sprites("solids", 200, 10, 0)
MOVING = CanvasDomain("moving", SOLIDS, 32, moving=True)
DOMAINS: dict[str, FrameDomain] = {
    "moving": MOVING,
    "tinted": replace(
        MOVING, name="tinted", channels=3, inverted=True, motion=Motion(7, 2.5, pause=0.4)
    ),
    "resting": replace(MOVING, name="resting", moving=False),
    "vectors": AutoregressiveDomain("vectors", size=3),
    "own": own.OwnDomain(
        "own", np.arange(20, dtype=np.uint8).repeat(64).reshape(20, 8, 8), np.arange(20)
    ),
}


def numbered(first: int, end: int) -> NDArray[np.int64]:
    return np.arange(first, end, dtype=np.int64)


# ---- every domain that has an order --------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_a_frame_is_a_function_of_seed_and_number_alone(domain: FrameDomain) -> None:
    """Whatever is asked for with it, before it, or in which order."""
    first = 3 * CHUNK - 20  # across the borders of blocks of random numbers
    images, truth = domain.frames(numbered(first, first + 40), seed=3)
    order = np.random.default_rng(0).permutation(40)
    again, same = domain.frames(first + order, seed=3)
    np.testing.assert_array_equal(again, images[order])
    np.testing.assert_array_equal(same.labels, truth.labels[order])
    for name, values in truth.factors.items():
        np.testing.assert_array_equal(same.factors[name], values[order])
    one_by_one = [domain.frames(numbered(n, n + 1), seed=3)[0] for n in (first, first + 39)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), images[[0, -1]])
    if domain.name == "resting":  # in the centre
        assert images[:, :, :11].sum() == images[:, :, 21:].sum() == 0
    if domain.name != "own":
        assert not np.array_equal(domain.frames(numbered(first, first + 40), seed=4)[0], images)


FLOATS = partial(st.floats, allow_subnormal=False)  # which fast-math libraries turn off

# ---- bouncing sprites ----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), FLOATS(0, 40), FLOATS(0, 1), st.integers(1, 60), st.integers(0, 9))
def test_bouncing_stays_within_the_walls_and_never_jumps(
    lifetime: int, speed: float, pause: float, places: int, seed: int
) -> None:
    each = lives(Motion(lifetime, speed, pause), numbered(0, 500), seed)
    at = bounced(each.start[:, 1], each.path[:, 1], places)
    assert at.min() >= 0
    assert at.max() < places
    within_a_life = np.diff(numbered(0, 500) // lifetime) == 0
    assert np.abs(np.diff(at))[within_a_life].max(initial=0) <= 1.5 * speed + 1


def test_a_sprite_bounces_as_a_slow_simulation_does() -> None:
    """Reflect the velocity at the walls, frame by frame."""
    speed, width = 0.7123, 9.0
    at, direction, slow = 0.3 * width, 1.0, []
    for _ in range(200):
        slow.append(at)
        at += direction * speed
        if at > width or at < 0:
            at, direction = (2 * width - at if at > width else -at), -direction
    path = speed * np.arange(200)
    found = bounced(np.full(200, 0.3), path, 9)
    np.testing.assert_array_equal(found, np.minimum(np.floor(slow), 8))


def test_a_life_ends_at_multiples_of_the_life_time_and_nowhere_else() -> None:
    domain = replace(MOVING, motion=Motion(lifetime=10, speed=0.0), channels=3)
    images, truth = domain.frames(numbered(0, 400), seed=0)
    changes = np.flatnonzero((np.diff(images, axis=0) != 0).any((1, 2, 3))) + 1
    np.testing.assert_array_equal(changes, np.arange(10, 400, 10))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(truth.factors["hue"])) + 1, changes)


def test_a_life_time_of_one_gives_independent_images() -> None:
    """The same distribution of places, labels and hues as `sample`, and no correlation."""
    domain = replace(MOVING, motion=Motion(lifetime=1), channels=3)
    count = 8000
    assert count > 2 * BLOCK
    _, truth = domain.frames(numbered(0, count), seed=0)
    _, drawn = domain.sample(np.random.default_rng(0), count)
    for name in ("x", "y", "hue"):
        values = truth.factors[name]
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(count)
        shares = [np.histogram(each, 23, (0, 1))[0] for each in (values, drawn.factors[name])]
        assert np.abs(shares[0] - shares[1]).max() < 5 * np.sqrt(2 * count / 23)
    assert abs(np.corrcoef(truth.factors["x"], truth.factors["y"])[0, 1]) < 4 / np.sqrt(count)
    shares = [np.bincount(each.labels) for each in (truth, drawn)]
    assert np.abs(shares[0] - shares[1]).max() < 5 * np.sqrt(2 * count / 5)


def test_every_pixel_is_as_likely_at_any_age() -> None:
    """Walls and corners too: the motion leaves the uniform distribution as it is."""
    domain = replace(MOVING, motion=Motion(lifetime=50, speed=2.0))
    _, truth = domain.frames(49 + 50 * numbered(0, 8000), seed=1)  # the last frame of every life
    share = np.bincount(np.rint(truth.factors["x"] * 22).astype(int), minlength=23) / 8000
    np.testing.assert_allclose(share, 1 / 23, atol=5 * np.sqrt(1 / 23 / 8000))


def test_columns_are_kept_to_and_speed_is_what_was_asked_for() -> None:
    domain = replace(MOVING, size=110, columns=(0.25, 0.75), motion=Motion(20, 3.0))
    _, truth = domain.frames(10 * numbered(0, 1000), seed=0)
    assert truth.factors["x"].min() == 0.25
    assert truth.factors["x"].max() == 0.75
    each = lives(Motion(20, 3.0), numbered(0, 20_000), seed=0)
    steps = np.diff(each.path, axis=0)[np.diff(numbered(0, 20_000) // 20) == 0]
    pace = np.hypot(*steps.T)
    assert pace.mean() == pytest.approx(3.0, rel=0.03)
    assert pace.min() >= 1.5 - 1e-9
    assert pace.max() <= 4.5 + 1e-9


@pytest.mark.parametrize("pause", [0.0, 0.3, 1.0])
def test_a_pause_is_a_share_of_the_time(pause: float) -> None:
    numbers = numbered(0, 100_000)
    path = lives(Motion(lifetime=100, pause=pause), numbers, seed=0).path
    still = (np.diff(path, axis=0) == 0).all(1)[np.diff(numbers // 100) == 0]
    assert still.mean() == pytest.approx(pause, abs=0.03)


@given(st.integers(1, 40), st.lists(st.booleans(), min_size=5, max_size=5))
def test_moving_time_counts_the_frames_that_move(lifetime: int, moves: list[bool]) -> None:
    length = -(-lifetime // 5)
    slow = np.cumsum([0, *(moves[age // length] for age in range(lifetime - 1))])
    ages = numbered(0, lifetime)
    found = moving_time(ages, np.tile(moves, (lifetime, 1)), lifetime)
    np.testing.assert_array_equal(found, slow)


# ---- vectors of known correlation ----------------------------------------------------------------


def states(domain: AutoregressiveDomain, first: int, end: int, seed: int = 0) -> Any:
    vectors, _ = domain.frames(numbered(first, end), seed)
    return (vectors[:, :, 0, 0] - 0.5) * 10


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.99, -0.5])
def test_vectors_have_unit_variance_and_the_autocorrelation_asked_for(phi: float) -> None:
    domain = AutoregressiveDomain("v", phi=phi, size=32)
    found = states(domain, 0, 30_000)
    assert found.std() == pytest.approx(1, abs=0.03)
    assert abs(found.mean()) < 0.1
    for lag in (1, 3):
        assert (found[lag:] * found[:-lag]).mean() == pytest.approx(phi**lag, abs=0.03)
    across = np.corrcoef(found[:2000].T)
    assert np.abs(across - np.eye(32)).max() < 0.1 + 5 * np.sqrt((1 + phi**2) / (1 - phi**2) / 2000)


def test_vectors_equal_a_slow_recursion() -> None:
    """Frames of a chunk follow the equation from the state before it, with that chunk's noise."""
    domain = AutoregressiveDomain("v", phi=0.999, size=2)
    found = states(domain, CHUNK - 1, CHUNK + 50)
    noise = np.random.default_rng([0, 5, 0, 1]).standard_normal((CHUNK, 2))
    at = found[0]
    for row in range(50):
        at = 0.999 * at + np.sqrt(1 - 0.999**2) * noise[row]
        np.testing.assert_allclose(found[row + 1], at, atol=1e-4)


def test_the_first_frame_is_already_stationary() -> None:
    domain = AutoregressiveDomain("v", phi=0.99, size=128)
    assert np.std([states(domain, 0, 1, seed) for seed in range(10)]) == pytest.approx(1, abs=0.1)


def test_a_shift_is_in_standard_deviations_and_draws_have_the_same_distribution() -> None:
    domain = AutoregressiveDomain("v", size=32, shift=0.5)
    drawn = (domain.sample(np.random.default_rng(0), 4000)[0] - 0.5) * 10
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.std() == pytest.approx(1, abs=0.02)
    assert states(domain, 0, 20_000).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "bad", [{"phi": 1.0}, {"phi": "0.9"}, {"size": 0}, {"size": 2.5}, {"shift": 4}, {"phi": True}]
)
def test_a_process_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bad))} must be .* Correct its options"):
        AutoregressiveDomain("v", **bad)


# ---- own images and videos -----------------------------------------------------------------------


def test_reflection_goes_back_and_forth_without_a_cut() -> None:
    assert reflected(numbered(0, 9), 4).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert reflected(numbered(0, 4), 1).tolist() == [0, 0, 0, 0]
    assert reflected(numbered(0, 4), 2).tolist() == [0, 1, 0, 1]


def test_own_images_come_in_their_order_without_those_held_out() -> None:
    images = np.arange(40, dtype=np.uint8).repeat(64).reshape(40, 8, 8)
    domain = own.domain("own", images, "train")
    found = domain.frames(numbered(0, 72), seed=0)[0][:, 0, 0, 0] * 255
    shown = [row for row in range(40) if row % 10 != 9]
    np.testing.assert_allclose(found, [*shown, *shown[-2::-1], shown[1]], rtol=1e-6)


def test_a_folder_of_videos_is_a_playlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One domain in colour; the videos one after another by name."""
    pytest.importorskip("av")
    for name, shade in (("b", 200), ("a", 50)):
        film(tmp_path / f"{name}.mp4", [shade] * 20)
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    images = own.load(tmp_path, 16, 3)
    assert images.shape == (40, 16, 16, 3)
    np.testing.assert_allclose(images[:20], 50, atol=6)
    np.testing.assert_allclose(images[20:], 200, atol=6)
    whole = own.digest(tmp_path)
    (tmp_path / "b.mp4").unlink()
    assert own.digest(tmp_path) != whole


# ---- streams -------------------------------------------------------------------------------------


def vectors(order: Order, batch_size: int = 8) -> Stream:
    """Two domains in three segments, of 6, 4 and 6 batches of 8 frames."""
    domains = {"a": AutoregressiveDomain("a"), "b": AutoregressiveDomain("b", shift=1.0)}
    steps = [("a", 48 // batch_size), ("b", 32 // batch_size), ("a", 48 // batch_size)]
    return Stream(Schedule.of(steps), domains, batch_size, seed=0, order=order)


def test_consecutive_batches_are_the_frames_of_the_stream_s_clock() -> None:
    stream = vectors("consecutive")
    for step, name in ((0, "a"), (5, "a"), (6, "b"), (10, "a")):
        expected, _ = frame_domains(stream)[name].frames(numbered(8 * step, 8 * step + 8), seed=0)
        found, truth = stream.batch(step)
        np.testing.assert_array_equal(found, expected)
        assert truth.domain == name


def frame_domains(stream: Stream) -> Any:
    return stream.domains


def test_shuffled_holds_exactly_the_frames_of_the_segment() -> None:
    stream = vectors("shuffled")
    for first, end in ((0, 6), (6, 10), (10, 16)):
        numbers = np.concatenate([stream.numbers(step) for step in range(first, end)])
        np.testing.assert_array_equal(np.sort(numbers), numbered(8 * first, 8 * end))
        assert (np.diff(numbers) == 1).mean() < 0.2
    expected, _ = frame_domains(stream)["b"].frames(stream.numbers(7), seed=0)
    np.testing.assert_array_equal(stream.batch(7)[0], expected)
    again = replace(stream, seed=1)
    assert not np.array_equal(again.numbers(0), stream.numbers(0))


@pytest.mark.parametrize("order", ["consecutive", "shuffled"])
def test_processes_share_the_frames_of_a_batch(order: Order) -> None:
    stream = vectors(order)
    for count in (2, 4):
        ranks = [stream.of_rank(rank, count) for rank in range(count)]
        for step in (0, 7):
            whole = stream.batch(step)[0]
            for rank, part in enumerate(ranks):
                np.testing.assert_array_equal(part.batch(step)[0], whole[rank::count])


def test_independent_batches_are_what_they_were() -> None:
    """Known pixels: a stream without an order draws as it did before there was one."""
    stream = Stream(Schedule.of([("moving", 3)]), {"moving": MOVING}, 8, 0)
    generator = np.random.default_rng([0, 2])
    chosen = generator.integers(200, size=8)
    top, left = generator.integers(23, size=8), generator.integers(0, 23, size=8)
    images, truth = stream.batch(2)
    np.testing.assert_array_equal(truth.labels, SOLIDS.labels[chosen])
    np.testing.assert_allclose(truth.factors["x"], left / 22)
    first = images[0, 0, top[0] : top[0] + 10, left[0] : left[0] + 10]
    np.testing.assert_allclose(first, SOLIDS.pixels[chosen[0]] / 255, rtol=1e-6)


# ---- what is refused -----------------------------------------------------------------------------


class Orderless:
    """A domain of one's own without frames."""

    name, shape, label_kind = "orderless", (1, 32, 32), ""

    def sample(self, generator: np.random.Generator, count: int) -> Any:
        return MOVING.sample(generator, count)


@pytest.mark.parametrize("order", ["consecutive", "shuffled"])
def test_a_domain_without_an_order_is_refused(order: Order) -> None:
    with pytest.raises(ConfigError, match="domains o have no frames that follow one another"):
        Stream(Schedule.of([("o", 1)]), {"o": Orderless()}, 8, 0, order=order)


def test_a_joint_stream_has_no_order() -> None:
    with pytest.raises(ConfigError, match="joint"):
        replace(vectors("consecutive"), joint=True)
    with pytest.raises(ConfigError, match="a joint stream has no order"):
        config.load("toy", ["stream.joint=true", 'stream.order="shuffled"'])


def configured(*domain: str) -> Stream:
    settings = ["stream.domains.d={" + ", ".join(domain) + "}", 'stream.schedule=[["d", 2]]']
    loaded = config.load("toy", [*settings, 'stream.order="consecutive"'])
    return build.stream(loaded, build.DataOptions())


def test_the_settings_reach_the_domains() -> None:
    made = configured('domain="solids"', "moving=true", "lifetime=7", "speed=2.5", "pause=0.5")
    assert made.order == "consecutive"
    domain = made.domains["d"]
    assert isinstance(domain, CanvasDomain)
    assert domain.motion == Motion(7, 2.5, 0.5)
    loaded = DomainSettings(domain="autoregressive", options={"phi": 0.5, "size": 4, "shift": 1})
    vectors = build.domain("d", loaded, 32, build.DataOptions(), "train")
    assert vectors == AutoregressiveDomain("d", 0.5, 4, 1)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (('domain="solids"', "lifetime=0"), "lifetime"),
        (('domain="solids"', "speed=-1.0"), "speed"),
        (('domain="solids"', "speed=inf"), "speed"),
        (('domain="solids"', "pause=1.5"), "pause"),
        (('domain="solids"', "channels=2"), "channels"),
        (('domain="solids"', "options={phi=0.5}"), "options are for autoregressive"),
        (('domain="autoregressive"', "moving=true"), "leave out moving"),
        (('domain="autoregressive"', "options={size=4, lag=2}"), "no lag among its options"),
        (('domain="autoregressive"', "options={phi=2}"), "phi must be a number from"),
    ],
)
def test_bad_settings_are_refused(domain: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configured(*domain)
