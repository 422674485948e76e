"""Whatever a user has, as batches that a learner takes: arrays, files, datasets, iterables.

Labels are never needed: where items bring some, they are left aside. What an image is made of says
`vase.images.pixels`, what a shape means `vase.images.layout`, whichever door it comes in by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from vase.domains import own
from vase.errors import InputError
from vase.images import files
from vase.images.layout import MOST_CHANNELS, Expected, Layout, Origin, layout_of, reading
from vase.images.pixels import Pixels, filling, pixels
from vase.images.values import as_array, checked

# What the image of a labelled item is called, in the order in which it is looked for.
NAMES = ("image", "images", "pixel_values", "img", "x")
PART = 512  # images that are read at a time
SIZE = 64  # pixels a side to which files are brought, where nobody says


@dataclass(frozen=True)
class Batch:
    """Images of a stream, float32 [B, C, H, W] in [0, 1].

    layout: in which each was given. above_one: whether they came as integers, one of them above 1.
    """

    images: Tensor
    layout: Layout
    above_one: bool


def whole(source: Any, expected: Expected) -> Batch:
    """All images of a source as one batch; an `InputError` where there are none, or of others."""
    found = list(alike(source, PART, expected))
    images = found[0].images if len(found) == 1 else torch.cat([each.images for each in found])
    return Batch(images, found[0].layout, any(each.above_one for each in found))


def alike(source: Any, batch_size: int, expected: Expected) -> Iterator[Batch]:
    """`batches` that are all of the shape that is expected, or else of that of the first."""
    shape: tuple[int, ...] | None = expected.image
    seen = False
    for batch in batches(source, batch_size, expected):
        seen, found = True, tuple(batch.images.shape[1:])
        shape = shape or found
        if found != shape:
            raise InputError(
                f"This model learns {_named(shape)}; this batch has {_named(found)}. Resize it, or "
                "start a new model."
            )
        yield batch
    if not seen:
        raise InputError("There are no images: the source is empty.")


def batches(source: Any, batch_size: int, expected: Expected) -> Iterator[Batch]:
    """Batches of images, in order.

    source: an array, memory map, tensor or table [N, ...], of which slices of `batch_size` are
    taken; a path to an image, an .npy or .npz file, a video, a folder of images, or a folder of
    folders or videos, one after another; a Pillow image; a dataset with an item per index, or an
    iterable of images, paths or Pillow images, which are gathered into batches; a DataLoader or an
    iterable of batches, which come as they are. Items may be images, (image, label, ...) or
    {"image": ...}.

    An item of an iterable that has two dimensions is one grey image, one with three of which one
    end is 1 to 4 long is one image with its channels there; an array of two dimensions, and what a
    DataLoader gives with two, is a batch of vectors. `expected.layout` overrides this.
    """
    dark = expected.dark
    for array, layout in _arrays(source, batch_size, expected):
        images, above_one = checked(array, layout, accept_dark=dark)
        dark = dark or above_one
        yield Batch(images, layout, above_one)


Found = Iterator[tuple[Any, Layout]]  # arrays [B, ...], and the layout of one image


def _arrays(source: Any, size: int, expected: Expected) -> Found:
    if isinstance(source, Mapping) and any(name in source for name in NAMES):
        source = unlabelled(source)
    if isinstance(source, str | Path):
        yield from _of_files(Path(source), size, expected)
    elif isinstance(source, Image.Image):
        yield from _gathered(iter([source]), size, expected)
    elif isinstance(source, DataLoader):
        if source.batch_sampler is None:  # items as they are, but for tuples, which become lists
            items = (tuple(item) if isinstance(item, list) else item for item in source)
            yield from _of_items(items, size, expected)
            return
        for item in source:
            yield from _of_collated(item, size, expected)
    elif _array_like(source):
        yield from _of_array(source, size, expected, "argument")
    elif _indexed(source):
        yield from _gathered((source[k] for k in range(len(source))), size, expected)
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise InputError(
            f"A {type(source).__name__} is no source of images. Give an array, a path, a dataset "
            "(one split of it), a loader, or an iterable."
        )
    else:
        yield from _of_items(iter(source), size, expected)


def _array_like(source: Any) -> bool:
    """Whether it is one array: a tensor, a memory map, a table; not a dataset that has a shape."""
    return hasattr(source, "__array__") or (hasattr(source, "shape") and hasattr(source, "dtype"))


def _of_array(source: Any, size: int, expected: Expected, origin: Origin) -> Found:
    array = source if hasattr(source, "dtype") and hasattr(source, "shape") else as_array(source)
    layout, one = reading(tuple(array.shape), origin, expected)
    rows = array[None] if one else array
    yield from ((rows[k : k + size], layout) for k in range(0, rows.shape[0], size))


def _of_collated(item: Any, size: int, expected: Expected) -> Found:
    """What a DataLoader has put together: arrays with their labels, or a list of items as it is."""
    if isinstance(item, list) and item and _uncollated(item):
        yield from _of_items(iter(item), max(size, len(item)), expected)
        return
    images = unlabelled(tuple(item) if isinstance(item, list) else item)
    yield from _of_array(images, len(images), expected, "batch")


def _uncollated(items: Sequence[Any]) -> bool:
    """Whether a list is one of items: pictures, pairs, or arrays that are an image each."""
    if all(_drawn(item) or isinstance(item, Mapping | tuple | list) for item in items):
        return True
    first, *others = map(np.shape, items)
    image = len(first) == 3 and min(first[0], first[2]) <= MOST_CHANNELS
    return image and {*others} == {first}


def _of_items(items: Iterator[Any], size: int, expected: Expected) -> Found:
    """An iterable, of which the first item says whether it is of images or of batches of them."""
    for first in items:
        everything, images = chain([first], items), unlabelled(first)
        if images is None or _drawn(images) or _has_scalar_label(first):
            yield from _gathered(everything, size, expected)
            return
        layout, one = reading(np.shape(as_array(images)), "item", expected)
        if one:
            yield from _gathered(everything, size, replace(expected, layout=layout))
            return
        for item in everything:
            batch = unlabelled(item)
            yield from _of_array(batch, len(batch), expected, "batch")


def _of_files(path: Path, size: int, expected: Expected) -> Found:
    parts = own.parts(path)
    height = width = expected.size or SIZE
    channels: Literal[1, 3] = 3
    if own.scaled(path):  # an array stays as it is
        if expected.image is None:
            channels = files.channels(parts.values())
        else:
            height, width, channels = files.frame_of(expected.image)
    for part in parts.values():
        images = own.load(part, (height, width), channels, as_grey=expected.image is not None)
        layout: Layout = "HWC" if own.scaled(part) else layout_of(images.shape)
        yield from ((images[k : k + size], layout) for k in range(0, len(images), size))


# ---- single images -------------------------------------------------------------------------------


def _indexed(source: Any) -> bool:
    """Whether it is a dataset of single images; lists and tuples hold what an iterable does."""
    return (
        not isinstance(source, IterableDataset | Mapping)
        and hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and not isinstance(source, list | tuple)
    )


def _gathered(items: Iterator[Any], size: int, expected: Expected) -> Found:
    """Single images in batches."""
    start, colour = 0, expected.image is not None and expected.image[0] == 3
    images = _each(items, expected)
    while given := list(islice(images, size)):
        colour = colour or any(each.ndim == 3 and each.shape[2] == 3 for each, _ in given)
        found = [_coloured(each) if colour else each for each, _ in given]
        shapes = {image.shape for image in found}
        if len(shapes) > 1:
            raise InputError(
                f"Images {start} to {start + len(found) - 1} are of different shapes: "
                f"{', '.join(map(str, sorted(shapes)))}. Bring them to one; files and Pillow "
                "images are brought to one by fit(..., size=64)."
            )
        drawn = given[0][1]  # the layout of a picture is known, whatever that of arrays is
        known = replace(expected, layout=None) if drawn or colour else expected
        yield np.stack(found), reading(found[0].shape, "image", known)[0]
        start += len(found)


def _each(items: Iterator[Any], expected: Expected) -> Iterator[tuple[NDArray[Any], bool]]:
    """Images as arrays of their own, and whether they were pictures.

    Copies, as a source may use one buffer for all that it gives.
    """
    for number, item in enumerate(items):
        image = unlabelled(item)
        if image is None:
            raise InputError(f"Image {number} is None. Leave it out.")
        if isinstance(image, str | Path):
            path = Path(image)
            for page in files.pages_of(path):
                yield _sized(page, expected), True
        elif isinstance(image, Image.Image):
            yield _sized(pixels(image, f"Image {number}"), expected), True
        else:
            yield np.array(as_array(image)), False


def _drawn(image: Any) -> bool:
    """Whether it is a picture: a Pillow image, or a path to one."""
    return isinstance(image, Image.Image | str | Path)


def _sized(found: Pixels, expected: Expected) -> Pixels:
    """A picture in the size that is expected, if one is, and grey where the model's images are."""
    height, width = found.shape[:2]
    grey = found.ndim == 2
    if expected.image is not None:
        channels, height, width = expected.image
        grey = grey or channels == 1
    elif expected.size is not None:
        height = width = expected.size
    if found.shape[:2] == (height, width) and grey == (found.ndim == 2):
        return found
    made = filling(found, (height, width, 1 if grey else 3))
    return made[:, :, 0] if grey else made


def _coloured(image: NDArray[Any]) -> NDArray[Any]:
    """A grey image among coloured ones, in colour."""
    grey = image[:, :, None] if image.ndim == 2 else image
    return np.repeat(grey, 3, axis=2) if grey.ndim == 3 and grey.shape[2] == 1 else image


# ---- labels --------------------------------------------------------------------------------------


def unlabelled(item: Any) -> Any:
    """The images of an item that may have labels beside them."""
    if isinstance(item, Mapping):
        found = next((item[name] for name in NAMES if name in item), None)
        if found is None and not any(name in item for name in NAMES):
            raise InputError(
                f"No image among {', '.join(map(repr, item))}. It is looked for under "
                f"{', '.join(map(repr, NAMES))}: rename it, or give the images alone."
            )
        return found
    if isinstance(item, tuple) and item and not _number(item[0]):
        return item[0]
    if isinstance(item, list) and _collated(item):
        return item[0]
    return item


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _has_scalar_label(item: Any) -> bool:
    """Whether an item has a label that is one number or word, so that it is one image."""
    images = unlabelled(item)
    labels = list(item.values()) if isinstance(item, Mapping) else item
    if not isinstance(labels, list | tuple) or images is item:
        return False
    return any(_ndim(label) == 0 for label in labels if label is not images)


def _collated(batch: Sequence[Any]) -> bool:
    """Whether a list is [images], [images, labels] or [image, label], and not one of images."""
    if len(batch) == 2 and _ndim(batch[0]) > _ndim(batch[1]) == 0:
        return True
    first = _ndim(batch[0]) if batch and not _drawn(batch[0]) else 0
    alike = len({np.shape(part) for part in batch[:2] if not _drawn(part)}) == 1
    return first >= 4 or (first == 3 and (len(batch) == 1 or not alike))


def _ndim(value: Any) -> int:
    """Dimensions; a picture has two, and a word none."""
    if isinstance(value, Image.Image):
        return 2
    return 0 if isinstance(value, str | Path) else int(np.ndim(value))


def _named(shape: tuple[int, ...]) -> str:
    """What has this shape, in words."""
    if shape[1:] == (1, 1):
        return f"vectors of {shape[0]} numbers"
    return f"images of (channels, height, width) = {shape}"
