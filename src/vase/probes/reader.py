"""Readers: small networks that see images, and say what the factors behind them are.

A reader is fitted on real images of one world. Shown images that a model has made, it tells whether
they show what they should.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor

from vase.probes.latents import targets
from vase.probes.readout import SMALLEST_SCALE, Scaling, stopped_early
from vase.worlds.canvas import Floats

SIDE = 8  # an image is averaged to so many rows and columns: what is blurred is no worse to read
IDENTITY = "identity"

# Full-batch quasi-Newton steps, as for the readouts.
_MLP: dict[str, Any] = {
    "hidden_layer_sizes": (256,),
    "solver": "lbfgs",
    "alpha": 1.0,
    "max_iter": 150,
    "random_state": 0,
}

Factors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Reader:
    """Models of the factors of one world, by name; each with the scaling of what it predicts."""

    pixels: Scaling
    models: Mapping[str, tuple[Any, Scaling | None]]

    def scores(self, images: Floats, factors: Factors) -> dict[str, float]:
        """R^2 of every factor [B] that this reads, of identity the accuracy.

        R^2 = 1 - squared error / variance; of a factor that wraps, over its cosine and sine. It is
        below 0 where the mean would have been the better guess.
        """
        seen = self.pixels.apply(flat(images))
        found = {}
        for name, (model, scaling) in self.models.items():
            if scaling is None:
                found[name] = float(np.mean(model.predict(seen) == factors[name]))
                continue
            wanted = targets(name, factors[name])
            told = scaling.undo(model.predict(seen).reshape(wanted.shape))
            spread = np.square(wanted - wanted.mean(0)).sum()
            found[name] = float(1 - np.square(told - wanted).sum() / spread)
        return found


def fit(images: Floats, factors: Factors) -> Reader:
    """Fit a reader of some factors [B] on real images [B, C, H, W]."""
    pixels = Scaling.of(flat(images), SMALLEST_SCALE)
    seen = pixels.apply(flat(images))
    with stopped_early():
        return Reader(pixels, {name: _model(name, seen, each) for name, each in factors.items()})


def _model(
    name: str, seen: NDArray[np.float64], values: NDArray[Any]
) -> tuple[Any, Scaling | None]:
    if name == IDENTITY:
        return MLPClassifier(**_MLP).fit(seen, values), None
    wanted = targets(name, values)
    scaling = Scaling.of(wanted, 1e-6)
    scaled = scaling.apply(wanted)
    return MLPRegressor(**_MLP).fit(
        seen, scaled.ravel() if scaled.shape[1] == 1 else scaled
    ), scaling


def flat(images: Floats) -> NDArray[np.float64]:
    """Images [B, C, H, W], averaged to SIDE by SIDE, as rows [B, C * SIDE * SIDE]."""
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(images), SIDE)
    rows: NDArray[np.float64] = small.flatten(1).double().numpy()
    return rows
