"""Images from files: one file, or all images of a folder in the order of their names."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vase.errors import InputError
from vase.worlds.canvas import Floats
from vase.worlds.images import refuse_deep

# What Pillow writes for one and three channels.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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
            upright = ImageOps.exif_transpose(image).convert(MODES[channels])
            pixels = np.asarray(ImageOps.fit(upright, (width, height)), dtype=np.float32)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"'{name}' is no image. Give a PNG, a JPEG, or the like.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"'{name}' cannot be read as an image: {error}.") from None
    return np.moveaxis(pixels.reshape(height, width, channels) / np.float32(255), -1, 0)


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
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"'{path}' cannot be read as an image: {error}.") from None
    pixels: Floats = grey_or_colour.reshape(height, width, channels) / np.float32(255)
    return np.moveaxis(pixels, -1, 0)
