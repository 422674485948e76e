"""What a shape means: one image or a batch, and where its channels are.

A shape says which where it can: images have 1 to 4 channels, first or last, and more pixels a side
than that. What can be read in two ways is refused, in a sentence that says how to be explicit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vase.errors import InputError

Layout = Literal["D", "HW", "HWC", "CHW"]
MOST_CHANNELS = 4

# Where something comes from: an argument that should be a batch; an item of an iterable, which may
# be an image or a batch of them; an item that is surely an image; or one that is surely a batch.
Origin = Literal["argument", "item", "image", "batch"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """What is known of images before they are seen.

    layout: of one image, as the user has said. image: channels, height and width of those that are
    learnt already. size: pixels a side to which images from files are brought, where neither says.
    dark: whether integers up to 255 have been seen, so that such as are all 0 or 1 are dark images.
    """

    layout: str | None = None
    image: tuple[int, int, int] | None = None
    size: int | None = None
    dark: bool = False

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in get_args(Layout):
            raise InputError(
                f"There is no layout {self.layout!r}. It says what the sides of one image are: "
                "'HW', 'HWC', 'CHW', or 'D' for vectors."
            )


def reading(shape: Shape, origin: Origin, expected: Expected) -> tuple[Layout, bool]:
    """The layout of one image, and whether this is one and not a batch.

    An `InputError` where a shape can be no image, or could be one as well as several.
    """
    if 0 in shape:
        raise InputError(f"The batch is empty: its shape is {list(shape)}. Leave it out.")
    for layout in get_args(Layout):
        if layout == expected.layout:
            return layout, _one_by_layout(shape, layout)
    if expected.image is not None and (origin == "item" or (origin == "argument" and shape[1:])):
        for layout in get_args(Layout):
            sides = laid_out(expected.image, layout)
            if sides in (shape, shape[1:]):
                return layout, sides == shape
    one = origin == "image" or (origin != "batch" and _one_by_shape(shape, origin, expected))
    return layout_of((1, *shape) if one else shape), one


def layout_of(shape: Shape) -> Layout:
    """How a batch is laid out: [B, D], [B, H, W], [B, H, W, C] or [B, C, H, W], C up to 4."""
    if len(shape) not in (2, 3, 4):
        raise InputError(
            "Images must have shape [B, H, W], [B, H, W, C] or [B, C, H, W], and vectors [B, D]; "
            f"got {list(shape)}."
        )
    if 0 in shape:
        raise InputError(f"The batch is empty: its shape is {list(shape)}. Leave it out.")
    if len(shape) < 4:
        return "HW" if len(shape) == 3 else "D"
    first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
    if first == last:
        raise InputError(
            f"In shape {list(shape)} neither or both ends could be channels. Images have 1 to "
            f"{MOST_CHANNELS} channels, first or last, and more than {MOST_CHANNELS} pixels a "
            "side. Where both ends are that short, say which it is: VASE(layout='CHW') or 'HWC'."
        )
    return "CHW" if first else "HWC"


def laid_out(image: tuple[int, int, int], layout: Layout) -> Shape | None:
    """The shape of an image of (channels, height, width) in a layout; None if it has no such."""
    channels, height, width = image
    vector = height == width == 1
    if layout == "D":
        return (channels,) if vector else None
    if vector or (layout == "HW" and channels > 1):
        return None
    return {"HW": (height, width), "HWC": (height, width, channels), "CHW": image}[layout]


def _one_by_layout(shape: Shape, layout: Layout) -> bool:
    if len(shape) not in (len(layout), len(layout) + 1):
        raise InputError(
            f"With layout {layout!r} an image has {len(layout)} sides and a batch has "
            f"{len(layout) + 1}; got shape {list(shape)}."
        )
    return len(shape) == len(layout)


def _one_by_shape(shape: Shape, origin: Origin, expected: Expected) -> bool:
    """Whether a shape is that of one image, where nothing else says so."""
    if len(shape) < 3:  # an array of two dimensions is a table of vectors; an item is an image
        return origin == "item" and len(shape) > 0
    if len(shape) > 3:
        return False
    first, last = shape[0] <= MOST_CHANNELS, shape[2] <= MOST_CHANNELS
    two_ways = (first and last) or (1 < shape[0] <= MOST_CHANNELS and origin == "argument")
    if two_ways and expected.image is not None:  # the size is wrong; what it is of is known
        return expected.image[0] > 1
    if two_ways:
        raise InputError(_two_ways(shape, last=last))
    return last or (first and origin == "item")


def _two_ways(shape: Shape, *, last: bool) -> str:
    other = f"one of {shape[2]}, last" if last else f"a batch of {shape[0]} grey images"
    return (
        f"Shape {list(shape)} may be an image of {shape[0]} channels, first, or {other}. Say what "
        f"the sides of an image are: VASE(layout='CHW') or VASE(layout='{'HWC' if last else 'HW'}')"
        f"; or give four dimensions: [1, {', '.join(map(str, shape))}] is a batch of one."
    )
