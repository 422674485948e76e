"""The window networks without the hints in their first weights, for `model.encoder` and `.decoder`.

    PYTHONPATH=benchmarks vase sweep small+sda model.encoder=window,first_weights:DrawnEncoder

`DrawnEncoder` does not begin by looking at what is not empty: where it looks is drawn, like every
other weight. `DrawnDecoder` does not begin by moving its window with the first two latents.
`DrawnScaledEncoder` and `DrawnScaledDecoder` are the same for scaled windows: how much the spread
of what is seen zooms is drawn, and how far each of three latents moves or zooms the window.
"""

from __future__ import annotations

from torch import nn

from vase.nets import Architecture
from vase.nets.windowed import (
    ScaledWindowDecoder,
    ScaledWindowEncoder,
    WindowDecoder,
    WindowEncoder,
)

REACH = 0.3  # half sides, and a log of the scale


class DrawnEncoder(WindowEncoder):
    """The window encoder; what attracts it is drawn."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.interest.reset_parameters()


class DrawnDecoder(WindowDecoder):
    """The window decoder; what moves its window is drawn."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.centre.reset_parameters()


class DrawnScaledEncoder(ScaledWindowEncoder):
    """The encoder with a scaled window; what attracts it, and its zoom, are drawn."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.interest.reset_parameters()
        self.scale.reset_parameters()


class DrawnScaledDecoder(ScaledWindowDecoder):
    """The decoder with a scaled window; how far latents move and scale it is drawn."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        nn.init.uniform_(self.reach, -REACH, REACH)
