"""The caller's process is left as it was, and what is set there does not change what is done here.

Everything is per thread and ends with the call: nothing global is set, not even for a moment, so
that other threads, and other models in them, never notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_INITIALISERS = tuple(
    getattr(nn.init, f"{name}_")
    for name in (
        "uniform",
        "normal",
        "trunc_normal",
        "kaiming_uniform",
        "kaiming_normal",
        "xavier_uniform",
        "xavier_normal",
        "orthogonal",
        "sparse",
    )
)
_DRAWS_IN_PLACE = tuple(
    getattr(Tensor, f"{name}_")
    for name in (
        "uniform",
        "normal",
        "random",
        "bernoulli",
        "exponential",
        "geometric",
        "cauchy",
        "log_normal",
    )
)
_DRAWS = (torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli)
_RANDOM = frozenset((*_INITIALISERS, *_DRAWS_IN_PLACE, *_DRAWS, torch.multinomial))
_OF_FLOATS = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace)
)
_OF_VALUES = frozenset((torch.tensor, torch.as_tensor, torch.full, torch.arange))
_OF_WHOLE_NUMBERS = frozenset((torch.randint, torch.randperm))


class _Defaults(TorchFunctionMode):
    """Float32 on a device of choice where nothing else is said, and draws from one generator."""

    def __init__(self, device: str = "cpu", generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.device, self.generator = device, generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _RANDOM and self.generator is not None and options.get("generator") is None:
            options["generator"] = self.generator
        makes = func in _OF_FLOATS or func in _OF_VALUES or func in _OF_WHOLE_NUMBERS
        if makes and options.get("device") is None and not (args and isinstance(args[0], Tensor)):
            options["device"] = self.device
        if func in _OF_FLOATS and options.get("dtype") is None:
            options["dtype"] = torch.float32
        made = func(*args, **options)
        if func in _OF_VALUES and options.get("dtype") is None and _of_python_floats(args):
            return made.to(torch.float32)
        return made


def _of_python_floats(args: Any) -> bool:
    """Whether values come without a type of their own, as tensors and arrays do not."""
    return not any(isinstance(value, Tensor | np.ndarray | np.generic) for value in args) and any(
        isinstance(value, float) for value in _flat(args)
    )


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


@contextmanager
def isolated() -> Iterator[None]:
    """Compute as if the caller had set nothing: modes, defaults and NumPy's handling of errors."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        usual = torch.get_default_dtype() == torch.float32
        if not usual or torch.get_default_device().type != "cpu":
            stack.enter_context(_Defaults())
        yield


@contextmanager
def private_weights(seed: int | None, device: str = "cpu") -> Iterator[None]:
    """Make networks whose weights come from a generator of their own.

    They are those that `torch.manual_seed(seed)` would have given, and the global generators are
    not touched. seed: None where weights are about to be replaced. device: "meta" for shapes alone.
    """
    generator = torch.Generator().manual_seed(seed or 0) if device == "cpu" else None
    with _Defaults(device, generator):
        yield
