"""What people hand over, and what must come of it: kinds of trouble that neighbours have had."""

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import torch
from films import film
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from vase import VASE, DataError, InputError, metrics
from vase.domains import own
from vase.domains.canvas import CanvasDomain
from vase.domains.feed import batches, whole
from vase.domains.shapes import sprites
from vase.images import files
from vase.images.layout import Expected, reading
from vase.images.values import to_batch
from vase.records import Event

SMALL = {"model.encoder_channels": 8, "model.hidden": 16, "model.decoder_channels": 8}
SIDE = 16
COLOUR: NDArray[np.uint8] = np.random.default_rng(0).integers(
    0, 256, (20, 3, SIDE, SIDE), dtype=np.uint8
)


def model(**parameters: Any) -> VASE:
    return VASE(latents=4, accelerator="cpu", **{"options": SMALL, **parameters})


def shapes(source: Any, **expected: Any) -> list[tuple[int, ...]]:
    return [tuple(batch.images.shape) for batch in batches(source, 8, Expected(**expected))]


# ---- one image or several ------------------------------------------------------------------------


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


FORMS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda image: image,
    "in a dict": lambda image: {"image": image},
    "with one-hot labels": lambda image: (image, torch.eye(10)[3]),
    "two views": lambda image: (image, image),
    "with a vector of attributes": lambda image: {"image": image, "label": np.zeros(40)},
    "with a word": lambda image: (image, "cat"),
    "with a number": lambda image: [image, 7],
}
SOURCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda items: items,
    "generator": iter,
    "dataset": Items,
    "iterable dataset": Stream,
    "loader that gathers nothing": lambda items: DataLoader(Items(items), batch_size=None),
    "loader that leaves lists": lambda items: DataLoader(
        Items(items), batch_size=8, collate_fn=list
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("last", [False, True])
def test_an_image_in_colour_is_one_image_wherever_its_channels_are(
    form: str, source: str, last: bool
) -> None:
    images = np.moveaxis(COLOUR, 1, -1) if last else COLOUR
    items = [FORMS[form](torch.from_numpy(np.ascontiguousarray(image))) for image in images]
    found = list(batches(SOURCES[source](items), 8, Expected()))
    assert [len(batch.images) for batch in found] == [8, 8, 4]
    pixels = torch.cat([batch.images for batch in found])
    torch.testing.assert_close(pixels, to_batch(COLOUR))


@pytest.mark.parametrize(
    ("shape", "layouts"),
    [
        ((3, 16, 16), ("CHW", "HW")),
        ((4, 20, 30), ("CHW", "HW")),
        ((3, 16, 4), ("CHW", "HWC")),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_until_it_is_said(
    shape: tuple[int, ...], layouts: tuple[str, str]
) -> None:
    images = np.random.default_rng(0).random(shape)
    with pytest.raises(InputError, match=r"VASE\(layout='CHW'\)") as error:
        model().partial_fit(images)
    assert all(f"'{layout}'" in str(error.value) for layout in layouts)


def test_a_model_that_knows_its_images_need_not_be_told() -> None:
    colour, grey = model().fit(COLOUR), model().fit(COLOUR[:, 0])
    assert colour.transform(COLOUR[0]).shape == (1, 4)
    assert colour.transform(np.moveaxis(COLOUR[0], 0, -1)).shape == (1, 4)
    assert grey.transform(COLOUR[0]).shape == (3, 4)  # three grey ones
    assert grey.transform(COLOUR[0, 0]).shape == (1, 4)
    first, alone = grey.transform(COLOUR[0])[:1], grey.transform(COLOUR[0, 0])
    np.testing.assert_allclose(first, alone, atol=1e-6)  # three at once round in another way
    assert model(layout="CHW").partial_fit(COLOUR[0]).kind == "new"


@pytest.mark.parametrize("layout", ["chw", 3])
def test_there_are_four_layouts(layout: Any) -> None:
    with pytest.raises(InputError, match="'HW', 'HWC', 'CHW', or 'D'"):
        model(layout=layout).partial_fit(COLOUR)


@pytest.mark.parametrize("layout", ["D", "HW", "HWC", "CHW"])
def test_a_layout_that_is_said_decides(layout: Any) -> None:
    sides = tuple(range(5, 5 + (1 if layout == "D" else len(layout))))
    for shape, one in ((sides, True), ((9, *sides), False)):
        assert reading(shape, "argument", Expected(layout=layout)) == (layout, one)
        assert reading(shape, "item", Expected(layout=layout)) == (layout, one)
    with pytest.raises(InputError, match=f"With layout '{layout}'"):
        reading((2, 2, *sides), "item", Expected(layout=layout))


def test_batches_of_whatever_shape_stay_batches() -> None:
    grey, vectors = np.zeros((32, 16, 16)), np.zeros((32, 10))
    assert shapes([grey, grey]) == [(32, 1, 16, 16)] * 2
    assert shapes(vectors) == [(8, 10, 1, 1)] * 4
    assert shapes([(COLOUR, np.zeros(20))]) == [(20, 3, 16, 16)]
    assert shapes(DataLoader(Items(list(vectors)), batch_size=16)) == [(16, 10, 1, 1)] * 2
    assert shapes([[0.1, 0.2, 0.3]] * 9) == [(8, 3, 1, 1), (1, 3, 1, 1)]
    assert shapes(iter(vectors)) == [(8, 10, 1, 1)] * 4
    assert shapes(np.zeros((1, 16, 16))) == [(1, 1, 16, 16)]


# ---- one buffer ----------------------------------------------------------------------------------


class OneBuffer(Items):
    """As a camera's driver: every item is the same memory."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__(items)
        self.buffer = np.empty_like(items[0])

    def __getitem__(self, index: int) -> Any:
        self.buffer[:] = self.items[index]
        return self.buffer

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


@pytest.mark.parametrize(
    "source",
    [
        lambda buffer: buffer,
        iter,
        lambda buffer: (torch.from_numpy(each) for each in buffer),
        lambda buffer: ({"image": each, "label": 1} for each in buffer),
    ],
)
def test_a_source_may_use_one_buffer_for_all_that_it_gives(source: Any) -> None:
    frames = list(np.moveaxis(COLOUR, 1, -1))
    found = whole(source(OneBuffer(frames)), Expected()).images
    torch.testing.assert_close(found, to_batch(COLOUR))


def test_batches_may_share_a_buffer_too() -> None:
    buffer = np.empty_like(COLOUR[:4])

    def given() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, 20, 4):
            buffer[:] = COLOUR[start : start + 4]
            yield buffer

    torch.testing.assert_close(whole(given(), Expected()).images, to_batch(COLOUR))


# ---- values --------------------------------------------------------------------------------------

MASKS = np.random.default_rng(0).integers(0, 2, (20, SIDE, SIDE))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.int16])
def test_masks_of_0_and_1_are_asked_about(kind: type) -> None:
    for call in (model().partial_fit, model().fit, lambda m: model().fit(iter(m))):
        with pytest.raises(InputError, match=r"nearly black.*images\.astype\(bool\)"):
            call(MASKS.astype(kind))
    learnt = model().fit(MASKS > 0)  # and so of a model that has learnt booleans
    with pytest.raises(InputError, match="nearly black"):
        learnt.transform(MASKS.astype(kind))


def test_mask_files_are_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "masks").mkdir()
    for k, mask in enumerate(MASKS.astype(np.uint8)):
        Image.fromarray(mask).save(tmp_path / "masks" / f"{k}.png")
    with pytest.raises(DataError, match="nearly black"):
        own.load(tmp_path / "masks", SIDE, 1)


def test_a_dark_frame_among_others_is_a_dark_frame(tmp_path: Path) -> None:
    """A covered lens, once a model knows that integers go up to 255; also after loading it."""
    learnt = model().fit(COLOUR)
    dark = np.random.default_rng(0).integers(0, 2, COLOUR.shape, dtype=np.uint8)
    for each in (learnt, VASE.load(learnt.save(tmp_path / "m"))):
        assert each.transform(dark).shape == (20, 4)
        each.partial_fit(dark)
    assert shapes([np.zeros((9, 16, 16), np.uint8)] * 2)  # all black is black


@pytest.mark.parametrize("values", [np.nextafter(np.float32(1), np.float32(2)), -1e-7, 1 + 1e-6])
def test_rounding_beyond_the_range_is_forgiven_and_cut(values: float) -> None:
    images = np.full((4, 16, 16), values)
    found = to_batch(images)
    assert 0 <= found.min() <= found.max() <= 1
    white = torch.ones(4, 3, 9, 9)
    smooth = torch.nn.functional.interpolate(white, 16, mode="bicubic", antialias=True)
    assert to_batch(smooth).max() <= 1


@pytest.mark.parametrize("values", [1.00001, -0.00001, 2.0, np.inf])
def test_more_than_rounding_is_refused(values: float) -> None:
    with pytest.raises(InputError):
        to_batch(np.full((4, 16, 16), values))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pd.array([0.1, 0.5, None], dtype="Float64"), "1 values are NaN"),
        (pd.array([True, False, None], dtype="boolean"), "1 values are NaN"),
        (pd.array([0, 1, None], dtype="Int64"), "1 values are NaN"),
    ],
)
def test_tables_with_gaps_are_refused_for_their_gaps(column: Any, words: str) -> None:
    table = pd.DataFrame({"a": column, "b": [0.1, 0.2, 0.3]})
    with pytest.raises(InputError, match=words):
        model().partial_fit(table)
    filled = table.fillna({"a": False if column.dtype == "boolean" else 0})
    assert shapes(filled) == [(3, 2, 1, 1)]


def test_columns_in_another_order_are_refused() -> None:
    table = pd.DataFrame(np.random.default_rng(0).random((20, 3)), columns=["x", "y", "z"])
    learnt = model().fit(table)
    assert list(learnt.feature_names_in_) == ["x", "y", "z"]
    for call in (learnt.transform, learnt.partial_fit, learnt.predict, learnt.reconstruct):
        with pytest.raises(InputError, match=r"names should match.*Put the columns in order"):
            call(table[["y", "x", "z"]])
    assert learnt.transform(table.to_numpy()).shape == (20, 4)


@pytest.mark.parametrize("source", [[None], [COLOUR[0], None], [{"image": None}], iter([None])])
def test_none_among_images_is_named(source: Any) -> None:
    with pytest.raises(InputError, match=r"Image \d is None"):
        model().fit(source)


def test_pictures_of_many_sizes_and_modes_are_brought_to_one() -> None:
    pictures = [Image.new("L", (30, 20), 9), Image.new("RGB", (20, 40)), Image.new("RGBA", (9, 9))]
    with pytest.raises(InputError, match=r"different shapes.*fit\(\.\.\., size=64\)"):
        model().fit(pictures)
    assert shapes(pictures, size=16) == [(3, 3, 16, 16)]
    learnt = model().fit(pictures, size=16)
    assert learnt.transform(pictures[1]).shape == (1, 4)
    assert learnt.transform(pictures).shape == (3, 4)
    mixed = [np.zeros((9, 9), np.uint8), np.full((9, 9, 3), 9, np.uint8)]
    assert shapes(mixed) == [(2, 3, 9, 9)]  # as in a folder


# ---- arguments -----------------------------------------------------------------------------------

NO_NUMBERS = [0, -1, 1.5, 64.0, "64", None, True, np.float32(8)]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_whole_numbers_are_whole_numbers_at_every_door(value: Any) -> None:
    learnt = model().fit(COLOUR)
    calls: dict[str, Callable[[], Any]] = {
        "batch_size": lambda: model().fit(COLOUR, batch_size=value),
        "count": lambda: learnt.sample(value),
        "bins": lambda: metrics.mig(np.zeros((9, 2)), np.arange(18).reshape(9, 2), bins=value),
    }
    if value is not None:
        calls["size"] = lambda: model().fit(COLOUR, size=value)
    if value not in (0, None, True):
        calls["environment"] = lambda: learnt.sample(1, environment=value)
    for name, call in calls.items():
        with pytest.raises(InputError, match=f"{name} must be a whole number"):
            call()


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, operator.index])
def test_numpys_integers_are_integers(kind: Any) -> None:
    learnt = model().fit(COLOUR, batch_size=kind(8))
    assert learnt.learner_.step == 3
    assert learnt.sample(kind(2), environment=kind(0), seed=kind(3)).shape == (2, 3, 16, 16)
    assert VASE(latents=kind(4), options=SMALL).fit(COLOUR).transform(COLOUR).shape == (20, 4)


# ---- all or nothing ------------------------------------------------------------------------------


def broken(source: list[Any]) -> Iterator[Any]:
    yield from source
    raise RuntimeError("the camera is gone")


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (lambda: broken([COLOUR, COLOUR]), RuntimeError, "the camera is gone"),
        (lambda: [COLOUR, COLOUR[:, :1]], InputError, r"this batch has .* \(1, 16, 16\)"),
        (lambda: iter([COLOUR, np.full(COLOUR.shape, np.nan)]), InputError, "15360 values are NaN"),
        (list, InputError, "the source is empty"),
        (lambda: "no such folder", DataError, "no file and no folder 'no such folder'"),
        (lambda: [{"picture": COLOUR}], InputError, "No image among 'picture'"),
        (lambda: [Image.new("F", (9, 9))], InputError, r"Image 0 has 32 bits a pixel \(mode F\)"),
        (lambda: [np.zeros((2, 4, 4, 4, 4))], InputError, "Images must have shape"),
    ],
)
def test_a_fit_that_fails_leaves_the_model_as_it_was(
    source: Any, error: type[Exception], words: str
) -> None:
    learnt, fresh = model().fit(COLOUR), model()
    before, step = learnt.transform(COLOUR), learnt.learner_.step
    for each in (learnt, fresh):
        with pytest.raises(error, match=words):
            each.fit(source())
    for bad in (COLOUR[:, :, :9], COLOUR[:, :1], np.full(COLOUR.shape, np.nan)):
        with pytest.raises(InputError):
            learnt.partial_fit(bad)
    np.testing.assert_array_equal(learnt.transform(COLOUR), before)
    assert learnt.learner_.step == step
    assert [name for name in vars(fresh) if name.endswith("_")] == []


def test_fit_transform_of_what_cannot_be_read_twice_fails_before_it_learns() -> None:
    learnt = model().fit(COLOUR)
    before = learnt.transform(COLOUR)
    with pytest.raises(InputError, match="an iterator, which can be read once"):
        learnt.fit_transform(iter([COLOUR]))
    np.testing.assert_array_equal(learnt.transform(COLOUR), before)


def test_parameters_are_those_of_the_first_batch(tmp_path: Path) -> None:
    options: dict[str, Any] = dict(SMALL)
    learnt = VASE(latents=4, options=options).fit(COLOUR)
    before = learnt.transform(COLOUR)
    options["model.hidden"] = 999
    learnt.set_params(latents=12, seed=5)
    again = VASE.load(learnt.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.transform(COLOUR), before)
    assert again.latents == 4
    assert again.options == SMALL
    learnt.set_params(options=None)
    assert VASE.load(learnt.save(tmp_path / "n")).options == SMALL
    learnt.set_params(options=SMALL).fit(COLOUR)
    assert learnt.transform(COLOUR).shape == (20, 12)


def test_a_first_batch_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = model()
    with monkeypatch.context() as patch:
        patch.setattr("vase.lifelong.learner.Learner.observe", broken)
        with pytest.raises(TypeError):
            subject.partial_fit(COLOUR)
    assert [name for name in vars(subject) if name.endswith("_")] == []
    assert subject.partial_fit(COLOUR).kind == "new"


@pytest.mark.parametrize(("size", "count"), [(1, 120), (3, 40)])
def test_batches_of_few_images_are_all_learnt(size: int, count: int) -> None:
    """Of one domain nothing is held back, however few images come at a time."""
    domain = CanvasDomain("solids", sprites("solids", 200, 8, 0), SIDE, moving=True)
    subject, generator = model(), np.random.default_rng(0)
    kinds = [subject.partial_fit(domain.sample(generator, size)[0]).kind for _ in range(count)]
    assert kinds == ["new"] + ["same"] * (count - 1)


# ---- files ---------------------------------------------------------------------------------------


def test_thousands_of_events_are_saved(tmp_path: Path) -> None:
    """Neither their number nor their size has a limit: the header stays small."""
    learnt = model().fit(COLOUR)
    event = Event(7, "returned", 0, "x" * 1200, {"evidence": 1.0})
    learnt.events_ = [event] * 2000
    path = learnt.save(tmp_path / "m")
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert header < 100_000
    assert path.stat().st_size > 2_000_000
    again = VASE.load(path)
    assert len(again.events_) == 2000
    assert again.events_[-1] == event


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_video_that_breaks_off_gives_its_good_frames_and_a_warning(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    path = tmp_path / "clip.avi"
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    film(path, noise, "mjpeg")
    content = path.read_bytes()
    whole_film = own.load(path, SIDE, 3)
    cut = bytearray(content)
    start = int(share * len(cut))
    cut[start:] = np.random.default_rng(0).integers(0, 256, len(cut) - start, np.uint8).tobytes()
    path.write_bytes(bytes(cut))
    told: list[str] = []
    found = own.load(path, SIDE, 3, told.append)
    assert 10 <= len(found) <= 40 * share + 1
    np.testing.assert_array_equal(found[:10], whole_film[:10])


def test_a_decoder_that_stops_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Film:
        def __enter__(self) -> "Film":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def decode(self, video: int) -> Iterator[av.VideoFrame]:
            for shade in (0, 100, 200):
                yield av.VideoFrame.from_ndarray(np.full((16, 16, 3), shade, np.uint8), "rgb24")
            raise av.InvalidDataError(1, "invalid data")

    monkeypatch.setattr(av, "open", lambda _: Film())
    path = tmp_path / "film.mp4"
    path.touch()
    told: list[str] = []
    assert len(list(files.decoded(path, (16, 16, 3), told.append))) == 3
    assert "breaks off" in told[0]
    assert "Its first 3 frames are used" in told[0]
    with pytest.warns(UserWarning, match="breaks off"):
        assert len(list(files.decoded(path, (16, 16, 3)))) == 3
