"""VASE: lifelong, label-free, disentangled representation learning for image streams.

from vase import VASE
model = VASE(latents=24)
for images in stream:
    event = model.partial_fit(images)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vase.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    InputError,
    RunError,
    VaseError,
)
from vase.version import __version__

if TYPE_CHECKING:
    from vase.estimator import VASE
    from vase.watching import watch

__all__ = [
    "VASE",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "InputError",
    "RunError",
    "VaseError",
    "__version__",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name == "VASE":
        from vase.estimator import VASE

        return VASE
    if name == "watch":
        from vase.watching import watch

        return watch
    raise AttributeError(f"module 'vase' has no attribute '{name}'")
