"""One image as Pillow holds it, in pixels: every mode, orientation, depth, transparency and page.

Whatever door an image comes in by, it becomes what this module makes of it: 8 bits, grey [H, W] or
colour [H, W, 3], upright as its EXIF orientation says.

transparent   laid on white, as a browser shows it, so that no hidden colour is learnt
16 bits       the upper 8 are kept; of 32 bits and floats nobody states the range: refused
CMYK          by its profile, if it has a sound one, else by Pillow's rule; the profiles of grey
              and RGB images are left aside, as they are by Pillow
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from vase.errors import InputError

Pixels = NDArray[np.uint8]
DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})  # Pillow's modes of 16 bits
GREY = DEEP | {"1", "L", "LA", "La", "I", "F"}  # and those without colour
MODES = {1: "L", 3: "RGB"}  # by channels
PILLOW_16_BITS = ("PNG", "PPM")  # formats whose mode I is of 16 bits
REDUCED = 254  # TIFF's tag of a page that is a smaller copy of another


def is_grey(image: Image.Image) -> bool:
    """Whether an image has no colour, by its mode."""
    return image.mode in GREY


def pixels(image: Image.Image, name: str) -> Pixels:
    """An image as it is meant to be seen, uint8 [H, W] or [H, W, 3].

    name: of what is refused, in an `InputError`.
    """
    grey, deep = is_grey(image), _is_deep(image)
    if image.mode[0] in "IF" and not deep:
        raise InputError(
            f"{name} has 32 bits a pixel (mode {image.mode}), and nobody states their range. Save "
            "it with 8 or 16 bits, or give an array of floats in [0, 1]."
        )
    image = _upright(image)
    if deep:
        return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        image = _on_white(image)
    elif image.mode == "CMYK":
        image = _by_profile(image)
    return np.asarray(image.convert("L" if grey else "RGB"))


def pages(image: Image.Image, name: str) -> Iterator[Pixels]:
    """Every page of a file in turn, but for smaller copies of a page, as some formats keep them."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    for number in range(count):
        if count > 1:
            image.seek(number)
        if number and is_smaller_copy(image):
            continue
        yield pixels(image, name)


def is_smaller_copy(image: Image.Image) -> bool:
    """Whether the page of a file that is open is a smaller copy of another, by its tags."""
    return bool(getattr(image, "tag_v2", {}).get(REDUCED, 0) & 1)


def filling(found: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Pixels as [H, W, C]: they fill the frame, and what is over is cut off evenly."""
    height, width, channels = shape
    image = Image.fromarray(found).convert(MODES[channels])
    return np.asarray(ImageOps.fit(image, (width, height))).reshape(shape)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in DEEP or (image.mode == "I" and image.format in PILLOW_16_BITS)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, KeyError, OverflowError):  # of a broken EXIF block
        return image.copy()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # premultiplied; Pillow takes one step at a time
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)


def _by_profile(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(
            image, known, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a profile of something else
        return image
    return image if made is None else made
