"""Figures that are grids of images: of the stream, reconstructed, traversed, generated."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from vase.report import style
from vase.report.decode import Floats, Traversal


def gap_pixels(images: Floats) -> int:
    """Pixels of white between two images [..., H, W], so that it looks alike at every size."""
    return max(1, int(images.shape[-1]) // 20)


def mosaic(images: Floats, gap: int | None = None) -> Floats:
    """Lay images [R, K, C, H, W] out as one picture [h, w, 3] on white, R rows of K."""
    images = vectors_as_stripes(images)
    rows, columns, channels, height, width = images.shape
    gap = gap_pixels(images) if gap is None else gap
    picture = np.ones(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), dtype=np.float32
    )
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + gap), column * (width + gap)
        pixels = np.moveaxis(images[row, column], 0, -1)
        picture[top : top + height, left : left + width] = np.broadcast_to(
            pixels[..., :3] if channels > 2 else pixels[..., :1], (height, width, 3)
        )
    return np.clip(picture, 0, 1)


def png_of(images: Floats) -> bytes:
    """Images [K, C, H, W], or vectors, beside one another as a PNG."""
    pixels = (255 * mosaic(images[None], gap=0)).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def vectors_as_stripes(images: Floats) -> Floats:
    """Images [..., C, H, W] as they are; vectors [..., D, 1, 1] as D grey stripes side by side."""
    if images.shape[-2:] != (1, 1):
        return images
    length = images.shape[-3]
    stripes = np.swapaxes(images, -1, -3)  # [..., 1, 1, D]
    return np.repeat(stripes, -(-length // 4), axis=-2)


def interleave_rows(originals: Floats, copies: Floats, columns: int) -> Floats:
    """Rows of originals [B, C, H, W], each with the row of their copies below it."""
    rows = len(originals) // columns
    shape = (rows, columns, *originals.shape[1:])
    pairs = np.stack(
        [originals[: rows * columns].reshape(shape), copies[: rows * columns].reshape(shape)],
        axis=1,
    )
    return pairs.reshape(2 * rows, *shape[1:])


def in_rows(images: Floats, columns: int) -> Floats:
    """Images [B, C, H, W] in rows of `columns`; what does not fill a row is left out."""
    rows = len(images) // columns
    return images[: rows * columns].reshape(rows, columns, *images.shape[1:])


@style.styled
def plot_image_grid(images: Floats, title: str, colour: str, *, pair: bool = False) -> Figure:
    """A narrow figure of images [R, K, C, H, W] under a title in the domain's colour.

    pair: every second row belongs to the one above it, and pairs stand apart.
    """
    picture = _spaced(images) if pair else mosaic(images)
    margin, head = 0.06, 0.36
    across = style.HALF - 2 * margin
    down = across * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(style.HALF, head + down + margin))
    _headline(figure, style.truncate(title, 4.5, 13.5), colour, 13)
    show_pixels(style.empty_axes(figure, (margin, head, across, down)), picture)
    return figure


def _spaced(images: Floats) -> Floats:
    """Mosaics of two rows each, one over the other with a wider gap."""
    parts = [mosaic(images[row : row + 2]) for row in range(0, len(images), 2)]
    space = np.ones((4 * gap_pixels(images), parts[0].shape[1], 3), dtype=np.float32)
    stacked = [part for pair in parts for part in (pair, space)][:-1]
    return np.concatenate(stacked)


def _headline(figure: Figure, title: str, colour: str, size: float) -> None:
    """A dot in the domain's colour and the title, at the top left."""
    left, top = 0.06, 0.19
    width, height = figure.get_size_inches()
    figure.text(
        left / width,
        1 - top / height,
        "\u25cf",
        color=colour,
        fontsize=size + 1,
        va="center_baseline",
    )
    figure.text(
        (left + size / 64) / width,
        1 - top / height,
        title,
        fontsize=size,
        weight="bold",
        va="center_baseline",
    )


def show_pixels(axes: Axes, picture: Floats) -> None:
    """Fill axes with a picture [h, w, 3] whose pixels stay sharp."""
    axes.imshow(picture, interpolation="nearest", aspect="auto", vmin=0, vmax=1)


@style.styled
def plot_traversal(
    seen: Traversal, labels: Sequence[tuple[str, str]], title: str, colour: str
) -> Figure:
    """One row per latent, one column per value; a frame where the image itself lies.

    labels: what to print beside each row, a heading and a second line.
    """
    left, head, margin = 1.2, 0.8, 0.06
    seen = replace(
        seen,
        images=vectors_as_stripes(seen.images),
        original=vectors_as_stripes(seen.original),
        reconstruction=vectors_as_stripes(seen.reconstruction),
    )
    rows, columns, _, tall, broad = seen.images.shape
    gap = gap_pixels(seen.images)
    picture = mosaic(seen.images) if rows else np.ones((1, 1, 3), dtype=np.float32)
    scale = (style.HALF - left - margin) / ((broad + gap) * columns - gap)  # inches per pixel
    pitch = (tall + gap) * scale
    figure = Figure(figsize=(style.HALF, head + rows * pitch + margin))
    _headline(figure, style.truncate(title, 2.6, 11.5), colour, 11)
    _ends(figure, seen)
    _values(figure, seen.values, left, (broad + gap) * scale, head)
    axes = style.empty_axes(figure, (left, head, style.HALF - left - margin, rows * pitch or 0.01))
    show_pixels(axes, picture)
    for row in range(rows):
        _row_label(figure, labels[row], head + row * pitch + tall * scale / 2)
        column = int(np.abs(seen.values - seen.means[row]).argmin())
        axes.add_patch(_frame((broad + gap) * column, (tall + gap) * row, broad, tall, colour))
    return figure


def _frame(left: int, top: int, width: int, height: int, colour: str) -> Rectangle:
    """A frame around the pixels of one image."""
    corner = (left - 0.5, top - 0.5)
    return Rectangle(
        corner, width, height, fill=False, edgecolor=colour, linewidth=1.6, clip_on=False
    )


def _ends(figure: Figure, seen: Traversal) -> None:
    """The image that is varied and its reconstruction, at the top right."""
    width, height = figure.get_size_inches()
    size, top, right = 0.43, 0.07, style.HALF - 0.06
    spots = (("image", seen.original, right - 1.16), ("seen as", seen.reconstruction, right))
    for text, image, edge in spots:
        show_pixels(
            style.empty_axes(figure, (edge - size, top, size, size)), mosaic(image[None, None])
        )
        figure.text(
            (edge - size - 0.06) / width,
            1 - (top + size / 2) / height,
            text,
            ha="right",
            va="center",
            fontsize=8.5,
            color=style.QUIET,
        )


def _values(
    figure: Figure, values: NDArray[np.float64], left: float, pitch: float, head: float
) -> None:
    width, height = figure.get_size_inches()
    for column, value in enumerate(values):
        figure.text(
            (left + (column + 0.47) * pitch) / width,
            1 - (head - 0.12) / height,
            f"{value:+g}".replace("-", "\u2212") if value else "0",
            ha="center",
            va="center",
            color=style.QUIET,
            fontsize=7.5,
        )


def _row_label(figure: Figure, label: tuple[str, str], middle: float) -> None:
    width, height = figure.get_size_inches()
    for text, shift, size, colour in (
        (style.truncate(label[0], 1.12, 8.5), -0.07, 8.5, style.INK),
        (label[1], 0.085, 7.5, style.QUIET),
    ):
        figure.text(
            0.08 / width,
            1 - (middle + shift) / height,
            text,
            va="center",
            fontsize=size,
            color=colour,
        )
