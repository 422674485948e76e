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

    z_n = mu_n   where both let latent n through
          m_n    where only the target does: what it is there on average, since what the
                 encoder says of a masked latent means nothing
          0      where the target masks it
    """
    mask, there = (torch.as_tensor(each.mask, device=mean.device) for each in (source, target))
    average = torch.as_tensor(target.moments.mean[: len(target.mask)]).to(mean)
    return torch.where(mask, mean, average) * there


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
