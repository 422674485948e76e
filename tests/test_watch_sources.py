"""Where a watch gets its frames, each kind for real: files, a folder, bytes, a web server."""

from __future__ import annotations

import io
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import film
from PIL import Image
from serving import free_port, running

from vase.errors import ConfigError, DataError
from vase.images.files import decoded
from vase.images.pixels import filling
from vase.watching import sources
from vase.watching.reader import Ended, FrameReader, Item, Lost, backoff
from vase.watching.records import Frame
from vase.watching.sources import Source, SourceLostError, Wanted, open_source, parse_raw, shown

av = pytest.importorskip("av")
SHAPE = (16, 24, 3)
SECRET = "s3cret"


def shades(count: int, start: int = 0) -> list[int]:
    return [start + 4 * k for k in range(count)]


def show(frames: Iterable[Any], wanted: list[int]) -> bool:
    found = [float(item.pixels.mean()) for item in frames if isinstance(item, Frame)]
    return len(found) == len(wanted) and bool(np.allclose(found, wanted, atol=3))


def facts(frames: Iterable[Frame]) -> list[Any]:
    return [(frame.position, frame.mark, frame.pixels.tobytes()) for frame in frames]


def jpeg(shade: int, size: tuple[int, int] = (48, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(file, "JPEG")
    return file.getvalue()


def taken(reader: FrameReader, enough: Callable[[list[Item]], bool]) -> list[Item]:
    """What a reader gives, until that is enough."""
    found: list[Item] = []
    deadline = time.monotonic() + 20
    while not enough(found):
        assert time.monotonic() < deadline, found
        if item := reader.take(0.05):
            found.append(item)
    return found


def frames_of(found: Iterable[Item]) -> list[Frame]:
    return [item for item in found if isinstance(item, Frame)]


# ---- files and playlists -------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_a_video_goes_by_its_own_clock_and_on_after_a_mark(tmp_path: Path, codec: str) -> None:
    path = str(film(tmp_path / "a.mov", shades(50), codec))
    whole = list(open_source(path, SHAPE, 25).frames())
    assert codec == "mpeg4" or show(whole, shades(50))  # the other codec is less exact
    assert [frame.position for frame in whole] == pytest.approx([k / 25 for k in range(50)])
    for fps in (5, 10):
        thin = list(open_source(path, SHAPE, fps).frames())
        off = np.array([frame.position for frame in thin]) - np.arange(2 * fps) / fps
        assert (off > -1e-6).all()
        assert off.max() < 0.04
        for k in (0, 6, len(thin) - 1):
            again = open_source(path, SHAPE, fps, mark=thin[k].mark)
            with closing(again.frames()) as frames:
                first = list(islice(frames, 2))
            rest = [*first, *again.frames()]  # on where it was left
            assert facts(rest) == facts(thin[k + 1 :])


def test_a_playlist_is_one_video_and_goes_on_after_a_mark(tmp_path: Path) -> None:
    film(tmp_path / "films" / "a.mov", shades(10), "mjpeg")
    film(tmp_path / "films" / "b.avi", shades(10, 100), "mjpeg")
    listed = tmp_path / "list.m3u"
    listed.write_text("# two films\nfilms/a.mov\n\nfilms/b.avi\nfilms/a.mov\n")
    whole = list(open_source(str(listed), SHAPE, 25).frames())
    assert show(whole, shades(10) + shades(10, 100) + shades(10))
    assert [frame.position for frame in whole] == pytest.approx([k / 25 for k in range(30)])
    for k in (3, 9, 10, 24, 29):
        rest = open_source(str(listed), SHAPE, 25, mark=whole[k].mark).frames()
        assert facts(rest) == facts(whole[k + 1 :])


def test_a_clock_follows_time_stamps_that_are_uneven_and_goes_on_where_they_do_not() -> None:
    clock = sources.Clock(2.0, step=0.1)
    found = [clock.at(stamp) for stamp in (5.0, 5.3, 9.3, 1.0, 1.2, 1.2, None, 7.0, 7.5)]
    assert found == pytest.approx([2.0, 2.3, 6.3, 6.4, 6.6, 6.7, 6.8, 6.9, 7.4])


def test_frames_that_come_as_often_as_they_are_looked_at_are_all_due() -> None:
    for rate, most, due in ((4.99, 5, 1000), (15, 15, 1000), (25, 10, 400), (30, 20, 667)):
        pace = sources.Pace(most)
        assert sum(pace.due(round(k / rate, 3)) for k in range(1000)) == pytest.approx(due, abs=1)
    pace = sources.Pace(1)
    assert [pace.due(at) for at in (0, 50, 50.5, 51, 51.5)] == [True, True, False, True, False]


@pytest.mark.parametrize("shape", [(16, 16, 3), (20, 40, 1), (64, 48, 3)])
@pytest.mark.parametrize("size", [(48, 32), (640, 360), (101, 333)])
def test_frames_fill_the_shape_as_images_of_files_do(
    size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    data = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    raw, stdin = parse_raw(f"{size[0]}x{size[1]}:rgb24"), io.BytesIO(data.tobytes())
    (frame,) = open_source("-", shape, 1, raw=raw, stdin=stdin).frames()
    assert (frame.pixels.shape, frame.pixels.dtype) == (shape, np.uint8)
    assert np.abs(frame.pixels.astype(int) - filling(data, shape)).max() <= 4


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    pixels = np.zeros((32, 48, 3))
    pixels[:, :24] = 255
    path = film(tmp_path / "a.mp4", [pixels] * 3)
    level = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    old, new = (b"".join(v.to_bytes(4, "big", signed=True) for v in m) for m in (level, quarter))
    film_part, track_part, rest = path.read_bytes().split(old)
    path.write_bytes(film_part + old + track_part + new + rest)
    (frame, *_) = open_source(str(path), (48, 32, 3), 25).frames()
    (wanted, *_) = decoded(path, (48, 32, 3))
    assert np.abs(frame.pixels.astype(int) - wanted).max() <= 4
    assert abs(float(frame.pixels[:20].mean()) - float(frame.pixels[-20:].mean())) > 200


# ---- bytes and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "stored"), [("rgb24", [9, 99, 199]), ("bgr24", [199, 99, 9]), ("gray", [120])]
)
def test_raw_frames_come_whole_through_a_pipe(pixels: str, stored: list[int]) -> None:
    reading, writing = os.pipe()
    data = bytes(stored) * (24 * 16)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        raw = parse_raw(f"24x16:{pixels}")
        frames = open_source("-", SHAPE, 4, raw=raw, stdin=pipe).frames()
        with os.fdopen(writing, "wb", buffering=0) as end:
            timer = threading.Timer(0.05, end.write, (data[100:] + data + data[:50],))
            end.write(data[:100])
            timer.start()
            first = next(frames)
            timer.join()
        found = [first, *frames]  # the last one, which is not whole, is left out
    assert [frame.position for frame in found] == [0, 0.25]
    wanted = [9, 99, 199] if len(stored) == 3 else [120] * 3
    assert all((frame.pixels == wanted).all() for frame in found)


def test_a_folder_is_watched_in_the_order_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("POLL", 0.02), ("PAUSE", 0.02), ("TRIES", 25)):
        monkeypatch.setattr(sources, name, value)
    for number in (10, 2, 1):
        (tmp_path / f"f{number}.jpg").write_bytes(jpeg(10 * number))
    (tmp_path / "notes.txt").write_text("no image")

    def fill() -> None:
        data = jpeg(110)
        with (tmp_path / "f11.jpg").open("wb", buffering=0) as file:
            for start in range(0, len(data), 200):
                file.write(data[start : start + 200])
                time.sleep(0.03)
        (tmp_path / "f12.jpg").write_bytes(data[:-200])
        (tmp_path / "f13.jpg").write_bytes(jpeg(130))

    source = open_source(str(tmp_path), SHAPE, 2)
    with FrameReader(source) as reader:
        found = taken(reader, lambda found: len(found) == 3)
        writer = threading.Thread(target=fill)
        writer.start()
        found += taken(reader, lambda found: len(found) == 2)
        writer.join()
        assert reader.take(0.1) is None  # it does not end
    assert show(found, [10, 20, 100, 110, 130])
    assert [frame.position for frame in frames_of(found)] == [k / 2 for k in range(5)]
    assert "f12.jpg" in source.trouble
    again = open_source(str(tmp_path), SHAPE, 2, mark=frames_of(found)[2].mark)
    assert show(islice(again.frames(), 2), [110, 130])


# ---- streams -------------------------------------------------------------------------------------


class Camera(BaseHTTPRequestHandler):
    """A camera on the web; the images of its stream change size after a few."""

    def __init__(self, *connection: Any, stopped: threading.Event, video: bytes) -> None:
        self.stopped, self.video = stopped, video
        super().__init__(*connection)

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0]
        self.send_response(401 if kind == "/closed" else 200)
        if kind == "/closed":
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        if kind == "/film":
            self.send_header("Content-Length", str(len(self.video)))
        self.end_headers()
        if kind == "/film":
            self.wfile.write(self.video)
        elif kind == "/one":
            self.wfile.write(jpeg(9))
        elif kind == "/silent":
            self.stopped.wait()
        elif kind == "/live":
            for size in [(48, 32)] * 20 + [(96, 64)] * 10_000:
                part = b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(50, size) + b"\r\n"
                if self.stopped.wait(0.005) or not self.sent(part):
                    break

    def sent(self, part: bytes) -> bool:
        try:
            return bool(self.wfile.write(part))
        except OSError:
            return False

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def camera(port: int, video: bytes = b"") -> Iterator[str]:
    stopped = threading.Event()
    handler = partial(Camera, stopped=stopped, video=video)
    with running(ThreadingHTTPServer(("127.0.0.1", port), handler)):
        try:
            yield f"http://admin:{SECRET}@127.0.0.1:{port}"
        finally:
            stopped.set()


def test_a_camera_that_comes_and_goes_is_connected_again_and_its_clock_goes_on() -> None:
    port, waits = free_port(), list[int]()
    address = f"http://admin:{SECRET}@127.0.0.1:{port}/live?pwd={SECRET}"
    source = open_source(address, SHAPE, 50)
    with FrameReader(source, retry=lambda n: waits.append(n) or 0.02, patient=True) as reader:
        found = taken(reader, lambda found: len(found) == 1 and len(waits) > 1)
        for last in (False, True):
            with camera(port):
                found += taken(reader, lambda found: len(found) >= 20)
            if not last:
                found += taken(reader, lambda found: any(isinstance(i, Lost) for i in found))
    kinds = "".join(type(item).__name__[0] for item in found)
    assert [len(each) for each in kinds.split("F") if each] == [2, 2]
    assert kinds.count("LB") == reader.reconnects == 2
    assert waits[:2] == [1, 2]
    assert (source.live, source.drops, reader.dropped) == (True, True, 0)
    assert show(found, [50] * len(frames_of(found)))
    positions = [frame.position for frame in frames_of(found)]
    assert positions[0] == 0
    assert all(before < after for before, after in pairwise(positions))
    assert np.mean(np.diff(positions[:19])) > 0.9 / 50  # of the 200 that come in a second
    assert SECRET not in repr(found) + source.text + repr(source) + repr(vars(source))
    assert not reader._thread.is_alive()


def test_a_file_on_the_web_waits_and_goes_on_after_a_mark(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mov", shades(30), "mjpeg").read_bytes()
    with camera(free_port(), video) as address:
        source = open_source(f"{address}/film", SHAPE, 25)
        with FrameReader(source, most_waiting=3) as reader:
            time.sleep(0.2)
            found = taken(reader, lambda found: found[-1:] == [Ended()])
        assert (source.live, reader.dropped) == (False, 0)
        assert show(found, shades(30))
        mark = frames_of(found)[9].mark
        assert show(open_source(f"{address}/film", SHAPE, 25, mark=mark).frames(), shades(20, 40))


# ---- what cannot be ------------------------------------------------------------------------------


def test_what_a_camera_refuses_is_said_without_the_password() -> None:
    with camera(free_port()) as address:
        for path, kind, words in (
            ("/closed", DataError, "asks for a user and a password.*http://user:password@host"),
            ("/one", DataError, "is one image"),
            ("/silent", SourceLostError, "is silent: no frame has come for 0.3 seconds"),
        ):
            source = open_source(f"{address}{path}?key={SECRET}", SHAPE, 5, timeout=0.3)
            with FrameReader(source) as reader, pytest.raises(DataError, match=words) as caught:
                taken(reader, lambda found: False)
            assert caught.type is kind
            assert SECRET not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(SourceLostError, match="Connection refused"):
        next(open_source(f"{address}/live", SHAPE, 5).frames())


def test_sources_that_cannot_be_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.m3u").write_text("# nothing\n")
    (tmp_path / "gone.m3u").write_text("\ngone.mp4\n")
    (tmp_path / "camera.m3u").write_text("rtsp://u:s3cret@host/1\n")
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "one.png").write_bytes(jpeg(9))
    with av.open(str(tmp_path / "none.avi"), "w") as container:
        container.add_stream("mpeg4", rate=25, width=48, height=32)
        container.start_encoding()
    for name, words in (
        ("nothing", "There is no file and no folder"),
        ("empty.m3u", "names nothing"),
        ("gone.m3u", r"Line 2 .* no such file"),
        ("camera.m3u", r"Line 1 .*'rtsp://host/1', is no video"),
        ("bad.mp4", "cannot be read as a video: Invalid data"),
        ("one.png", "is one image"),
        ("none.avi", "holds no frames"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            next(open_source(str(tmp_path / name), SHAPE, 5).frames())
        assert caught.type is DataError
    with pytest.raises(DataError, match="'ftp://' are not read"):
        open_source("ftp://u:s3cret@host/a.mp4", SHAPE, 5)
    with pytest.raises(DataError, match="source of another kind"):
        open_source(str(tmp_path / "bad.mp4"), SHAPE, 5, mark={"name": "f1.jpg"})
    with pytest.raises(SourceLostError, match="There is no camera"):
        next(open_source("987", SHAPE, 5).frames())
    raw = parse_raw("24x16:gray")
    with pytest.raises(DataError, match="384 bytes"):
        next(open_source("-", SHAPE, 5, raw=raw, stdin=io.BytesIO(bytes(383))).frames())
    for text, given in (("-", None), (str(tmp_path), raw)):
        with pytest.raises(ConfigError):
            open_source(text, SHAPE, 5, raw=given)
    for text in ("64x48", "0x48:gray", "64x48:yuv"):
        with pytest.raises(ConfigError, match="64x48:rgb24"):
            parse_raw(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rtsp://admin:s3cret@[::1]:554/cam?channel=1", "rtsp://[::1]:554/cam?channel=1"),
        ("http://h/v.cgi?user=me&pwd=s3cret&Fps=2", "http://h/v.cgi?user=...&pwd=...&Fps=2"),
        ("rtsp://h/user=a&password=s3cret&stream=0", "rtsp://h/user=...&password=...&stream=0"),
        ("rtsp://admin:a/s3cret@h/1", "rtsp://...@h/1"),
        ("rtsp://admin:a?s3cret#@h/1", "rtsp://...@h/1"),
        ("HTTP://s3cret@h/1#s3cret", "http://h/1"),
        ("films/a@b.mp4", "films/a@b.mp4"),
    ],
)
def test_addresses_are_shown_without_what_is_secret(text: str, wanted: str) -> None:
    assert shown(text) == wanted


# ---- the reader ----------------------------------------------------------------------------------


class Numbers(Source):
    """Frames whose positions count, without waiting; then an error, if there is one."""

    def __init__(self, count: int, drops: bool, error: Exception | None = None) -> None:
        super().__init__("numbers", Wanted(SHAPE, 1, timeout=0.01))
        self.count, self.live, self.drops, self.error = count, drops, drops, error

    def frames(self) -> sources.Frames:
        for number in range(self.count):
            yield Frame(np.zeros(SHAPE, np.uint8), number)
        if self.error:
            raise self.error


def test_only_a_live_source_drops_what_is_not_taken_and_the_oldest_first() -> None:
    for drops, wanted in ((True, range(42, 50)), (False, range(50))):
        with FrameReader(Numbers(50, drops), most_waiting=8) as reader:
            reader._thread.join(0.2)
            assert len(reader._items) == 8
            found = taken(reader, lambda found: Ended() in found)
            assert [frame.position for frame in frames_of(found)] == list(wanted)
            assert reader.dropped == 50 - len(wanted)
            assert reader.take(0) == Ended()


def test_an_error_of_the_thread_is_raised_after_its_frames() -> None:
    with FrameReader(Numbers(2, drops=False, error=ZeroDivisionError("oh"))) as reader:
        assert [type(reader.take(5)) for _ in range(2)] == [Frame, Frame]
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="oh"):
                reader.take(5)


def test_a_library_that_hangs_is_told_as_a_loss_and_closing_does_not_wait_for_it() -> None:
    hang = threading.Event()

    class Hanging(Numbers):
        def frames(self) -> sources.Frames:
            yield from super().frames()
            hang.wait(30)
            yield from super().frames()

    reader = FrameReader(Hanging(1, drops=True))
    frame, lost = taken(reader, lambda found: len(found) == 2)
    assert isinstance(frame, Frame)
    assert isinstance(lost, Lost)
    assert "silent" in lost.reason
    assert reader.take(0.1) is None  # it is told once
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 3
    assert reader.take(0) == Ended()
    hang.set()
    reader._thread.join(5)
    assert not reader._thread.is_alive()


def test_the_waits_between_tries_double_up_to_a_minute() -> None:
    for attempt, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (10_000, 60)):
        waits = [backoff(attempt) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert max(waits) - min(waits) > longest / 4
