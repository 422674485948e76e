"""Own images, from whatever they are in to a run, a model and a report."""

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from commands import BRIEF, vase
from films import film
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from vase import VASE, ConfigError, DataError, InputError, build, config
from vase.domains import own
from vase.domains.feed import batches
from vase.images import files
from vase.images.layout import Expected

SMALL = {"model.encoder_channels": 8, "model.hidden": 16, "model.decoder_channels": 8}


pytestmark = pytest.mark.usefixtures("own_cache")


def saved(
    folder: Path, count: int, colour: tuple[int, int, int] | int, ending: str = "png"
) -> Path:
    """A folder of flat images of one colour, no two of the same size."""
    folder.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(colour, int) else "RGB"
    for k in range(count):
        Image.new(mode, (20 + k, 50 - k), colour).save(folder / f"{k:03d}.{ending}")
    return folder


def pixels(count: int = 30, shape: tuple[int, ...] = (16, 12, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


# ---- domains ------------------------------------------------------------------------------------


def test_a_folder_is_one_domain_and_folders_in_it_are_several(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", 3, 9)
    assert own.parts(one) == {"one": one}
    other = saved(tmp_path / "a second", 3, 9)
    assert list(own.parts(tmp_path).items()) == [("a second", other), ("one", one)]
    saved(tmp_path, 1, 9)
    with pytest.raises(DataError, match="images beside folders of images or videos"):
        own.parts(tmp_path)
    with pytest.raises(DataError, match="no file and no folder"):
        own.parts(tmp_path / "nowhere.npy")


def test_files_of_any_size_fill_the_frame(tmp_path: Path) -> None:
    folder = saved(tmp_path / "red", 25, (255, 0, 0), "jpg")
    found = own.load(folder, 16, files.channels([folder]))
    assert found.shape == (25, 16, 16, 3)
    assert np.abs(found.astype(int) - [254, 0, 0]).max() <= 2  # JPEG's own rounding
    halves = np.zeros((10, 30, 3), np.uint8)
    halves[:, :15] = 255  # cut off evenly on both sides, its middle stays in the middle
    (tmp_path / "halves").mkdir()
    Image.fromarray(halves).save(tmp_path / "halves" / "000.png")
    first = own.load(tmp_path / "halves", 10, 3)[0]
    assert (first[:, :5] == 255).all()
    assert (first[:, 5:] == 0).all()


def test_a_folder_of_grey_images_is_grey(tmp_path: Path) -> None:
    grey, colour = saved(tmp_path / "grey", 3, 7), saved(tmp_path / "colour", 3, (1, 2, 3))
    assert files.channels([grey]) == 1
    assert files.channels([grey, colour]) == 3
    assert own.load(grey, 8, 1).shape == (3, 8, 8, 1)


def test_what_was_decoded_is_kept_until_a_file_changes(tmp_path: Path, own_cache: Path) -> None:
    folder, said = saved(tmp_path / "f", 3, 7), []
    for _ in range(2):
        own.load(folder, 8, 1, said.append)
    assert said == ["3 images of 'f' decoded, once"]
    Image.new("L", (9, 9), 200).save(folder / "001.png")
    assert own.load(folder, 8, 1, said.append)[1].min() == 200
    assert len(said) == 2
    assert len(list((own_cache / "own").iterdir())) == 2


def test_files_too_many_to_be_decoded_first_are_decoded_as_they_are_needed(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    for k, each in enumerate(pixels()):
        Image.fromarray(each).save(tmp_path / "many" / f"{k:02d}.png")
    at_once = own.load(tmp_path / "many", 12, 3)
    monkeypatch.setattr(own, "MOST_KEPT", 29)
    told: list[str] = []
    some = own.load(tmp_path / "many", 12, 3, told.append)
    assert told == ["30 files in 'many': decoded as they are needed"]
    assert (some.shape, some.dtype, len(some)) == (at_once.shape, at_once.dtype, 30)
    np.testing.assert_array_equal(some[np.array([29, 3, 3])], at_once[[29, 3, 3]])
    first, second = (own.domain("w", images, "test") for images in (some, at_once))
    drawn = [each.sample(np.random.default_rng(0), 3)[0] for each in (first, second)]
    np.testing.assert_array_equal(*drawn)


def test_a_file_that_is_no_image_is_named_and_nothing_is_kept(
    tmp_path: Path, own_cache: Path
) -> None:
    folder = saved(tmp_path / "f", 3, 7)
    (folder / "001.png").write_bytes((folder / "002.png").read_bytes()[:40])
    (folder / "notes.txt").write_text("not looked at")
    with pytest.raises(DataError, match=r"001\.png' cannot be read as an image.*take it out"):
        own.load(folder, 8, 1)
    assert list((own_cache / "own").iterdir()) == []
    with pytest.raises(DataError, match="holds no images and no videos"):
        own.load(own_cache / "own", 8, 1)


def test_more_than_sixteen_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    Image.new("F", (9, 9)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff' has 32 bits a pixel"):
        own.load(tmp_path, 8, files.channels([tmp_path]))


def test_a_colour_image_among_grey_ones_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 15, 7)
    Image.new("RGB", (9, 9)).save(tmp_path / "last.png")
    with pytest.raises(InputError, match=r"last\.png' is in colour"):
        own.load(tmp_path, 8, 1)


def test_what_is_hidden_and_what_is_no_image_is_left_aside(tmp_path: Path) -> None:
    saved(tmp_path / ".thumbnails", 3, 7)
    day = saved(tmp_path / "day", 3, 7)
    for name in ("readme.pdf", "notes.txt", ".hidden.png"):
        (day / name).write_bytes(b"not an image")
    assert own.parts(tmp_path) == {"day": day}
    assert len(files.listed(day)) == 3


def test_arrays_stay_where_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels())
    found = own.array(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    assert own.shape_of(found) == (3, 16, 12)
    np.savez(tmp_path / "b.npz", pixels())
    np.testing.assert_array_equal(own.array(tmp_path / "b.npz"), pixels())
    (tmp_path / "b.npz").rename(tmp_path / "c.npy")  # content decides, not the name
    np.testing.assert_array_equal(own.array(tmp_path / "c.npy"), pixels())
    for layout, shape in (((5, 16, 12), (1, 16, 12)), ((5, 3, 16, 12), (3, 16, 12))):
        assert own.shape_of(np.zeros(layout)) == shape


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.array([{"a": 1}]), "cannot be read as an array of numbers"),
        (np.zeros((3, 4, 5, 6, 7)), "is no array of images"),
        (np.full((30, 9, 9), np.nan), "values are NaN"),
        (np.full((30, 9, 9), 300), "must lie in"),
        (b"no array at all", "cannot be read as an array of numbers"),
    ],
)
def test_what_is_no_array_of_images_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "bad.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(DataError, match=words):
        own.array(path)


def test_an_archive_of_two_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", images=pixels(), labels=np.zeros(30))
    with pytest.raises(DataError, match=r"holds 2 arrays \(images, labels\)"):
        own.array(tmp_path / "two.npz")


def test_one_in_ten_images_is_held_out(tmp_path: Path) -> None:
    train, test = (own.domain("w", pixels(), split) for split in ("train", "test"))
    assert len(test.rows) == 3
    assert sorted([*train.rows, *test.rows]) == list(range(30))
    images, truth = train.sample(np.random.default_rng(0), 27)
    assert len(np.unique(images.reshape(27, -1), axis=0)) == 27  # no image twice
    assert truth.factors == {}
    assert set(truth.labels) == {0}
    expected = {tuple(np.moveaxis(pixels()[row], -1, 0).ravel()) for row in train.rows}
    assert {tuple(np.round(image.ravel() * 255).astype(int)) for image in images} == expected
    with pytest.raises(DataError, match="has 19 images; a domain needs at least 20"):
        own.domain("w", pixels(19), "train")


# ---- videos ------------------------------------------------------------------------------------


def test_the_frames_of_a_video_are_a_domain(tmp_path: Path) -> None:
    shades = range(0, 250, 10)
    clip = film(tmp_path / "clip.MP4", shades)
    settings = build.own_images(clip, ["stream.size=16"])
    name = settings.stream.schedule[0][0]
    domain = build.domain(name, settings.stream.domains[name], 16, build.DataOptions(), "train")
    assert domain.shape == (3, 16, 16)
    seen = own.load(clip, 16, 3)
    assert seen.shape == (25, 16, 16, 3)  # a header with one digit made room for two
    assert np.abs(seen.mean((1, 2, 3)) - list(shades)).max() < 6  # the codec's own error
    assert np.array_equal(np.concatenate(taken(clip, 10, 16)), seen)


def test_a_folder_of_videos_is_a_schedule(tmp_path: Path) -> None:
    film(tmp_path / "night.mp4", range(30))
    film(tmp_path / "day.mp4", range(200, 230))
    settings = build.own_images(tmp_path, [])
    assert [name for name, _ in settings.stream.schedule] == ["day.mp4", "night.mp4"]


def test_what_is_no_video_is_named_and_nothing_is_kept(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"bad\.mp4' cannot be read as a video"):
        own.load(bad, 16, 3)
    assert list((own_cache / "own").iterdir()) == []
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'vase-lifelong\[video\]'"):
        own.load(bad, 16, 3)


# ---- runs --------------------------------------------------------------------------------------


def test_networks_fit_an_array_of_an_odd_size(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels(40, (41, 57, 3)))
    settings = build.own_images(tmp_path / "a.npy", ["training.seed=3", *BRIEF[1:4]])
    assert settings.model.space_to_depth == 2
    assert settings.training.seed == 3
    stream = build.stream(settings, build.DataOptions())
    assert stream.shape == (3, 41, 57)
    assert build.architecture(settings, stream.shape).padded == (48, 64)
    learner = build.learner(settings, stream.shape)
    images = torch.from_numpy(stream.batch(0)[0])
    first, *_, last = [learner.observe(images) for _ in range(10)]
    assert last.terms["loss"] < first.terms["loss"]


def test_a_run_goes_on_with_its_own_images_or_not_at_all(tmp_path: Path) -> None:
    folder = saved(tmp_path / "f", 30, 7)
    settings = build.own_images(folder, [])
    assert build.stream(settings, build.DataOptions()).shape == (1, 64, 64)
    (folder / "000.png").unlink()
    with pytest.raises(DataError, match="are not those that this run began with"):
        build.stream(settings, build.DataOptions())


@pytest.mark.parametrize("domain", ['{domain="own"}', '{domain="mnist", path="x"}'])
def test_a_path_and_own_images_go_together(domain: str) -> None:
    with pytest.raises(ConfigError, match="go together"):
        config.load("toy", [f"stream.domains.mine={domain}"])


def test_two_folders_become_a_run_with_a_report(tmp_path: Path, unpainted: None) -> None:
    """Of files of many sizes, with the command alone; nothing is claimed of what they show."""
    saved(tmp_path / "in" / "dark", 30, (20, 30, 40), "jpg")
    saved(tmp_path / "in" / "light", 30, (240, 200, 220), "jpg")
    run = tmp_path / "run"
    schedule = 'stream.schedule=[["dark", 12], ["light", 12]]'
    vase("train", str(tmp_path / "in"), *BRIEF, schedule, "--out", str(run))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events] == ["new", "new"]
    probes = json.loads((run / "probes.json").read_text())
    assert probes["summary"]["identity"]["mlp"]["max"] is None
    assert all(domain["encodes"] == {} for domain in probes["latents"]["domains"])
    page = (run / "report.html").read_text()
    assert "own images: dark, light" in page
    assert 'id="readouts"' not in page
    assert "Object identity" not in page
    assert "trained to its end" in vase("resume", str(run), "--no-report")


# ---- the library -------------------------------------------------------------------------------


def taken(source: Any, count: int = 8, size: int | None = None) -> list[NDArray[np.uint8]]:
    """The batches of a source as 8-bit images, grey [B, H, W] or in colour [B, H, W, 3]."""
    found = [batch.images.numpy() for batch in batches(source, count, Expected(size=size))]
    images = [np.moveaxis(np.round(255 * each).astype(np.uint8), 1, -1) for each in found]
    return [each[..., 0] if each.shape[-1] == 1 else each for each in images]


class Labelled:
    """A dataset as there are many: an image and a label per index, rows and columns for a shape."""

    def __init__(self, images: NDArray[np.uint8], form: str) -> None:
        self.images, self.form, self.shape = images, form, (len(images), 2)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        if self.form == "pillow":
            return Image.fromarray(image), 7
        return {"label": 7, "image": image}


def test_whatever_images_come_in_they_are_the_same_batches(tmp_path: Path) -> None:
    images = pixels()
    np.save(tmp_path / "a.npy", images)
    tensors = TensorDataset(torch.from_numpy(images), torch.zeros(30))
    sources = {
        "array": images,
        "tensor": torch.from_numpy(images),
        "path": tmp_path / "a.npy",
        "memory map": np.load(tmp_path / "a.npy", mmap_mode="r"),
        "named": Labelled(images, "named"),
        "Pillow": Labelled(images, "pillow"),
        "dataset": tensors,
        "loader": DataLoader(tensors, batch_size=8),
        "loader of names": DataLoader(Labelled(images, "named"), batch_size=8),  # type: ignore[arg-type, var-annotated]
        "loader of attributes": DataLoader(
            TensorDataset(tensors.tensors[0], torch.zeros(30, 40)), batch_size=8
        ),
        "stream of Pillow": (Image.fromarray(image) for image in images),
        "batches": [images[:8], images[8:16], images[16:24], images[24:]],
    }
    for name, source in sources.items():
        found = taken(source)
        assert [len(batch) for batch in found] == [8, 8, 8, 6], name
        np.testing.assert_array_equal(np.concatenate(found), images, err_msg=name)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    saved(tmp_path / "b", 20, 250)
    saved(tmp_path / "a", 20, 5)
    return tmp_path


def test_a_model_is_fitted_to_a_folder_of_folders_in_order(folders: Path) -> None:
    model = VASE(latents=4, options=SMALL).fit(str(folders), batch_size=10, size=20)
    assert model.learner_.step == 4
    assert model.transform(np.zeros((2, 20, 20, 1))).shape == (2, 4)
    assert taken(folders, 10, 20)[0].max() == 5


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_of_the_hub_is_read_by_its_images(streaming: bool) -> None:
    frames = pixels(20, (16, 12, 3))
    images = [Image.fromarray(frame) for frame in frames]
    made = datasets.Dataset.from_dict({"image": images, "label": list(range(20))})
    made = made.cast_column("image", datasets.Image())
    source = made.to_iterable_dataset() if streaming else made
    np.testing.assert_array_equal(np.concatenate(taken(source)), frames)


def test_images_with_a_label_each_in_lists_are_images() -> None:
    frames = pixels(12, (16, 12))
    source = [[frame, 3] for frame in frames]
    np.testing.assert_array_equal(np.concatenate(taken(source, 5)), frames)
