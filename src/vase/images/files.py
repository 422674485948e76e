"""Images from files: one file, all images of a folder in the order of their names, a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vase.domains.canvas import Floats
from vase.domains.images import GREY, refuse_deep
from vase.errors import DataError, InputError, reason

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by channels
VIDEOS = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg"))
ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
MOST_PIXELS = 50_000_000  # of an image that somebody drops: it is held several times over
LOOKED_AT = 50  # files that tell whether a folder is grey
DECODERS = 4  # threads; Pillow works outside of Python's lock

Pixels = NDArray[np.uint8]


def read(path: Path, shape: tuple[int, int, int], most: int) -> Floats:
    """The first `most` images of (channels, height, width), float32 [B, C, H, W] in [0, 1].

    An `InputError` where there is no image, where one cannot be read, or is of another size.
    """
    found = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    if not found:
        raise InputError(f"The folder '{path}' holds no files. Put images into it.")
    return np.stack([_one(each, shape) for each in found[:most]])


def fitted(file: BinaryIO, name: str, shape: tuple[int, int, int]) -> Floats:
    """An image of any size, upright, filling (channels, height, width): [C, H, W] in [0, 1].

    What is over is cut off evenly. An `InputError` where it cannot be read.
    """
    channels, height, width = shape
    try:
        with Image.open(file) as image:
            refuse_deep(image, f"'{name}'")
            if image.width * image.height > MOST_PIXELS:
                raise InputError(
                    f"'{name}' has {image.width} x {image.height} pixels. Make it smaller."
                )
            pixels = _filling(ImageOps.exif_transpose(image), (height, width, channels))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"'{name}' is no image. Give a PNG, a JPEG, or the like.") from None
    except Exception as error:  # bytes of any kind make Pillow raise errors of any kind
        raise InputError(f"'{name}' cannot be read as an image: {reason(error)}.") from None
    scaled: Floats = pixels.astype(np.float32) / np.float32(255)
    return np.moveaxis(scaled, -1, 0)


def _one(path: Path, shape: tuple[int, int, int]) -> Floats:
    channels, height, width = shape
    if channels not in MODES:
        raise InputError(
            f"Files hold images of 1, 3 or 4 channels, and this model sees {channels}."
        )
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise InputError(
                    f"'{path}' has {image.size[1]} x {image.size[0]} pixels, and this model sees "
                    f"images of {height} x {width}. Resize it."
                )
            refuse_deep(image, f"'{path}'")
            grey_or_colour = np.asarray(image.convert(MODES[channels]), dtype=np.float32)
    except FileNotFoundError:
        raise InputError(f"There is no file and no folder '{path}'.") from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"'{path}' cannot be read as an image: {reason(error)}.") from None
    pixels: Floats = grey_or_colour.reshape(height, width, channels) / np.float32(255)
    return np.moveaxis(pixels, -1, 0)


# ---- many files, and videos ---------------------------------------------------------------------


def listed(folder: Path) -> list[Path]:
    """The image files of a folder, by name; told by their endings."""
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in ENDINGS and not each.name.startswith(".") and each.is_file()
    )


def is_video(path: Path) -> bool:
    """Whether a path names a video, told by its ending."""
    return path.suffix.lower() in VIDEOS and not path.is_dir()


def channels(paths: Iterable[Path]) -> Literal[1, 3]:
    """1 if the first files of all folders are grey, else 3; videos are in colour."""
    paths = list(paths)
    if any(is_video(path) for path in paths):
        return 3
    first = [each for path in paths if path.is_dir() for each in listed(path)[:LOOKED_AT]]
    modes = {_opened(each, lambda image: image.mode) for each in first}
    return 1 if modes <= GREY else 3


def decoded(path: Path, shape: tuple[int, int, int]) -> Iterator[Pixels]:
    """The images of a folder by name, or the frames of a video in order, uint8 [H, W, C] each.

    Each is upright and fills the frame; what is over is cut off evenly. A `DataError` or an
    `InputError` names what cannot be read.
    """
    return _frames(path, shape) if is_video(path) else _images(listed(path), shape)


class FromFiles:
    """Image files as an array [N, H, W, C], of which rows are decoded when they are asked for.

    For folders so large that decoding all of them first would keep training waiting.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], size: tuple[int, int, int]) -> None:
        self.paths, self.size = np.array(paths, dtype=object), size
        self.shape = (len(self.paths), *size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Pixels:
        try:
            return np.stack(list(_images(list(self.paths[rows]), self.size)))
        except (DataError, InputError) as error:
            raise DataError(
                f"{error} A run that has begun with this folder does not go on with another: "
                "start it again."
            ) from None


def _images(found: Sequence[Path], shape: tuple[int, int, int]) -> Iterator[Pixels]:
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(found), 1000):  # so that no more than these wait to be written
            yield from pool.map(lambda path: _pixels(path, shape), found[start : start + 1000])


def _pixels(path: Path, shape: tuple[int, int, int]) -> Pixels:
    """One file as uint8 [H, W, C], upright and filling the frame."""
    channels = shape[2]

    def fitted(image: Image.Image) -> Pixels:
        refuse_deep(image, f"'{path}'")
        if channels == 1 and image.mode not in GREY:
            raise InputError(
                f"'{path}' is in colour, and the first {LOOKED_AT} files of its folder are grey. "
                "Convert it, or let a colour image come first by name."
            )
        return _filling(ImageOps.exif_transpose(image), shape)

    pixels: Pixels = _opened(path, fitted)
    return pixels


def _frames(path: Path, shape: tuple[int, int, int]) -> Iterator[Pixels]:
    """The frames of a video, in order, as uint8 [H, W, C]."""
    try:
        import av
    except ImportError:
        raise DataError(
            f"'{path}' is a video, and videos are read with av, which is not installed. Install "
            "it with: pip install 'vase-lifelong[video]'"
        ) from None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                yield _filling(Image.fromarray(upright), shape)
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"'{path}' cannot be read as a video: {error}.") from None


def _filling(image: Image.Image, shape: tuple[int, int, int]) -> Pixels:
    height, width, channels = shape
    fitted = ImageOps.fit(image.convert(MODES[channels]), (width, height))
    return np.asarray(fitted).reshape(shape)


def _opened(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """What `use` makes of an image; a `DataError` that names the file if it cannot be read."""
    try:
        with Image.open(path) as image:
            return use(image)
    except InputError:
        raise
    except Exception as error:
        raise DataError(
            f"'{path}' cannot be read as an image: {reason(error)}. Mend it, or take it out."
        ) from None
