"""Frames of rendered places, each in a process of its own that needs no torch."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vase import ConfigError
from vase.domains import rendered, scenery

Frames = NDArray[np.uint8]


def elsewhere(work: Callable[..., Any], *arguments: object) -> Any:
    """What a function returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def opened() -> None:
    """Open a context of the graphics library, which a process may die of."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    mujoco.GLContext(8, 8).make_current()


def skip_without_graphics() -> None:
    try:
        elsewhere(opened)
    except Exception:
        pytest.skip("no graphics library works here without a screen")


def two_poses(place: scenery.Place) -> Frames:
    """Two poses, each with a red and with a blue object, [2, 2, 64, 64, 3]."""
    camera = rendered.camera(place)
    pose = dict.fromkeys(scenery.RANGES, 0.4)
    return np.stack(
        [
            [camera.frame({**pose, "bearing": bearing, "hue": hue}, 1).copy() for hue in (0.0, 0.6)]
            for bearing in (0.2, 0.8)
        ]
    )


def in_light(light: scenery.Light) -> Frames:
    """The room with its door shut and open, an object out of the way, [2, 64, 64, 3]."""
    camera = rendered.camera("room", light)
    pose = {**dict.fromkeys(scenery.RANGES, 0.5), "bearing": 0.0, "hue": 0.0}
    return np.stack([camera.frame({**pose, "door": door}, 0).copy() for door in (0.0, 1.0)])


def visited(place: scenery.Place, other: scenery.Place) -> tuple[Frames, dict[str, Any]]:
    """The two poses in a place; what actions make of its factors, and how episodes begin.

    Also what is said of another place.
    """
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    from vase.agent.place import PlaceEnv  # its package registers the environments

    poses = two_poses(place)
    env = gymnasium.make(f"vase/{place.title()}-v0", render_mode="rgb_array").unwrapped
    assert isinstance(env, PlaceEnv)
    check_env(env)
    found: dict[str, Any] = {}
    for number, name in enumerate(env.names):
        rest, before = env.reset(seed=0)
        frame, _, _, _, after = env.step(np.int64(number))
        differing = [factor for factor in before if before[factor] != after[factor]]
        found[name] = (differing, bool((frame != rest).any()))
    found["begun"] = [env.reset(seed=seed)[1] for seed in range(20)]
    found["shuffled"] = env.reset(options={"shuffle": ["bearing"]})[1]
    try:
        rendered.camera(other)
    except ConfigError as error:
        found["other"] = str(error)
    return poses, found
