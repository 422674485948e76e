"""A month of days and nights, watched at one frame a second: false alarms, returns, memory, files.

    python benchmarks/watch_month.py             # an hour; --days 3 for a look

A fixed camera before a place: it trembles, clouds come and go (the light wanders by a tenth within
a quarter of an hour), cars pass for a few seconds; at seven in the evening the lamp goes on and the
place looks another, until seven in the morning. Days and nights are real photographs. Only the
change detector runs, and one false alarm in ten days is allowed. The events are compared with the
sixty changes of the month. A second month has a sun: over every day the light
grows by a sixth until noon, and fades; for one frame in two thousand that is no wonder, but noon
never looks like morning. Written to results/watch-month.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cameras import scenes

from vase.watching import session
from vase.watching.records import Frame
from vase.watching.session import WatchOptions, opened
from vase.watching.sources import Source, Wanted

RESULT = Path(__file__).parents[1] / "results" / "watch-month.json"
FPS, SIDE, DAY, MORNING, EVENING = 1.0, 32, 86_400, 7 * 3600, 19 * 3600
CLOUDS = 900.0  # seconds over which the light is alike
PASSES = 1 / 600  # of a second at which something begins to pass
LATE = 3600.0  # seconds after a change in which it has to be noticed
ALARM_EVERY = "10 days"


class Place(Source):
    """The place, second by second, from midnight on."""

    clocked = True

    def __init__(self, days: int, sun: bool, wanted: Wanted) -> None:
        super().__init__("a place", wanted)
        self.days, self.sun = days, sun
        photographs = scenes()
        self.looks = [views(photographs[name]) for name in ("china", "flower, turned")]

    def frames(self) -> Iterator[Frame]:  # type: ignore[override]
        """Frames until the month is over."""
        generator = np.random.default_rng(0)
        passing, cloud = 0, 0.0
        for second in range(self.days * DAY):
            of_day = second % DAY
            day = MORNING <= of_day < EVENING
            look = self.looks[0 if day else 1]
            cloud += np.sqrt(2 / CLOUDS) * generator.normal() - cloud / CLOUDS
            light = generator.uniform(0.92, 1) * np.exp(0.05 * cloud - 0.1)
            if day and self.sun:
                light *= 0.85 + 0.15 * np.sin(np.pi * (of_day - MORNING) / (EVENING - MORNING))
            pixels = look[generator.integers(len(look))] * light
            pixels += generator.normal(0, 2, pixels.shape)
            passing = 8 if not passing and generator.random() < PASSES else max(0, passing - 1)
            if passing:
                pixels[20:28, 4 * passing - 4 : 4 * passing + 4] = 60
            yield Frame(np.clip(pixels, 0, 255).astype(np.uint8), float(second), second)


def views(photograph: Any) -> Any:
    """What a trembling camera sees, float [64, SIDE, SIDE, 3]."""
    from PIL import Image

    generator, found = np.random.default_rng(0), []
    for _ in range(64):
        y, x = generator.integers(0, 12, 2)
        image = Image.fromarray(photograph[y : y + 240, x : x + 240]).resize((SIDE, SIDE))
        found.append(np.asarray(image, dtype=np.float64))
    return np.stack(found)


def watched(days: int, sun: bool, folder: Path) -> dict[str, Any]:
    """Watch so many days; what was told, and what was kept meanwhile."""

    def place(_: str, shape: Any, fps: float, **_rest: Any) -> Source:
        return Place(days, sun, Wanted(shape, fps))

    vars(session)["open_source"] = place
    options = WatchOptions(
        out=folder / "run", fps=FPS, size=SIDE, learn=False, alarm_every=ALARM_EVERY,
        keep_frames=20,
    )  # fmt: skip
    process = psutil.Process()
    kept: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    begun = time.monotonic()
    with opened("a place", options) as engine:
        shown = -1

        def go_on() -> bool:
            nonlocal shown
            if (today := int(engine.state.position // DAY)) != shown:
                shown = today
                files = sum(p.stat().st_size for p in (folder / "run").rglob("*") if p.is_file())
                kept.append({"day": today, "memory_mb": process.memory_info().rss / 1e6,
                             "files_mb": files / 1e6})  # fmt: skip
                print(json.dumps(kept[-1]), len(told), flush=True)
            return True

        for event in engine.events(go_on):
            told.append({"kind": event.kind, "environment": event.environment,
                         "position": event.position})  # fmt: skip
        frames = engine.state.frames
    return {
        "days": days, "frames": frames, "seconds": round(time.monotonic() - begun), "events": told,
        "kept": kept,
    }  # fmt: skip


def score(days: int, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Changes noticed, returns known, and false alarms: moves that no change explains.

    A return is known if the environment was opened in the same half of a day, day or night. Between
    pieces are false alarms that take one piece of the same half for another.
    """
    times = [day * DAY + at for day in range(days) for at in (MORNING, EVENING)]
    first, *left = [e for e in told if e["kind"] in ("new", "returned", "reopened")]
    opened = {e["environment"]: by_day(e) for e in (first, *left) if e["kind"] == "new"}
    delays, known = [], 0
    for change in times:
        event = next((e for e in left if 0 <= e["position"] - change <= LATE), None)
        if event is None:
            continue
        left.remove(event)
        delays.append(event["position"] - change)
        known += event["kind"] == "returned" and opened[event["environment"]] == by_day(event)
    return {
        "changes": len(times),
        "noticed": len(delays),
        "returns": len(times) - 1,  # the first morning is new
        "returns_known": known,
        "false_first_day": sum(e["position"] < DAY for e in left),
        "false_later": sum(e["position"] >= DAY for e in left),
        "between_pieces": sum(opened[e["environment"]] == by_day(e) for e in left),
        "allowed": days / 10,
        "environments": len(opened),
        "delay_median_s": float(np.median(delays)) if delays else None,
        "delay_worst_s": max(delays, default=None),
    }


def by_day(event: dict[str, Any]) -> bool:
    """Whether it was told by day."""
    return bool(MORNING <= event["position"] % DAY < EVENING)


def main() -> None:
    """Watch a month, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--again", action="store_true", help="only score what was watched before")
    given = parser.parse_args()
    if given.again:
        found = json.loads(RESULT.read_text(encoding="utf-8"))
        scored = {k: {**m, **score(m["days"], m["events"])} for k, m in found.items()}
        RESULT.write_text(json.dumps(scored, indent=1) + "\n", encoding="utf-8")
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    found = {}
    for name, sun in (("clouds", False), ("sun", True)):
        with tempfile.TemporaryDirectory() as folder:
            month = watched(given.days, sun, Path(folder))
        found[name] = {**score(given.days, month["events"]), **month}
        told = {k: v for k, v in found[name].items() if k not in ("events", "kept")}
        print(name, json.dumps(told, indent=1))
    if given.days >= 30:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
