"""Videos, made for tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def film(path: Path, frames: Iterable[Any], codec: str = "mpeg4") -> Path:
    """A video of frames [32, 48, 3], or of flat ones of a shade each."""
    import av  # not installed everywhere

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 48, 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in frames:
            pixels = np.broadcast_to(frame, (32, 48, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path
