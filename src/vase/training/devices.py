"""Where a run is computed: on one device, or on several with a process for each.

Lightning launches them: it starts this very command again for every further device, with
LOCAL_RANK in its environment. The first process leads: it alone talks and writes.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed


def leads() -> bool:
    """Whether this process is the first of those that share a run, or the only one."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


@dataclass(frozen=True)
class Devices:
    """The devices of a run, and what their processes exchange: `vase.lifelong.ranks.Ranks`."""

    fabric: Fabric
    count: int = 1

    @property
    def rank(self) -> int:
        return int(self.fabric.global_rank)

    def launch(self) -> None:
        """Start the other processes, or join them; with one device there is nothing to do."""
        if self.count > 1:
            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
            self.fabric.launch()

    def gather(self, rows: Tensor) -> Tensor:
        if self.count == 1:
            return rows
        every = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(every, rows.contiguous())
        return torch.cat(every)

    def mean(self, values: Tensor) -> Tensor:
        if self.count == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, here: bool) -> bool:
        """Whether something is so in one process at least."""
        flag = torch.tensor(float(here), device=self.fabric.device)
        return here if self.count == 1 else bool(self.mean(flag) > 0)
