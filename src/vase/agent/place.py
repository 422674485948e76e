"""`vase/Hills-v0` and `vase/Room-v0`: walk, turn, look up and push an object, in first person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vase.domains import rendered
from vase.domains.scenery import KINDS, RANGES, REST, SIDE, Place
from vase.errors import ConfigError

Frame = NDArray[np.uint8]

# The factor that an action changes, and its sign: a factor of `scenery.RANGES`, or hue.
ACTIONS: Mapping[str, tuple[str, int]] = {
    "stay": ("x", 0),
    "forwards": ("x", 1),
    "backwards": ("x", -1),
    "to the left": ("y", 1),
    "to the right": ("y", -1),
    "turn left": ("heading", 1),
    "turn right": ("heading", -1),
    "look up": ("pitch", 1),
    "look down": ("pitch", -1),
    "push": ("distance", 1),
    "pull": ("distance", -1),
    "push left": ("bearing", 1),
    "push right": ("bearing", -1),
    "next hue": ("hue", 1),
    "previous hue": ("hue", -1),
}


class PlaceEnv(gymnasium.Env[Frame, np.int64]):
    """A viewer in one place, and one object in front of it.

    Every episode has another object, in kind and hue, straight ahead in the middle of the place.
    There is no reward, and no episode ends by itself. The object moves with the viewer.

    Args:
        place: "hills" or "room"; all environments of one process must use the same one.
        stride: how far an action changes a factor, as a share of its range.

    Observations are uint8 [64, 64, 3]. `info` holds the true factors in [0, 1] and the kind of the
    object, for evaluation; `reset(options={"shuffle": ["heading", ...]})` samples those uniformly,
    and hue in any case.
    """

    axes = ("bearing", "pitch")  # the factors that are a position: where the object is in the view
    randomized_factors = tuple(RANGES)  # the factors that the oracle resamples
    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012, Gymnasium's

    def __init__(
        self,
        place: Place,
        *,
        stride: float = 1 / 16,
        render_mode: str | None = None,
    ) -> None:
        if not 0 < stride <= 1:
            raise ConfigError(f"stride must be in (0, 1], not {stride}.")
        self.camera = rendered.camera(place)
        self.names, self.stride, self.render_mode = tuple(ACTIONS), stride, render_mode
        self.step_fraction = stride
        self.observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = spaces.Discrete(len(self.names))
        self.kind = 0
        self.factors = self._factors(())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode with another object; factors that are not shuffled are at rest."""
        super().reset(seed=seed)
        self.kind = int(self.np_random.integers(len(KINDS)))
        self.factors = self._factors((options or {}).get("shuffle", ()))
        return self._frame(), self._truth()

    def step(self, action: np.int64) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Act; return the next frame and its true factors."""
        self.factors = apply_action(self.factors, self.names[int(action)], self.stride)
        return self._frame(), 0.0, False, False, self._truth()

    def render(self) -> Frame:
        """Return the frame, [64, 64, 3]."""
        return self._frame()

    def _factors(self, shuffled: Iterable[str]) -> dict[str, float]:
        names, drawn = (*RANGES, "hue"), set(shuffled)
        unknown = drawn - set(names)
        if unknown:
            raise ConfigError(f"{', '.join(names)} can be shuffled, but not {sorted(unknown)}.")
        drawn.add("hue")  # every object has its own hue
        return {name: float(self.np_random.random()) if name in drawn else REST for name in names}

    def _frame(self) -> Frame:
        return self.camera.frame(self.factors, self.kind).copy()

    def _truth(self) -> dict[str, Any]:
        return {**self.factors, "identity": self.kind}


def apply_action(factors: Mapping[str, float], action: str, stride: float) -> dict[str, float]:
    """Return the factors in [0, 1] after an action; hue is cyclic, the others are clipped."""
    name, way = ACTIONS[action]
    moved = factors[name] + way * stride
    return {**factors, name: moved % 1 if name == "hue" else min(max(moved, 0.0), 1.0)}
