"""What an environment looks like: what the model imagines of it, or the last kept frame."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vase.watching.engine import Watch
from vase.watching.folder import kept_frames


def of_environments(watch: Watch) -> dict[int, bytes]:
    """A picture of each environment that there is one of, as PNG."""
    kept = kept_frames(watch.folder) if watch.folder is not None else {}
    made = {index: _row(frames) for index, frames in watch.imagined.items()}
    return {**kept, **made}


def _row(frames: NDArray[np.uint8]) -> bytes:
    """Images [B, H, W, C] beside one another, as PNG."""
    row = np.concatenate(list(frames), axis=1)
    content = io.BytesIO()
    Image.fromarray(row[:, :, 0] if row.shape[2] == 1 else row).save(content, "PNG")
    return content.getvalue()
