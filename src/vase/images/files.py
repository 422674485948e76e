"""Images from files: one file and its pages, a folder in the order of its names, a video."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from vase.errors import (
    DataError,
    InputError,
    VaseError,
    optional_package,
    reason,
    undecodable,
)
from vase.images.pixels import MODES, Pixels, filling, is_grey, is_smaller_copy, pages, pixels
from vase.progress import Say

VIDEOS = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg"))
ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
OPTIONAL = {".jp2": "jpg_2000", ".avif": "avif"}  # what this Pillow was built with
# By content, whatever a file is called: some of Pillow's other formats start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
HEIF = frozenset((".heic", ".heif"))  # read by a package of their own
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"))
MOST_PIXELS = 50_000_000  # of an image that somebody drops: it is held several times over
MOST_COPIES = 32  # of a page, smaller ones, in one file; each halves the sides
LOOKED_AT = 50  # files that tell whether a folder is grey
DECODERS = 4  # threads; Pillow works outside of Python's lock

Shape = tuple[int, int, int]


# ---- which files ---------------------------------------------------------------------------------


def natural(path: Path) -> tuple[list[str | int], str]:
    """A key that sorts names as people count: frame_2 before frame_10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name


def endings() -> frozenset[str]:
    """The endings of image files that can be read here."""
    built_in = {ending for ending, feature in OPTIONAL.items() if features.check(feature)}
    return ENDINGS | built_in | HEIF


def is_image(path: Path) -> bool:
    """Whether a path names an image file, told by its ending."""
    return path.suffix.lower() in endings() and path.is_file()


def is_video(path: Path) -> bool:
    """Whether a path names a video, told by its ending."""
    return path.suffix.lower() in VIDEOS and not path.is_dir()


def listed(folder: Path) -> list[Path]:
    """The image files of a folder, by name; told by their endings."""
    known = endings()
    return sorted(
        (each for each in visible(folder) if each.suffix.lower() in known and each.is_file()),
        key=natural,
    )


def visible(folder: Path) -> list[Path]:
    """What is in a folder and not hidden; a `DataError` where a name is not UTF-8."""
    found = [each for each in folder.iterdir() if not each.name.startswith(".")]
    for each in found:
        refuse_undecodable(each)
    return found


def refuse_undecodable(path: Path) -> None:
    """A `DataError` for a name that no file of settings and no terminal could hold."""
    if name := undecodable(path):
        raise DataError(f"The name '{name}' is not UTF-8. Rename it.")


def channels(paths: Iterable[Path]) -> Literal[1, 3]:
    """1 if the first image files of all paths are grey, else 3; videos are in colour."""
    paths = list(paths)
    if any(is_video(path) for path in paths):
        return 3
    first = [each for path in paths for each in (listed(path) if path.is_dir() else [path])]
    return 1 if all(_opened(each, is_grey) for each in first[:LOOKED_AT]) else 3


# ---- reading them --------------------------------------------------------------------------------


def read(path: Path, shape: Shape, most: int) -> NDArray[np.float32]:
    """The first `most` images of a file or folder, float32 [B, C, H, W] in [0, 1].

    shape: channels, height and width, to which they are brought. An `InputError` where there is no
    image, or where one cannot be read.
    """
    frame = frame_of(shape)
    if not path.exists():
        raise InputError(f"There is no file and no folder '{path}'.")
    try:
        found = list(islice(decoded(path, frame, as_grey=True), most))
    except DataError as error:
        raise InputError(str(error)) from None
    if not found:
        raise InputError(f"The folder '{path}' holds no images. Put images into it.")
    scaled: NDArray[np.float32] = _scaled(np.stack(found))
    return scaled


def fitted(
    file: BinaryIO, name: str, shape: Shape, *, most_pixels: int = MOST_PIXELS
) -> NDArray[np.float32]:
    """An image of any size, filling (channels, height, width): [C, H, W] in [0, 1].

    An `InputError` where it cannot be read, where it has more than `most_pixels`, told by its
    header, or where there are several in the file.
    """
    frame = frame_of(shape)
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > most_pixels:
                raise InputError(
                    f"'{name}' has {image.width} x {image.height} pixels. Make it smaller."
                )
            if _has_several(image):
                raise InputError(
                    f"'{name}' holds several images. Save the one that you mean by itself."
                )
            found = pixels(image, f"'{name}'")
    except InputError:
        raise
    except Image.DecompressionBombError:  # by its header too
        raise InputError(f"'{name}' has far too many pixels. Make it smaller.") from None
    except UnidentifiedImageError:
        raise InputError(f"'{name}' is no image. Give a PNG, a JPEG, or the like.") from None
    except Exception as error:  # bytes of any kind make Pillow raise errors of any kind
        raise InputError(f"'{name}' cannot be read as an image: {reason(error)}.") from None
    scaled: NDArray[np.float32] = _scaled(filling(found, frame)[None])[0]
    return scaled


def _has_several(image: Image.Image) -> bool:
    """Whether a file holds several images, smaller copies of the first aside.

    Pages are not counted: of a hostile file that takes hours.
    """
    if image.format == "GIF":
        return bool(getattr(image, "is_animated", False))
    if image.format != "TIFF":
        return image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    for number in range(1, MOST_COPIES + 1):
        try:
            image.seek(number)
        except EOFError:
            image.seek(0)
            return False
        if not is_smaller_copy(image):
            break
    return True


def decoded(
    path: Path, shape: Shape, say: Say | None = None, *, as_grey: bool = False
) -> Iterator[Pixels]:
    """All images of a file or folder, or the frames of a video, uint8 [H, W, C] each, in order.

    Each fills the frame; what is over is cut off evenly. as_grey: take colour away where images
    are to be grey; without it an image in colour is refused there. Of a video that breaks off the
    frames up to there, and a warning, by `say` if it is given. A `DataError` or an `InputError`
    names what cannot be read.
    """
    if is_video(path):
        return _frames(path, shape, say)
    return images_of(listed(path) if path.is_dir() else [path], shape, as_grey=as_grey)


def images_of(found: Sequence[Path], shape: Shape, *, as_grey: bool = False) -> Iterator[Pixels]:
    """All images of files, those of several pages too."""
    refuse_colour = shape[2] == 1 and not as_grey
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(found), 1000):  # so that no more than these wait to be written
            for images in pool.map(
                lambda path: _file(path, shape, refuse_colour), found[start : start + 1000]
            ):
                yield from images


class FromFiles:
    """Image files as an array [N, H, W, C], of which rows are decoded when they are asked for.

    For folders so large that decoding all of them first would keep training waiting; each file is
    one image.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], size: Shape) -> None:
        self.paths, self.size = np.array(paths, dtype=object), size
        self.shape = (len(self.paths), *size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Pixels:
        chosen = list(self.paths[rows])
        try:
            found = list(images_of(chosen, self.size))
        except (DataError, InputError) as error:
            raise DataError(
                f"{error} A run that has begun with this folder does not go on with another: "
                "start it again."
            ) from None
        if len(found) != len(chosen):
            raise DataError(
                f"Among {len(self.paths):,} files there are some with several images, such as one "
                f"beside '{chosen[0]}'. In a folder as large as this, save each image by itself."
            )
        return np.stack(found)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file, whatever its format; errors are those of Pillow or of its reader."""
    try:
        image: Image.Image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        image = _heif(path)
    with image:
        yield image


def _file(path: Path, shape: Shape, refuse_colour: bool) -> list[Pixels]:
    """The images of one file, filling the frame."""

    def fitted(image: Image.Image) -> list[Pixels]:
        if refuse_colour and not is_grey(image):
            raise InputError(
                f"'{path}' is in colour, and the first {LOOKED_AT} files of its folder are grey. "
                "Convert it, or let a colour image come first by name."
            )
        return [filling(page, shape) for page in pages(image, f"'{path}'")]

    found: list[Pixels] = _opened(path, fitted)
    return found


def pages_of(path: Path) -> list[Pixels]:
    """The images of one file in their own size, uint8 [H, W] or [H, W, 3]."""
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    found: list[Pixels] = _opened(path, lambda image: list(pages(image, f"'{path}'")))
    return found


def _opened(path: Path, use: Callable[[Image.Image], Any]) -> Any:
    """What `use` makes of an image; a `DataError` that names the file if it cannot be read."""
    try:
        with opened(path) as image:
            return use(image)
    except VaseError:
        raise
    except Exception as error:
        raise DataError(
            f"'{path}' cannot be read as an image: {reason(error)}. Mend it, or take it out."
        ) from None


def _heif(path: Path) -> Image.Image:
    """An image of a telephone; by the package's own function, which leaves Pillow as it was."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] != b"ftyp" or start[8:12] not in HEIF_BRANDS:
        raise UnidentifiedImageError("it is in no format that is known here")
    needed = f"'{path}' is a HEIC image, and those are read with pillow-heif"
    pillow_heif = optional_package("pillow_heif", needed, "heic", DataError)
    image: Image.Image = pillow_heif.open_heif(path).to_pillow()
    return image


def _frames(path: Path, shape: Shape, say: Say | None) -> Iterator[Pixels]:
    """The frames of a video, in order, as uint8 [H, W, C]."""
    needed = f"'{path}' is a video, and videos are read with av"
    av = optional_package("av", needed, "video", DataError)
    count = 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                yield filling(np.ascontiguousarray(upright), shape)
                count += 1
    except (av.FFmpegError, IndexError) as error:
        if not count:
            raise DataError(f"'{path}' cannot be read as a video: {error}.") from None
        text = f"'{path}' breaks off: {reason(error)}. Its first {count:,} frames are used."
        (say or _warn)(text)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def frame_of(shape: Shape) -> tuple[int, int, Literal[1, 3]]:
    """(channels, height, width) as (height, width, channels), if files hold such images."""
    if shape[0] not in MODES:
        raise InputError(f"Files hold images of 1 or 3 channels, and this model sees {shape[0]}.")
    return shape[1], shape[2], 1 if shape[0] == 1 else 3


def _scaled(found: Pixels) -> NDArray[np.float32]:
    """Pixels [B, H, W, C] as float32 [B, C, H, W] in [0, 1]."""
    return np.moveaxis(found.astype(np.float32) / np.float32(255), -1, 1)
