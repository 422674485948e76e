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
    rows, columns = _row_and_column_weights(centre, size, (images.shape[2], images.shape[3]), scale)
    seen = rows @ images @ columns.transpose(2, 3)
    return seen if scale is None else _per_image(_inverse_k4(scale)) * seen


def put(
    windows: Tensor, centre: Tensor, size: tuple[int, int], scale: Tensor | None = None
) -> Tensor:
    """Images [B, C, H, W] of `size` that are black but for windows [B, C, h, w] around centres."""
    if scale is not None:
        windows = _per_image(scale.square() * _inverse_k4(scale)) * windows
    rows, columns = _row_and_column_weights(
        centre, (windows.shape[2], windows.shape[3]), size, scale
    )
    return rows.transpose(2, 3) @ windows @ columns


def _row_and_column_weights(
    centre: Tensor, window: tuple[int, int], whole: tuple[int, int], scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """k^2 W_y, [B, 1, h, H], and k^2 W_x, [B, 1, w, W]."""
    rows, columns = (
        _triangles(centre[:, axis, None], window[axis], whole[axis], scale)[:, None]
        for axis in (0, 1)
    )
    return rows, columns


def _triangles(centre: Tensor, window: int, whole: int, scale: Tensor | None) -> Tensor:
    """k^2 W_ij = max(0, k - |r + s i - j|) for centres [B, 1], [B, window, whole]."""
    i = torch.arange(window, device=centre.device, dtype=centre.dtype)
    j = torch.arange(whole, device=centre.device, dtype=centre.dtype)
    middle = (1 + centre) * (whole - 1) / 2
    if scale is None:
        rows = middle - (window - 1) / 2 + i
        return (1 - (rows[:, :, None] - j).abs()).clamp(min=0)
    rows = middle + scale[:, None] * (i - (window - 1) / 2)
    return (_wide(scale)[:, None, None] - (rows[:, :, None] - j).abs()).clamp(min=0)


def _wide(scale: Tensor) -> Tensor:
    """The k of each image, [B]."""
    return scale.clamp(min=1)


def _inverse_k4(scale: Tensor) -> Tensor:
    """k^-4, [B]: what makes of a product with two `_triangles` one with W_y and W_x.

    Windows have fewer values than the weights, so that they are multiplied by it.
    """
    return _wide(scale).pow(-4)


def _per_image(values: Tensor) -> Tensor:
    """[B] as [B, 1, 1, 1]."""
    return values[:, None, None, None]
