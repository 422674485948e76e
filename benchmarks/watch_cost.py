"""What `vase watch` costs: the share of one processor at 10 frames a second of 64 x 64 in colour.

    python benchmarks/watch_cost.py                   # four minutes

A camera on the network shows a scene, and another one after half of the time. The first minute,
in which the program starts and PyTorch warms up, does not count. Written to
results/watch-cost.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from cameras import camera

from vase.watching.journal import Journal

RESULT = Path(__file__).parents[1] / "results" / "watch-cost.json"
FPS, SIDE, WARM, SECONDS = 10.0, 64, 60, 60


def measured(learn: bool) -> dict[str, Any]:
    """Processor seconds per second, memory in megabytes, frames looked at and dropped."""
    with tempfile.TemporaryDirectory() as folder, camera(fps=FPS, side=SIDE) as seen:
        run = Path(folder) / "run"
        command = [
            sys.executable, "-m", "vase", "watch", seen.address, "--out", str(run),
            "--fps", str(FPS), "--size", str(SIDE), "--learn" if learn else "--no-learn",
            "--metrics-port", "9108",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        watching = psutil.Process(process.pid)
        time.sleep(WARM)
        before, frames = sum(watching.cpu_times()[:2]), counted()
        time.sleep(SECONDS / 2)
        seen.scene = "flower"
        time.sleep(SECONDS / 2)
        after, more = sum(watching.cpu_times()[:2]), counted()
        memory = watching.memory_info().rss / 1e6
        process.terminate()
        process.wait(30)
        events = [event["kind"] for event in Journal(run / "journal.sqlite").after(0)]
    return {
        "learning": learn,
        "share": round((after - before) / SECONDS, 3),
        "frames_per_second": round((more["frames"] - frames["frames"]) / SECONDS, 2),
        "dropped": more["dropped"],
        "memory_mb": round(memory),
        "events": events,
    }


def counted() -> dict[str, float]:
    """Frames looked at and dropped so far, as Prometheus has them."""
    import requests
    from prometheus_client.parser import text_string_to_metric_families

    text = requests.get("http://127.0.0.1:9108/metrics", timeout=5).text
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return {"frames": found["vase_frames_total"], "dropped": found["vase_frames_dropped_total"]}


def main() -> None:
    """Measure with and without learning, and write both down."""
    found = [measured(learn) for learn in (True, False)]
    print(json.dumps(found, indent=1))
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
