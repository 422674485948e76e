"""Domains of frames that are rendered once and kept: places in three dimensions.

On first use every frame of a place (`scenery`) is rendered in a process of its own, with word of
how far it is, and kept in the cache as one memory-mapped array; training never waits for the
renderer. What is drawn is a function of the seed in this module, so that everyone's set shows the
same things; pixels may differ in their last bit between graphics drivers.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vase.domains import scenery
from vase.domains.cache import cache_folder, mapped, replacing
from vase.domains.canvas import Floats
from vase.domains.catalogue import Split
from vase.domains.frames import reflected
from vase.domains.scenery import SIDE, Light, Place
from vase.domains.walk import Moves, Walk, moved, walked
from vase.errors import ConfigError, DataError
from vase.progress import Say, silent
from vase.records import GroundTruth

COUNT, HELD_OUT = 24_000, 4_000  # frames of a place; the last of them are for testing
RESTING = 2_000, 400  # the same of a place at rest, where there is less to see
CHUNK = 500  # frames between two words of progress
SEED = 0
# Seeds with which factors are hardly correlated (0.11 and 0.22 at most). The walk for testing goes
# another way, past objects enough to score readouts.
WALK, TEST_WALK = Walk(6_000, change=300, seed=6), Walk(2_000, change=10, seed=17)

MOVES = Moves(32_000, span=8, seed=5)  # 4,000 moves, some 500 of each factor
ORDER = 6  # sets these random numbers apart from those of independent batches

Frames = NDArray[np.uint8]

_CAMERAS: dict[tuple[Place, Light | None], scenery.Camera] = {}  # of this process: one at most


@dataclass(frozen=True, eq=False)
class RenderedDomain:
    """One frame per image: `pixels` uint8 [N, 64, 64, 3], of which this domain draws `rows`.

    factors: [N] each, in [0, 1] (`scenery.RANGES`), hue going all the way round; of a place at rest
    hue alone. Identity is the kind of the object: ball, box, cylinder, mushroom.
    """

    name: str
    place: Place
    pixels: Frames
    factors: Mapping[str, NDArray[np.float64]]
    identity: NDArray[np.int64]
    rows: NDArray[np.int64]
    at_rest: bool = False

    shape = 3, SIDE, SIDE
    label_kind = "objects"

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Floats, GroundTruth]:
        """`count` frames, float32 [B, 3, 64, 64] in [0, 1], and their factors."""
        chosen = self.rows[generator.integers(len(self.rows), size=count)]
        return self.at(chosen)

    def at(self, rows: NDArray[np.int64]) -> tuple[Floats, GroundTruth]:
        """Rows of its frames as images, and their truth."""
        pixels = np.moveaxis(np.asarray(self.pixels[rows]), -1, 1)
        factors = {name: values[rows] for name, values in self.factors.items()}
        return pixels * np.float32(1 / 255), GroundTruth(self.name, self.identity[rows], factors)


@dataclass(frozen=True, eq=False)
class MovingDomain(RenderedDomain):
    """Independent draws, and frames in order in which one factor moves at a time."""

    say: Say | None = None

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:
        """The moves back and forth, whatever the split; each seed begins elsewhere.

        They are rendered when the first of them is asked for. Raises like `domain`.
        """
        start = np.random.default_rng([seed, ORDER]).integers(MOVES.count)
        return self._moves.frames(numbers + start, seed)

    @cached_property
    def _moves(self) -> WalkDomain:
        return _in_order(self.name, Scene(self.place, MOVES.count, walk=MOVES), self.say)


class WalkDomain(RenderedDomain):
    """The frames of a walk, or of moves, in order; a walk through the room has a `door`, too."""

    def frames(self, numbers: NDArray[np.int64], seed: int) -> tuple[Floats, GroundTruth]:  # noqa: ARG002
        """The walk back and forth, whatever the seed: the same way in every light."""
        return self.at(self.rows[reflected(numbers, len(self.rows))])


def walk_domain(name: str, place: Place, light: Light, split: Split, say: Say | None) -> WalkDomain:
    """A walk through a place as a domain; renders its frames if they are not in the cache yet.

    Testing has a walk of its own, with other phases and objects. Raises like `domain`.
    """
    walk = TEST_WALK if split == "test" else WALK
    return _in_order(name, Scene(place, walk.count, light=light, walk=walk), say)


def _in_order(name: str, scene: Scene, say: Say | None) -> WalkDomain:
    """All frames of a scene, rendered if they are not in the cache yet."""
    factors, identity = scene.drawn()
    shown = frames(scene, say)
    return WalkDomain(name, scene.place, shown, factors, identity, np.arange(scene.count))


def domain(
    name: str, place: Place, split: Split, say: Say | None, *, at_rest: bool = False
) -> RenderedDomain:
    """A place as a domain; renders its frames if they are not in the cache yet.

    A `ConfigError` where the packages are missing, a `DataError` where nothing can be rendered.
    """
    count, held_out = RESTING if at_rest else (COUNT, HELD_OUT)
    scene = Scene(place, count, at_rest)
    factors, identity = scene.drawn()
    rows = np.arange(count)
    part = rows[-held_out:] if split == "test" else rows[:-held_out]
    shown = frames(scene, say)
    told = {"hue": factors["hue"]} if at_rest else factors  # what is always the same is no truth
    if at_rest:
        return RenderedDomain(name, place, shown, told, identity, part, at_rest)
    return MovingDomain(name, place, shown, told, identity, part, say=say)


@dataclass(frozen=True)
class Scene:
    """What is rendered: `count` frames of a place, at rest, in moves, or on a walk in a light."""

    place: Place
    count: int
    at_rest: bool = False
    light: Light | None = None
    walk: Walk | Moves | None = None

    def drawn(self) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        """The factors in [0, 1] and the kind of the object of every frame, [count] each."""
        if isinstance(self.walk, Moves):
            return moved(self.walk)
        if self.walk:
            return walked(self.walk, door=self.place == "room")
        return scenery.drawn(np.random.default_rng(SEED), self.count, at_rest=self.at_rest)

    @property
    def file_name(self) -> str:
        """What the frames are kept under."""
        state = "-at-rest" if self.at_rest else "-moves" if self.walk else ""
        state = f"-walk-{self.light}" if self.light else state
        return f"{self.place}{state}-{self.count}-{self.recipe}.npy"

    @property
    def recipe(self) -> str:
        """What names a set of frames: a change of the place, a factor or the seed is another."""
        place = scenery.described(self.place, self.light)
        description = f"{place} {scenery.RANGES} {scenery.KINDS} {scenery.EYE} {SEED}"
        description += f" {scenery.REST}" if self.at_rest else ""
        if self.walk:
            description += f" {self.walk.described()} {scenery.door_at(1.0)}"
        return hashlib.sha256(description.encode()).hexdigest()[:12]


@lru_cache(maxsize=4)
def frames(scene: Scene, say: Say | None) -> Frames:
    """The frames of a scene, uint8 [N, 64, 64, 3], memory-mapped."""
    path = cache_folder() / "rendered" / scene.file_name
    if not path.is_file():
        _render(scene, path, say or silent)
    kept: Frames = mapped(path)
    if kept.shape != (scene.count, SIDE, SIDE, 3) or kept.dtype != np.uint8:
        raise DataError(f"{path} is damaged. Delete it and run again; it is then made again.")
    return kept


def _render(scene: Scene, path: Path, say: Say) -> None:
    """Render into a file, whole or not at all."""
    place, count = scene.place, scene.count
    _refuse_without_mujoco(place)
    try:
        with replacing(path) as part, part.open("wb") as file:
            shape = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE, 3)}
            np.lib.format.write_array_header_1_0(file, shape)
            for start, rendered in _chunks(scene):
                file.write(rendered.tobytes())
                say(f"{place}: {start + len(rendered):,} of {count:,} frames rendered, once")
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written: {error.strerror or error}.") from error


def _chunks(scene: Scene) -> Iterator[tuple[int, Frames]]:
    """Frames in order, from a process that renders this place and no other."""
    starts = range(0, scene.count, CHUNK)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            yield from zip(starts, pool.map(partial(_frames, scene), starts), strict=True)
    except BrokenProcessPool:
        why = "the process that renders it died (a script needs if __name__ == '__main__':)"
        raise DataError(_unable(scene.place, why)) from None
    except OSError as error:  # no fault of the disk that the frames are written to
        raise DataError(_unable(scene.place, f"its process fails: {error}")) from error


def _frames(scene: Scene, start: int) -> Frames:
    """One chunk; what goes wrong with the graphics goes back to the caller as a sentence."""
    factors, kinds = scene.drawn()
    shown = camera(scene.place, scene.light)
    return np.stack(
        [
            shown.frame({name: each[row] for name, each in factors.items()}, int(kinds[row]))
            for row in range(start, min(scene.count, start + CHUNK))
        ]
    )


def camera(place: Place, light: Light | None = None) -> scenery.Camera:
    """What renders a place in this process, in which no other may be rendered.

    light: as it is on a walk.

    A `ConfigError` where MuJoCo is missing or another place is rendered, a `DataError` where the
    graphics do not work.
    """
    _refuse_without_mujoco(place)
    if place not in get_args(Place):
        raise ConfigError(f"There is no place '{place}'. There is: {', '.join(get_args(Place))}.")
    if others := [other for other in _CAMERAS if other != (place, light)]:
        raise ConfigError(
            f"This process renders '{others[0][0]}', and can render one place only. Use "
            f"'{place}' in another process."
        )
    if (place, light) not in _CAMERAS:
        if sys.platform == "linux":  # elsewhere MuJoCo knows by itself what works
            os.environ.setdefault("MUJOCO_GL", "egl")
        try:
            _CAMERAS[place, light] = scenery.Camera(place, light)
        except Exception as error:
            raise DataError(_unable(place, str(error))) from None
    return _CAMERAS[place, light]


def _refuse_without_mujoco(place: Place) -> None:
    """A `ConfigError` where nothing can be rendered."""
    if find_spec("mujoco") is None:
        raise ConfigError(
            f"The domain '{place}' is rendered by MuJoCo, which is not installed. Install it with: "
            "pip install 'vase-lifelong[rooms]'"
        )


def _unable(place: Place, why: str) -> str:
    return (
        f"The domain '{place}' cannot be rendered here: {why}. MuJoCo needs a graphics library "
        "that works without a screen: on Debian or Ubuntu, apt-get install libegl1 libgl1-mesa-dri"
        "; elsewhere set MUJOCO_GL to osmesa or glfw, as its manual says."
    )
