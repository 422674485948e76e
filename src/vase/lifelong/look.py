"""One look at a batch: the forward passes of present and rehearsed images, and what they show.

Both share one pass of the encoder and one of the decoder. The evidence for a mask is another look,
without gradient and without dreams: that of the averaged networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vase.lifelong.dream import Dream
from vase.lifelong.memory import Environment
from vase.lifelong.ranks import Ranks
from vase.lifelong.replay import Replay
from vase.nets import Networks
from vase.objective import gaussian
from vase.objective.likelihood import reconstruction
from vase.objective.moments import Moments
from vase.objective.proximity import Distance, decoder_proximity, encoder_proximity
from vase.records import Posterior

LATENT_FLOOR = 1e-3  # of a marginal variance, the prior having 1
LOSS_FLOOR = 1.0  # of the variance of a loss over images, in nats squared


@dataclass(frozen=True)
class Look:
    """What the networks make of a batch, with gradients.

    posterior: of the present images, unmasked. distortion, rate: nats per image, [B]. kl: nats per
    image and latent, [B, N]. past: named terms of what was rehearsed. belief: nats, [].
    """

    posterior: Posterior
    distortion: Tensor
    kl: Tensor
    past: dict[str, Tensor]
    belief: Tensor

    @property
    def rate(self) -> Tensor:
        return self.kl.sum(1)


@dataclass(frozen=True, eq=False)
class Here:
    """The environment that images are seen in, and how many of them the head can name.

    mask: [N], bool, on the images' device.
    """

    index: int
    mask: Tensor
    known: int

    @classmethod
    def of(cls, environment: Environment, known: int, device: torch.device) -> Self:
        """Where a record says that images are seen."""
        return cls(environment.index, torch.as_tensor(environment.mask, device=device), known)


def look(
    networks: Networks,
    images: Tensor,
    here: Here,
    noise: Tensor,
    rehearsed: Dream | Replay | None,
    distance: Distance,
) -> Look:
    """Pass present images [B, C, H, W] and rehearsed ones through the networks, once.

    noise: [B, N], standard normal.
    """
    count, mask = len(images), here.mask
    inputs = images if rehearsed is None else torch.cat([images, rehearsed.images])
    both = networks.encoder(inputs)
    posterior = Posterior(both.mean[:count], both.log_variance[:count])
    again = Posterior(both.mean[count:], both.log_variance[count:])

    used = gaussian.masked(posterior, mask)
    z = gaussian.sample(used, noise) * mask
    environment = torch.full((count,), here.index, device=images.device)
    if rehearsed is not None:
        z = torch.cat([z, _latents(rehearsed, again)])
        environment = torch.cat([environment, rehearsed.environment])
    logits = networks.decoder(z, environment)

    log_belief = networks.head(both, here.known)
    return Look(
        posterior=posterior,
        distortion=reconstruction(logits[:count], images),
        kl=gaussian.kl_to_prior(used),
        past=_past(rehearsed, again, logits[count:], distance),
        belief=-log_belief.gather(1, environment[:, None]).mean(),
    )


def _latents(rehearsed: Dream | Replay, again: Posterior) -> Tensor:
    """What is decoded: the latents a dream was dreamed from, or those that are seen in a replay."""
    if isinstance(rehearsed, Dream):
        return rehearsed.z
    used = gaussian.masked(again, rehearsed.mask)
    return gaussian.sample(used, rehearsed.noise) * rehearsed.mask


def _past(
    rehearsed: Dream | Replay | None, again: Posterior, logits: Tensor, distance: Distance
) -> dict[str, Tensor]:
    """The terms of the past, each a mean over rehearsed images, in nats."""
    match rehearsed:
        case Dream():
            near = encoder_proximity(rehearsed.posterior, again, distance)
            far = decoder_proximity(rehearsed.logits, logits)
            return {"encoder_proximity": near.mean(), "decoder_proximity": far.mean()}
        case Replay():
            kl = gaussian.kl_to_prior(gaussian.masked(again, rehearsed.mask)).sum(1)
            distortion = reconstruction(logits, rehearsed.images)
            return {"replay_reconstruction": distortion.mean(), "replay_kl": kl.mean()}
    return {}


def channels(posterior: Posterior, distortion: Tensor, rate: Tensor) -> Tensor:
    """Mean and variance of the channels of evidence, [2, N + 2]: latents, distortion, rate.

    A latent's marginal over the batch is a mixture: its variance is that of the means plus the
    mean of the variances.
    """
    losses = torch.stack([distortion, rate], dim=1)
    mean = torch.cat([posterior.mean.mean(0), losses.mean(0)])
    spread = posterior.mean.var(0, correction=0) + posterior.log_variance.exp().mean(0)
    variance = torch.cat([spread, losses.var(0, correction=0)])
    return torch.stack([mean, variance])


@torch.no_grad()
def shown(seen: Look, ranks: Ranks) -> Tensor:
    """The `channels` of a whole batch, of which each process has looked at its rows."""
    losses = torch.stack([seen.distortion, seen.rate], dim=1)
    mine = torch.cat([seen.posterior.mean, seen.posterior.log_variance, losses], dim=1)
    latents = seen.kl.shape[1]
    mean, log_variance, losses = torch.split(ranks.gather(mine), [latents, latents, 2], dim=1)
    return channels(Posterior(mean, log_variance), *losses.T)


def view(
    networks: Networks, images: Tensor, environment: Environment, noise: Tensor
) -> tuple[Posterior, Tensor, Tensor]:
    """Posterior (unmasked), distortion and rate [B] of images seen in an environment."""
    mask = torch.as_tensor(environment.mask, device=images.device)
    posterior = networks.encoder(images)
    used = gaussian.masked(posterior, mask)
    index = torch.full((len(images),), environment.index, device=images.device)
    logits = networks.decoder(gaussian.sample(used, noise) * mask, index)
    return posterior, reconstruction(logits, images), gaussian.kl_to_prior(used).sum(1)


@torch.no_grad()
def moments(networks: Networks, images: Tensor, environment: Environment, noise: Tensor) -> Tensor:
    """The `channels` of images [B, C, H, W] seen through an environment's mask and decoder."""
    return channels(*view(networks, images, environment, noise))


def to_moments(table: Tensor, count: int) -> Moments:
    """Moments from the [2, K] table of `channels`, variances no finer than they mean anything."""
    mean, variance = table.detach().cpu().double().numpy()
    floor = np.full_like(variance, LATENT_FLOOR)
    floor[-2:] = LOSS_FLOOR
    return Moments(mean, np.maximum(variance, floor), count)
