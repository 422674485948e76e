"""Translation: an image of one environment as it would look in another.

What two environments share, their shared latents say alike: the digit appears where the coat was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vase.lifelong.memory import Environment
from vase.nets import Networks


def carried(mean: Tensor, source: Environment, target: Environment) -> Tensor:
    """Latents [B, N] to be decoded in `target`, of posterior means [B, N] of images of `source`.

    z_n = mu_n   where both use latent n
          m_n    where the source, or the target, does not: what it is in the target on
                 average, since it says nothing there, or nothing that the target knows
          0      where the target masks it

    Within one environment z = a mu, and nothing is replaced.
    """
    there = torch.as_tensor(target.mask, device=mean.device)
    if source.index == target.index:
        return mean * there
    both = torch.as_tensor(source.used & target.used, device=mean.device)
    average = torch.as_tensor(target.moments.mean[: len(target.mask)]).to(mean)
    return torch.where(both, mean, average) * there


@torch.no_grad()
def translated(
    networks: Networks, images: Tensor, source: Environment, target: Environment
) -> Tensor:
    """Images [B, C, H, W] of `source`, encoded there and decoded in `target`, in [0, 1].

    With the source for a target: their reconstructions.
    """
    z = carried(networks.encoder(images).mean, source, target)
    index = torch.full((len(images),), target.index, device=images.device)
    return torch.sigmoid(networks.decoder(z, index))
