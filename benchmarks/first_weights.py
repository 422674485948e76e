"""The window networks without the hints in their first weights, for `model.encoder` and `.decoder`.

    PYTHONPATH=benchmarks vase sweep small+sda model.encoder=window,first_weights:DrawnEncoder

`DrawnEncoder` does not begin by looking at what is not empty: where it looks is drawn, like every
other weight. `DrawnDecoder` does not begin by moving its window with the first two latents.
"""

from __future__ import annotations

from vase.nets import Architecture
from vase.nets.windowed import WindowDecoder, WindowEncoder


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
