"""What a watch shows: the terminal, the timeline, and the page over HTTP and in a browser."""

import http.client
import io
import itertools
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect
from rich.cells import cell_len
from rich.console import Console
from serving import browser

from vase.errors import ConfigError
from vase.explorer.server import PageServer
from vase.watching import timeline, words
from vase.watching.page import serve
from vase.watching.records import KnownEnvironment, Stay, WatchEvent, WatchStatus
from vase.watching.terminal import Terminal, event_line, events_table, screen

NOW = datetime(2026, 3, 17, 13, 3, 12, tzinfo=UTC)  # 14:03:12 in Berlin
HOUR = timedelta(hours=1)
HOSTILE = "[red]<img src=x onerror=alert(1)>\x1b[2J\n夜 👩‍🔧"
TAME = "[red]<img src=x onerror=alert(1)> [2J 夜 👩‍🔧"


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def event(kind: str, environment: int = 3, **fields: Any) -> WatchEvent:
    known = {"id": "1", "sequence": 1, "time": NOW, "position": 0.0, "frame": 7, "run": "kitchen"}
    known |= {"name": "", "previous": 0, "previous_name": "", "last_seen": None, "began": NOW}
    known |= {"reason": "so it is", "evidence": {"nats": 1.5}}
    return WatchEvent.model_validate(known | {"kind": kind, "environment": environment} | fields)


def status(**fields: Any) -> WatchStatus:
    began, since, source = NOW - 30 * HOUR, NOW - 6.2 * HOUR, "rtsp://camera.example/one"
    known = WatchStatus(
        *("kitchen", source, True, began, 2, "night, lamp on", since),
        *(12.0, 99.0, 9999.0, 0.25, 1_234_567, 8, 3, 5.0, 10.0, True),
        undelivered={"webhook a": 0, "mqtt b": 2},
        latest=tuple(event("new", 1, reason="because " * 30) for _ in range(9)),
        environments=(
            KnownEnvironment(1, HOSTILE, began, since, 3),
            KnownEnvironment(2, "night, lamp on", since, NOW, 1),
        ),
        stays=(Stay(1, began, since), Stay(2, since, NOW)),
    )
    return replace(known, **fields)


# ---- words, and the terminal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        ("new", {}, "something new: environment 3"),
        ("new", {"previous": None}, "the watch begins: environment 3"),
        ("new", {"name": HOSTILE}, f"something new: {TAME} (environment 3)"),
        ("returned", {"name": "night"}, "night (environment 3) is back"),
        (
            "returned",
            {"last_seen": NOW - 6.2 * HOUR},
            "environment 3 is back; last seen 6 h before",
        ),
        ("reopened", {}, "environment 3 began again"),
        ("undetermined", {}, "unusual for long, and still undecided: so it is"),
        ("skipped", {}, "images that are no numbers were left out: so it is"),
        ("source_lost", {"reason": "no\nframe"}, "the camera gives no frames: no frame"),
        ("source_back", {}, "the camera gives frames again"),
    ],
)
def test_an_event_in_words(kind: str, fields: dict[str, Any], line: str) -> None:
    assert event_line(event(kind, **fields)).plain == f"17 Mar 14:03:12  {line}"


def test_durations_and_times_in_words() -> None:
    lengths = [words.length(each) for each in (0, 59.4, 720, 6 * 3600 + 180, 86_400 * 3 + 3600)]
    assert lengths == ["0 s", "59 s", "12 min", "6 h 3 min", "3 d 1 h"]
    times = [words.moment(NOW - back * HOUR, NOW) for back in (1, 24, 24 * 300)]
    assert times == ["13:03", "Mon 16 Mar, 14:03", "21 May 2025, 15:03"]
    ahead = status(stays=(Stay(2, NOW, NOW + 3 * HOUR),), since=NOW)  # a video, played fast
    assert words.here_since(ahead, NOW) == "since 14:03, for 3 h"
    alarmed = replace(ahead, statistic=9999.0)  # nothing is as it was, and nothing is decided
    assert words.here_since(alarmed, NOW).startswith("something has changed")


def drawn(shown: object, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as found:
        console.print(shown)
    return found.get()


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("height", [12, 24])
def test_the_screen_fits(width: int, height: int) -> None:
    lost = {"connected": False, "trouble": "No room is left on the device. " * 20}
    wide = {"name": HOSTILE * 9, "source": "rtsp://camera.example/" + "x" * 200, "run": "夜" * 90}
    for fields in ({}, lost, wide):
        lines = drawn(screen(status(**fields), NOW, width, height), width).splitlines()
        assert {cell_len(line) for line in lines} == {width}
        assert len(lines) < max(height, 17 if fields is lost else 13)
    text = drawn(screen(status(), NOW, width, 24), width)
    assert "\x1b" not in text
    for part in (
        *("night, lamp on (environment 2)", "since 07:51, for 6 h 12 min", "1,234,567"),
        *("frames come from rtsp://camera.example/one", "5 frames a second", "0.25"),
        *("for 12 frames, 1.2 s", "99, alarm at 9,999", "2 events wait for mqtt b"),
        "something new: [red]<img",
    ):
        assert part in text
    assert text.count("something new") == 5
    assert words.evidence_share(status()) == pytest.approx(0.5)  # log 100 of log 10,000
    gone = drawn(screen(status(**lost), NOW, width, 24), width)
    assert "no frames from rtsp" in gone
    assert "No room is left" in gone


def test_a_live_screen_is_redrawn_seldom_and_events_stay() -> None:
    file = io.StringIO()
    console = Console(width=80, height=24, file=file, force_terminal=True)
    with Terminal(console) as terminal:
        for frames in range(500):
            terminal.show(status(frames=1000 + frames))
        terminal.tell(event("source_back"))
    text = file.getvalue()
    assert text.count("the camera gives frames again") == 1
    assert text.count("correlated") < 6
    assert "1,499" in text  # the last


def test_a_table_of_events() -> None:
    found = [event("new", 1, name=HOSTILE), event("returned", 2, reason="[bold]known[/bold]")]
    text = drawn(events_table(found), 140)
    assert "2026-03-17 14:03:12" in text
    assert TAME in text
    assert "[bold]known[/bold]" in text
    assert "There are no events." in drawn(events_table([]), 80)


# ---- the timeline ------------------------------------------------------------------------------


def test_bands_are_clipped_and_gaps_are_bands() -> None:
    stays = [Stay(0, NOW - 9 * HOUR, NOW - 3 * HOUR), Stay(1, NOW - 2 * HOUR, NOW + HOUR)]
    found = timeline.bands(stays, NOW - 4 * HOUR, NOW)
    assert [(each.environment, each.share) for each in found] == [(0, 0.25), (None, 0.25), (1, 0.5)]
    assert timeline.bands([], NOW - HOUR, NOW) == (timeline.Band(1, None, NOW - HOUR, NOW),)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 50), st.integers(0, 30))))
def test_bands_sum_to_one(made: list[tuple[int, int, int]]) -> None:
    stays = [Stay(k, NOW + s * HOUR, NOW + (s + d) * HOUR) for k, s, d in made]
    start, end = NOW - 20 * HOUR, NOW + 20 * HOUR
    found = timeline.bands(stays, start, end)
    for bands in (found, timeline.bands(stays, start, end, most=3)):
        assert sum(band.share for band in bands) == pytest.approx(1)
        assert [band.start for band in bands] == [start, *(band.end for band in bands[:-1])]
        assert bands[-1].end == end
    assert len(bands) <= max(3, min(len(found), 3))
    assert all(one.environment != other.environment for one, other in itertools.pairwise(found))


def test_the_span_and_its_ticks() -> None:
    stays = [Stay(0, NOW - 200 * HOUR, NOW)]
    start, end = timeline.span(stays, NOW, 24 * HOUR)
    assert end - start == 24 * HOUR
    assert timedelta(0) <= end - NOW <= 24 * HOUR / 500
    assert timeline.span(stays, NOW + timedelta(seconds=2), 24 * HOUR) == (start, end)
    assert timeline.span(stays, NOW, None)[0] == NOW - 200 * HOUR
    assert timeline.lasting(stays, NOW, end)[0].end == end
    ticks = timeline.ticks(NOW - 24 * HOUR, NOW)
    assert [tick.label for tick in ticks] == ["18:00", "17 Mar", "06:00", "12:00"]
    assert ticks[1].place == pytest.approx((24 - 14 - 3.2 / 60) / 24)
    spring = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight before the clocks go forward
    found = timeline.ticks(spring, spring + 23 * HOUR)
    assert [tick.label for tick in found] == ["29 Mar", "06:00", "12:00", "18:00"]
    assert found[1].place == pytest.approx(5 / 23)
    autumn = datetime(2026, 10, 25, 2, tzinfo=UTC)  # 3:00, the fourth hour of the day
    assert timeline.ticks(autumn, autumn + HOUR)[0] == timeline.Tick(0, "03:00")


# ---- the page ----------------------------------------------------------------------------------


def open_page(show: Callable[[], WatchStatus] = status, **options: Any) -> PageServer:
    given = {"host": "127.0.0.1", "port": 0, "say": lambda text: None} | options
    return serve(show, lambda: {1: b"\x89PNG"}, **given)


def ask(served: PageServer, path: str = "/", **headers: str) -> tuple[int, str]:
    port = int(re.findall(r":(\d+)", served.address)[0])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as caller:
        caller.request("GET", path, headers=headers)
        answer = caller.getresponse()
        return answer.status, answer.read().decode()


def test_a_page_is_served_guarded_and_closed() -> None:
    before, said = set(threading.enumerate()), list[str]()
    served = open_page(say=said.append, folder="runs/a b")
    port = int(served.address.rpartition(":")[2])
    assert said == [f"See how the watch stands at http://127.0.0.1:{port}"]
    code, text = ask(served)
    assert code == 200
    for part in ("night, lamp on", "vase name 'runs/a b' 2", "vase serve 'runs/a b'"):
        assert part in text
    assert "<img src=x" not in text
    assert ask(served, Host="evil.example")[0] == 400
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*Choose another"):
        open_page(port=port)
    with pytest.raises(ConfigError, match="shows a page already"):
        open_page()
    served.close()
    served.close()
    assert not {each for each in set(threading.enumerate()) - before if "page" in each.name}
    with socket.create_server(("127.0.0.1", port)):
        pass
    with closing(open_page(lambda: status(learning=False, frames=0))) as again:
        text = ask(again)[1]
        assert "Nothing seen yet" in text
        assert "vase serve" not in text


def test_only_who_knows_the_token_sees_a_page_that_others_can_reach() -> None:
    with closing(open_page(host="0.0.0.0", allow=["box.local"])) as served:
        token = served.address.partition("/?")[2]
        assert len(token) > 40
        assert ask(served)[0] == ask(served, "/?token=x")[0] == 403
        assert ask(served, f"/?{token}", Host="box.local")[0] == 200
        assert ask(served, f"/?{token}", Host="evil.example")[0] == 400


def test_a_page_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--host is empty"):
        open_page(host=" ")
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[serve\]'"):
        open_page()


def test_a_page_follows_the_watch() -> None:
    now = [status()]
    with browser() as shown, closing(open_page(lambda: now[0])) as served:
        page = shown.new_page(viewport={"width": 400, "height": 800})
        page.goto(served.address)
        expect(page.get_by_text("night, lamp on", exact=True)).to_be_visible()
        expect(page.get_by_text("nats: 1.5").first).to_be_hidden()
        stays = (Stay(1, began := datetime.now(UTC) - 40 * HOUR, began + 30 * HOUR),)
        now[0] = replace(now[0], name=HOSTILE, environment=1, trouble="<b>Full</b>.", stays=stays)
        expect(page.get_by_text(TAME, exact=True)).to_be_visible()
        expect(page.get_by_role("alert")).to_have_text("<b>Full</b>.")
        page.get_by_text("evidence in numbers").first.click()
        expect(page.get_by_text("nats: 1.5").first).to_be_visible()
        expect(page.get_by_text("(environment 1), 58 %")).to_be_visible()  # 14 of 24 hours
        page.get_by_role("button", name="7 days").click()
        expect(page.get_by_text("(environment 1), 75 %")).to_be_visible()
        assert page.locator("img:not(.watch-look)").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
