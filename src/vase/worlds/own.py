"""Own images as worlds: a folder of files of any size, or an array in an .npy or .npz file.

The files of a folder are decoded once, scaled to one size and kept in the cache as a memory-mapped
array; an .npy file is mapped where it lies. So a world may be larger than memory, and training
waits for no decoder. Nobody says what the images show: their truths are empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vase.errors import DataError, InputError
from vase.records import Truth
from vase.worlds.canvas import Floats
from vase.worlds.catalogue import Split
from vase.worlds.images import GREY, layout_of, refuse_deep, to_batch
from vase.worlds.local import cache_folder

ARRAYS = (".npy", ".npz")
ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
FEWEST = 20  # images of a world
HELD_OUT = 10  # of so many images one is kept for testing
LOOKED_AT = 50  # files that tell whether a folder is grey; rows of an array that are checked first
DECODERS = 4  # threads; Pillow works outside of Python's lock

Say = Callable[[str], None]
Images = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OwnWorld:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] without truths, of which this draws `rows`."""

    name: str
    images: Images
    rows: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return shape_of(self.images)

    @property
    def kinds(self) -> str:
        """What its identities number: nothing."""
        return ""

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, Truth]:
        """`count` images, float32 [B, C, H, W] in [0, 1]; an `InputError` if they are none."""
        chosen = generator.choice(self.rows, count, replace=count > len(self.rows))
        images: Floats = to_batch(self.images[chosen]).numpy()
        return images, Truth(self.name, np.zeros(count, dtype=np.int64), {})


def world(name: str, images: Images, split: Split) -> OwnWorld:
    """Own images as a world; one in ten is held out for testing."""
    if len(images) < FEWEST:
        raise DataError(
            f"World '{name}' has {len(images)} images; a world needs at least {FEWEST}, of which "
            f"one in {HELD_OUT} is kept for testing. Add some."
        )
    rows = np.arange(len(images))
    held_out = rows % HELD_OUT == HELD_OUT - 1
    return OwnWorld(name, images, rows[held_out if split == "test" else ~held_out])


def shape_of(images: Images) -> tuple[int, int, int]:
    """Channels, height and width of an image in any of the layouts; of a vector D, 1, 1."""
    layout, sides = layout_of(images.shape), images.shape[1:]
    if layout == "vector":
        return sides[0], 1, 1
    if layout == "hw":
        return 1, sides[0], sides[1]
    return (sides[2], sides[0], sides[1]) if layout == "hwc" else (sides[0], sides[1], sides[2])


def parts(path: Path) -> dict[str, Path]:
    """The worlds at a path by name, in order: an array, a folder of images, or its subfolders."""
    _refuse_missing(path)
    if not path.is_dir():
        return {path.stem: path}
    inside = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    folders = [each for each in inside if each.is_dir() and files(each)]
    if folders and files(path):
        raise DataError(
            f"'{path}' holds images and folders of images. Give one or the other: images are one "
            "world, and folders are worlds in the order of their names."
        )
    return {each.name: each for each in folders} or {path.resolve().name: path}


def files(folder: Path) -> list[Path]:
    """The image files of a folder, by name; told by their endings."""
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in ENDINGS and not each.name.startswith(".") and each.is_file()
    )


def channels(paths: Iterable[Path]) -> Literal[1, 3]:
    """1 if the first files of all folders are grey, else 3."""
    first = [each for path in paths if path.is_dir() for each in files(path)[:LOOKED_AT]]
    modes = {_opened(each, lambda image: image.mode) for each in first}
    return 1 if modes <= GREY else 3


def load(path: Path, size: int, channels: Literal[1, 3], say: Say | None = None) -> Images:
    """The images at a path, [N, ...]. Those of a folder as uint8 [N, size, size, channels].

    Each fills the square: its shorter side becomes `size`, what is over is cut off evenly. Arrays
    stay as they are. A `DataError` where there is nothing to read.
    """
    _refuse_missing(path)
    return _folder(path, size, channels, say or _silent) if path.is_dir() else array(path)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is no file and no folder '{path}'.")


def array(path: Path) -> Images:
    """The array in an .npy file, memory-mapped, or the only one in an .npz file."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                found = _only(path, found)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read as an array of numbers: {error}.") from None
    images: Images = found
    try:
        layout_of(images.shape)
        to_batch(images[:: max(1, len(images) // LOOKED_AT)])
    except InputError as error:
        raise DataError(f"'{path}' is no array of images. {error}") from None
    return images


def _only(path: Path, kept: np.lib.npyio.NpzFile) -> Images:
    """The one array of an archive."""
    if len(kept.files) != 1:
        raise DataError(
            f"'{path}' holds {len(kept.files)} arrays ({', '.join(kept.files)}). "
            "Save the images alone, with numpy.save."
        )
    only: Images = kept[kept.files[0]]
    return only


def digest(path: Path) -> str:
    """What names the images at a path: a run goes on with these or not at all.

    Of a folder the names and sizes of its files, of an array its shape, type and size.
    """
    if path.is_dir():
        told: list[Any] = [(each.name, each.stat().st_size) for each in files(path)]
    else:
        images = array(path)
        told = [images.shape, str(images.dtype), path.stat().st_size]
    return _hash(told)


def _hash(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


# ---- folders -----------------------------------------------------------------------------------


def _folder(path: Path, size: int, channels: Literal[1, 3], say: Say) -> Images:
    """The images of a folder: from the cache, or decoded into it."""
    try:
        found = files(path)
        described = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in found]
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    if not found:
        raise DataError(f"The folder '{path}' holds no image files. Put some into it.")
    name = _hash([str(path.resolve()), size, channels, described])
    kept = cache_folder() / "own" / f"{name}.npy"
    if not kept.is_file():
        _decode(found, (size, size, channels), kept, say)
    return array(kept)


def _decode(found: Sequence[Path], shape: tuple[int, int, int], kept: Path, say: Say) -> None:
    """Decode files into one array beside the target, whole or not at all."""
    part = kept.with_name(f".{uuid.uuid4().hex}.part")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(found), *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for number, pixels in enumerate(_decoded(found, shape), 1):
                file.write(pixels.tobytes())
                if number % 1000 == 0 or number == len(found):
                    say(f"{number:,} of {len(found):,} images decoded, once")
            os.fsync(file.fileno())
        part.replace(kept)
    except OSError as error:
        raise DataError(f"{kept.parent} cannot be written: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)


def _decoded(found: Sequence[Path], shape: tuple[int, int, int]) -> Iterable[NDArray[np.uint8]]:
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(found), 1000):  # so that no more than these wait to be written
            yield from pool.map(lambda path: _pixels(path, shape), found[start : start + 1000])


def _pixels(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """One file as uint8 [H, W, C], upright and filling the frame."""
    height, width, channels = shape

    def fitted(image: Image.Image) -> NDArray[np.uint8]:
        refuse_deep(image, f"'{path}'")
        if channels == 1 and image.mode not in GREY:
            raise InputError(
                f"'{path}' is in colour, and the first {LOOKED_AT} files of its folder are grey. "
                "Convert it, or let a colour image come first by name."
            )
        upright = ImageOps.exif_transpose(image)
        colour = upright.convert("L" if channels == 1 else "RGB")
        return np.asarray(ImageOps.fit(colour, (width, height))).reshape(shape)

    pixels: NDArray[np.uint8] = _opened(path, fitted)
    return pixels


def _opened(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """What `use` makes of an image; a `DataError` that names the file if it cannot be read."""
    try:
        with Image.open(path) as image:
            return use(image)
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"'{path}' cannot be read as an image: {error}. Mend it, or take it out."
        ) from None


def _silent(line: str) -> None:
    """Tell nobody."""
