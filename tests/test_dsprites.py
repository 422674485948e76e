"""dSprites: packing, the meaning of a row, refusals; the real images where they are at hand."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vase import build, config
from vase.domains import downloads, dsprites, package_index
from vase.domains.cache import cache_folder
from vase.domains.dsprites import ARCHIVE, BYTES, COUNT, SIDE, SIZES, DSprites
from vase.domains.local import DATA_VARIABLE, OFFLINE_VARIABLE
from vase.errors import ConfigError, DataError

Bytes = NDArray[np.uint8]
IMAGES = np.random.default_rng(0).integers(0, 2, (3, SIDE, SIDE), dtype=np.uint8)


def archive(images: Bytes, member: str = "imgs.npy") -> io.BytesIO:
    content, stream = io.BytesIO(), io.BytesIO()
    np.save(content, images)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(member, content.getvalue())
    stream.seek(0)
    return stream


def domain(row: int, shrink: int = 1) -> DSprites:
    """A domain of one row, every row of which holds the same image."""
    bits = np.broadcast_to(np.packbits(IMAGES[0]), (COUNT, BYTES))
    return DSprites("sprites", bits, np.array([row]), shrink)


def test_packing_loses_nothing(tmp_path: Path) -> None:
    dsprites.pack(archive(IMAGES), tmp_path / "bits.npy", 3, "an archive")
    bits = np.load(tmp_path / "bits.npy")
    assert bits.shape == (3, BYTES)
    assert np.array_equal(np.unpackbits(bits, axis=1).reshape(IMAGES.shape), IMAGES)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (io.BytesIO(b"no archive at all"), "not a zip file"),
        (archive(IMAGES, "pixels.npy"), "no item named"),
        (archive(IMAGES[:2]), r"shape \(2, 64, 64\)"),
        (archive(IMAGES[:, :32]), r"shape \(3, 32, 64\)"),
        (archive(IMAGES.astype(np.int64)), "int64"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_archive_of_it_is_refused(stream: io.BytesIO, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=why):
        dsprites.pack(stream, tmp_path / "bits.npy", 3, "an archive")


def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    header, whole = io.BytesIO(), io.BytesIO()
    np.save(header, IMAGES)
    with zipfile.ZipFile(whole, "w") as made:
        made.writestr("imgs.npy", header.getvalue()[:-1])
    with pytest.raises(DataError, match="ends early"):
        dsprites.pack(whole, tmp_path / "bits.npy", 3, "an archive")


def test_a_row_is_read_as_its_factors() -> None:
    row = int(np.ravel_multi_index((2, 5, 10, 31, 0), SIZES))
    images, truth = domain(row).sample(np.random.default_rng(0), 4)
    assert images.dtype == np.float32
    assert np.array_equal(images[3, 0], IMAGES[0])
    assert truth.labels.tolist() == [2] * 4
    found = {name: values[0] for name, values in truth.factors.items()}
    assert found == {"x": 1.0, "y": 0.0, "scale": 1.0, "orientation": 0.25}


def test_shrinking_takes_means() -> None:
    images, _ = domain(0, shrink=2).sample(np.random.default_rng(0), 1)
    assert images.shape == (1, 1, 32, 32)
    assert images[0, 0, 3, 5] == IMAGES[0, 6:8, 10:12].mean()
    with pytest.raises(ConfigError, match="cannot be shrunk by 3"):
        domain(0, shrink=3)


def test_the_splits_share_no_image_and_leave_none_out() -> None:
    train, test = dsprites.part("train"), dsprites.part("test")
    assert len(test) == COUNT // 10
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(COUNT))


def test_without_the_archive_it_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=rf"offline is set.*Put {ARCHIVE} into"):
        dsprites.load(None, True, None)

    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    with pytest.raises(DataError, match="offline is set"):
        dsprites.load(None, False, None)
    monkeypatch.delenv(OFFLINE_VARIABLE)

    def nothing(*_: object) -> str:
        raise DataError("no answer")

    monkeypatch.setattr(downloads, "download", nothing)
    monkeypatch.setattr(package_index, "fetch", nothing)
    with pytest.raises(DataError, match=r"mirror: no answer; package index, .*: no answer"):
        dsprites.load(None, False, None)


def test_another_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the right shape, but not dSprites: here with the set cut down to three images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dsprites, "COUNT", 3)
    (tmp_path / ARCHIVE).write_bytes(archive(IMAGES).getvalue())
    with pytest.raises(DataError, match="does not hold the images of dSprites"):
        dsprites.load(tmp_path, True, None)
    assert not list((tmp_path / "cache" / "vase" / "dsprites").iterdir())


def test_a_canvas_domain_s_settings_are_refused_for_it() -> None:
    name = "toy"
    spots = [f"stream.domains.solids.{entry}" for entry in ('domain="dsprites"', "inverted=true")]
    with pytest.raises(ConfigError, match=r"leave out .*inverted"):
        config.load(name, spots)


@pytest.mark.skipif(
    not (cache_folder() / "dsprites" / "dsprites-64x64-bits.npy").is_file(),
    reason="dSprites is not in the cache",
)
def test_the_real_images_are_where_their_factors_say() -> None:
    settings = config.load("dsprites")
    stream = build.stream(settings, build.DataOptions(offline=True), "test")
    images, truth = stream.domains["dsprites"].sample(np.random.default_rng(0), 500)
    ink = images.sum(axis=(1, 2, 3))
    across = (images.sum(axis=(1, 2)) * np.arange(32)).sum(1) / ink
    down = (images.sum(axis=(1, 3)) * np.arange(32)).sum(1) / ink
    assert np.corrcoef(across, truth.factors["x"])[0, 1] > 0.99
    assert np.corrcoef(down, truth.factors["y"])[0, 1] > 0.99
    assert np.corrcoef(ink, truth.factors["scale"])[0, 1] > 0.8


# ---- in order ----------------------------------------------------------------------------------


def walk(numbers: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """The rows of frames where every image is in the split, read from their factors: [B, 5]."""
    blank = np.broadcast_to(np.uint8(0), (COUNT, BYTES))
    _, truth = DSprites("d", blank, np.arange(COUNT)).frames(numbers, seed)
    factors = truth.factors
    scaled = (("scale", 5), ("orientation", 40), ("x", 31), ("y", 31))
    columns = [truth.labels, *(np.rint(factors[name] * size) for name, size in scaled)]
    return np.stack(columns, 1).astype(np.int64)


def test_one_factor_moves_at_a_time_and_by_one_value() -> None:
    seen = walk(np.arange(4000))
    step = np.diff(seen, axis=0)
    step[:, 2] = (step[:, 2] + 20) % 40 - 20  # orientation and shape go round
    step[:, 0] = (step[:, 0] + 1) % 3 - 1
    assert np.abs(step).max() == 1
    assert ((step != 0).sum(1) <= 1).all()
    moved = [{int(n) for n in np.flatnonzero(part.any(0))} for part in np.split(step[15:3999], 249)]
    assert all(len(each) <= 1 for each in moved)
    assert set().union(*moved) == {0, 1, 2, 3, 4}


def test_frames_in_order_are_a_function_of_seed_and_number() -> None:
    numbers = np.array([7, 70_000, 3, 512])
    found = walk(numbers)
    one_by_one = np.concatenate([walk(numbers[k : k + 1]) for k in range(4)])
    np.testing.assert_array_equal(found, one_by_one)
    assert not np.array_equal(found, walk(numbers, seed=1))


def test_in_the_long_run_every_value_is_shown_equally_often_and_none_depends_on_another() -> None:
    seen = walk(np.arange(0, 4_000_000, 160))
    for column, size in enumerate(SIZES):
        share = np.bincount(seen[:, column], minlength=size) * size / len(seen)
        assert 0.75 < share.min() <= share.max() < 1.25
    assert np.abs(np.corrcoef(seen[:, [1, 3, 4]].T) - np.eye(3)).max() < 0.06


def test_a_frame_that_the_split_lacks_is_one_beside_it() -> None:
    images = np.array([0, 1, 31, 33, 40])
    rows = np.array([0, 2, 30, 32, 34, 39, 100])
    np.testing.assert_array_equal(dsprites._nearest(rows, images), [0, 1, 31, 33, 33, 40, 40])
