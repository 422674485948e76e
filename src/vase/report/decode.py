"""What the networks make of images and of latents: reconstructions, traversals, generated images.

Everything runs on the averaged networks as they are at the end of the run, without gradients, and
is seen through one environment: its mask and its row of the decoder's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.lifelong import replay
from vase.lifelong.effects import measure_effects
from vase.lifelong.environments import Environment
from vase.nets import Networks
from vase.probes.encode import Code
from vase.probes.latents import DomainLatents, measure_latents, shared_latents

Floats = NDArray[np.float32]
TRAVERSAL_VALUES = np.linspace(-2, 2, 9)


@dataclass(frozen=True)
class Traversal:
    """One image while one latent at a time is set to each of `values`.

    images: [L, V, C, H, W], a row for each of `latents`. means: what each latent was at, [L].
    original, reconstruction: [C, H, W].
    """

    latents: tuple[int, ...]
    values: NDArray[np.float64]
    images: Floats
    means: NDArray[np.float64]
    original: Floats
    reconstruction: Floats


@torch.no_grad()
def encode_means(networks: Networks, images: Floats, environment: Environment) -> Tensor:
    """Posterior means [B, N] of images [B, C, H, W]; masked latents are 0."""
    mean: Tensor = networks.encoder(torch.from_numpy(images)).mean
    return mean * torch.as_tensor(environment.mask)


def decode_latents(networks: Networks, z: Tensor, environment: Environment) -> Floats:
    """Images [B, C, H, W] in [0, 1] of latents [B, N]."""
    images: Floats = replay.decoded(networks, z, environment.index).numpy()
    return images


def reconstruct_images(networks: Networks, images: Floats, environment: Environment) -> Floats:
    """Images [B, C, H, W] decoded from their posterior means."""
    return decode_latents(networks, encode_means(networks, images, environment), environment)


def traverse_latents(
    networks: Networks,
    image: Floats,
    environment: Environment,
    latents: Sequence[int],
    values: NDArray[np.float64] = TRAVERSAL_VALUES,
) -> Traversal:
    """Start from the posterior mean of an image [C, H, W]; set one latent at a time to `values`."""
    z = encode_means(networks, image[None], environment)
    rows = [
        decode_latents(networks, sweep_latent(z, latent, values), environment) for latent in latents
    ]
    shape = (0, len(values), *image.shape)
    return Traversal(
        latents=tuple(latents),
        values=values,
        images=np.stack(rows) if rows else np.zeros(shape, dtype=np.float32),
        means=z[0, list(latents)].double().numpy(),
        original=image,
        reconstruction=decode_latents(networks, z, environment)[0],
    )


def sweep_latent(z: Tensor, latent: int, values: NDArray[np.float64]) -> Tensor:
    """Copies of z [1, N], one per value, with that value in one latent: [V, N]."""
    copies = z.repeat(len(values), 1)
    copies[:, latent] = torch.as_tensor(values).to(copies)
    return copies


def generated_images(networks: Networks, environment: Environment, count: int, seed: int) -> Floats:
    """Images [count, C, H, W] drawn from the environment's remembered marginals."""
    return decode_latents(networks, replay.drawn_latents(environment, count, seed), environment)


@torch.no_grad()
def measure_latent_record(
    networks: Networks, images: Mapping[str, Floats], matched: Mapping[str, Environment]
) -> dict[str, Any]:
    """The `latents` part of probes.json without true factors, for a run that was not probed yet."""
    domains = [
        _domain_latents(networks, name, images[name], environment)
        for name, environment in matched.items()
    ]
    return {
        "count": networks.architecture.latents,
        "domains": [domain.to_json() for domain in domains],
        "shared": shared_latents(domains),
        "position": None,
    }


def _domain_latents(
    networks: Networks, name: str, images: Floats, environment: Environment
) -> DomainLatents:
    posterior = networks.encoder(torch.from_numpy(images))
    nothing, labels = np.empty(0, np.float32), np.zeros(len(images), np.int64)
    code = Code(
        posterior.mean.numpy(), posterior.log_variance.numpy(), labels, {}, nothing, nothing
    )
    found = measure_latents(name, environment.index, environment.mask, code, code)
    return replace(found, effects=measure_effects(networks, environment, found.used))
