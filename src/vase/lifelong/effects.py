"""What a latent does to images, found without labels: a name, and the share of it that it explains.

One latent is set to other values and the rest stay. Each name stands for one way to change an image
by one number: a shift, a scale, a slant, a turn about the object's centre, a factor of its
brightness, a thicker or thinner stroke, another hue. A name explains the share of the squared
change that is gone when the image is changed by the best value of that number,

    share = 1 - sum_t min_p || x_t - warp(x_0, p) ||^2 / sum_t || x_t - x_0 ||^2,

x_0 being an image and x_t the same with the latent at its t-th value. The number has to follow the
latent: the correlation of the two, averaged over images, is `FOLLOWS` or more in magnitude. The
best name stands if it explains `LEAST`; a second one if it explains `MORE` on top. All else is
"shape".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, grid_sample, max_pool2d

from vase.lifelong.environments import Environment
from vase.lifelong.replay import PastEnvironments, decoded, drawn_latents
from vase.nets import Networks

LEAST = 0.4  # share from which on the best name stands
MORE = 0.15  # further share from which on a second name is added
FOLLOWS = 0.6  # mean correlation of a family's number with the latent
REST = "shape"
IMAGES = 8  # drawn from an environment's marginals
MOVES = (-2.0, -1.0, 1.0, 2.0)  # where the latent is put, in deviations of its marginal
LARGEST = 32  # pixels: larger images are reduced first
COARSE, FINE = 31, 7  # values that are tried of a number, and then around the best

Floats = NDArray[np.float32]
Warp = Callable[[Tensor, Tensor], Tensor]  # an image [C, H, W], values [P] -> images [P, C, H, W]


@dataclass(frozen=True)
class Effect:
    """What moving a latent does.

    names: one or two, or "shape". share: of the squared change of pixels that they explain, 0 to 1.
    """

    names: tuple[str, ...]
    share: float

    @property
    def name(self) -> str:
        """In words, such as "x position" or "size, brightness"."""
        return ", ".join(self.names)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "share": self.share}


# ---- ways to change an image -------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A way to change an image by one number between -most and most; 0 changes nothing."""

    warp: Warp
    most: float

    def values(self) -> Tensor:
        return torch.linspace(-self.most, self.most, COARSE)


def _affine(matrix: Callable[[Tensor], Tensor]) -> Warp:
    """Moves of pixels about the object's centre, which stays inside the image.

    matrix: A and shift (x, y), in half sides, [P, 2, 3], of values [P].
    """

    def warp(image: Tensor, values: Tensor) -> Tensor:
        ground = background(image)
        centre = _centre(image - ground)
        forward = matrix(values)
        high, wide = image.shape[1:]
        forward[:, 0, 1] *= high / wide  # half sides of an image that is not square differ
        forward[:, 1, 0] *= wide / high
        inverse = torch.linalg.inv(forward[:, :, :2])
        to = (centre + forward[:, :, 2:]).clamp(-1, 1)
        shift = centre - inverse @ to
        theta = torch.cat([inverse, shift], 2)
        grid = torch.nn.functional.affine_grid(
            theta, [len(values), *image.shape], align_corners=False
        )
        lifted = (image - ground).expand(len(values), *image.shape)
        return ground + grid_sample(lifted, grid, align_corners=False)

    return warp


def _matrices(
    a: Tensor | float, b: Tensor | float, c: Tensor | float, d: Tensor | float,
    x: Tensor | float = 0.0, y: Tensor | float = 0.0,
) -> Tensor:  # fmt: skip
    """[[a, b, x], [c, d, y]] of numbers and of values [P]: [P, 2, 3]."""
    cells = [torch.as_tensor(cell) for cell in (a, b, x, c, d, y)]
    count = max(cell.numel() for cell in cells)
    return torch.stack([cell.expand(count) for cell in cells], 1).reshape(-1, 2, 3)


def background(image: Tensor) -> Tensor:
    """The colour of the ground: the median of the outermost pixels, [C, 1, 1]."""
    edge = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], 1)
    return edge.median(1).values[:, None, None]


def _centre(lifted: Tensor) -> Tensor:
    """The centre (x, y) of what stands out from the ground, in [-1, 1], [2, 1]."""
    weight = lifted.abs().sum(0) + 1e-6
    rows, columns = (
        (torch.arange(side, dtype=weight.dtype) + 0.5) * 2 / side - 1 for side in weight.shape
    )
    total = weight.sum()
    across, down = (weight.sum(0) * columns).sum(), (weight.sum(1) * rows).sum()
    return torch.stack([across, down])[:, None] / total


def _brighter(image: Tensor, values: Tensor) -> Tensor:
    """What stands out from the ground, times e^p."""
    ground = background(image)
    return (ground + (image - ground) * values.exp()[:, None, None, None]).clamp(0, 1)


def _thicker(image: Tensor, values: Tensor) -> Tensor:
    """p pixels thicker, or thinner where negative: between whole ones the mean of their images."""
    ground = background(image)
    bright = bool((image - ground).sum() >= 0)
    lifted = (image - ground) if bright else (ground - image)
    steps = [lifted]
    for _ in range(2):
        steps.append(max_pool2d(steps[-1], 3, 1, 1))
        steps.insert(0, -max_pool2d(-steps[0], 3, 1, 1))
    stack = torch.stack(steps)  # from 2 thinner to 2 thicker
    below = (values + 2).floor().clamp(0, 3).long()
    between = (values + 2 - below)[:, None, None, None]
    changed = (1 - between) * stack[below] + between * stack[below + 1]
    return ground + changed if bright else ground - changed


def _other_hue(image: Tensor, values: Tensor) -> Tensor:
    """Colours turned about the grey axis by p radians."""
    if image.shape[0] != 3:
        return image.expand(len(values), *image.shape)
    cosine, sine = values.cos(), values.sin()
    same = cosine + (1 - cosine) / 3
    one, other = ((1 - cosine) / 3 + sign * sine / math.sqrt(3) for sign in (-1, 1))
    turned = torch.stack([same, one, other, other, same, one, one, other, same], 1)
    matrices = turned.reshape(-1, 3, 3)
    return torch.einsum("pij,jhw->pihw", matrices, image).clamp(0, 1)


FAMILIES: Mapping[str, Family] = {
    "x position": Family(_affine(lambda p: _matrices(1.0, 0.0, 0.0, 1.0, x=p)), 1.5),
    "y position": Family(_affine(lambda p: _matrices(1.0, 0.0, 0.0, 1.0, y=p)), 1.5),
    "size": Family(_affine(lambda p: _matrices(p.exp(), 0.0, 0.0, p.exp())), 1.2),
    "width": Family(_affine(lambda p: _matrices(p.exp(), 0.0, 0.0, 1.0)), 1.2),
    "height": Family(_affine(lambda p: _matrices(1.0, 0.0, 0.0, p.exp())), 1.2),
    "aspect ratio": Family(_affine(lambda p: _matrices(p.exp(), 0.0, 0.0, (-p).exp())), 1.2),
    "slant": Family(_affine(lambda p: _matrices(1.0, p, 0.0, 1.0)), 1.2),
    "turn": Family(_affine(lambda p: _matrices(p.cos(), -p.sin(), p.sin(), p.cos())), math.pi / 2),
    "brightness": Family(_brighter, 2.0),
    "stroke width": Family(_thicker, 2.0),
    "hue": Family(_other_hue, math.pi),
}


# ---- which of them explains a change -----------------------------------------------------------


def name_effect(references: Floats, moved: Floats) -> Effect:
    """Name what a latent does.

    references: [K, C, H, W], images before the latent is moved. moved: [K, T, C, H, W], after, the
    latent rising from frame to frame.
    """
    frames_each = moved.shape[1]
    sequences = list(zip(_reduced(references), _reduced(moved), strict=True))
    change = sum(float((frames - reference).square().sum()) for reference, frames in sequences)
    if change < 1e-9:
        return Effect((REST,), 0.0)
    names: tuple[str, ...] = ()
    share, found = 0.0, sequences
    for least in (LEAST, MORE):
        explained = {name: _explained(found, name) for name in FAMILIES if name not in names}
        left = {
            name: sum(each.error for each in fits) if _follows(fits, frames_each) else change
            for name, fits in explained.items()
        }
        best = min(left, key=lambda name: left[name])
        gained = 1 - left[best] / change - share
        if gained < least:
            break
        names, share = (*names, best), share + gained
        frames = torch.cat([frames for _, frames in sequences])[:, None]
        found = [(fit.image, alone) for fit, alone in zip(explained[best], frames, strict=True)]
    return Effect(names or (REST,), share)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The value of a family's number that comes nearest to a frame, the image, what it leaves."""

    value: float
    image: Tensor
    error: float


def _follows(fits: Sequence[_Fit], frames_each: int) -> bool:
    """Whether the number rises with the latent, or falls, in all images alike."""
    values = np.array([fit.value for fit in fits]).reshape(-1, frames_each)
    values = values - values.mean(1, keepdims=True)
    steps = np.linspace(-1, 1, frames_each)
    norm = np.linalg.norm(values, axis=1) * np.linalg.norm(steps)
    correlation = values @ steps / np.maximum(norm, 1e-12)
    return bool(abs(correlation.mean()) >= FOLLOWS)


def _explained(sequences: Sequence[tuple[Tensor, Tensor]], name: str) -> list[_Fit]:
    """What a family makes of each frame at its best.

    sequences: references [C, H, W], each with its frames [T, C, H, W].
    """
    family, found = FAMILIES[name], []
    values = family.values()
    step = 2 * family.most / (COARSE - 1)
    for reference, frames in sequences:
        errors = _errors(family.warp(reference, values)[None], frames)
        coarse = values[errors.argmin(1)][:, None]
        around = (coarse + torch.linspace(-step, step, FINE)).clamp(-family.most, family.most)
        finer = family.warp(reference, around.flatten()).reshape(-1, FINE, *reference.shape)
        errors = _errors(finer, frames)
        found += [
            _Fit(float(around[row, best]), finer[row, best], float(errors[row, best]))
            for row, best in enumerate(errors.argmin(1).tolist())
        ]
    return found


def _errors(images: Tensor, frames: Tensor) -> Tensor:
    """Squared distances of frames [T, C, H, W] from images [T or 1, P, C, H, W]: [T, P]."""
    return (images - frames[:, None]).square().flatten(2).sum(2)


def _reduced(images: Floats) -> Tensor:
    """Images [..., C, H, W] whose longer side has `LARGEST` pixels at most."""
    whole = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    height, width = whole.shape[-2:]
    longer = max(height, width)
    if longer <= LARGEST:
        return whole
    sides = (-(-height * LARGEST // longer), -(-width * LARGEST // longer))
    flat = whole.reshape(-1, *whole.shape[-3:])
    return adaptive_avg_pool2d(flat, sides).reshape(*whole.shape[:-2], *sides)


# ---- in a record, and of a model ---------------------------------------------------------------


def described(domain: Mapping[str, Any], latent: int) -> tuple[str, float | None]:
    """What moving a latent does in a domain of `probes.json`, and the share that this explains.

    "" and None where nothing was measured; older files say which true factors a latent encodes.
    """
    found = domain.get("effects", {}).get(str(latent))
    if found:
        return found["name"], found["share"]
    return domain.get("encodes", {}).get(str(latent), ""), None


@torch.no_grad()
def measure_effects(
    networks: Networks, environment: Environment, latents: Sequence[int]
) -> dict[int, Effect]:
    """What each of some latents does in an environment; nothing is said of vectors.

    Images are decoded from draws of the environment's marginals, always the same ones.
    """
    if networks.architecture.of_vectors:
        return {}
    z = drawn_latents(environment, IMAGES, seed=0)
    past = PastEnvironments.of([environment], "marginal", z.device)
    mean, deviation = past.mean[0], past.variance[0].sqrt()
    references: Floats = decoded(networks, z, environment.index).cpu().numpy()
    found = {}
    for latent in latents:
        rows = z[:, None].repeat(1, len(MOVES), 1)
        rows[:, :, latent] = mean[latent] + deviation[latent] * torch.tensor(MOVES)
        moved = decoded(networks, rows.flatten(0, 1), environment.index).cpu().numpy()
        found[latent] = name_effect(
            references, moved.reshape(IMAGES, len(MOVES), *references.shape[1:])
        )
    return found
