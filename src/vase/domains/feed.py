"""Whatever a user has, as batches of images: arrays, files, datasets, loaders, iterators.

Labels are never needed: where items bring some, they are left aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from vase.domains import files, own
from vase.domains.images import GREY, MOST_CHANNELS, refuse_deep
from vase.errors import InputError

# What the image of a labelled item is called, in the order in which it is looked for.
NAMES = ("image", "images", "pixel_values", "img", "x")


def batches(source: Any, batch_size: int, size: int) -> Iterator[Any]:
    """Batches of images, in order.

    source: an array, memory map, tensor or table [N, ...], of which slices of `batch_size` are
    taken; a path to an .npy or .npz file, a video, a folder of images, or a folder of folders or
    videos, one after another, files being scaled to `size` pixels a side; a dataset with an item
    per index, or an iterable of labelled or Pillow images, which are gathered into batches; a
    DataLoader or an iterable of batches, which come as they are. Items may be images, (image,
    label, ...) or {"image": ...}.
    Single images that are arrays have their channels last. A two-dimensional item of an iterable is
    one grey image; of an array or a DataLoader it is a batch of vectors.
    """
    if hasattr(source, "__array__") and not hasattr(source, "dtype"):  # a table, for example
        source = np.asarray(source)
    if isinstance(source, str | Path):
        yield from _of_files(Path(source), batch_size, size)
    elif hasattr(source, "shape") and hasattr(source, "dtype"):
        yield from (source[k : k + batch_size] for k in range(0, len(source), batch_size))
    elif isinstance(source, DataLoader):
        yield from (unlabelled(tuple(item) if isinstance(item, list) else item) for item in source)
    elif _indexed(source):
        yield from _gathered((source[k] for k in range(len(source))), batch_size)
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise InputError(
            f"A {type(source).__name__} is no source of images. Give an array, a path, a dataset "
            "(one split of it), a loader, or an iterable."
        )
    else:
        items = iter(source)
        for first in items:
            if _single(first):
                yield from _gathered(chain([first], items), batch_size)
            else:
                yield unlabelled(first)


def _of_files(path: Path, batch_size: int, size: int) -> Iterator[Any]:
    parts = own.parts(path)
    channels = files.channels(parts.values())
    for part in parts.values():
        yield from batches(own.load(part, size, channels), batch_size, size)


def _indexed(source: Any) -> bool:
    """Whether it is a dataset of single images; lists and tuples hold what an iterable does."""
    return (
        not isinstance(source, IterableDataset | Mapping)
        and hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and not isinstance(source, list | tuple)
    )


def _gathered(items: Iterator[Any], batch_size: int) -> Iterator[Any]:
    """Single images in batches."""
    start = 0
    while found := [_image(item) for item in islice(items, batch_size)]:
        shapes = {image.shape for image in found}
        if len(shapes) > 1:
            raise InputError(
                f"Images {start} to {start + len(found) - 1} are of different shapes: "
                f"{', '.join(map(str, sorted(shapes)))}. Bring them to one."
            )
        yield np.stack(found)
        start += len(found)


def _single(item: Any) -> bool:
    """Whether an item of an iterable is one image, and not a batch: it, or its label, says so."""
    images = unlabelled(item)
    if isinstance(images, Image.Image) or np.ndim(images) in (1, 2):
        return True
    if np.ndim(images) == 3 and np.shape(images)[-1] <= MOST_CHANNELS:  # no side is as short
        return True
    labels = list(item.values()) if isinstance(item, Mapping) else item
    has_labels = isinstance(labels, list | tuple) and np.ndim(images) == 3
    return has_labels and any(np.ndim(label) == 0 for label in labels if label is not images)


def _image(item: Any) -> NDArray[Any]:
    """One image as an array."""
    image = unlabelled(item)
    if isinstance(image, Image.Image):
        refuse_deep(image, "A Pillow image")
        return np.asarray(image.convert("L" if image.mode in GREY else "RGB"))
    return np.asarray(image)


def unlabelled(item: Any) -> Any:
    """The images of an item that may have labels beside them."""
    if isinstance(item, Mapping):
        found = next((item[name] for name in NAMES if name in item), None)
        if found is None:
            raise InputError(
                f"No image among {', '.join(map(repr, item))}. It is looked for under "
                f"{', '.join(map(repr, NAMES))}: rename it, or give the images alone."
            )
        return found
    if isinstance(item, tuple) or (isinstance(item, list) and _collated(item)):
        return item[0]
    return item


def _collated(batch: list[Any]) -> bool:
    """Whether a list is [images], [images, labels] or [image, label], and not one of images."""
    if len(batch) == 2 and np.ndim(batch[0]) > np.ndim(batch[1]) == 0:
        return True
    first = np.ndim(batch[0]) if batch and not isinstance(batch[0], Image.Image) else 0
    alike = len({np.shape(part) for part in batch[:2]}) == 1
    return first >= 4 or (first == 3 and (len(batch) == 1 or not alike))
