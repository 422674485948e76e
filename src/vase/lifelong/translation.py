"""Translation: an image of one environment as it would look in another.

Latents that both environments use keep their values: the digit appears where the coat was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vase.lifelong.environments import Environment
from vase.lifelong.replay import decoded
from vase.nets import Networks


def translated_latents(mean: Tensor, source: Environment, target: Environment) -> Tensor:
    """Return latents [B, N] to decode in `target`, of posterior means [B, N] in `source`.

    z_n = mu_n              where both use latent n
          mu_n - m'_n + m_n  the same, if either was out of distribution when it was new: its means
                             are arbitrary, and only deviations from them are comparable
          m_n               where source or target does not use it: its average in the target
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
    relative = source.out_of_distribution or target.out_of_distribution
    moved = mean - before + average if relative else mean
    return torch.where(both, moved, average) * there


@torch.no_grad()
def translated(
    networks: Networks, images: Tensor, source: Environment, target: Environment
) -> Tensor:
    """Return images [B, C, H, W] of `source`, encoded there and decoded in `target`, in [0, 1].

    Where both are the same environment: their reconstructions.
    """
    z = translated_latents(networks.encoder(images).mean, source, target)
    return decoded(networks, z, target.index)
