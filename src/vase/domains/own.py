"""Own images as domains: files of any size in a folder, a video, an array in an .npy or .npz file.

The files of a folder, or the frames of a video or of a folder of videos one after another, are
decoded once, scaled to one size and kept in the cache as a memory-mapped array; an .npy file is
mapped where it lies. Of a folder with more than MOST_KEPT files each batch is decoded while the one
before is learnt. So a domain may be larger than memory. Nobody says what the images show: their
truths are empty.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vase.domains.cache import cache_folder, replacing
from vase.domains.canvas import Floats
from vase.domains.catalogue import Split
from vase.domains.frames import reflected
from vase.errors import DataError, InputError, VaseError, reason
from vase.images.files import (
    FromFiles,
    Shape,
    decoded,
    is_image,
    is_video,
    listed,
    natural,
    refuse_undecodable,
    visible,
)
from vase.images.layout import layout_of
from vase.images.values import to_batch
from vase.memory_limit import machine_memory, refuse_above
from vase.progress import Say, silent
from vase.records import GroundTruth

ARRAYS = (".npy", ".npz")
LOOKED_AT = 50  # rows of an array that are checked first
FEWEST = 20  # images of a domain
MOST_KEPT = 100_000  # files of a folder that are decoded before training
MOST_SAMPLED, PIECES, PIECE = 1000, 16, 1 << 16  # files, and pieces of so many bytes, for a digest
HELD_OUT = 10  # of so many images one is kept for testing
DECODING = 2  # version of what `vase.images` makes of a file: what was kept by another is left
Images = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OwnDomain:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] without truths, of which this draws `rows`."""

    name: str
    images: Images
    rows: NDArray[np.int64]

    label_kind = ""  # what its labels number: nothing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return shape_of(self.images)

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        """`count` images, float32 [B, C, H, W] in [0, 1]; an `InputError` if they are none."""
        chosen = generator.choice(self.rows, count, replace=count > len(self.rows))
        return self._at(chosen)

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:  # noqa: ARG002
        """The domain's images in the order of the file, back and forth, whatever the seed.

        Reflected at both ends, so that there is no cut that the file does not have.
        """
        return self._at(self.rows[reflected(numbers, len(self.rows))])

    def _at(self, rows: NDArray[np.int64]) -> tuple[Floats, GroundTruth]:
        images: Floats = to_batch(self.images[rows]).numpy()
        return images, GroundTruth(self.name, np.zeros(len(rows), dtype=np.int64), {})


def domain(name: str, images: Images, split: Split) -> OwnDomain:
    """Own images as a domain; one in ten is held out for testing."""
    if len(images) < FEWEST:
        raise DataError(
            f"Domain '{name}' has {len(images)} images; a domain needs at least {FEWEST}, of which "
            f"one in {HELD_OUT} is kept for testing. Add some."
        )
    rows = np.arange(len(images))
    held_out = rows % HELD_OUT == HELD_OUT - 1
    return OwnDomain(name, images, rows[held_out if split == "test" else ~held_out])


def shape_of(images: Images) -> tuple[int, int, int]:
    """Channels, height and width of an image in any of the layouts; of a vector D, 1, 1."""
    layout, sides = layout_of(images.shape), images.shape[1:]
    if layout == "D":
        return sides[0], 1, 1
    if layout == "HW":
        return 1, sides[0], sides[1]
    return (sides[2], sides[0], sides[1]) if layout == "HWC" else (sides[0], sides[1], sides[2])


def parts(path: Path) -> dict[str, Path]:
    """The domains at a path by name, in order: an array, a video, an image, a folder, or of these.

    A folder of images is one domain; in a folder of folders or videos each of them is one. A
    `DataError` where a domain would be passed over.
    """
    _refuse_missing(path)
    refuse_undecodable(path.resolve())
    if not path.is_dir():
        return {path.stem: path}
    inside = sorted(visible(path), key=natural)
    domains = [each for each in inside if is_video(each) or (each.is_dir() and listed(each))]
    if domains and listed(path):
        raise DataError(
            f"'{path}' holds images beside folders of images or videos. Give one or the other: "
            "images are one domain; folders and videos are domains in the order of their names."
        )
    for each in inside if domains else ():
        if each.is_dir() and each not in domains and any(map(_holds_images, each.iterdir())):
            raise DataError(
                f"'{each}' holds no images itself, and its folders do. Move them up, or give the "
                "folders one by one: each folder of images is a domain."
            )
    return {each.name: each for each in domains} or {path.resolve().name: path}


def _holds_images(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and bool(listed(path))


def holds_something(path: Path) -> bool:
    """Whether a folder holds anything that can be read: images, videos, or folders of images."""
    return bool(_sources(path)) or any(map(_holds_images, path.iterdir()))


def scaled(path: Path) -> bool:
    """Whether images at a path are brought to one size: files and frames are, arrays are not."""
    return path.is_dir() or is_video(path) or is_image(path)


def load(
    path: Path,
    size: int | tuple[int, int],
    channels: Literal[1, 3],
    say: Say | None = None,
    *,
    as_grey: bool = False,
) -> Images:
    """The images at a path, [N, ...]. Of a folder, file or video as uint8 [N, H, W, channels].

    size: of both sides, or height and width. Each image fills it; what is over is cut off evenly.
    Arrays stay as they are. say: is told how far it is, and of a video that breaks off. as_grey:
    see `files.decoded`. A `DataError` where there is nothing to read.
    """
    _refuse_missing(path)
    if not scaled(path):
        return array(path)
    shape = (*((size, size) if isinstance(size, int) else size), channels)
    if is_image(path):
        return np.stack(list(decoded(path, shape, as_grey=as_grey)))
    return _kept(path, shape, say, as_grey)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is no file and no folder '{path}'.")


def array(path: Path) -> Images:
    """The array in an .npy file, memory-mapped, or the only one in an .npz file."""
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"  # by what it is, whatever it is called
        if archive:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                found = _only(path, kept)
        else:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except VaseError:
        raise
    except Exception as error:  # bytes of any kind make NumPy's reader raise errors of any kind
        told = "" if "pickle" in str(error) else f": {reason(error)}"  # NumPy's advice is unsafe
        raise DataError(
            f"'{path}' cannot be read as an array of numbers{told}. Give an .npy or .npz file, an "
            "image, a video, or a folder of these."
        ) from None
    images: Images = found
    try:
        layout_of(images.shape)
        to_batch(images[:: max(1, len(images) // LOOKED_AT)])
    except InputError as error:
        raise DataError(f"'{path}' is no array of images. {error}") from None
    return images


def _only(path: Path, kept: np.lib.npyio.NpzFile) -> Images:
    """The one array of an archive, as large as it says and no larger than there is room."""
    if len(kept.files) != 1:
        raise DataError(
            f"'{path}' holds {len(kept.files)} arrays ({', '.join(kept.files)}). "
            "Save the images alone, with numpy.save."
        )
    assert kept.zip is not None
    (member,) = kept.zip.infolist()
    refuse_above(
        member.file_size,
        machine_memory() // 2,
        f"'{path}' is packed, and unpacked it",
        "Save it with numpy.save: an .npy file is read piece by piece.",
        DataError,
    )
    headers = np.lib.format
    with kept.zip.open(member) as file:
        version = headers.read_magic(file)
        header = (
            headers.read_array_header_1_0 if version == (1, 0) else headers.read_array_header_2_0
        )
        shape, _, kind = header(file)
        if prod(shape) * kind.itemsize > member.file_size:  # before NumPy takes memory for it
            raise DataError(f"'{path}' holds less than its header says. Save it anew.")
    only: Images = kept[kept.files[0]]
    return only


def digest(path: Path) -> str:
    """What names the images at a path: a run goes on with these or not at all.

    The names, sizes and contents of its files, of large ones and of many the contents of pieces
    that are spread evenly: so it takes seconds, however many there are.
    """
    found = _sources(path)
    told: list[Any] = [(each.name, each.stat().st_size) for each in found]
    told += [_sampled(each) for each in found[:: -(-len(found) // MOST_SAMPLED) or 1]]
    if not scaled(path):
        images = array(path)
        told += [images.shape, str(images.dtype)]
    return _hash(told)


def _sampled(path: Path) -> str:
    """SHA-256 of a file, or of `PIECES` pieces of it."""
    size, content = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        for k in range(PIECES if size > PIECES * PIECE else 1):
            file.seek(k * (size - PIECE) // (PIECES - 1) if k else 0)
            content.update(file.read(PIECE if size > PIECES * PIECE else size))
    return content.hexdigest()


def _hash(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


# ---- folders and videos ------------------------------------------------------------------------


def _sources(path: Path) -> list[Path]:
    """The files of a domain in the order in which they are read: images, or else videos."""
    if not path.is_dir():
        return [path]
    return listed(path) or sorted(filter(is_video, visible(path)), key=natural)


def _kept(path: Path, shape: Shape, say: Say | None, as_grey: bool) -> Images:
    """The images of a folder or video: from the cache, or decoded into it."""
    tell = say or silent
    try:
        found = _sources(path)
        if len(found) > MOST_KEPT:
            tell(f"{len(found):,} files in '{path.name}': decoded as they are needed")
            return cast(Images, FromFiles(found, shape))
        described = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in found]
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    if not found:
        raise DataError(_nothing_in(path))
    name = _hash([DECODING, as_grey, str(path.resolve()), *shape, described])
    kept = cache_folder() / "own" / f"{name}.npy"
    if not kept.is_file():
        _write(kept, path.name, shape, _in_order(path, shape, say, as_grey), tell)
    return array(kept)


def _nothing_in(path: Path) -> str:
    """Why a folder is not read, with the endings of what is in it."""
    seen = sorted({each.suffix.lower() or "none" for each in visible(path) if each.is_file()})
    if not seen:
        return f"The folder '{path}' holds no images and no videos. Put some into it."
    return (
        f"The folder '{path}' holds no images and no videos that can be read; the endings in it "
        f"are {', '.join(seen[:8])}. Convert what is in it, to .png for example."
    )


def _write(
    kept: Path, name: str, shape: Shape, images: Iterator[NDArray[np.uint8]], tell: Say
) -> None:
    """Decode images into one array, whole or not at all."""
    try:
        with replacing(kept) as part, part.open("wb") as file:
            _header(file, 0, shape)
            number = 0
            for number, pixels in enumerate(images, 1):
                file.write(pixels.tobytes())
                if number % 1000 == 0:
                    tell(f"{number:,} images decoded")
            if not number:
                raise DataError(f"'{name}' holds no frames. Take it out.")
            tell(f"{number:,} images of '{name}' decoded, once")
            file.seek(0)
            _header(file, number, shape)  # as long as the first: it leaves room for more digits
    except OSError as error:
        raise DataError(
            f"{kept.parent} cannot be written: {error.strerror or error}. Make it writable, or "
            "choose another cache folder: set XDG_CACHE_HOME=FOLDER."
        ) from None


def _in_order(
    path: Path, shape: Shape, say: Say | None, as_grey: bool
) -> Iterator[NDArray[np.uint8]]:
    """The images of a folder, or the frames of a video or of a folder of them, one by one."""
    found = _sources(path)
    if found and is_video(found[0]):
        return chain.from_iterable(decoded(each, shape, say) for each in found)
    return decoded(path, shape, as_grey=as_grey)


def _header(file: BinaryIO, count: int, shape: Shape) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)
