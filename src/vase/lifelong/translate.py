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

    z_n = mu_n              where both use latent n
          mu_n - m'_n + m_n  the same, if either was foreign when it was new: where its means lie
                             says nothing, and what is usual in one is so in the other
          m_n               where the source, or the target, does not use it: its average in
                            the target, since it says nothing there, or nothing it knows
          0                 where the target masks it

    m', m: averages in source and target. Within one environment z = a mu.
    """
    there = torch.as_tensor(target.mask, device=mean.device)
    if source.index == target.index:
        return mean * there
    both = torch.as_tensor(source.used & target.used, device=mean.device)
    before, average = (
        torch.as_tensor(each.moments.mean[: len(each.mask)]).to(mean) for each in (source, target)
    )
    moved = mean - before + average if source.foreign or target.foreign else mean
    return torch.where(both, moved, average) * there


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
