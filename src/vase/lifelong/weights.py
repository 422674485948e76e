"""Copies of networks: frozen, averaged, or with room for more environments.

No ceiling is set on how many worlds a stream may hold: the tables with one row per environment are
made longer. New rows are zero, as all of the decoder's are at first, so that networks which have
grown compute exactly what they did before.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vase.nets import Networks


def frozen(networks: Networks) -> Networks:
    """A copy that is never trained, and computes as networks do that are read out."""
    return copy.deepcopy(networks).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: Networks, networks: Networks, averaging: float | Tensor) -> None:
    """average <- averaging * average + (1 - averaging) * networks; buffers are copied.

    averaging: a number, or a tensor [] whose value a device may learn later. PyTorch's average
    takes numbers only.
    """
    slow: list[Tensor] = list(average.parameters())
    fast: list[Tensor] = list(networks.parameters())
    if isinstance(averaging, Tensor):
        apart = torch._foreach_sub(fast, slow)
        torch._foreach_mul_(apart, 1 - averaging)
        torch._foreach_add_(slow, apart)
    else:
        update = get_ema_multi_avg_fn(averaging)  # type: ignore[no-untyped-call]
        update(slow, fast, 0)
    for kept, now in zip(average.buffers(), networks.buffers(), strict=True):
        kept.copy_(now)


def grown(networks: Networks, rows: int) -> Networks:
    """The same networks with room for `rows` environments; trained if they were."""
    with torch.random.fork_rng(devices=[]):
        larger = Networks(replace(networks.shape, environments=rows))
    weights = {
        name: padded(value, rows) if name in Networks.TABLES else value
        for name, value in networks.state_dict().items()
    }
    larger.load_state_dict(weights)
    trained = next(networks.parameters()).requires_grad
    larger = larger.to(next(networks.parameters()).device).requires_grad_(trained)
    return larger.train(networks.training)


def grown_optimizer(
    optimizer: torch.optim.Optimizer, before: Networks, after: Networks
) -> torch.optim.Adam:
    """Adam over the grown networks, its running moments carried over; new rows have none."""
    fresh = torch.optim.Adam(after.parameters(), lr=optimizer.param_groups[0]["lr"], fused=True)
    old = dict(before.named_parameters())
    for name, parameter in after.named_parameters():
        slots = optimizer.state.get(old[name])
        if slots:
            fresh.state[parameter] = {
                key: padded(value, len(parameter))
                if name in Networks.TABLES and value.ndim
                else value
                for key, value in slots.items()
            }
    return fresh


def padded(table: Tensor, rows: int) -> Tensor:
    """A table [R, ...] with zero rows added."""
    more = table.new_zeros(rows - len(table), *table.shape[1:])
    return torch.cat([table, more])
