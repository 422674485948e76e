"""The idx format: exact bytes, round trip, and only DataError whatever the bytes are."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vase.domains import idx
from vase.errors import DataError

arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))


@given(arrays)
def test_idx_round_trip(array: NDArray[np.uint8]) -> None:
    content = idx.encode(array)
    again = idx.parse(idx.decompress(gzip.compress(content), "x"), "x")
    assert np.array_equal(again, array)
    assert again.flags.writeable
    with pytest.raises(DataError):
        idx.parse(content[:-1], "x")
    with pytest.raises(DataError):
        idx.parse(content + b"\0", "x")


def test_idx_is_read_as_written_down() -> None:
    content = bytes.fromhex("00000802 00000002 00000003") + bytes(range(6))
    assert idx.parse(content, "x").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert idx.encode(np.arange(6, dtype=np.uint8).reshape(2, 3)) == content


@given(
    st.sampled_from([b"", b"\0\0", b"\0\0\x08", b"\0\0\x08\x01", b"\0\0\x08\x46", idx.GZIP_MAGIC]),
    st.binary(max_size=300),
)
def test_any_bytes_give_an_array_or_a_data_error(head: bytes, tail: bytes) -> None:
    for content in (head + tail, gzip.compress(head + tail), gzip.compress(head + tail)[:-3]):
        try:
            array = idx.parse(idx.decompress(content, "x"), "x")
        except DataError:
            continue
        assert array.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "starts with nothing"),
        (b"<html>", "starts with 3c 68 74 6d"),
        (bytes([0, 0, 0x0D, 1, 0, 0, 0, 1, 0]), "idx type 0x0d"),
        (bytes([0, 0, 8, 5, *range(20)]), "5 dimensions"),
        (bytes([0, 0, 8, 0]), "0 dimensions"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 1]), "2 dimensions in 8 bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 0]), "is empty"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 2, 0]), "announces 2 values of shape (2,), but 1 bytes"),
        (bytes([0, 0, 8, 2, *b"\xff" * 8, 0]), "not a whole idx file"),
    ],
)
def test_idx_errors_say_what_is_wrong(content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match="FILE") as caught:
        idx.parse(content, "FILE")
    assert sentence in str(caught.value)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(32 * 2**20), compresslevel=1))
    monkeypatch.setattr(idx, "MAX_BYTES", 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too large: more than 1 MiB"):
            idx.read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_an_unreadable_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        idx.read(tmp_path)
