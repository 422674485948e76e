"""Data sources on this machine: order, layouts, checksums, the cache. Without network."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import (
    CLOTHES,
    DIGITS,
    FIRST,
    Contents,
    Setting,
    dotted,
    is_digits,
    write,
    zipped,
)

from vase.domains import idx, sources
from vase.domains.catalogue import checksum
from vase.errors import DataError

# --- folders on this machine -----------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "digits", "Digits/raw"])
@pytest.mark.parametrize("form", [dict, zipped, dotted])
def test_data_dir_is_read_in_every_layout(
    setting: Setting, below: str, form: Callable[[Contents], Contents]
) -> None:
    write(setting.root / "data" / below, form(DIGITS))
    assert is_digits(sources.load("digits", "train", data_dir=setting.root / "data"))
    assert is_digits(sources.load("digits", "test", data_dir=setting.root / "data"), "t10k")
    assert not (setting.root / "cache").exists()  # the user has the files; no second copy


def test_places_are_asked_in_order(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    system = write(setting.root / "system", zipped(DIGITS))
    setting.change(system=(system,))

    def where() -> set[str]:
        return {status.where for status in sources.check(["digits"], data_dir=given_folder)}

    given_folder: Path | None = None
    assert where() == {"system"}
    write(setting.cache, DIGITS)
    assert where() == {"cache"}
    monkeypatch.setenv("VASE_DATA", str(write(setting.root / "env", DIGITS)))
    assert where() == {"VASE_DATA"}
    given_folder = write(setting.root / "given", DIGITS)
    assert where() == {"data_dir"}
    assert is_digits(sources.load("digits", "train", data_dir=given_folder))


def test_checksums_tell_sets_with_equal_names_apart(setting: Setting) -> None:
    data = write(setting.root / "data", CLOTHES)
    write(setting.cache, DIGITS)
    states = sources.check(data_dir=data)
    assert {(status.dataset, status.where) for status in states} == {
        ("digits", "cache"),
        ("clothes", "data_dir"),
    }
    assert is_digits(sources.load("digits", "train", data_dir=data))


def test_a_right_file_beside_a_wrong_one_is_taken(setting: Setting) -> None:
    data = write(setting.root / "data", {**DIGITS, FIRST: b"wrong"})
    write(data, zipped({FIRST: DIGITS[FIRST]}))
    assert is_digits(sources.load("digits", "train", data_dir=data))


@pytest.mark.parametrize("where", ["data_dir", "VASE_DATA", "cache"])
def test_a_wrong_file_is_named_with_both_checksums(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = setting.cache if where == "cache" else setting.root / "data"
    wrong = idx.encode(np.zeros((3, 28, 28), np.uint8))
    write(folder, {**DIGITS, FIRST: wrong})
    if where == "VASE_DATA":
        monkeypatch.setenv("VASE_DATA", str(folder))
    data_dir = folder if where == "data_dir" else None
    with pytest.raises(DataError) as caught:
        sources.load("digits", "train", data_dir=data_dir)
    expected = setting.datasets["digits"].train[0].sha256
    remedy = "Delete it" if where == "cache" else "Replace it"
    for part in (str(folder / FIRST), f"({where})", expected, checksum(wrong), remedy):
        assert part in str(caught.value)
    status = sources.check(["digits"], data_dir=data_dir)[0]
    assert (status.state, status.where, status.found) == ("wrong", where, checksum(wrong))
    with pytest.raises(DataError, match="is not the file"):
        sources.fetch(["digits"], data_dir=data_dir)


def test_a_wrong_file_stops_the_search(setting: Setting) -> None:
    data = write(setting.root / "data", {FIRST: b"wrong"})
    write(setting.cache, DIGITS)
    with pytest.raises(DataError, match="is not the file"):
        sources.load("digits", "train", data_dir=data)
    assert is_digits(sources.load("digits", "test", data_dir=data), "t10k")


def test_a_broken_gzip_in_data_dir_is_an_error(setting: Setting) -> None:
    data = write(setting.root / "data", {f"{FIRST}.gz": gzip.compress(DIGITS[FIRST])[:-20]})
    with pytest.raises(DataError, match=r"is not the file .* found: .* cannot be unpacked"):
        sources.load("digits", "train", data_dir=data)


def test_a_wrong_system_copy_is_passed_over_and_listed(setting: Setting) -> None:
    setting.change(system=(write(setting.root / "system", {FIRST: b"\0\0\x08\x01"}),))
    with pytest.raises(DataError, match="expected, found") as caught:
        sources.load("digits", "train", offline=True)
    assert str(setting.root / "system" / FIRST) in str(caught.value)
    write(setting.cache, DIGITS)
    assert is_digits(sources.load("digits", "train", offline=True))


def test_check_reports_missing_files_and_writes_nothing(setting: Setting) -> None:
    statuses = sources.check()
    assert [status.state for status in statuses] == ["missing"] * 8
    assert [status.path for status in statuses] == [None] * 8
    assert list(setting.root.iterdir()) == []


def test_a_data_folder_that_is_none_is_an_error(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"data_dir is .*nowhere, which is not a folder"):
        sources.load("digits", "train", data_dir=setting.root / "nowhere")
    monkeypatch.setenv("VASE_DATA", str(setting.root / "nowhere"))
    with pytest.raises(DataError, match=r"VASE_DATA is .*nowhere, which is not a folder"):
        sources.check()


def test_unknown_names_and_splits_are_errors(setting: Setting) -> None:
    with pytest.raises(DataError, match=r"no data set 'digit'.*mean 'digits'"):
        sources.load("digit", "train")
    with pytest.raises(DataError, match="no split 'valid'"):
        sources.load("digits", "valid")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no data set"):
        sources.fetch(["digits", "letters"], offline=True)


def test_a_record_with_labels_as_images_is_an_error(setting: Setting) -> None:
    images, labels = setting.datasets["digits"].train
    setting.change(train=(labels, images))
    with pytest.raises(DataError, match=r"images of shape \(3,\)"):
        sources.load("digits", "train", data_dir=write(setting.root / "data", DIGITS))


# --- the cache -------------------------------------------------------------------------------


def test_fetch_copies_into_the_cache_decompressed(setting: Setting) -> None:
    data = write(setting.root / "data", zipped(DIGITS))
    paths = sources.fetch(["digits"], data_dir=data)
    assert paths == [setting.cache / name for name in DIGITS]
    assert {path.name: path.read_bytes() for path in setting.cache.iterdir()} == DIGITS
    assert sources.fetch(["digits"], offline=True) == paths


def test_an_interrupted_write_leaves_nothing(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    data = write(setting.root / "data", DIGITS)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be written: No space left on device.*VASE_DATA"):
        sources.fetch(["digits"], data_dir=data)
    assert list(setting.cache.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(setting.cache, {FIRST: b"old"})
    data = write(setting.root / "data", DIGITS)

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sources.fetch(["digits"], data_dir=data)
    assert [path.read_bytes() for path in setting.cache.iterdir()] == [b"old"]
