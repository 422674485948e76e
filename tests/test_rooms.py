"""The rendered domains: what is drawn, that both places show the same, and what can go wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import photographs
import pytest
from numpy.typing import NDArray
from photographs import Frames, elsewhere
from scipy.spatial.transform import Rotation

from vase import ConfigError, DataError, InputError, build, config
from vase.agent.place import ACTIONS, apply_action
from vase.domains import rendered, scenery
from vase.domains.frames import FrameDomain
from vase.domains.rendered import Scene
from vase.domains.stream import Schedule, Stream
from vase.domains.walk import Moves, Walk, moved, walked
from vase.settings import DomainSettings

# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize(("heading", "pitch"), [(0.0, 0.0), (1.0, 0.1), (-2.5, -0.15), (4.0, 0.0)])
def test_a_turn_and_a_nod_point_the_eye_where_they_should(heading: float, pitch: float) -> None:
    """Forward is (cos h cos p, sin h cos p, sin p), and the horizon stays level."""
    w, x, y, z = scenery.turned(heading, pitch)
    turn = Rotation.from_quat([x, y, z, w])
    forward = (np.cos(heading) * np.cos(pitch), np.sin(heading) * np.cos(pitch), np.sin(pitch))
    np.testing.assert_allclose(turn.apply([1, 0, 0]), forward, atol=1e-12)
    assert turn.apply([0, 1, 0])[2] == pytest.approx(0, abs=1e-12)


def test_factors_are_uniform_independent_and_the_same_for_everyone() -> None:
    factors, kinds = scenery.drawn(np.random.default_rng(0), 4000)
    again, _ = scenery.drawn(np.random.default_rng(0), 4000)
    values = np.stack(list(factors.values()))
    assert set(factors) == {*scenery.RANGES, "hue"}
    assert np.abs(values.mean(1) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.06
    assert np.bincount(kinds).min() > 900
    np.testing.assert_array_equal(factors["hue"], again["hue"])


def test_at_rest_only_objects_differ() -> None:
    factors, kinds = scenery.drawn(np.random.default_rng(0), 400, at_rest=True)
    assert {name for name, values in factors.items() if np.ptp(values) > 0} == {"hue"}
    assert all((factors[name] == scenery.REST).all() for name in scenery.RANGES)
    assert len(np.unique(kinds)) == len(scenery.KINDS)


# --- a walk -----------------------------------------------------------------------------------


@pytest.mark.parametrize("walk", [rendered.WALK, rendered.TEST_WALK])
def test_a_walk_is_smooth_and_reaches_the_whole_range(walk: Walk) -> None:
    factors, kinds = walked(walk, door=True)
    assert set(factors) == {*scenery.RANGES, "hue", "door"}
    for name in scenery.RANGES:
        assert (factors[name].min(), factors[name].max()) == (0, 1)
        assert np.abs(np.diff(factors[name])).max() < 0.03
        assert 0.15 < factors[name].std() < 0.35
    changes = np.flatnonzero(np.diff(factors["hue"])) + 1
    np.testing.assert_array_equal(changes, np.arange(walk.change, walk.count, walk.change))
    assert set(np.flatnonzero(np.diff(kinds)) + 1) <= set(changes)
    assert set(kinds) == set(range(len(scenery.KINDS)))
    values = np.stack([factors[name] for name in scenery.RANGES])
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.25


def test_the_door_is_mostly_shut_or_open_and_slides_between_the_two() -> None:
    factors, _ = walked(rendered.WALK, door=True)
    door = factors["door"]
    assert 0.3 < (door == 1).mean() < 0.6
    assert 0.3 < (door == 0).mean() < 0.65
    assert np.abs(np.diff(door)).max() < 0.05
    assert scenery.door_at(0.0)[1] == pytest.approx(sum(scenery.DOOR) / 2)
    low, high = scenery.DOOR
    assert scenery.door_at(1.0)[1] - (high - low) / 2 == pytest.approx(high)


def test_the_way_is_the_same_with_and_without_a_door_and_in_testing_another() -> None:
    with_door, _ = walked(rendered.WALK, door=True)
    without, _ = walked(rendered.WALK, door=False)
    for name, values in without.items():
        np.testing.assert_array_equal(values, with_door[name])
    other, _ = walked(rendered.TEST_WALK, door=False)
    assert not np.array_equal(other["x"], without["x"][: len(other["x"])])


# --- frames -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graphics() -> None:
    photographs.skip_without_graphics()


@pytest.fixture(scope="module")
def visit(graphics: None) -> tuple[Frames, dict[str, Any]]:
    return elsewhere(photographs.visited, "room", "hills")


@pytest.fixture(scope="module")
def frames(visit: tuple[Frames, dict[str, Any]]) -> dict[str, Frames]:
    return {"hills": elsewhere(photographs.two_poses, "hills"), "room": visit[0]}


@pytest.fixture(scope="module")
def lights(graphics: None) -> dict[str, Frames]:
    return {light: elsewhere(photographs.in_light, light) for light in get_args(scenery.Light)}


def test_night_is_dark_and_blue_and_a_lamp_is_warm(lights: dict[str, Frames]) -> None:
    colours = {light: shown.mean((0, 1, 2)) for light, shown in lights.items()}
    for light in ("night", "lamp"):
        assert colours[light].mean() < 0.4 * colours["day"].mean()
    assert colours["night"][2] > 1.1 * colours["night"][0]
    assert colours["lamp"][0] > 2 * colours["lamp"][2]


def test_an_open_door_shows_another_room(lights: dict[str, Frames]) -> None:
    """Yellow in the left half where the door was, in the daylight; nothing else moves but it."""
    shut, opened = lights["day"].astype(int)
    differs = np.abs(shut - opened).sum(-1) > 60
    columns = np.flatnonzero(differs.any(0))
    assert differs.sum() > 60
    assert columns.max() < 32
    yellow = (opened[..., 0] > 150) & (opened[..., 1] > 130) & (opened[..., 2] < 110)
    assert (yellow & differs).sum() > 40


def where(pair: Frames) -> NDArray[np.bool_]:
    """The pixels that change with the colour of the object: where it is seen."""
    return np.asarray(np.abs(pair[0].astype(int) - pair[1].astype(int)).sum(-1) > 60)


def test_the_same_factors_put_the_object_at_the_same_place_in_both(
    frames: dict[str, Frames],
) -> None:
    for one, other in zip(frames["hills"], frames["room"], strict=True):
        here, there = where(one), where(other)
        assert here.sum() > 40
        assert (here & there).sum() / (here | there).sum() > 0.9


def test_bearing_is_to_the_left_and_the_rest_of_the_places_differs(
    frames: dict[str, Frames],
) -> None:
    right, left = (np.flatnonzero(where(pair).any(0)).mean() for pair in frames["room"])
    assert left < 24
    assert right > 40
    outside = ~(where(frames["hills"][0]) | where(frames["room"][0]))
    difference = np.abs(frames["hills"][0, 0].astype(int) - frames["room"][0, 0])
    assert difference[outside].mean() > 20


def test_a_place_to_act_in_shows_what_was_done(visit: tuple[Frames, dict[str, Any]]) -> None:
    found = dict(visit[1])
    assert "another process" in found.pop("other")
    begun, shuffled = found.pop("begun"), found.pop("shuffled")
    assert len({truth["hue"] for truth in begun}) == len(begun)  # an object of its own
    assert len({truth["identity"] for truth in begun}) == len(scenery.KINDS)
    assert {truth[name] for truth in begun for name in scenery.RANGES} == {scenery.REST}
    assert [name for name in scenery.RANGES if shuffled[name] != scenery.REST] == ["bearing"]
    assert found.pop("stay") == ([], False)
    assert {name: seen for name, (_, seen) in found.items() if not seen} == {}
    assert [factors for factors, _ in found.values()] == [[ACTIONS[name][0]] for name in found]


def test_a_factor_ends_at_its_range_and_hue_goes_round() -> None:
    there = {"pitch": 0.95, "hue": 0.95}
    assert apply_action(there, "look up", 0.1) == {"pitch": 1.0, "hue": 0.95}
    assert apply_action(there, "next hue", 0.1)["hue"] == pytest.approx(0.05)


# --- the domain, and the cache -------------------------------------------------------------------


def test_a_domain_shows_its_own_rows_with_their_factors() -> None:
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2)
    frames = frames.repeat(3, 3)
    values = np.arange(10) / 10
    domain = rendered.RenderedDomain(
        "w", "room", frames, {"x": values}, np.arange(10), np.array([3, 7])
    )
    images, truth = domain.sample(np.random.default_rng(0), 50)
    assert images.shape == (50, 3, 64, 64)
    assert images.dtype == np.float32
    assert set(truth.labels) == {3, 7}
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, truth.labels, rtol=1e-6)
    np.testing.assert_allclose(truth.factors["x"] * 10, truth.labels)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(rendered, "cache_folder", lambda: tmp_path)
    rendered.frames.cache_clear()
    yield tmp_path / "rendered"
    rendered.frames.cache_clear()


def grey(scene: Scene) -> Iterator[tuple[int, Frames]]:
    for start in range(0, scene.count, 2):
        yield start, np.full((2, 64, 64, 3), start, np.uint8)


def test_frames_are_rendered_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(rendered, "_chunks", grey)
    first = rendered.frames(Scene("hills", 6), said.append)
    assert first[:, 0, 0, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert said[-1] == "hills: 6 of 6 frames rendered, once"
    rendered.frames.cache_clear()
    monkeypatch.setattr(rendered, "_chunks", lambda *_: pytest.fail("rendered again"))
    np.testing.assert_array_equal(rendered.frames(Scene("hills", 6), None), first)


def test_what_is_cut_off_leaves_nothing_behind(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(scene: Scene) -> Iterator[tuple[int, Frames]]:
        yield 0, np.zeros((2, 64, 64, 3), np.uint8)
        raise DataError("the lights went out")

    monkeypatch.setattr(rendered, "_chunks", dies)
    with pytest.raises(DataError, match="the lights went out"):
        rendered.frames(Scene("room", 6), None)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_file_is_refused(cache: Path, content: bytes | None) -> None:
    cache.mkdir()
    path = cache / f"room-6-{Scene('room', 6).recipe}.npy"
    if content is None:
        np.save(path, np.zeros((3, 64, 64, 3), np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="Delete it and run again"):
        rendered.frames(Scene("room", 6), None)


def test_without_the_packages_a_sentence_says_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[rooms\]'"):
        rendered.frames(Scene("room", 6), None)


def test_a_cache_that_cannot_be_written_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "_chunks", grey)
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="rendered cannot be written"):
        rendered.frames(Scene("room", 6), None)


def test_what_fails_in_the_renderer_s_process_is_not_blamed_on_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(rendered, "ProcessPoolExecutor", none_left)
    with pytest.raises(DataError, match=r"'room' cannot be rendered here: .*unavailable"):
        rendered.frames(Scene("room", 6), None)


def test_sets_that_exist_keep_their_names() -> None:
    """Nobody renders again what has not changed."""
    names = [Scene(p, 6, rest).recipe for p in ("hills", "room") for rest in (False, True)]
    assert names == ["07c470118b1a", "4f1c7729b00b", "08e21f56762a", "f9803899df28"]


def test_every_walk_is_a_file_of_its_own() -> None:
    names = {
        Scene(place, walk.count, light=light, walk=walk).recipe
        for place in get_args(scenery.Place)
        for light in get_args(scenery.Light)
        for walk in (rendered.WALK, rendered.TEST_WALK)
    }
    assert len(names) == 12
    assert Scene("hills", 6).recipe not in names


def test_a_walk_is_a_domain_in_order(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame n is frame n of the walk, back and forth, with its own truth; draws are of any."""
    monkeypatch.setattr(rendered, "_chunks", grey)
    monkeypatch.setattr(rendered, "WALK", Walk(6, 2, 0))
    monkeypatch.setattr(rendered, "TEST_WALK", Walk(4, 2, 1))
    settings = DomainSettings(domain="room", walk=True, light="night")
    made = build.domain("r", settings, 64, build.DataOptions(), "train")
    assert isinstance(made, rendered.WalkDomain)
    domain: FrameDomain = made
    images, truth = domain.frames(np.arange(12), seed=3)
    rows = [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1]
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, [row // 2 * 2 for row in rows], rtol=1e-6)
    factors, kinds = walked(Walk(6, 2, 0), door=True)
    np.testing.assert_array_equal(truth.labels, kinds[rows])
    assert set(truth.factors) == set(factors)
    for name, values in factors.items():
        np.testing.assert_array_equal(truth.factors[name], values[rows])
    drawn, _ = domain.sample(np.random.default_rng(0), 50)
    assert set(np.rint(drawn[:, 0, 0, 0] * 255)) == {0, 2, 4}
    test = build.domain("r", settings, 64, build.DataOptions(), "test")
    assert len(np.unique(test.sample(np.random.default_rng(0), 50)[1].factors["x"])) == 4
    hills = DomainSettings(domain="hills", walk=True)
    assert (
        "door"
        not in build.domain("h", hills, 64, build.DataOptions(), "train")
        .sample(np.random.default_rng(0), 5)[1]
        .factors
    )
    assert len(list(cache.iterdir())) == 3
    still = rendered.RenderedDomain("s", "room", made.pixels, {}, kinds, np.arange(6))
    with pytest.raises(ConfigError, match="no frames that follow one another"):
        Stream(Schedule.of([("s", 1)]), {"s": still}, 8, 0, order="consecutive")


# --- one factor at a time -----------------------------------------------------------------------


def test_one_factor_moves_at_a_time_and_all_reach_their_whole_range() -> None:
    factors, kinds = moved(rendered.MOVES)
    assert set(factors) == {*scenery.RANGES, "hue"}
    values = np.stack([*factors.values(), kinds / len(scenery.KINDS)])
    assert values.min() >= 0
    assert values.max() < 1
    moving = np.abs(np.diff(values)) > 1e-9
    assert moving.sum(0).max() == 1
    changes = np.flatnonzero(np.diff(moving[:-1]).any(0)) + 1  # the kind changes at once
    assert (changes % rendered.MOVES.span == rendered.MOVES.span - 1).all()  # at borders of moves
    assert np.bincount(kinds).min() > 0.2 * len(kinds)
    for each in factors.values():
        assert np.histogram(each, 8, (0, 1))[0].min() > 0.06 * len(kinds)
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 0.15


def test_a_move_goes_in_equal_steps_and_hue_the_shorter_way_round() -> None:
    span = 8
    factors, _ = moved(Moves(4000, span, seed=1))
    for name, each in factors.items():
        steps = np.diff(each)
        if name == "hue":
            steps = (steps + 0.5) % 1 - 0.5
            assert np.abs(steps).max() <= 0.5 / span
            assert np.abs(np.diff(each)).max() > 0.9  # it goes through red
        within = steps[span - 1 :].reshape(-1, span)  # a row a move, from the second on
        np.testing.assert_allclose(within, within[:, :1] * np.ones(span), atol=1e-12)


def test_a_place_in_order_is_rendered_when_it_is_asked_for(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "_chunks", grey)
    monkeypatch.setattr(rendered, "COUNT", 6)
    monkeypatch.setattr(rendered, "HELD_OUT", 2)
    monkeypatch.setattr(rendered, "MOVES", Moves(20, 4, 1))
    domain = build.domain("r", DomainSettings(domain="room"), 64, build.DataOptions(), "train")
    assert isinstance(domain, rendered.MovingDomain)
    assert len(list(cache.iterdir())) == 1
    factors, kinds = moved(rendered.MOVES)
    _, truth = domain.frames(np.arange(60), seed=3)
    assert len(list(cache.iterdir())) == 2
    shown = np.stack([*truth.factors.values(), truth.labels])
    moves = np.stack([*factors.values(), kinds])
    there_and_back = np.resize([*range(20), *range(18, 0, -1)], 38 + 60)
    begins = [k for k in range(38) if (moves[:, there_and_back[k : k + 60]] == shown).all()]
    assert begins
    assert set(truth.factors) == set(factors)
    drawn = domain.sample(np.random.default_rng(0), 50)[1].factors["x"]
    assert not set(drawn) & set(factors["x"])


def test_another_recipe_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {Scene("room", 6).recipe, Scene("hills", 6).recipe}
    monkeypatch.setattr(scenery, "RANGES", {**scenery.RANGES, "pitch": (0.0, 1.0)})
    assert len(names | {Scene("room", 6).recipe}) == 3


def test_without_graphics_a_sentence_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(DataError, match=r"cannot be rendered here: .*apt-get install libegl1"):
        rendered.frames(Scene("room", 2), None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shrink": 2}, "room has whole images: leave out shrink"),
        ({"moving": True}, "leave out moving"),
        ({"walk": True, "at_rest": True}, "a walk is not at rest"),
        ({"light": "night"}, "light is of a walk"),
        ({"domain": "mnist", "walk": True}, "leave them out of mnist"),
        ({"domain": "dsprites", "light": "lamp"}, "dsprites has whole images: leave out light"),
        ({"domain": "mnist", "at_rest": True}, "for hills and room; mnist rest unless `moving`"),
        ({"domain": "dsprites", "at_rest": True}, "dsprites has whole images: leave out at_rest"),
    ],
)
def test_settings_of_sprites_are_refused(change: dict[str, Any], sentence: str) -> None:
    domains = {"room": {"domain": "room", **change}}
    with pytest.raises(ConfigError, match=sentence):
        config.parse({"stream": {"schedule": [["room", 5]], "domains": domains}}, "test")


def test_another_canvas_is_refused() -> None:
    stream = {"size": 32, "schedule": [["r", 5]], "domains": {"r": {"domain": "room"}}}
    with pytest.raises(ConfigError, match="frames of 64 pixels on a canvas of 32"):
        build.stream(config.parse({"stream": stream}, "test"), build.DataOptions())


@pytest.mark.parametrize("place", ["hills", "room"])
def test_a_place_at_rest_is_one_to_act_in_and_has_a_twin_in_motion(
    cache: Path, monkeypatch: pytest.MonkeyPatch, place: scenery.Place
) -> None:
    pytest.importorskip("gymnasium")
    from vase.agent import exploration_run, zero_shot

    monkeypatch.setattr(rendered, "_chunks", grey)
    monkeypatch.setattr(rendered, "COUNT", 6)
    monkeypatch.setattr(rendered, "HELD_OUT", 2)
    monkeypatch.setattr(rendered, "RESTING", (4, 2))
    still = rendered.domain("here", place, "test", None, at_rest=True)
    assert len(list(cache.iterdir())) == 1
    assert set(still.sample(np.random.default_rng(0), 5)[1].factors) == {"hue"}
    exploration_config = exploration_run.ExplorationConfig("here", {"stride": 0.1})
    found = exploration_run.gymnasium_environment(
        {"here": still}, exploration_config, build.DataOptions()
    )
    assert found == (f"vase/{place.title()}-v0", {"stride": 0.1})
    ((name, moving),) = zero_shot.unseen_domains(still, None).items()
    assert name == "moving here"
    truth = moving.sample(np.random.default_rng(0), 50)[1]
    assert all(len(np.unique(values)) == 2 for values in truth.factors.values())
    assert len(list(cache.iterdir())) == 2  # at rest and not are files of their own
    with pytest.raises(InputError, match="at_rest=true"):
        exploration_run.gymnasium_environment(
            {"here": moving}, exploration_config, build.DataOptions()
        )
