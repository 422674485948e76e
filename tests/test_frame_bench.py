"""The benchmark on consecutive frames: scores with known answers, streams, detectors, the page."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vase import build
from vase.bench import frame_detectors, frame_page, frame_scenarios, frames
from vase.bench.frame_detectors import (
    SHOTS,
    DriftDetector,
    RuleDetector,
    ShotDetector,
    watch,
)
from vase.bench.frame_hostile import BEGINS, BURST, COVERED, DISTURBANCES, STUCK, as_expected
from vase.bench.frame_null import NULLS, features_of, measured_run_length
from vase.bench.frame_scenarios import (
    BOUNCING,
    SCENARIOS,
    FrameData,
    FrameScenario,
    FrameStream,
    batches,
    clip_domains,
    stays,
)
from vase.bench.frame_scores import (
    DUMMIES,
    coarse_pixels,
    correlation_time,
    correlation_times,
    covering,
    dummies,
    frame_pooled,
    frame_score,
)
from vase.bench.scores import Alarm, oracle
from vase.domains.autoregressive import AutoregressiveDomain
from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.domains.stream import Schedule
from vase.errors import ConfigError
from vase.records import Decision
from vase.settings import DetectionSettings
from vase.training.folder import defined

NO_DATA = FrameData(build.DataOptions())
VISITS = Schedule.of([("a", 100), ("b", 50), ("a", 50)]).segments
TIMES = {"a": 5.0, "b": 10.0}

# ---- correlation times -----------------------------------------------------------------------


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_the_correlation_time_of_ar1_is_its_closed_form(phi: float) -> None:
    numbers = np.arange(200_000)
    series = AutoregressiveDomain("ar", phi, size=1).frames(numbers, 0)[0][:, 0, 0, 0]
    found = correlation_time([series.astype(np.float64)])
    assert found == pytest.approx((1 + phi) / (1 - phi), rel=0.1)


def test_stretches_of_one_process_are_pooled_and_their_ends_not_joined() -> None:
    series = AutoregressiveDomain("ar", 0.9, size=1).frames(np.arange(200_000), 1)[0].ravel()
    parts = np.array_split(series.astype(np.float64), 400)
    assert correlation_time(parts) == pytest.approx(19, rel=0.1)
    shuffled = [parts[k] for k in np.random.default_rng(0).permutation(len(parts))]
    assert correlation_time(shuffled) == pytest.approx(correlation_time(parts), rel=1e-9)


def test_what_does_not_vary_has_no_correlation_time() -> None:
    assert math.isnan(correlation_time([np.full(50, 0.3)]))


def test_correlation_times_are_of_each_domain_s_own_first_component() -> None:
    """Slow in one cell, fast and fainter in another; a domain's mean is not part of it."""
    numbers = np.arange(40_000)
    slow = AutoregressiveDomain("s", 0.9, size=1).frames(numbers, 0)[0].ravel()
    fast = AutoregressiveDomain("f", 0.0, size=1).frames(numbers, 1)[0].ravel()
    coarse = np.stack([slow, 0.3 * fast], axis=1)
    coarse[20_000:] = np.stack([0.1 * slow + 7, fast + 3], axis=1)[20_000:]
    visits = Schedule.of([("slow", 20_000), ("fast", 20_000)]).segments
    found = correlation_times(visits, coarse)
    assert found["slow"] == pytest.approx(19, rel=0.25)
    assert found["fast"] == pytest.approx(1, rel=0.25)


def test_coarse_pixels_are_means_of_cells() -> None:
    images = np.random.default_rng(0).random((3, 2, 32, 16)).astype(np.float32)
    found = coarse_pixels(images).reshape(3, 2, 8, 8)
    np.testing.assert_allclose(found[1, 1, 2, 3], images[1, 1, 8:12, 6:8].mean(), rtol=1e-5)
    assert coarse_pixels(images[:, :, :1, :1]).shape == (3, 2)  # vectors have one cell


# ---- scores ----------------------------------------------------------------------------------


def test_an_oracle_gets_full_marks() -> None:
    alarms = oracle(VISITS)
    found = frame_score(VISITS, alarms, TIMES, named=True)
    assert (found["missed"], found["false"], found["delay_worst"], found["times_worst"]) == (0,) * 4
    assert found["covering"] == found["returns_identified"] == 1


def test_delays_are_in_frames_and_in_correlation_times_of_the_new_domain() -> None:
    found = frame_score(VISITS, [Alarm(120, 1), Alarm(165, 0)], TIMES, named=True)
    assert found["delays"] == [20, 15]
    assert found["delays_in_times"] == [2, 3]
    assert (found["times_median"], found["times_worst"]) == (2.5, 3)
    later = frame_score(VISITS, [Alarm(150)], TIMES, named=False)
    both = frame_pooled([found, later])
    assert (both["times_median"], both["missed"], both["delay_worst"]) == (2, 1, 20)


def test_the_covering_is_the_best_overlap_of_each_visit() -> None:
    assert covering(VISITS, [], 200) == pytest.approx((100 * 0.5 + 2 * 50 * 0.25) / 200)
    late = covering(VISITS, [Alarm(110), Alarm(150)], 200)
    assert late == pytest.approx((100 * 100 / 110 + 50 * 40 / 50 + 50) / 200)
    everywhere = [Alarm(step) for step in range(200)]
    assert covering(VISITS, everywhere, 200) == pytest.approx((100 / 100 + 1 + 1) / 200)


def test_the_dummies_get_what_they_must() -> None:
    visits = Schedule.of([("a", 50), ("b", 30), ("a", 70), ("b", 50)]).segments
    found = {
        name: frame_score(visits, alarms, TIMES, named=name == "never")
        for name, alarms in dummies(visits).items()
    }
    assert tuple(found) == DUMMIES
    never, always, regular = (found[name] for name in DUMMIES)
    assert (never["missed"], never["false"]) == (3, 0)
    assert never["returns_identified"] == 0.5  # it takes everything for the first domain
    assert (always["missed"], always["false"], always["delay_worst"]) == (0, 197, 0)
    assert (regular["missed"], regular["false"]) == (0, 0)  # at 50, 100 and 150, by luck
    assert regular["delays"] == [0, 20, 0]
    assert max(each["covering"] for each in found.values()) < 1
    assert math.isnan(regular["returns_identified"])


# ---- streams ---------------------------------------------------------------------------------


def canvas(name: str, *, inverted: bool = False) -> CanvasDomain:
    return CanvasDomain(name, sprites("solids", 60, 10, 0), 16, moving=True, inverted=inverted)


LIGHT, DARK = canvas("light"), canvas("dark", inverted=True)
PLAN = Schedule.of([("light", 150), ("dark", 101), ("light", 70)])
STREAM = FrameStream(PLAN, {"light": LIGHT, "dark": DARK}, 3)


@pytest.mark.parametrize("size", [1, 8, 32, 64])
def test_batches_of_any_size_are_the_same_frames(size: int) -> None:
    found = list(batches(STREAM, size))
    assert all(len(each) == size for each in found[:-1])
    np.testing.assert_array_equal(np.concatenate(found), STREAM.frames(0, 321))


def test_a_frame_is_its_domain_s_frame_by_the_stream_s_clock() -> None:
    across = STREAM.frames(148, 153)
    np.testing.assert_array_equal(across[:2], LIGHT.frames(np.arange(148, 150), 3)[0])
    np.testing.assert_array_equal(across[2:], DARK.frames(np.arange(150, 153), 3)[0])
    np.testing.assert_array_equal(STREAM.frames(300, 301), LIGHT.frames(np.array([300]), 3)[0])


@pytest.mark.parametrize("seed", range(5))
def test_stays_are_in_random_order_and_none_twice_running(seed: int) -> None:
    plan = list(stays(("a", "b", "c"), 20, (1200, 2401), seed))
    names = [name for name, _ in plan]
    assert len(names) == 20
    assert set(names[:3]) == {"a", "b", "c"}
    assert all(first != second for first, second in pairwise(names))
    assert all(1200 <= frames <= 2400 for _, frames in plan)
    assert plan != list(stays(("a", "b", "c"), 20, (1200, 2401), seed + 1))


def test_clips_need_a_folder_of_three_videos(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No folder of clips is given.*--clips FOLDER"):
        clip_domains(NO_DATA)
    (tmp_path / "one.mp4").touch()
    with pytest.raises(ConfigError, match=r"holds 1 videos.*at least 3"):
        clip_domains(replace(NO_DATA, clips=tmp_path))


def shown(name: str) -> NDArray[np.float32]:
    """Every frame of the hostile stream `name`, of the light domain."""
    return DISTURBANCES[name].stream(LIGHT, 0).frames(0, 9_000)


@pytest.fixture(scope="module")
def plain() -> NDArray[np.float32]:
    return LIGHT.frames(np.arange(13_000), 0)[0]


def test_a_stuck_camera_shows_one_frame_and_goes_on(plain: NDArray[np.float32]) -> None:
    found = shown("stuck")
    np.testing.assert_array_equal(found[:BEGINS], plain[:BEGINS])
    assert (found[BEGINS : BEGINS + STUCK] == plain[BEGINS]).all()
    np.testing.assert_array_equal(found[BEGINS + STUCK :], plain[BEGINS : 9_000 - STUCK])


def test_frames_are_repeated_and_dropped_from_the_middle_on(plain: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(shown("repeated")[BEGINS:][::2], plain[BEGINS:][:1500])
    np.testing.assert_array_equal(shown("repeated")[BEGINS:][1::2], plain[BEGINS:][:1500])
    np.testing.assert_array_equal(shown("dropped")[BEGINS:], plain[BEGINS:12_000:2])


def test_noise_darkness_and_dimming_are_as_long_as_they_say(plain: NDArray[np.float32]) -> None:
    begun = slice(BEGINS, None)
    for name, frames_ in (("burst", BURST), ("covered", COVERED)):
        changed = (shown(name) != plain[:9_000]).any(axis=(1, 2, 3))
        assert np.flatnonzero(changed).tolist() == list(range(BEGINS, BEGINS + frames_))
    assert 0 < shown("covered")[BEGINS : BEGINS + COVERED].max() < 0.04
    assert not shown("black").any()
    dimmed = DISTURBANCES["dimming"].stream(LIGHT, 0).frames(BEGINS, BEGINS + 12_001)
    np.testing.assert_allclose(dimmed[-1], 0.75 * LIGHT.frames(np.array([18_000]), 0)[0][0])
    np.testing.assert_array_equal(dimmed[0], plain[begun][0])


def test_an_object_crosses_from_left_to_right_and_is_gone(plain: NDArray[np.float32]) -> None:
    changed = (shown("object") != plain[:9_000]).any(axis=(1, 2))[BEGINS - 10 :]
    columns = [np.flatnonzero(each) for each in changed]
    assert not any(len(each) for each in (*columns[:10], *columns[310:1510]))
    assert columns[30].max() < columns[160].max() <= 15
    assert columns[290].min() > columns[160].min()
    assert len(columns[1600])  # it enters again


def test_verdicts_on_hostile_streams() -> None:
    visits = DISTURBANCES["covered"].stream(LIGHT, 0).visits
    assert [visit.domain for visit in visits] == ["light", "covered", "light"]
    gone, back = Alarm(visits[1].start, 1), Alarm(visits[2].start + 40, 0)
    assert as_expected("no alarm", visits, (), 1)
    assert not as_expected("no alarm", visits, (gone, back), 1)
    assert as_expected("first environment at the end", visits, (gone, back), 1)
    assert not as_expected("first environment at the end", visits, (gone, back), 2)
    assert not as_expected("first environment at the end", visits, (gone,), 1)
    assert as_expected("noticed and known again", visits, (gone, back), 2)
    assert not as_expected("noticed and known again", visits, (gone, Alarm(back.step, 2)), 3)
    assert not as_expected("noticed and known again", visits, (), 1)


# ---- detectors -------------------------------------------------------------------------------


def cut(before: int = 100, after: int = 100) -> NDArray[np.float32]:
    """Nearly black frames, then nearly white ones; grey, 32 x 32."""
    generator = np.random.default_rng(0)
    level = np.where(np.arange(before + after) < before, 0.1, 0.9)[:, None, None, None]
    noise = 0.02 * generator.standard_normal((before + after, 1, 32, 32))
    return np.clip(level + noise, 0, 1).astype(np.float32)


def in_batches(images: NDArray[np.float32], size: int = 16) -> list[NDArray[np.float32]]:
    return [images[k : k + size] for k in range(0, len(images), size)]


@pytest.mark.parametrize("name", SHOTS[:2])
def test_pyscenedetect_finds_a_cut_from_black_to_white(name: str) -> None:
    pytest.importorskip("scenedetect")
    found = watch(in_batches(cut()), {name: ShotDetector(name)})[name]
    (alarm,) = found.alarms
    assert 100 <= alarm.step <= 102  # the adaptive detector looks two frames ahead
    assert alarm.index is None
    assert found.seconds > 0


def test_pyscenedetect_s_threshold_finds_a_fade_in_from_black() -> None:
    pytest.importorskip("scenedetect")
    images = np.concatenate([cut()[::-1], np.zeros((50, 1, 32, 32), np.float32), cut()[::-1]])
    found = watch(in_batches(images), {"fade": ShotDetector("ThresholdDetector")})["fade"]
    assert [alarm.step for alarm in found.alarms] == [250]


@pytest.mark.parametrize("signal", ["brightness", "first component"])
def test_river_s_detectors_find_a_cut_and_number_it_by_frames(signal: str) -> None:
    pytest.importorskip("river")
    images = cut(1500, 500)
    detector = DriftDetector("ADWIN", signal)  # type: ignore[arg-type]
    alarms = watch(in_batches(images), {"adwin": detector})["adwin"].alarms
    assert 1500 <= alarms[0].step < 1600
    assert all(alarm.index is None for alarm in alarms)


@pytest.mark.parametrize(
    ("missing", "package"), [("scenedetect", "PySceneDetect"), ("river.drift", "river")]
)
def test_without_a_package_one_sentence_says_what_to_install(
    missing: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing != "scenedetect":
        monkeypatch.setattr(frame_detectors, "ShotDetector", lambda name: name)
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ConfigError, match=rf"{package} (is|are) not installed.*\[bench\]"):
        frames.prepare(frames.jobs(["bouncing-1"], [0], "all", NO_DATA))


def decisions(*told: tuple[str, int, bool]) -> RuleDetector:
    """A detector that decides as it is told: kind, environment, whether it discards."""
    every = iter([Decision("new", 0), *(Decision(k, e, discards=d) for k, e, d in told)])  # type: ignore[arg-type]
    detector = RuleDetector(DetectionSettings(rule="none"), (1, 16, 16))
    detector.detector = SimpleNamespace(update=lambda images: next(every))  # type: ignore[assignment]
    return detector


def test_an_environment_that_is_discarded_gives_its_number_to_no_other() -> None:
    told = [
        ("same", 0, False), ("new", 1, False), ("deferred", 1, False), ("reopened", 1, True),
        ("returned", 0, True), ("undetermined", 0, False), ("new", 1, False),
        ("returned", 0, False),
    ]  # fmt: skip
    detector = decisions(*told)  # type: ignore[arg-type]
    images = np.zeros((10 * (len(told) + 1), 1, 16, 16), np.float32)
    found = watch(in_batches(images, 10), {"ours": detector})["ours"]
    assert [(alarm.step, alarm.index) for alarm in found.alarms] == [
        (29, 1), (49, 2), (59, 0), (79, 3), (89, 0),
    ]  # fmt: skip
    assert detector.environments == [0, 3]
    assert detector.waiting == 2


def test_the_run_length_of_independent_vectors_is_what_is_asked_for() -> None:
    domain = AutoregressiveDomain("ar", 0.0)
    stream = FrameStream(Schedule.of([("ar", 48_000)]), {"ar": domain}, 0)
    (found,) = measured_run_length(features_of(batches(stream, 8)), [20.0], warmup=6400)
    assert found["block_frames"] == 64
    assert found["blocks"] == (48_000 - 6400) // 64
    assert 0.8 <= found["blocks"] / found["alarms"] / 20 <= 2.5


# ---- jobs and the page -----------------------------------------------------------------------


def toy_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams that need no data, in the place of all others."""
    calm = DISTURBANCES["black"]
    short = replace(calm, frames=640)
    toys = (
        FrameScenario("toy", "two domains", "Toys", lambda seed, data: STREAM, batch_size=8),
        FrameScenario(
            "toy-black", calm.why, "-", lambda seed, data: short.stream(LIGHT, seed),
            disturbance=short, beside=False,
        ),
    )  # fmt: skip
    monkeypatch.setattr(frames, "SCENARIOS", {toy.name: toy for toy in toys})


def test_records_make_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy_streams(monkeypatch)
    monkeypatch.setattr(frames, "NULLS", {})
    pytest.importorskip("scenedetect")
    for job in frames.jobs([], [0], "all", NO_DATA):
        record = defined(frames.work(job))
        (tmp_path / job.file).write_text(json.dumps(record, allow_nan=False))
    torch.set_num_threads(1)
    tables, picture = frames.write_page(tmp_path)
    text = tables.read_text()
    assert "| oracle | 2 | 0 | 0 | 0.0 | 0 / 0 | 0.0 / 0.0 | 100% | – | 1.000 | yes | – |" in text
    assert "| never | 2 | 2 | 0 | 0.0 | – / – | – / – |" in text
    assert "| always | 2 | 0 | 319 |" in text
    assert "| every n frames | 2 |" in text
    assert "`toy`: two domains" in text
    assert "| `toy` | 2 | " in text
    assert "| 2 + 0 | 0 + 319 | " in text  # never and always
    assert "| `toy-black`: all black from the first frame on | no alarm | 1 of 1 |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    titles = [title for title, _ in frame_page.terminal(frame_page.read(tmp_path))]
    assert titles == ["Toys, `toy`: every detector", "By stream: blocks", "What happens to cameras"]


@pytest.mark.parametrize("name", ["bouncing-1", "bouncing-5000"])
def test_no_clock_finds_the_changes_of_a_stream(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all stays are of one length, a detector that looks at nothing gets full marks."""
    monkeypatch.setattr(frame_scenarios, "sprites", lambda *_: LIGHT)
    visits = SCENARIOS[name].stream(0, NO_DATA).visits
    assert len(visits) == 12
    assert {visit.domain for visit in visits[:3]} == set(BOUNCING)
    assert max(covering(visits, each, visits[-1].end) for each in dummies(visits).values()) < 0.9


def test_run_lengths_of_several_seeds_are_pooled() -> None:
    rates = [
        {"asked": 100.0, "alarms": 3, "blocks": 600},
        {"asked": 1e4, "alarms": 0, "blocks": 600},
    ]
    record = {"scenario": "null", "seed": 0, "run_lengths": {"blocks": {"AR": rates}}}
    text = frame_page.markdown([record, {**record, "seed": 1}])
    assert "| blocks | AR | 100 | 6 | 200 | 2.00 |" in text
    assert "| blocks | AR | 10,000 | 0 | over 1,200 | over 0.12 |" in text


def test_names_that_are_not_known_are_refused() -> None:
    with pytest.raises(ConfigError, match="no stream bounce of frames"):
        frames.jobs(["bounce"], [0], "ours", NO_DATA)
    with pytest.raises(ConfigError, match="nothing is learnt there"):
        frames.jobs([], [0], "published", NO_DATA)


def test_streams_of_clips_are_left_out_where_there_are_no_clips(tmp_path: Path) -> None:
    without = {job.scenario for job in frames.jobs([], [0], "ours", NO_DATA)}
    with_clips = {
        job.scenario for job in frames.jobs([], [0], "ours", replace(NO_DATA, clips=tmp_path))
    }
    assert with_clips - without == {"clips-1", "clips-8", "clips-32", "clips-64", "null-clips"}
    assert with_clips == {*SCENARIOS, *NULLS}
