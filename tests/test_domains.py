"""Domains, schedules, streams, and the door for a user's own images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vase.domains.canvas import CanvasDomain, place
from vase.domains.shapes import sprites
from vase.domains.sprites import Sprites
from vase.domains.stream import Schedule, Stream
from vase.errors import ConfigError, InputError
from vase.images.layout import layout_of
from vase.images.values import from_batch, to_batch

SOLIDS = sprites("solids", 50, 10, 0)
DOMAINS = {
    "moving": CanvasDomain("moving", SOLIDS, 32, moving=True),
    "resting": CanvasDomain("resting", SOLIDS, 32),
    "inverted": CanvasDomain("inverted", SOLIDS, 32, moving=True, inverted=True),
    "tinted": CanvasDomain("tinted", SOLIDS, 32, moving=True, channels=3),
}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_every_domain_keeps_the_contract(domain: CanvasDomain) -> None:
    images, truth = domain.sample(np.random.default_rng(0), 20)
    again, same = domain.sample(np.random.default_rng(0), 20)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(truth.labels, same.labels)
    assert images.shape == (20, *domain.shape)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    assert truth.domain == domain.name
    assert all(((f >= 0) & (f <= 1)).all() for f in truth.factors.values())
    assert ("x" in truth.factors) == domain.moving


def test_the_factors_say_where_the_sprite_is() -> None:
    """The centre of ink follows the true position, pixel by pixel."""
    square = Sprites(np.full((1, 10, 10), 255, np.uint8), np.zeros(1, np.int64))
    images, truth = CanvasDomain("s", square, 32, moving=True).sample(np.random.default_rng(1), 200)
    columns = (images[:, 0] * np.arange(32)).sum((1, 2)) / images[:, 0].sum((1, 2))
    rows = (images[:, 0] * np.arange(32)[:, None]).sum((1, 2)) / images[:, 0].sum((1, 2))
    np.testing.assert_allclose(columns, truth.factors["x"] * 22 + 4.5, atol=1e-4)
    np.testing.assert_allclose(rows, truth.factors["y"] * 22 + 4.5, atol=1e-4)


def test_place_equals_a_slow_loop() -> None:
    generator = np.random.default_rng(2)
    small = generator.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    top, left = generator.integers(0, 8, 6), generator.integers(0, 9, 6)
    slow = np.zeros((6, 12, 12), np.float32)
    for k in range(6):
        slow[k, top[k] : top[k] + 5, left[k] : left[k] + 4] = small[k] / np.float32(255)
    np.testing.assert_allclose(place(small, top, left, 12), slow, rtol=1e-6)


def test_inverted_is_one_minus_and_resting_is_in_the_centre() -> None:
    plain, _ = DOMAINS["moving"].sample(np.random.default_rng(3), 5)
    dark, _ = DOMAINS["inverted"].sample(np.random.default_rng(3), 5)
    np.testing.assert_allclose(dark, 1 - plain)
    resting, _ = DOMAINS["resting"].sample(np.random.default_rng(3), 5)
    assert resting[:, :, :11].sum() == resting[:, :, 21:].sum() == 0


def test_sprites_larger_than_the_canvas_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"do not fit a canvas of 8.*stream\.size"):
        CanvasDomain("big", SOLIDS, 8)


# ---- streams -----------------------------------------------------------------------------------


def stream(seed: int = 0) -> Stream:
    schedule = Schedule.of([("moving", 3), ("resting", 2), ("moving", 4)])
    return Stream(schedule, DOMAINS_1, 8, seed)


DOMAINS_1 = {name: DOMAINS[name] for name in ("moving", "resting")}


def test_a_schedule_knows_when_the_stream_is_where() -> None:
    schedule = stream().schedule
    assert schedule.steps == 9
    shown = ["moving"] * 3 + ["resting"] * 2 + ["moving"] * 4
    assert [schedule.at(step) for step in range(9)] == shown
    assert schedule.domains == ("moving", "resting")
    assert [(each.start, each.end) for each in schedule.segments] == [(0, 3), (3, 5), (5, 9)]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    late = list(stream().images(start=6))
    np.testing.assert_array_equal(late[0], stream().batch(6)[0])
    assert len(late) == 3
    assert not np.array_equal(stream().batch(6)[0], stream(seed=1).batch(6)[0])
    assert not np.array_equal(stream().batch(6)[0], stream().batch(7)[0])


@pytest.mark.parametrize("parts", [[], [("moving", 0)], [("moving", -1)]])
def test_an_empty_schedule_is_refused(parts: list[tuple[str, int]]) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Schedule.of(parts)


def test_an_unknown_domain_and_mixed_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="names"):
        Stream(Schedule.of([("elsewhere", 1)]), DOMAINS_1, 8, 0)
    with pytest.raises(ConfigError, match="one image shape"):
        Stream(Schedule.of([("moving", 1)]), {**DOMAINS_1, "t": DOMAINS["tinted"]}, 8, 0)


# ---- a user's own images -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((5, 20, 24), "HW"), ((5, 20, 24, 3), "HWC"), ((5, 3, 20, 24), "CHW"), ((5, 1, 8, 8), "CHW")],
)
def test_layouts_are_told_apart_and_come_back(shape: tuple[int, ...], layout: str) -> None:
    given_images = np.random.default_rng(0).random(shape).astype(np.float32)
    assert layout_of(shape) == layout
    batch = to_batch(given_images)
    assert batch.shape[1] <= 4
    np.testing.assert_array_equal(from_batch(batch, layout), given_images)  # type: ignore[arg-type]


def test_integers_floats_tensors_and_booleans_mean_the_same() -> None:
    bits = np.random.default_rng(0).random((4, 16, 16)) > 0.5
    expected = to_batch(bits)
    for images in (bits * np.uint8(255), bits.astype(float), torch.tensor(bits).bfloat16()):
        torch.testing.assert_close(to_batch(images), expected)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 16, 16)), "empty"),
        (np.zeros((4, 16, 16, 16)), "channels"),
        (np.full((4, 16, 16), np.nan), "NaN"),
        (np.full((4, 16, 16), 2.0), "Divide by 255"),
        (np.full((4, 16, 16), -1), r"\[0, 255\]"),
        (np.full((4, 16, 16), "a"), "numbers"),
        ([[[1, 2]], [[1]]], "no array of one shape"),
    ],
)
def test_what_cannot_be_an_image_is_refused_in_a_sentence(images: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        to_batch(images)


def test_a_joint_stream_mixes_all_domains_in_every_batch() -> None:
    """Of three domains, each has a third of the images, whatever the schedule says."""
    domains = {name: DOMAINS[name] for name in ("moving", "resting", "inverted")}
    stream = Stream(Schedule.of([(name, 1) for name in domains]), domains, 60, seed=0, joint=True)
    again = replace(stream)
    inverted = []
    for step in range(20):
        images, truth = stream.batch(step % 3)
        np.testing.assert_array_equal(images, again.batch(step % 3)[0])
        assert len(images) == len(truth.labels) == 60
        inverted.append((images.mean((1, 2, 3)) > 0.5).mean())
    assert min(inverted) > 0
    assert max(inverted) < 1
    images = np.concatenate([replace(stream, seed=seed).batch(0)[0] for seed in range(30)])
    assert abs((images.mean((1, 2, 3)) > 0.5).mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / 1800)
