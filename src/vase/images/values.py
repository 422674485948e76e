"""From arrays of any kind to what a learner takes: float32 [B, C, H, W] in [0, 1].

A vector of D numbers is an image of one pixel with D channels.

Everything that cannot be an image is refused here, in a sentence, before it reaches the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.errors import InputError
from vase.images.layout import Layout, layout_of

ROUNDING = 1e-6  # beyond [0, 1]: what scaling and interpolation leave over


def to_batch(images: Any, layout: Layout | None = None) -> Tensor:
    """Check a batch and bring it to float32 [B, C, H, W] in [0, 1], on the CPU.

    Integers must lie in [0, 255], floats in [0, 1] but for rounding; NaN and infinity are refused,
    and integers that are all 0 or 1. layout: of one image; by default as `layout_of` finds it.
    """
    return checked(images, layout)[0]


def checked(
    images: Any, layout: Layout | None = None, *, accept_dark: bool = False
) -> tuple[Tensor, bool]:
    """`to_batch`, and whether these were integers of which one is above 1.

    accept_dark: take integers that are all 0 or 1 for the nearly black images that they then are.
    """
    array = as_array(images)
    if array.dtype.kind not in "buif":
        raise InputError(
            f"Images must be numbers, not {array.dtype}. Give arrays or tensors of one shape."
        )
    layout = layout or layout_of(array.shape)
    scaled, above_one = _scaled(array, "vectors" if layout == "D" else "images", accept_dark)
    if layout == "D":
        scaled = scaled[:, :, None, None]
    elif layout == "HW":
        scaled = scaled[:, None]
    elif layout == "HWC":
        scaled = np.moveaxis(scaled, -1, 1)
    return torch.from_numpy(np.array(scaled, dtype=np.float32, order="C")), above_one


def from_batch(images: Tensor, layout: Layout) -> NDArray[np.float32]:
    """Images [B, C, H, W] as an array in the layout that the user gave."""
    array = images.cpu().numpy()
    if layout == "D":
        return array[:, :, 0, 0]
    if layout == "HW":
        return array[:, 0]
    return np.moveaxis(array, 1, -1) if layout == "HWC" else array


def as_array(images: Any) -> NDArray[Any]:
    """Numbers as an array: of tensors, tables with missing values, nested lists."""
    if isinstance(images, Tensor):
        tensor = images.detach().cpu()
        return tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise InputError(f"These images are no array of one shape: {error}.") from None
    if array.dtype.kind == "O" and hasattr(images, "to_numpy"):  # a table whose columns have gaps
        try:
            return np.asarray(images.to_numpy(dtype=np.float64, na_value=np.nan))
        except (TypeError, ValueError):
            return array
    return array


def _scaled(array: NDArray[Any], what: str, accept_dark: bool) -> tuple[NDArray[Any], bool]:
    """Values in [0, 1], and whether they were integers with one above 1."""
    kind = array.dtype.kind
    if what == "vectors" and kind in "ui":
        raise InputError(
            "Vectors must be floats in [0, 1], so that nobody need guess what an integer is a "
            "share of. Divide them by what is their largest; or, if these are images, say so: "
            "VASE(layout='HW')."
        )
    if kind == "b":
        return array, False
    low, high = array.min(), array.max()
    if kind == "f" and not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"{bad} values are NaN or infinite. Mend or leave out these {what}.")
    limit, beyond = (1, ROUNDING) if kind == "f" else (255, 0)
    if low < -beyond or high > limit + beyond:
        raise InputError(_out_of_range(what, kind, limit, low, high))
    if kind == "f":
        return (np.clip(array, 0, 1) if low < 0 or high > 1 else array), False
    if high == 1 and not accept_dark:
        raise InputError(
            "These integers are all 0 or 1, which as shares of 255 is nearly black. Give a mask as "
            "booleans (images.astype(bool)) or floats; if it is so dark, as floats: images / 255."
        )
    return array / np.float32(255), bool(high > 1)


def _out_of_range(what: str, kind: str, limit: int, low: Any, high: Any) -> str:
    of = "Floating-point" if kind == "f" else "Integer"
    advice = "Divide by 255, or give uint8." if kind == "f" else "Scale them, or give uint8."
    if what == "vectors":
        advice = "Scale every feature, with scikit-learn's MinMaxScaler(clip=True) for example."
    return f"{of} {what} must lie in [0, {limit}]; these lie in [{low}, {high}]. {advice}"
