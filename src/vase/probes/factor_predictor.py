"""Factor predictors: small convolutional networks that predict the factors of an image.

A predictor is fitted on real images of one domain and scores the images that a model decodes. Half
of its training images are blurred, so that it does not depend on sharp edges, which
reconstructions do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, mse_loss

from vase.domains.canvas import Domain, Floats
from vase.probes.latents import regression_targets

IDENTITY = "identity"
SIDE = 32  # pixels to which images are averaged
STEPS, BATCH, LEARNING_RATE = 1500, 64, 2e-3
CHUNK = 500  # images that are read at once

FactorValues = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class FactorPredictor:
    """A network, and the output columns of each factor.

    identities: the labels that it distinguishes; empty if identity is not a target.
    """

    network: nn.Module
    columns: Mapping[str, slice]
    identities: NDArray[np.int64]

    def scores(self, images: Floats, factors: FactorValues) -> dict[str, float]:
        """Score the factors [B] that this network predicts: R^2, or accuracy for identity.

        R^2 = 1 - squared error / variance; of a factor that wraps, over its cosine and sine. It is
        below 0 where the mean would have been the better guess.
        """
        predicted = self._predict(images)
        found = {}
        for name, columns in self.columns.items():
            if name in factors:
                wanted = regression_targets(name, factors[name])
                spread = np.square(wanted - wanted.mean(0)).sum()
                found[name] = float(1 - np.square(predicted[:, columns] - wanted).sum() / spread)
        if IDENTITY in factors and len(self.identities):
            named = self.identities[predicted[:, -len(self.identities) :].argmax(1)]
            found[IDENTITY] = float(np.mean(named == factors[IDENTITY]))
        return found

    @torch.no_grad()
    def _predict(self, images: Floats) -> NDArray[np.float64]:
        parts = torch.split(torch.from_numpy(images), CHUNK)
        predicted: NDArray[np.float64] = (
            torch.cat([self.network(p) for p in parts]).double().numpy()
        )
        return predicted


def fit_factor_predictor(
    domain: Domain, names: Sequence[str], seed: int, steps: int | None = None
) -> FactorPredictor:
    """Fit a predictor of the named factors on new images of a domain, for `STEPS` steps."""
    steps = steps or STEPS
    columns, identities = _output_columns(domain, names, seed)
    width = sum(part.stop - part.start for part in columns.values()) + len(identities)
    generator = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(domain.shape, width)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        images, truth = domain.sample(generator, BATCH)
        known = {IDENTITY: truth.labels, **truth.factors}
        predicted = network(_half_blurred(torch.from_numpy(images)))
        loss = _loss(predicted, known, columns, identities)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rate.step()
    return FactorPredictor(network.eval(), columns, identities)


def _output_columns(
    domain: Domain, names: Sequence[str], seed: int
) -> tuple[dict[str, slice], NDArray[np.int64]]:
    """The output columns of each factor, one or two each, and the labels of the last columns."""
    _, truth = domain.sample(np.random.default_rng(seed), 1000)
    columns, start = {}, 0
    for name in names:
        if name != IDENTITY:
            width = regression_targets(name, truth.factors[name]).shape[1]
            columns[name] = slice(start, start + width)
            start += width
    nothing = np.empty(0, dtype=np.int64)
    return columns, np.unique(truth.labels) if IDENTITY in names else nothing


def _loss(
    predicted: Tensor,
    known: FactorValues,
    columns: Mapping[str, slice],
    identities: NDArray[np.int64],
) -> Tensor:
    """Squared errors, over the variance 1/12 of a uniform factor, and nats of identity, in sum."""
    loss = predicted.new_zeros(())
    for name, part in columns.items():
        wanted = torch.from_numpy(regression_targets(name, known[name])).float()
        loss = loss + 12 * mse_loss(predicted[:, part], wanted)
    if len(identities):
        kinds = torch.from_numpy(np.searchsorted(identities, known[IDENTITY]))
        loss = loss + cross_entropy(predicted[:, -len(identities) :], kinds)
    return loss


def _network(shape: tuple[int, int, int], outputs: int) -> nn.Sequential:
    """Two strided convolutions on an image of `SIDE` pixels, and two dense layers."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(SIDE),
        nn.Conv2d(shape[0], 48, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 96, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96 * (SIDE // 4) ** 2, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, outputs),
    )


def _half_blurred(images: Tensor) -> Tensor:
    """Every second image at half its resolution."""
    blurred = interpolate(
        avg_pool2d(images[::2], 2), size=images.shape[2:], mode="bilinear", align_corners=False
    )
    mixed = images.clone()
    mixed[::2] = blurred
    return mixed
