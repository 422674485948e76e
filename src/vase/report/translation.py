"""Images of one domain, and below them what they would be in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from vase.report import style
from vase.report.decode import Floats
from vase.report.images import gap_pixels, mosaic, show_pixels, vectors_as_stripes


@dataclass(frozen=True, eq=False)
class ImageRow:
    """Images [K, C, H, W] with what stands beside them: a heading, a second line, a colour."""

    images: Floats
    heading: str
    note: str
    colour: str


@style.styled
def plot_image_rows(rows: Sequence[ImageRow]) -> Figure:
    """One row of images over the other, all of one number, each with its words at the left."""
    left, margin = 1.75, 0.06
    images = vectors_as_stripes(np.stack([row.images for row in rows]))
    picture = mosaic(images)
    across = style.FULL - left - margin
    scale = across / picture.shape[1]  # inches per pixel
    pitch = (images.shape[3] + gap_pixels(images)) * scale
    height = picture.shape[0] * scale + 2 * margin
    figure = Figure(figsize=(style.FULL, height))
    show_pixels(style.empty_axes(figure, (left, margin, across, picture.shape[0] * scale)), picture)
    for k, row in enumerate(rows):
        middle = 1 - (margin + (k + 0.5) * pitch) / height
        shift = 0.09 / height
        figure.text(
            0.1 / style.FULL, middle + shift, "\u25cf", color=row.colour, va="center", fontsize=11
        )
        heading = style.truncate(row.heading, left - 0.32, 9.5)
        figure.text(0.28 / style.FULL, middle + shift, heading, va="center", weight="bold")
        note = style.truncate(row.note, left - 0.32, 8)
        figure.text(
            0.28 / style.FULL, middle - shift, note, va="center", fontsize=8, color=style.QUIET
        )
    return figure
