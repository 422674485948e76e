"""What a model makes of held-out images: codes, and what they cost in nats.

A model is the averaged networks of one milestone with the records of its environments. A sample is
a function of (domain, count, seed), so that every milestone is asked about the same images. They
are rendered and encoded in chunks: only codes and truths are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.domains.canvas import Domain, Floats
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.evaluation import reconstruct
from vase.lifelong.state import averaged_networks
from vase.nets import Architecture, Networks
from vase.objective import gaussian
from vase.objective.moments import Moments
from vase.records import GroundTruth, Posterior
from vase.training import checkpoint

CHUNK = 500  # images that are rendered and encoded at once


@dataclass(frozen=True, eq=False)
class Model:
    """The averaged networks after `step` steps, and what was remembered then."""

    step: int
    networks: Networks
    environments: Environments


@dataclass(frozen=True, eq=False)
class Code:
    """Posteriors of one sample and the truth behind it.

    mean, log_variance: [B, N], unmasked. labels: [B]. factors: [B] each. distortion, rate: nats
    per image, [B], through the mask and decoder of an environment; empty if none was given.
    features: [B, F], where the environment classifier reads them (`model.classifier`).
    """

    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32]
    labels: NDArray[np.int64]
    factors: dict[str, NDArray[np.float64]]
    distortion: NDArray[np.float32]
    rate: NDArray[np.float32]
    features: NDArray[np.float32] | None = None

    @property
    def kl(self) -> NDArray[np.float64]:
        """Mean KL of each latent's posterior to the prior before any mask, in nats, [N]."""
        posterior = Posterior(torch.from_numpy(self.mean), torch.from_numpy(self.log_variance))
        kl: NDArray[np.float64] = gaussian.kl_to_prior(posterior).double().mean(0).numpy()
        return kl

    @property
    def marginal(self) -> Moments:
        """Moments of each latent's marginal over the sample, a mixture of its posteriors."""
        mean = self.mean.astype(np.float64)
        spread = np.exp(self.log_variance.astype(np.float64)).mean(0)
        return Moments(mean.mean(0), mean.var(0) + spread, len(mean))


def load_model(path: Path, shape: Architecture, device: torch.device) -> Model:
    """The model of a milestone or checkpoint; a `CheckpointError` if it is none of this shape."""
    tensors, record = checkpoint.read(path)
    with checkpoint.understood(path):
        networks = averaged_networks(tensors, shape).to(device)
        return Model(record["step"], networks, Environments.from_json(record["environments"]))


def sample_images(domain: Domain, count: int, seed: int) -> Iterator[tuple[Floats, GroundTruth]]:
    """`count` images of a domain with their truth, in chunks, the same ones for the same seed."""
    generator = np.random.default_rng([seed, count])
    for start in range(0, count, CHUNK):
        yield domain.sample(generator, min(CHUNK, count - start))


@torch.no_grad()
def encode(
    networks: Networks,
    domain: Domain,
    count: int,
    seed: int,
    environment: Environment | None = None,
) -> Code:
    """Encode `count` images; with an environment, decode them too and count the nats."""
    device = next(networks.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    truths, rows = [], []
    for images, truth in sample_images(domain, count, seed):
        truths.append(truth)
        noise = torch.randn(len(images), networks.architecture.latents, generator=generator)
        rows.append(
            _encode_batch(networks, torch.from_numpy(images).to(device), environment, noise)
        )
    mean, log_variance, distortion, rate, features = (
        torch.cat(parts).cpu().numpy() for parts in zip(*rows, strict=True)
    )
    return Code(
        mean=mean,
        log_variance=log_variance,
        labels=np.concatenate([truth.labels for truth in truths]),
        factors={
            name: np.concatenate([truth.factors[name] for truth in truths])
            for name in truths[0].factors
        },
        distortion=distortion,
        rate=rate,
        features=features if networks.classifier.of_features else None,
    )


def _encode_batch(
    networks: Networks, images: Tensor, environment: Environment | None, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, log variance [B, N], distortion, rate [B], features [B, F]; empty if not asked."""
    nothing = images.new_empty(0)
    if environment is None:
        posterior, distortion, rate = networks.encoder(images), nothing, nothing
    else:
        posterior, distortion, rate = reconstruct(
            networks, images, environment, noise.to(images.device)
        )
    features = posterior.features if networks.classifier.of_features else nothing
    return posterior.mean, posterior.log_variance, distortion, rate, features
