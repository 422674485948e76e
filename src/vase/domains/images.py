"""From whatever a user has to what a learner takes: float32 [B, C, H, W] in [0, 1].

A vector of D numbers is an image of one pixel with D channels.

Everything that cannot be an image is refused here, in a sentence, before it reaches the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vase.errors import InputError

Layout = Literal["vector", "hw", "hwc", "chw"]
MOST_CHANNELS = 4
GREY = frozenset({"1", "L", "LA"})  # Pillow's modes without colour


def layout_of(shape: tuple[int, ...]) -> Layout:
    """How a batch is laid out: [B, H, W], [B, H, W, C] or [B, C, H, W], C up to 4; or [B, D]."""
    if len(shape) not in (2, 3, 4):
        raise InputError(
            "Images must have shape [B, H, W], [B, H, W, C] or [B, C, H, W], and vectors [B, D]; "
            f"got {list(shape)}."
        )
    if 0 in shape:
        raise InputError(f"The batch is empty: its shape is {list(shape)}. Leave it out.")
    if len(shape) < 4:
        return "hw" if len(shape) == 3 else "vector"
    first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
    if first == last:
        raise InputError(
            f"In shape {list(shape)} neither or both ends could be channels. Images have 1 to "
            f"{MOST_CHANNELS} channels, first or last, and more than {MOST_CHANNELS} pixels a side."
        )
    return "chw" if first else "hwc"


def refuse_deep(image: Image.Image, name: str) -> None:
    """An `InputError` for an image with more than 8 bits, which Pillow would cut off at white."""
    if image.mode[0] in "IF":
        raise InputError(
            f"{name} has more than 8 bits a pixel (mode {image.mode}). Save it with 8."
        )


def to_batch(images: Any) -> Tensor:
    """Check images and bring them to float32 [B, C, H, W] in [0, 1], on the CPU.

    Integers must lie in [0, 255], floats in [0, 1]; NaN and infinity are refused.
    """
    array = _array(images)
    if array.dtype.kind not in "buif":
        raise InputError(
            f"Images must be numbers, not {array.dtype}. Give arrays or tensors of one shape."
        )
    layout = layout_of(array.shape)
    scaled = _scaled(array, "vectors" if layout == "vector" else "images")
    if layout == "vector":
        scaled = scaled[:, :, None, None]
    elif layout == "hw":
        scaled = scaled[:, None]
    elif layout == "hwc":
        scaled = np.moveaxis(scaled, -1, 1)
    return torch.from_numpy(np.array(scaled, dtype=np.float32, order="C"))


def in_parts(images: Any, count: int) -> Iterator[Tensor]:
    """`to_batch` of `count` images at a time: a memory map may be larger than memory."""
    rows = images if hasattr(images, "dtype") and len(images.shape) > 1 else _array(images)
    if 0 in rows.shape[:1] or not rows.shape:
        yield to_batch(rows)  # which says what is wrong
        return
    for start in range(0, rows.shape[0], count):
        yield to_batch(rows[start : start + count])


def _array(images: Any) -> np.ndarray[Any, Any]:
    if isinstance(images, Tensor):
        tensor = images.detach().cpu()
        return tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    try:
        return np.asarray(images)
    except ValueError as error:
        raise InputError(f"These images are no array of one shape: {error}.") from None


def from_batch(images: Tensor, layout: Layout) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images [B, C, H, W] as an array in the layout that the user gave."""
    array = images.cpu().numpy()
    if layout == "vector":
        return array[:, :, 0, 0]
    if layout == "hw":
        return array[:, 0]
    return np.moveaxis(array, 1, -1) if layout == "hwc" else array


def _scaled(array: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    floating = array.dtype.kind == "f"
    if what == "vectors" and array.dtype.kind in "ui":
        raise InputError(
            "Vectors must be floats in [0, 1], so that nobody need guess what an integer is a "
            "share of. Divide them by what is their largest."
        )
    low, high = array.min(), array.max()
    if floating and not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"{bad} values are NaN or infinite. Mend or leave out these {what}.")
    limit = 1 if floating else 255
    if low < 0 or high > limit:
        kind = "Floating-point" if floating else "Integer"
        advice = "Divide by 255, or give uint8." if floating else "Scale them, or give uint8."
        if what == "vectors":
            advice = "Scale every feature, with scikit-learn's MinMaxScaler(clip=True) for example."
        raise InputError(
            f"{kind} {what} must lie in [0, {limit}]; these lie in [{low}, {high}]. {advice}"
        )
    return array if floating or array.dtype.kind == "b" else array / np.float32(255)
