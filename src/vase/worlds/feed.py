"""Whatever a user has, as batches of images: arrays, files, datasets, loaders, iterators.

Labels are never needed: where items bring some, they are left aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vase.errors import InputError
from vase.worlds import own

# What the image of a labelled item is called, in the order in which it is looked for.
NAMES = ("image", "images", "pixel_values", "img", "x")


def batches(source: Any, batch_size: int, size: int) -> Iterator[Any]:
    """Batches of images, in order.

    source: an array, memory map or tensor [N, ...], of which slices of `batch_size` are taken; a
    path to an .npy or .npz file, to a folder of images, or of folders, one after another, files
    being scaled to `size` pixels a side; a dataset with an item per index, gathered into batches;
    or an iterable of batches, such as a DataLoader, which come as they are. Items may be images,
    (image, label, ...) or {"image": ...}.
    """
    if isinstance(source, str | Path):
        yield from _of_files(Path(source), batch_size, size)
    elif hasattr(source, "shape"):
        yield from (source[k : k + batch_size] for k in range(0, len(source), batch_size))
    elif _indexed(source):
        for start in range(0, len(source), batch_size):
            items = [source[k] for k in range(start, min(len(source), start + batch_size))]
            yield np.stack([_image(item) for item in items])
    else:
        yield from (_unlabelled(batch) for batch in source)


def _of_files(path: Path, batch_size: int, size: int) -> Iterator[Any]:
    parts = own.parts(path)
    channels = own.channels(parts.values())
    for part in parts.values():
        yield from batches(own.load(part, size, channels), batch_size, size)


def _indexed(source: Any) -> bool:
    """Whether it is a dataset of single images; lists and tuples hold batches."""
    return (
        hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and not isinstance(source, list | tuple)
    )


def _image(item: Any) -> Any:
    """One image of a dataset as an array."""
    image = _unlabelled(item)
    if isinstance(image, Image.Image):
        return np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
    return np.asarray(image)


def _unlabelled(item: Any) -> Any:
    """The images of an item that may have labels beside them."""
    if isinstance(item, Mapping):
        found = next((item[name] for name in NAMES if name in item), None)
        if found is None:
            raise InputError(
                f"No image among {', '.join(map(repr, item))}. It is looked for under "
                f"{', '.join(map(repr, NAMES))}: rename it, or give the images alone."
            )
        return found
    if isinstance(item, tuple) or (isinstance(item, list) and _labelled(item)):
        return item[0]
    return item


def _labelled(batch: list[Any]) -> bool:
    """Whether a list is [images, labels], as loaders make it, and not a list of images."""
    dimensions = [np.ndim(part) for part in batch[:2]]
    return len(dimensions) == 2 and dimensions[0] >= 3 and dimensions[1] <= 1
