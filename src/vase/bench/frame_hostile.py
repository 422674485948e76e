"""Streams of one scene to which something happens, and what a detector should make of it.

Each alters a stream of one domain: which frame is shown when, or its pixels. Nothing but the
covered camera is another scene: any other environment is wrong, or must be gone at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vase.bench.scores import Alarm
from vase.domains.canvas import Floats
from vase.domains.frames import FrameDomain
from vase.domains.stream import Schedule, Segment

FRAMES, BEGINS = 12_000, 6_000  # of a stream; of what happens in it
STUCK, BURST, COVERED = 2_000, 20, 1_500  # frames
DIMMING = 24_000  # frames in which brightness falls to half
PASSES, PASS_EVERY = 300, 1_500  # frames that an object is there, and from one entry to the next
DARK, GRAIN = 0.02, 0.01  # brightness of a covered camera, and the deviation of its noise
HOSTILE = 5  # sets these random numbers apart from those of the domains

Expected = Literal["no alarm", "first environment at the end", "noticed and known again"]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Altered:
    """Frames of one domain of which some are others, or look otherwise.

    show: which frames of the domain are shown, [B] for the numbers [B]. look: what becomes of the
    images [B, C, H, W] with these numbers.
    """

    domain: FrameDomain
    visits: tuple[Segment, ...]
    seed: int
    show: Callable[[Numbers], Numbers]
    look: Callable[[Floats, Numbers, int], Floats]

    def frames(self, start: int, stop: int) -> Floats:
        numbers = np.arange(start, stop)
        images, _ = self.domain.frames(self.show(numbers), self.seed)
        return self.look(images, numbers, self.seed)


def as_they_come(numbers: Numbers) -> Numbers:
    """Show every frame once."""
    return numbers


def stuck(numbers: Numbers) -> Numbers:
    """Show one frame for `STUCK` frames, and go on from there."""
    return numbers - np.clip(numbers - BEGINS, 0, STUCK)


def doubled(numbers: Numbers) -> Numbers:
    """Show every frame twice from the middle on: half the rate."""
    return np.where(numbers < BEGINS, numbers, BEGINS + (numbers - BEGINS) // 2)


def dropped(numbers: Numbers) -> Numbers:
    """Leave out every second frame from the middle on: twice the rate."""
    return np.where(numbers < BEGINS, numbers, BEGINS + 2 * (numbers - BEGINS))


def unaltered(images: Floats, numbers: Numbers, seed: int) -> Floats:  # noqa: ARG001
    """Leave the images as they are."""
    return images


def black(images: Floats, numbers: Numbers, seed: int) -> Floats:  # noqa: ARG001
    """Show nothing from the first frame on."""
    return np.zeros_like(images)


def burst(images: Floats, numbers: Numbers, seed: int) -> Floats:
    """Show `BURST` frames of noise."""
    noisy = _during(numbers, BEGINS, BURST)
    return np.where(noisy, _noise(images, numbers, seed), images)


def covered(images: Floats, numbers: Numbers, seed: int) -> Floats:
    """Show next to nothing for `COVERED` frames: dark, with the noise of a sensor."""
    grain = 2 * GRAIN * (_noise(images, numbers, seed) - np.float32(0.5))
    return np.where(_during(numbers, BEGINS, COVERED), DARK + grain, images).astype(np.float32)


def visited(images: Floats, numbers: Numbers, seed: int) -> Floats:  # noqa: ARG001
    """Let a grey square of a quarter of the side cross the scene four times, left to right."""
    height, width = images.shape[2:]
    side, changed = height // 4, images.copy()
    for k, age in enumerate((numbers - BEGINS).tolist()):
        if age >= 0 and age % PASS_EVERY < PASSES:
            left = round(age % PASS_EVERY / PASSES * (width + side)) - side
            changed[k, :, side : 2 * side, max(left, 0) : max(left + side, 0)] = 0.6
    return changed


def dimming(images: Floats, numbers: Numbers, seed: int) -> Floats:  # noqa: ARG001
    """Let the brightness fall evenly to half, from the middle of the first stay on."""
    done = np.clip((numbers - BEGINS) / DIMMING, 0, 1).astype(np.float32)
    return (images * (1 - done / 2)[:, None, None, None]).astype(np.float32)


def _during(numbers: Numbers, start: int, frames: int) -> NDArray[np.bool_]:
    """Return whether each frame is in [start, start + frames), as [B, 1, 1, 1]."""
    inside: NDArray[np.bool_] = (numbers >= start) & (numbers < start + frames)
    return inside[:, None, None, None]


def _noise(images: Floats, numbers: Numbers, seed: int) -> Floats:
    """Return uniform noise, the same for the same frame."""
    frames = [
        np.random.default_rng([seed, HOSTILE, number]).random(images.shape[1:], dtype=np.float32)
        for number in numbers.tolist()
    ]
    return np.stack(frames)


@dataclass(frozen=True)
class Disturbance:
    """What happens to a stream of one scene, and what should come of it.

    why: in a sentence. expected: see `as_expected`. frames: of the stream.
    """

    name: str
    why: str
    expected: Expected
    show: Callable[[Numbers], Numbers] = as_they_come
    look: Callable[[Floats, Numbers, int], Floats] = unaltered
    frames: int = FRAMES

    def stream(self, domain: FrameDomain, seed: int) -> Altered:
        """Return the stream of a domain to which this happens."""
        stays = [(domain.name, self.frames)]
        if self.expected == "noticed and known again":
            rest = self.frames - BEGINS - COVERED
            stays = [(domain.name, BEGINS), ("covered", COVERED), (domain.name, rest)]
        return Altered(domain, Schedule.of(stays).segments, seed, self.show, self.look)


NOTHING: Expected = "no alarm"
PASSING: Expected = "first environment at the end"
DISTURBANCES: Mapping[str, Disturbance] = {
    each.name: each
    for each in (
        Disturbance("stuck", f"one frame {STUCK:,} times: of the scene", PASSING, show=stuck),
        Disturbance("repeated", "every frame twice, from the middle on", NOTHING, show=doubled),
        Disturbance(
            "dropped", "every second frame lost, from the middle on", NOTHING, show=dropped
        ),
        Disturbance("black", "all black from the first frame on", NOTHING, look=black),
        Disturbance("burst", f"{BURST} frames of noise", PASSING, look=burst),
        Disturbance(
            "covered",
            f"the camera is covered for {COVERED:,} frames",
            "noticed and known again",
            look=covered,
        ),
        Disturbance("object", "an object enters and leaves, four times", NOTHING, look=visited),
        Disturbance(
            "dimming",
            f"the light falls to half over {DIMMING:,} frames",
            NOTHING,
            look=dimming,
            frames=BEGINS + DIMMING,
        ),
    )
}


def as_expected(
    expected: Expected, visits: tuple[Segment, ...], alarms: tuple[Alarm, ...], environments: int
) -> bool:
    """Return whether a detector did what it should. environments: how many it keeps at the end.

    "no alarm": none. "first environment at the end": it may have left it, but is back, and keeps no
    other. "noticed and known again": one alarm in each visit after the first, the last of them for
    the first environment.
    """
    if expected == "no alarm":
        return not alarms
    last = alarms[-1].index if alarms else 0
    if expected == "first environment at the end":
        return last == 0 and environments == 1
    counts = [sum(v.start <= alarm.step < v.end for alarm in alarms) for v in visits]
    return counts == [0, *[1] * (len(visits) - 1)] and last == 0
