"""A watch as it is used: a camera on the network, a receiver that is away, and figures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import vase
from scripts import script
from serving import figures, free_port, until

pytest.importorskip("av")
CAMERAS = script("cameras")
SCRAPED = 0.25  # seconds between two looks at the figures, which cost both processes time


def test_a_camera_is_watched_and_every_change_is_told(tmp_path: Path) -> None:
    """There and back and there again, while the receiver is away and then the camera."""
    run, port = tmp_path / "run", free_port()
    with CAMERAS.camera() as seen, CAMERAS.hook() as told:
        command = [
            sys.executable, "-m", "vase", "watch", seen.address, "--out", str(run), "--fps", "150",
            "--size", "32", "--no-learn", "--webhook", told.address, "--metrics-port", str(port),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VASE_WEBHOOK_SECRET": "secret"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        try:

            def kinds() -> list[str]:
                return [json.loads(body)["kind"] for body in told.bodies]

            def undelivered() -> list[float]:
                return [v for k, v in figures(port).items() if "undelivered" in k]

            until(lambda: kinds() == ["new"])
            until(lambda: figures(port)["vase_frames_total"] > 800, SCRAPED)
            vase("name", str(run), "0", "the palace")
            told.away.set()
            seen.scene = "flower"
            until(lambda: figures(port)["vase_environment"] == 1, SCRAPED)
            assert undelivered() == [1]
            told.away.clear()
            until(lambda: kinds() == ["new", "new"])
            frames = figures(port)["vase_frames_total"]
            until(lambda: figures(port)["vase_frames_total"] > frames + 400, SCRAPED)
            seen.gone.set()
            until(lambda: kinds()[-1] == "source_lost")
            seen.gone.clear()
            until(lambda: kinds()[-1] == "source_back")
            seen.scene = "china"
            until(lambda: kinds()[-1] == "returned")
            until(lambda: figures(port)["vase_events_total returned"], SCRAPED)
            # The last event is here before the sender has counted it.
            until(lambda: undelivered() == [0], SCRAPED)
            final = figures(port)
        finally:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    events = [json.loads(line) for line in output.splitlines()]
    assert events == [json.loads(body) for body in told.bodies]  # in order, none lost, none twice
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    last = events[-1]
    assert (last["name"], last["environment"], last["previous"]) == ("the palace", 0, 1)
    assert last["last_seen"] < events[1]["time"]
    assert final["vase_source_reconnects_total"] == 1
    assert [v for k, v in final.items() if "undelivered" in k] == [0]
    assert final["vase_environment_present 0 the palace"] == 1
