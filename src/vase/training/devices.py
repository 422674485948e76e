"""Where a run is computed: on one device, or on several with a process for each.

Lightning launches them: it starts this very command again for every further device, with
LOCAL_RANK in its environment. The first process leads: it alone writes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from vase.errors import RunError, reason

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def follows(count: int) -> bool:
    """Whether this process is one that another has started to share a run of `count` devices."""
    return count > 1 and os.environ.get("LOCAL_RANK", "0") != "0"


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
        rows = rows.contiguous()
        every = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(every, rows)
        return torch.cat(every)

    def mean(self, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, here: bool) -> bool:
        """Whether something is so in one process at least."""
        if self.count == 1:
            return here
        return bool(self.mean(torch.tensor(float(here), device=self.fabric.device)) > 0)

    @contextmanager
    def together(self, run: Path) -> Iterator[None]:
        """Make a `RunError` of what PyTorch says when another process has ended."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1:
                raise
            raise RunError(
                f"The processes of '{run}' could not go on together: {reason(error)}. If one of "
                f"them has said why, mend that; then go on with: vase resume {run}"
            ) from error
