"""Calibration of the posterior variance: error of the position readout against prediction.

Held-out images are shown as they are, dimmed, and under noise, which the model has never seen. The
readout reads the latents that carry position; the variance that it predicts is that of what it
reads from samples of the posterior,

    s^2 = Var_{z ~ q(z|x)} f(z),

and stands beside the squared error of f at the posterior's mean, in bins of s^2. A perfect model
has both equal; one whose variance ranks its errors can say which images not to trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from vase.domains.canvas import Domain, Floats
from vase.nets import Networks
from vase.probes.encode import Code, sample_images
from vase.probes.readout import Examples, Readout, fit_mlp

Array = NDArray[np.float64]

IMAGES = 1000  # images, each shown in every way
POSTERIOR_SAMPLES = 16  # of each posterior
BINS = 10
SEED = 103


def _dimmed(share: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda images, _: images * np.float32(share)


def _with_noise(deviation: float) -> Callable[[Floats, np.random.Generator], Floats]:
    def shown(images: Floats, generator: np.random.Generator) -> Floats:
        noise = generator.standard_normal(images.shape, dtype=np.float32)
        return np.clip(images + np.float32(deviation) * noise, 0, 1)

    return shown


CORRUPTIONS: Mapping[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "as they are": _dimmed(1.0),
    "dimmed to 30 %": _dimmed(0.3),
    "dimmed to 10 %": _dimmed(0.1),
    "dimmed to 3 %": _dimmed(0.03),
    "noise of 0.1": _with_noise(0.1),
    "noise of 0.3": _with_noise(0.3),
}


def measure_calibration(
    networks: Networks, train: Code, test: Domain, carriers: Sequence[int]
) -> dict[str, Any]:
    """Error and predicted variance by bin and by way of showing, and their rank correlation.

    train: codes of training images with x and y. carriers: the latents that the readout reads.
    """
    position = np.stack([train.factors["x"], train.factors["y"]], axis=1)
    columns = np.array(carriers, dtype=np.intp)
    readout = fit_mlp(Examples(train.mean, train.labels, position), columns)
    generator = np.random.default_rng(SEED)
    errors, predicted = [], []
    for show in CORRUPTIONS.values():
        error, spread = _errors_and_variances(networks, readout, test, show, generator)
        errors.append(error)
        predicted.append(spread)
    every, spreads = np.concatenate(errors), np.concatenate(predicted)
    return {
        "latents": list(carriers),
        "spearman": float(spearmanr(spreads, every).statistic),
        "bins": quantile_bins(spreads, every, BINS),
        "ways": [
            {"shown": way, "error": float(error.mean()), "predicted": float(spread.mean())}
            for way, error, spread in zip(CORRUPTIONS, errors, predicted, strict=True)
        ],
    }


@torch.no_grad()
def _errors_and_variances(
    networks: Networks,
    readout: Readout,
    domain: Domain,
    show: Callable[[Floats, np.random.Generator], Floats],
    generator: np.random.Generator,
) -> tuple[Array, Array]:
    """Squared error and predicted variance of each image, [B] each, means over x and y."""
    device = next(networks.parameters()).device
    errors, spreads = [], []
    for images, truth in sample_images(domain, IMAGES, SEED):
        posterior = networks.encoder(torch.from_numpy(show(images, generator)).to(device))
        mean = posterior.mean.cpu().numpy()
        deviation = (posterior.log_variance / 2).exp().cpu().numpy()
        position = np.stack([truth.factors["x"], truth.factors["y"]], axis=1)
        errors.append(np.square(readout.position(mean) - position).mean(1))
        drawn = [
            readout.position(mean + deviation * generator.standard_normal(mean.shape))
            for _ in range(POSTERIOR_SAMPLES)
        ]
        spreads.append(np.var(drawn, axis=0, ddof=1).mean(1))
    return np.concatenate(errors), np.concatenate(spreads)


def quantile_bins(predicted: Array, errors: Array, bins: int) -> list[dict[str, float]]:
    """Means of both in `bins` bins of as many images each, from the surest to the least sure."""
    order = np.argsort(predicted, kind="stable")
    return [
        {"predicted": float(predicted[part].mean()), "error": float(errors[part].mean())}
        for part in np.array_split(order, bins)
    ]
