"""One look for every figure: sizes, type, colours, and how a figure becomes a small PNG.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart. A domain has
one colour in all figures and on the page.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from vase.domains.stream import Segment

P = ParamSpec("P")
T = TypeVar("T")

PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C6D31",
    "#5F6670",
    "#C9B900",
)
INK, QUIET, FAINT, GROUND = "#1f2328", "#656d76", "#d8dce1", "#f3f4f6"
FULL, HALF = 10.0, 5.0  # widths of figures, in inches
PNG_WIDTH = 1500  # width of every PNG
MAX_PNG_BYTES = 240_000  # bytes of a PNG

# Any, since versions of matplotlib differ in how the keys are typed.
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa1a9",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.formatter.useoffset": False,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.5,
    "hatch.color": "#b3b9c0",
    "text.parse_math": False,  # a dollar sign in a domain's name is a dollar sign
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify": True,
}


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function that draws under the report's rcParams, whatever the caller has set."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with rc_context(RC):
            return function(*args, **kwargs)

    return inner


def domain_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each domain, in the order of first appearance."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(dict.fromkeys(names))}


def lighten(colour: str, strength: float) -> tuple[float, float, float]:
    """The colour on white paper: 1 is the colour itself, 0 is white."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def truncate(text: str, inches: float, size: float) -> str:
    """The text, cut with an ellipsis if at `size` points it would be wider than `inches`."""
    letters = max(1, int(inches * 72 / (0.62 * size)))  # of DejaVu Sans, on average
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


@styled
def png(figure: Figure) -> bytes:
    """The figure as a PNG of `PIXELS` width; with a palette, then smaller, if it is too large."""
    content = b""
    for share in (1.0, 0.8, 0.65, 0.5):
        content = _render_png(figure, share * PNG_WIDTH / figure.get_figwidth())
        if len(content) > MAX_PNG_BYTES:
            content = _with_palette(content)
        if len(content) <= MAX_PNG_BYTES:
            break
    return content


def _render_png(figure: Figure, dots_per_inch: float) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dots_per_inch, metadata={"Software": "vase"})
    return file.getvalue()


def _with_palette(content: bytes) -> bytes:
    file = io.BytesIO()
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def empty_axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes without frame or ticks at (left, top, width, height), in inches from the top left."""
    axes = inch_axes(figure, box)
    axes.set_axis_off()
    return axes


def inch_axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at (left, top, width, height), in inches from the top left corner."""
    width, height = figure.get_size_inches()
    left, top, across, down = box
    return figure.add_axes((left / width, 1 - (top + down) / height, across / width, down / height))


def time_axis(axes: Axes, segments: Sequence[Segment], end: int, *, labelled: bool) -> None:
    """The step as x axis, with a hairline at every true switch."""
    axes.set_xlim(0, end)
    for segment in segments[1:]:
        if segment.start < end:
            axes.axvline(
                segment.start, color="#8b929a", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0
            )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if not labelled:
        axes.tick_params(labelbottom=False)


def name_domains(
    axes: Axes, segments: Sequence[Segment], end: int, colours: Mapping[str, str]
) -> None:
    """A thin band in each domain's colour along the top of the axes."""
    for segment in segments:
        if segment.start < end:
            axes.axvspan(
                segment.start,
                min(segment.end, end),
                ymin=0.975,
                ymax=1,
                color=colours[segment.domain],
                linewidth=0,
            )
