"""Copies of networks (frozen, averaged, with room for more environments) and of moments.

The number of domains in a stream has no limit: the tables with one row per environment are made
longer. New rows are zero, as all of the decoder's are at first, so that networks which have
grown compute exactly what they did before.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vase.isolation import private_weights
from vase.nets import Networks


def frozen(networks: Networks) -> Networks:
    """Return a copy in evaluation mode that is never trained."""
    return copy.deepcopy(networks).requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: Networks, networks: Networks, decay: float | Tensor) -> None:
    """average <- decay * average + (1 - decay) * networks; buffers are copied.

    decay: a number, or a tensor [] whose value the device gets later. PyTorch's average takes
    numbers only.
    """
    slow: list[Tensor] = list(average.parameters())
    fast: list[Tensor] = list(networks.parameters())
    if isinstance(decay, Tensor):
        apart = torch._foreach_sub(fast, slow)
        torch._foreach_mul_(apart, 1 - decay)
        torch._foreach_add_(slow, apart)
    else:
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(slow, fast, 0)
    for kept, now in zip(average.buffers(), networks.buffers(), strict=True):
        kept.copy_(now)


def grown(networks: Networks, rows: int) -> Networks:
    """Return the same networks with room for `rows` environments; trained if they were."""
    with private_weights(None):
        larger = Networks(networks.architecture.model_copy(update={"environments": rows}))
    weights = {
        name: padded(value, rows) if name in Networks.TABLES else value
        for name, value in networks.state_dict().items()
    }
    larger.load_state_dict(weights)
    trained = next(networks.parameters()).requires_grad
    larger = larger.to(next(networks.parameters()).device).requires_grad_(trained)
    return larger.train(networks.training)


def carry_moments(
    optimizer: torch.optim.Optimizer,
    before: Networks,
    fresh: torch.optim.Optimizer,
    after: Networks,
) -> None:
    """Give the fresh optimizer of networks that have grown the moments; new rows have none."""
    old = dict(before.named_parameters())
    for name, parameter in after.named_parameters():
        slots = optimizer.state.get(old[name])
        if slots:
            fresh.state[parameter] = {
                key: padded(value, len(parameter)) if _in_table(name, value) else value
                for key, value in slots.items()
            }


def padded(table: Tensor, rows: int) -> Tensor:
    """A table [R, ...] with zero rows added."""
    more = table.new_zeros(rows - len(table), *table.shape[1:])
    return torch.cat([table, more])


OptimizerState = dict[str, dict[str, Tensor]]  # by name of the parameter, then of the moment


def optimizer_state(optimizer: torch.optim.Optimizer, networks: Networks) -> OptimizerState:
    """Return a copy of the moments and step counts by the names of the parameters."""
    return {
        name: {key: value.clone() for key, value in optimizer.state[parameter].items()}
        for name, parameter in networks.named_parameters()
        if optimizer.state.get(parameter)
    }


@torch.no_grad()
def restore_optimizer(
    optimizer: torch.optim.Optimizer, networks: Networks, saved: OptimizerState
) -> None:
    """Put the moments back to a copy; rows that the tables got since then have none.

    Tensors keep their places, as captured CUDA graphs expect.
    """
    for name, parameter in networks.named_parameters():
        slots = saved.get(name)
        if slots is None:
            optimizer.state.pop(parameter, None)
            continue
        current = optimizer.state[parameter]
        for key, value in slots.items():
            whole = padded(value, len(parameter)) if _in_table(name, value) else value
            if key in current:
                current[key].copy_(whole)
            else:  # step counts of fused Adam lie where the weights do
                current[key] = whole.to(parameter.device, copy=True)


def _in_table(name: str, value: Tensor) -> bool:
    return name in Networks.TABLES and value.ndim > 0
