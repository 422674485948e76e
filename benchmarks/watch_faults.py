"""`vase watch`, struck a hundred times: does every event come, once by its id, and none too few?

    python benchmarks/watch_faults.py            # twenty minutes; with --count 10 two

A camera on the network (cameras.py) shows one scene after another. After each change something
happens to the watch, at a random moment: kill -9, after which the same command goes on; the camera
goes away; the receiver of its webhook goes away; the disk is full (nothing can be written to any
file); its clock jumps by hours. The next change comes when this one was noticed. At the end the
events that the receiver has got are compared with the journal, and with what was shown.
Written to results/watch-faults.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cameras import Camera, Hook, camera, hook

from vase.watching.journal import Journal

RESULT = Path(__file__).parents[1] / "results" / "watch-faults.json"
FAULTS = ("kill -9", "camera gone", "receiver gone", "disk full", "clock moved")
FPS = 150
SECONDS = 60.0  # the watch must report a change in this time, also if it has to start again
# The clock of the watch is this machine's, and as many seconds more as stand in a file.
PROGRAM = """
import sys, time
real, path = time.time, sys.argv.pop(1)
time.time = lambda: real() + float(open(path).read())
from vase.cli import main
main()
"""


class Watching:
    """A watch in a process of its own, that can be struck."""

    def __init__(self, folder: Path, seen: Camera, told: Hook) -> None:
        self.run, self.clock, self.said = folder / "run", folder / "clock", folder / "said"
        self.clock.write_text("0")
        self.command = [
            sys.executable, "-c", PROGRAM, str(self.clock), "watch", seen.address, "--out",
            str(self.run), "--fps", str(FPS), "--size", "32", "--no-learn", "--wait",
            "--save-every", "1", "--webhook", told.address,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.said.open("a") as errors:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.DEVNULL, stderr=errors, env=environment
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def writes(self, *, allowed: bool) -> None:
        """Whether it can write to files; a write that cannot be made fails as on a full disk."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = hard if allowed else 0
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def events(self) -> list[dict[str, Any]]:
        path = self.run / "journal.sqlite"
        if not path.exists():
            return []
        journal = Journal(path)
        found = journal.after(0, 100_000)
        journal.close()
        return found


def wait_for(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What is true in time, or None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    return None


def strike(
    fault: str, watch: Watching, seen: Camera, told: Hook, generator: np.random.Generator
) -> None:
    """Let something happen for a second or two."""
    pause = float(generator.uniform(0.2, 2.0))
    if fault == "kill -9":
        watch.kill()
        watch.start()
    elif fault == "camera gone":
        seen.gone.set()
        time.sleep(pause)
        seen.gone.clear()
    elif fault == "receiver gone":
        told.away.set()
        time.sleep(pause)
        told.away.clear()
    elif fault == "disk full":
        watch.writes(allowed=False)
        time.sleep(3 * pause)
        watch.writes(allowed=True)
    else:
        watch.clock.write_text(str(float(generator.integers(-48, 48)) * 3600))


def changes(watch: Watching) -> list[dict[str, Any]]:
    """What it has told of changes, the first frame among them."""
    return [e for e in watch.events() if e["kind"] in ("new", "returned", "reopened")]


def noticed(watch: Watching, before: int, expected: int | None) -> Any:
    """The first event after so many that says where the camera looks now, or None."""

    def found() -> Any:
        for event in changes(watch)[before:]:
            here = event["environment"]
            if (expected is None and event["kind"] == "new") or here == expected:
                return event
        return None

    return wait_for(found)


def struck(count: int, seed: int) -> dict[str, Any]:
    """Strike so many times; the counts, and what was wrong."""
    generator = np.random.default_rng(seed)
    missed: Counter[str] = Counter()
    struck_by: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, camera(fps=float(FPS)) as seen, hook() as told:
        watch = Watching(Path(folder), seen, told)
        scenes: dict[str, int] = {}
        begun = wait_for(lambda: changes(watch))
        assert begun, watch.said.read_text()
        scenes[seen.scene] = 0
        time.sleep(8)
        for k in range(count):
            fault = FAULTS[k % len(FAULTS)]
            others = [name for name in seen.frames if name != seen.scene]
            before = len(changes(watch))
            seen.scene = str(generator.choice(others))
            time.sleep(float(generator.uniform(0, 3)))
            strike(fault, watch, seen, told, generator)
            struck_by[fault] += 1
            event = noticed(watch, before, scenes.get(seen.scene))
            if event is None:
                missed[fault] += 1
            else:
                scenes.setdefault(seen.scene, event["environment"])
            print(f"{k + 1:4} {fault:14} {seen.scene:16} {event and event['kind']}", flush=True)
            time.sleep(float(generator.uniform(3, 5)))  # long enough to be known
        written = watch.events()
        got = wait_for(lambda: len({*ids(told)}) >= len(written) and ids(told), 330) or ids(told)
        watch.process.terminate()
        code = watch.process.wait(30)
    sent = {json.loads(body)["id"]: body for body in told.bodies}
    return {
        "struck": dict(struck_by),
        "missed": dict(missed),
        "events": len(written),
        "kinds": dict(Counter(e["kind"] for e in written)),
        "ids": len({e["id"] for e in written}),
        "gaps": sum(b["sequence"] != a["sequence"] + 1 for a, b in pairwise(written)),
        "lost": len({e["id"] for e in written} - set(got)),
        "unknown": len(set(got) - {e["id"] for e in written}),
        "sent_again": len(told.bodies) - len(sent),
        "differ": sum(len({b for b in told.bodies if key.encode() in b}) > 1 for key in sent),
        "exit": code,
    }


def ids(told: Hook) -> list[str]:
    """Of the events that were received, in order."""
    return [json.loads(body)["id"] for body in [*told.bodies]]


def main() -> None:
    """Strike, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = struck(given.count, given.seed)
    print(json.dumps(found, indent=1))
    if given.count >= 100:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
