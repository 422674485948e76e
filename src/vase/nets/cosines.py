"""The lowest frequencies of an image: a cosine transform (DCT-II), as JPEG has one.

    x = 1/2 + sum_k c_k w_k,   c_k = <w_k, x - 1/2>,   w_k(y, x) = cos_u(y) cos_v(x) colour

The waves w_k are orthonormal. Those of photographs differ in how much they vary, which falls with
their frequency f = sqrt(u^2 + v^2), and is less for colour than for brightness; the waves that vary
most are kept. Of images with three channels colour is red against blue, and green against both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GRID = 32  # pixels a side at most: what is finer is left to other layers
DEVIATION, FALL = 0.12, 1.2  # of c_k over the root of the number of pixels: DEVIATION (1 + f)^-FALL
OPPONENTS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
TONES = (1.0, 0.3, 0.2)  # how much each varies, in brightness's


def lowest(channels: int, rows: int, columns: int, count: int) -> tuple[Tensor, Tensor]:
    """Waves [count, C, rows, columns] and how much they vary in photographs, [count].

    Where there are fewer waves than that, the rest are 0, and vary by 1.
    """
    colours, tones = torch.eye(channels), torch.ones(channels)
    if channels == len(OPPONENTS):
        colours = torch.tensor(OPPONENTS)
        colours = colours / colours.norm(dim=1, keepdim=True)
        tones = math.sqrt(channels) * torch.tensor(TONES)
    u, v = torch.arange(rows)[:, None], torch.arange(columns)[None]
    typical = DEVIATION * math.sqrt(rows * columns) * (1 + (u**2 + v**2).sqrt()) ** -FALL
    every = (tones[:, None, None] * typical).flatten()
    chosen = every.argsort(descending=True, stable=True)[:count]
    colour, down, across = torch.unravel_index(chosen, (channels, rows, columns))
    waves, deviations = torch.zeros(count, channels, rows, columns), torch.ones(count)
    made = cosines(rows)[down][:, None, :, None] * cosines(columns)[across][:, None, None, :]
    waves[: len(chosen)] = colours[colour][:, :, None, None] * made
    deviations[: len(chosen)] = every[chosen]
    return waves, deviations


def cosines(size: int) -> Tensor:
    """cos_k(x) = sqrt(2 / n) cos( pi k (x + 1/2) / n ), and cos_0 = sqrt(1 / n): [n, n]."""
    k, x = torch.arange(size)[:, None], torch.arange(size)[None]
    found = math.sqrt(2 / size) * torch.cos(math.pi * k * (x + 0.5) / size)
    found[0] /= math.sqrt(2)
    return found
