"""Two places in three dimensions that look different and share their factors.

"hills" is a clearing in grassy hills with rocks and distant trees, "room" a room with an orange
floor and blue and red walls. Both are seen in first person, and one object stands before the
viewer: the same factors put it at the same spot, in the same size and colour, in both. This module
knows how a place is described to MuJoCo and how one frame is rendered; `rendered` keeps frames.

Whoever walks through a place (`walk`) sees it by day, by night or by the light of a lamp that the
viewer carries; the room then has a door, and another room behind it.

Lengths are metres, angles radians; the viewer's eye is 0.8 m above the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vase.domains.canvas import tint

Place = Literal["hills", "room"]
Light = Literal["day", "night", "lamp"]

SIDE = 64  # pixels
EYE = 0.8
HALF = 7.0  # from the middle of the room to a wall
FLAT = 6.7  # radius of the clearing
FIELD = 33  # points of the hills' height field, a side
TREES = (13.0, 18.0)  # how far out they stand, so that no tree looks as large as an object
KINDS = ("ball", "box", "cylinder", "mushroom")

REST = 0.5  # of every factor but hue, where nothing has moved
# What a factor of 0 and of 1 mean. Hue goes all the way round, and has none.
RANGES: Mapping[str, tuple[float, float]] = {
    "x": (-1.5, 1.5),
    "y": (-1.5, 1.5),
    "heading": (-0.5, 0.5),
    "pitch": (-0.15, 0.15),
    "distance": (2.0, 4.2),
    "bearing": (-0.4, 0.4),
}

_OBJECTS = """
<body name="ball" mocap="true" pos="0 0 -9">
  <geom type="sphere" size=".6" pos="0 0 .6" material="object"/></body>
<body name="box" mocap="true" pos="0 0 -9">
  <geom type="box" size=".5 .5 .5" pos="0 0 .5" material="object"/></body>
<body name="cylinder" mocap="true" pos="0 0 -9">
  <geom type="cylinder" size=".4 .65" pos="0 0 .65" material="object"/></body>
<body name="mushroom" mocap="true" pos="0 0 -9">
  <geom type="cylinder" size=".16 .4" pos="0 0 .4" rgba=".9 .85 .75 1"/>
  <geom type="ellipsoid" size=".68 .68 .37" pos="0 0 .82" material="object"/></body>
"""

DOOR = 1.0, 3.2  # y of the sides of the doorway, in the wall ahead
DOOR_HEIGHT = 1.8
BEHIND = 12.0, -2.0, 6.0  # x of the far wall of the room behind it, y of the two others


@dataclass(frozen=True)
class Lighting:
    """Colours of a light: all around, from the viewer, from the sun or moon, and of the sky.

    lamp: carried by the viewer; its light falls off with the distance.
    """

    ambient: str
    viewer: str
    sun: str
    sky: tuple[str, str]
    lamp: str = ""


_DAY: Mapping[Place, Lighting] = {
    "hills": Lighting("0.5 0.5 0.5", ".15 .15 .15", ".5 .48 .42", (".35 .6 1", ".92 .96 1")),
    "room": Lighting("0.65 0.65 0.65", ".15 .15 .15", ".3 .3 .3", (".75 .85 .95", ".45 .65 .9")),
}
_NIGHT = Lighting(".16 .22 .44", ".02 .03 .05", ".08 .12 .24", (".02 .03 .09", ".06 .09 .19"))
_LAMP = Lighting(".09 .08 .09", "0 0 0", "0 0 0", (".01 .01 .02", ".03 .03 .05"), "1 .72 .38")

_HILLS = """
<texture name="sky" type="skybox" builtin="gradient" rgb1="SKY1" rgb2="SKY2"
  width="128" height="128"/>
<texture name="grass" type="2d" builtin="flat" rgb1=".32 .47 .16" mark="random"
  markrgb=".42 .56 .22" random=".3" width="128" height="128"/>
<material name="grass" texture="grass" texrepeat="14 14" specular="0"/>
<material name="rock" rgba=".5 .48 .46 1" specular="0"/>
<hfield name="hills" nrow="33" ncol="33" size="20 20 1.6 .1"/>
"""

_ROOM = """
<texture name="sky" type="skybox" builtin="gradient" rgb1="SKY1" rgb2="SKY2"
  width="128" height="128"/>
<texture name="floor" type="2d" builtin="flat" rgb1=".80 .56 .12" mark="random"
  markrgb=".62 .42 .10" random=".1" width="128" height="128"/>
<material name="floor" texture="floor" texrepeat="6 6" specular="0"/>
<texture name="blue" type="2d" builtin="checker" rgb1=".10 .38 .62" rgb2=".14 .46 .72"
  width="128" height="128"/>
<material name="blue" texture="blue" texrepeat="8 2" specular="0"/>
<texture name="red" type="2d" builtin="checker" rgb1=".58 .16 .30" rgb2=".68 .22 .38"
  width="128" height="128"/>
<material name="red" texture="red" texrepeat="8 2" specular="0"/>
"""


_BEHIND = """
<texture name="green" type="2d" builtin="checker" rgb1=".20 .50 .28" rgb2=".26 .60 .34"
  width="128" height="128"/>
<material name="green" texture="green" texrepeat="6 6" specular="0"/>
<material name="yellow" rgba=".92 .82 .30 1" specular="0"/>
<material name="white" rgba=".85 .85 .8 1" specular="0"/>
<material name="door" rgba=".42 .26 .13 1" specular="0"/>
"""


def described(place: Place, light: Light | None = None) -> str:
    """The place as MuJoCo's XML; light: of a walk through it, in which the room has a door."""
    lighting = {"night": _NIGHT, "lamp": _LAMP}.get(light or "day", _DAY[place])
    if place == "hills":
        return _xml(_HILLS, _clearing(), lighting)
    if light is None:
        return _xml(_ROOM, _walls(), lighting)
    return _xml(_ROOM + _BEHIND, _walls_with_a_door(), lighting)


class Camera:
    """Renders frames of one place. In one process only one place may be rendered.

    MuJoCo's renderers share a context that the first to be collected takes away from the others,
    which then go on showing what they last saw.
    """

    def __init__(self, place: Place, light: Light | None = None) -> None:
        import mujoco  # opens the graphics library, which not every machine has

        self.mujoco = mujoco
        self.model = mujoco.MjModel.from_xml_string(described(place, light))
        if place == "hills":
            self.model.hfield_data[:] = _heights().ravel()
        self.data = mujoco.MjData(self.model)
        self.renderer = mujoco.Renderer(self.model, SIDE, SIDE)
        self.viewer = self.model.body("viewer").mocapid[0]
        self.objects = [self.model.body(kind).mocapid[0] for kind in KINDS]
        doors = place == "room" and light is not None
        self.door = self.model.body("door").mocapid[0] if doors else None
        self.material = self.model.material("object").id
        mujoco.mj_forward(self.model, self.data)

    def frame(self, factors: Mapping[str, float], kind: int) -> NDArray[np.uint8]:
        """One frame, [64, 64, 3], of factors in [0, 1] and one of `KINDS`.

        Where there is a door, the factor "door" says how far it is open.
        """
        at = {name: low + (high - low) * factors[name] for name, (low, high) in RANGES.items()}
        self.data.mocap_pos[self.viewer] = (at["x"], at["y"], EYE)
        self.data.mocap_quat[self.viewer] = turned(at["heading"], at["pitch"])
        direction = at["heading"] + at["bearing"]
        spot = (
            at["x"] + at["distance"] * np.cos(direction),
            at["y"] + at["distance"] * np.sin(direction),
            0.0,
        )
        for number, body in enumerate(self.objects):  # the others are out of sight, below ground
            self.data.mocap_pos[body] = spot if number == kind else (0.0, 0.0, -9.0)
        if self.door is not None:
            self.data.mocap_pos[self.door] = door_at(factors["door"])
        self.model.mat_rgba[self.material, :3] = tint(np.array([factors["hue"]]))[0]
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)
        self.renderer.update_scene(self.data, camera="eye")
        pixels: NDArray[np.uint8] = self.renderer.render()
        return pixels


def drawn(
    generator: np.random.Generator, count: int, *, at_rest: bool = False
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Factors in [0, 1], [count] each, and kinds [count], all independent and uniform.

    At rest only objects differ, in kind and hue.
    """
    factors = {
        name: np.full(count, REST) if at_rest and name in RANGES else generator.random(count)
        for name in (*RANGES, "hue")
    }
    return factors, generator.integers(len(KINDS), size=count)


def turned(heading: float, pitch: float) -> tuple[float, float, float, float]:
    """The quaternion of a turn about the vertical, then of a nod: positive looks up."""
    c, s = np.cos(heading / 2), np.sin(heading / 2)
    cp, sp = np.cos(-pitch / 2), np.sin(-pitch / 2)
    return float(c * cp), float(-s * sp), float(c * sp), float(s * cp)


def door_at(opening: float) -> tuple[float, float, float]:
    """The middle of the door, which slides along the wall: shut at 0, beside the doorway at 1."""
    low, high = DOOR
    return HALF - 0.06, (low + high) / 2 + opening * (high - low), DOOR_HEIGHT / 2


def _xml(assets: str, things: str, light: Lighting) -> str:
    for name, colour in zip(("SKY1", "SKY2"), light.sky, strict=True):
        assets = assets.replace(name, colour)
    fine = ' numquads="16"' if light.lamp else ""  # light is reckoned at corners of what is drawn
    lamp = (
        f'<light pos="0 0 .25" dir="1 0 -.05" cutoff="70" exponent="2" diffuse="{light.lamp}" '
        'attenuation=".5 .08 .03" castshadow="false"/>'
        if light.lamp
        else ""
    )
    return f"""<mujoco>
<visual><global offwidth="{SIDE}" offheight="{SIDE}"/><map znear=".005" zfar="5"/>
<headlight ambient="{light.ambient}" diffuse="{light.viewer}" specular="0 0 0"/>
<quality shadowsize="0" offsamples="4"{fine}/></visual><statistic extent="10" center="0 0 1"/>
<asset>{assets}<material name="object" rgba="1 0 0 1" specular=".2"/></asset>
<worldbody><light type="directional" dir=".4 .3 -1" diffuse="{light.sun}" castshadow="false"/>
{things}{_OBJECTS}
<body name="viewer" mocap="true"><camera name="eye" fovy="60" xyaxes="0 -1 0 0 0 1"/>{lamp}</body>
</worldbody></mujoco>"""


def _clearing() -> str:
    """Grass, rocks all around, and trees behind them; the same every time."""
    generator = np.random.default_rng(0)
    things = ['<geom type="hfield" hfield="hills" material="grass" pos="0 0 -.02"/>']
    for k in range(14):
        angle = 2 * np.pi * k / 14 + generator.uniform(-0.1, 0.1)
        far, size = HALF * generator.uniform(1.0, 1.3), generator.uniform(0.5, 1.1)
        x, y = far * np.cos(angle), far * np.sin(angle)
        wide = size * generator.uniform(0.7, 1.2)
        things.append(
            f'<geom type="ellipsoid" material="rock" size="{size} {wide} {0.7 * size}" '
            f'pos="{x} {y} .2"/>'
        )
    heights = _heights()
    for _ in range(12):
        angle, far = generator.uniform(0, 2 * np.pi), generator.uniform(*TREES)
        tall, green = generator.uniform(0.9, 1.5), generator.uniform(0.74, 0.8)
        x, y = far * np.cos(angle), far * np.sin(angle)
        row, column = (round((at / 20 + 1) / 2 * (FIELD - 1)) for at in (y, x))
        ground = 1.6 * heights[row, column]
        things.append(
            f'<geom type="cylinder" size=".15 {tall / 2}" pos="{x} {y} {ground + tall / 2}" '
            'rgba=".6 .56 .52 1"/>'
            f'<geom type="ellipsoid" size="{0.6 * tall} {0.6 * tall} {tall}" '
            f'pos="{x} {y} {ground + 1.9 * tall}" rgba=".58 {green} .72 1"/>'
        )
    return "".join(things)


def _heights() -> NDArray[np.float64]:
    """Heights of the hills in [0, 1]: flat in the clearing, rising and rolling around it."""
    axis = np.linspace(-20, 20, FIELD)
    x, y = np.meshgrid(axis, axis)
    rise = np.clip((np.hypot(x, y) - FLAT) / 14, 0, 1)
    heights: NDArray[np.float64] = np.clip(
        rise * (0.7 + 0.35 * np.sin(0.45 * x) * np.cos(0.38 * y)), 0, 1
    )
    return heights


def _walls() -> str:
    """A floor and four walls that face inwards, two of each colour."""
    return _floor() + _wall(0) + _wall(1) + _wall(2) + _wall(3)


def _floor() -> str:
    return f'<geom type="plane" size="{HALF} {HALF} 1" material="floor"/>'


def _wall(side: int) -> str:
    """A wall of the room: ahead, behind, to the left, to the right."""
    sides = ((HALF, 0, "0 -1 0"), (-HALF, 0, "0 1 0"), (0, HALF, "1 0 0"), (0, -HALF, "-1 0 0"))
    x, y, across = sides[side]
    return (
        f'<geom type="plane" size="{HALF} 1.1 1" pos="{x} {y} 1.1" xyaxes="{across} 0 0 1" '
        f'material="{"blue" if side < 2 else "red"}"/>'
    )


def _walls_with_a_door() -> str:
    """The room with a doorway in the wall ahead, a door, and a room with other colours behind."""
    low, high = DOOR
    far, right, left = BEHIND
    middle, deep, wide = (far + HALF) / 2, (far - HALF) / 2, (left - right) / 2
    centre = (left + right) / 2
    ahead = (
        ((low - HALF) / 2, (low + HALF) / 2, 1.1, 1.1),  # y, half width, z, half height
        ((high + HALF) / 2, (HALF - high) / 2, 1.1, 1.1),
        ((low + high) / 2, (high - low) / 2, 1.1 + DOOR_HEIGHT / 2, 1.1 - DOOR_HEIGHT / 2),
    )
    things = [_floor(), _wall(1), _wall(2), _wall(3)]
    things += [
        f'<geom type="plane" size="{half} {height} 1" pos="{HALF} {y} {z}" xyaxes="0 -1 0 0 0 1" '
        'material="blue"/>'
        for y, half, z, height in ahead
    ]
    behind = (  # middle, half lengths, axes; under a ceiling, or the sky would be seen
        ((middle, centre, 0.0), (deep, wide), "1 0 0 0 1 0", "green"),
        ((middle, centre, 2.2), (deep, wide), "1 0 0 0 -1 0", "white"),
        ((far, centre, 1.1), (wide, 1.1), "0 -1 0 0 0 1", "yellow"),
        ((middle, left, 1.1), (deep, 1.1), "1 0 0 0 0 1", "yellow"),
        ((middle, right, 1.1), (deep, 1.1), "-1 0 0 0 0 1", "yellow"),
    )
    things += [
        f'<geom type="plane" size="{a} {b} 1" pos="{x} {y} {z}" xyaxes="{axes}" '
        f'material="{material}"/>'
        for (x, y, z), (a, b), axes, material in behind
    ]
    half = (high - low) / 2 + 0.05
    things.append(
        '<body name="door" mocap="true" pos="0 0 -9">'
        f'<geom type="box" size=".04 {half} {DOOR_HEIGHT / 2}" material="door"/></body>'
    )
    return "".join(things)
