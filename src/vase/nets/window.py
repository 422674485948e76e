"""Windows: a piece of an image, cut out or put in at a place that is computed, not indexed.

A window of h rows around the centre c (0 is the middle of the image, -1 and 1 its first and last
row) reads row j of H with the weight of bilinear interpolation

    W_ij = max(0, 1 - |r + i - j|),   r = (1 + c) (H - 1) / 2 - (h - 1) / 2.

With such matrices for rows and columns, cutting is x -> W_y x W_x^T and putting in is its adjoint
w -> W_y^T w W_x. Both have gradients in the centre, so that a network can learn where to look
(Jaderberg et al. 2015, arXiv 1506.02025; Gregor et al. 2015, arXiv 1502.04623). Outside of the
image there is nothing: zeros are read, and what is put there is lost.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cut(images: Tensor, centre: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows [B, C, h, w] of images [B, C, H, W] around centres (y, x), [B, 2]."""
    rows, columns = _both(centre, size, (images.shape[2], images.shape[3]))
    return rows @ images @ columns.transpose(2, 3)


def put(windows: Tensor, centre: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [B, C, H, W] of `size` that are black but for windows [B, C, h, w] around centres."""
    rows, columns = _both(centre, (windows.shape[2], windows.shape[3]), size)
    return rows.transpose(2, 3) @ windows @ columns


def _both(centre: Tensor, window: tuple[int, int], whole: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """W_y [B, 1, h, H] and W_x [B, 1, w, W]."""
    rows, columns = (
        weights(centre[:, axis], window[axis], whole[axis])[:, None] for axis in (0, 1)
    )
    return rows, columns


def weights(centre: Tensor, window: int, whole: int) -> Tensor:
    """W_ij = max(0, 1 - |r + i - j|) for centres [B], [B, window, whole]."""
    first = (1 + centre) * (whole - 1) / 2 - (window - 1) / 2
    i = torch.arange(window, device=centre.device, dtype=centre.dtype)
    j = torch.arange(whole, device=centre.device, dtype=centre.dtype)
    return (1 - (first[:, None, None] + i[:, None] - j).abs()).clamp(min=0)
