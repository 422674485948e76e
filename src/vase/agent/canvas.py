"""`vase/Canvas-v0`: one sprite on a canvas that agents move, turn, rescale and recolour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vase import build
from vase.agent import pose
from vase.agent.pose import ActionKind, Pose
from vase.domains.sources import Split
from vase.domains.sprites import Sprites
from vase.errors import ConfigError
from vase.settings import DomainSettings

Frame = NDArray[np.uint8]
Family = Literal["mnist", "fashion-mnist", "solids", "strokes"]


class CanvasEnv(gymnasium.Env[Frame, np.int64]):
    """A sprite that stays at rest in the middle until an agent acts.

    Every episode has another sprite. There is no reward, and no episode ends by itself.

    Args:
        sprites: "mnist", "fashion-mnist", the procedural "solids" and "strokes"; or sprites
            themselves, to which `shrink`, `split`, `data_dir` and `offline` do not apply.
        size: side of the canvas, in pixels. shrink: factor by which sprites are made smaller.
        channels: 1 or 3. actions: the kinds of actions: "move", "turn", "rescale", "recolour"; all
            by default, "recolour" on canvases of 3 channels.
        stride: pixels per move.
        split: of the sprites. data_dir, offline: where to look for them.

    randomized_factors: the factors that the oracle resamples. step_fraction: how far an action
    moves the sprite, as a share of the range of travel.

    Observations are uint8 [size, size, channels]. `info` holds the true factors and the identity,
    for evaluation; `reset(options={"shuffle": ["x", "y", "hue"]})` samples those uniformly.
    """

    axes = ("x", "y")  # the factors that are a position
    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012, Gymnasium's

    def __init__(
        self,
        sprites: Family | Sprites = "mnist",
        *,
        size: int = 64,
        shrink: int = 1,
        channels: int = 1,
        actions: Sequence[ActionKind] | None = None,
        stride: int = 1,
        split: Split = "train",
        data_dir: Path | None = None,
        offline: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"channels must be 1 or 3, not {channels}.")
        for what, pixels in (("stride", stride), ("size", size)):
            if int(pixels) != pixels or pixels < 1:
                raise ConfigError(f"{what} must be a whole number of pixels, not {pixels}.")
        kinds = actions or pose.kinds(channels)
        self.names = pose.actions(kinds, channels)
        self.randomized_factors = ("x", "y", "hue") if "recolour" in kinds else ("x", "y")
        self.sprites = (
            sprites
            if isinstance(sprites, Sprites)
            else _loaded(sprites, shrink, split, data_dir, offline)
        )
        self.size, self.channels, self.stride = int(size), channels, int(stride)
        height, width = self.sprites.pixels.shape[1:]
        if max(height, width) > size:
            raise ConfigError(
                f"Sprites of {height}x{width} pixels do not fit a canvas of {size}. "
                "Set a larger `size`, or a `shrink` above 1."
            )
        self.travel = (size - height, size - width)
        self.step_fraction = stride / max(*self.travel, 1)
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (size, size, channels), np.uint8)
        self.action_space = spaces.Discrete(len(self.names))
        self.chosen, self.pose = 0, self._pose(())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode with another sprite, at rest."""
        super().reset(seed=seed)
        self.chosen = int(self.np_random.integers(len(self.sprites.pixels)))
        self.pose = self._pose((options or {}).get("shuffle", ()))
        return self._frame(), self._truth()

    def step(self, action: np.int64) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Act; return the next frame and its true factors."""
        self.pose = pose.apply_action(self.pose, self.names[int(action)], self.stride, self.travel)
        return self._frame(), 0.0, False, False, self._truth()

    def render(self) -> Frame:
        """Return the frame in colour, [size, size, 3]."""
        return np.broadcast_to(self._frame(), (self.size, self.size, 3)).copy()

    def _pose(self, shuffled: Iterable[str]) -> Pose:
        """Return a pose at rest in the middle, except for the shuffled factors."""
        draw, names = self.np_random.integers, set(shuffled)
        unknown = names - {"x", "y", "hue"}
        if unknown:
            raise ConfigError(f"x, y and hue can be shuffled, but not {sorted(unknown)}.")
        down, right = self.travel
        return Pose(
            top=int(draw(down + 1)) if "y" in names else down // 2,
            left=int(draw(right + 1)) if "x" in names else right // 2,
            hue=int(draw(pose.HUES)) if "hue" in names else None,
        )

    def _frame(self) -> Frame:
        return pose.render(self.sprites.pixels[self.chosen], self.pose, self.size, self.channels)

    def _truth(self) -> dict[str, Any]:
        identity = int(self.sprites.labels[self.chosen])
        return {**pose.factors(self.pose, self.travel), "identity": identity}


@lru_cache(maxsize=8)
def _loaded(
    name: Family, shrink: int, split: Split, data_dir: Path | None, offline: bool
) -> Sprites:
    """Load sprites by name, once for all environments of a process."""
    config = DomainSettings(domain=name, shrink=shrink)
    return build.sprites(config, build.DataOptions(data_dir, offline), split)
