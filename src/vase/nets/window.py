"""Windows: a piece of an image, cut out or put in at a place that is computed, not indexed.

A window has h rows around the centre c: 0 is the middle of the image, -1 and 1 are its first and
last row. The scale s is the distance between two rows of the window, in rows of the image. The
window reads row j of the H rows of the image with the weight

    W_ij = max(0, 1 - |r + s i - j| / k) / k,   r = (1 + c) (H - 1) / 2 - s (h - 1) / 2,

k = max(1, s). With s = 1 that is bilinear interpolation; where rows are further apart each is the
mean of those between. With such matrices for rows and columns, cutting is x -> W_y x W_x^T, and
putting in is s^2 times its adjoint, w -> s^2 W_y^T w W_x, so that a window of one value stays at
that value. All have gradients in the centre and in s, so that a network can learn where to look,
and how closely (Jaderberg et al. 2015, arXiv 1506.02025; Gregor et al. 2015, arXiv 1502.04623).
Outside of the image there is nothing: zeros are read, and what is put there is lost.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cut(
    images: Tensor, centre: Tensor, size: tuple[int, int], scale: Tensor | None = None
) -> Tensor:
    """Windows [B, C, h, w] of images [B, C, H, W] around centres (y, x), [B, 2].

    scale: s of each image, [B]; 1 where it is None.
    """
    rows, columns = _both(centre, size, (images.shape[2], images.shape[3]), scale)
    return rows @ images @ columns.transpose(2, 3)


def put(
    windows: Tensor, centre: Tensor, size: tuple[int, int], scale: Tensor | None = None
) -> Tensor:
    """Images [B, C, H, W] of `size` that are black but for windows [B, C, h, w] around centres."""
    rows, columns = _both(centre, (windows.shape[2], windows.shape[3]), size, scale)
    images = rows.transpose(2, 3) @ windows @ columns
    return images if scale is None else scale.square()[:, None, None, None] * images


def _both(
    centre: Tensor, window: tuple[int, int], whole: tuple[int, int], scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """W_y [B, 1, h, H] and W_x [B, 1, w, W]."""
    rows, columns = (
        weights(centre[:, axis], window[axis], whole[axis], scale)[:, None] for axis in (0, 1)
    )
    return rows, columns


def weights(centre: Tensor, window: int, whole: int, scale: Tensor | None = None) -> Tensor:
    """W_ij for centres [B] and scales [B], [B, window, whole]."""
    i = torch.arange(window, device=centre.device, dtype=centre.dtype)
    j = torch.arange(whole, device=centre.device, dtype=centre.dtype)
    middle = (1 + centre) * (whole - 1) / 2
    if scale is None:
        first = middle - (window - 1) / 2
        return (1 - (first[:, None, None] + i[:, None] - j).abs()).clamp(min=0)
    rows = middle[:, None] + scale[:, None] * (i - (window - 1) / 2)
    wide = scale.clamp(min=1)[:, None, None]
    return (1 - (rows[:, :, None] - j).abs() / wide).clamp(min=0) / wide
