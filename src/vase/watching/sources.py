"""Where a watch gets its frames: a camera, an address, a video, a playlist, a folder, raw bytes.

Every frame is brought to one shape: it fills it, and what is over is cut off evenly, as
`vase.images.pixels.filling` does it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vase.errors import ConfigError, DataError, VaseError, optional_package, reason
from vase.images.files import endings, natural, pages_of, refuse_undecodable
from vase.images.pixels import MODES
from vase.watching.records import Frame

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Pixels = NDArray[np.uint8]
Frames = Generator[Frame, None, None]
RawPixels = Literal["rgb24", "bgr24", "gray"]

NETWORK = ("rtsp", "rtsps", "http", "https")
PLAYLISTS = frozenset((".m3u", ".m3u8", ".txt"))
TIMEOUT = 20.0  # seconds without a frame after which a live source counts as lost
POLL = 0.5  # seconds between looks into a folder
PAUSE, TRIES = 0.25, 40  # seconds, and times that a file that is still being written is tried
TOLERANCE = 0.1  # of the time between two frames: time stamps are rounded
DECIMATED = 3.0  # Pillow's gap: a large frame is averaged to thrice the size, then interpolated

# Values of an address that are shown; others may be a password or a token.
PUBLIC = re.compile(
    "(camera|channel|fps|height|profile|quality|resolution|(sub)?stream|subtype|width)"
)
SECRET = re.compile(r"((?:user|usr|login|pass|pwd|token|key|auth|secret)[^/=&;]*=)[^/&;]*", re.I)


class SourceLostError(DataError):
    """No frames come from a source, and trying again may help."""


# ---- what is asked for ---------------------------------------------------------------------------


@dataclass(frozen=True)
class RawFormat:
    """Frames as bytes without a header: width and height in pixels, and how a pixel is stored."""

    width: int
    height: int
    pixels: RawPixels

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return self.width * self.height * (1 if self.pixels == "gray" else 3)


@dataclass(frozen=True)
class Wanted:
    """shape: height, width and channels of every frame; fps: at most so many of a second.

    timeout: seconds without a frame after which a live source counts as lost.
    """

    shape: tuple[int, int, int]
    fps: float
    timeout: float = TIMEOUT


def parse_raw(text: str) -> RawFormat:
    """A format such as '64x48:rgb24'; a `ConfigError` where it is none."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4}):(rgb24|bgr24|gray)", text.strip())
    if found is None:
        raise ConfigError(
            f"'{text}' is no format of raw frames. Give width, height and pixels, such as "
            "64x48:rgb24; the pixels are rgb24, bgr24 or gray."
        )
    return RawFormat(int(found[1]), int(found[2]), cast(RawPixels, found[3]))


def open_source(
    text: str,
    shape: tuple[int, int, int],
    fps: float,
    *,
    mark: Any = None,
    raw: RawFormat | None = None,
    timeout: float = TIMEOUT,
    stdin: BinaryIO | None = None,
) -> Source:
    """The source that a text names; nothing is connected before its frames are asked for.

    shape: height, width and channels (1 or 3) of every frame. fps: at most so many frames of each
    second, by the source's clock. mark: of the last frame that was looked at; the source goes on
    after it. raw: what standard input holds, for '-'. timeout: seconds without a frame after which
    a live source counts as lost. stdin: instead of the standard input of this process.
    A `DataError` for a source that cannot be, a `ConfigError` for options.
    """
    if not 0 < fps < float("inf"):
        raise ConfigError(f"A watch cannot look at {fps} frames per second. Give more than 0.")
    if (raw is None) == (text == "-"):
        raise ConfigError(
            "Raw frames on standard input have no header. Say their size and pixels, such as "
            "64x48:rgb24."
            if raw is None
            else f"'{shown(text)}' says itself how large its frames are. Leave the raw format out."
        )
    wanted = Wanted(shape, fps, timeout)
    if raw is not None:
        return Raw(raw, wanted, stdin)
    if scheme := scheme_of(text):
        return _address(text, scheme, wanted, mark)
    if _is_camera(text):
        return Video(_camera(text), wanted)
    path = Path(text).expanduser()
    refuse_undecodable(path)
    if path.is_dir():
        return Folder(path, wanted, mark)
    if not text or not path.exists():
        raise DataError(
            f"There is no file and no folder '{text}'. Give a video, a folder, an address "
            "(rtsp:// or http://), or the number of a camera."
        )
    if path.suffix.lower() in PLAYLISTS and (lines := _playlist(path)) is not None:
        return Playlist(path, lines, wanted, mark)
    return Video(_file(path), wanted, mark)


# ---- addresses -----------------------------------------------------------------------------------


def scheme_of(text: str) -> str:
    """The scheme of an address, in small letters; empty for what is none."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return found[1].lower() if found else ""


def shown(text: str) -> str:
    """A source as it may be shown: an address without user, password and tokens."""
    if not (scheme := scheme_of(text)):
        return text
    hidden, _, rest = text[len(scheme) + 3 :].rpartition("@")
    if re.search("[/?#]", hidden):  # a password that holds one, or an @ further on: nobody can tell
        rest = f"...@{rest}"
    path, asked, query = rest.partition("#")[0].partition("?")
    path = SECRET.sub(r"\1...", path)
    values = re.split("[&;]", query)
    return f"{scheme}://{path}{asked}{'&'.join(_shown_value(value) for value in values)}"


def _shown_value(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not equals:
        return "..." if name else ""
    return text if PUBLIC.fullmatch(name.lower()) else f"{name}=..."


def _address(text: str, scheme: str, wanted: Wanted, mark: Any) -> Source:
    if scheme not in NETWORK:
        raise DataError(
            f"Addresses that start with '{scheme}://' are not read. Give one with "
            f"{', '.join(f'{known}://' for known in NETWORK)}, or a file."
        )
    if not re.sub(r"^.*@", "", text[len(scheme) + 3 :]).strip("/?#:"):
        raise DataError(f"The address '{shown(text)}' names no host.")
    rtsp = scheme.startswith("rtsp")
    options = {"rtsp_transport": "tcp"} if rtsp else {}
    kind: Kind = "live" if rtsp else "http"
    return Video(Opening(shown(text), text, kind, options=options), wanted, mark)


# ---- sources -------------------------------------------------------------------------------------


class Source(ABC):
    """Where frames come from.

    text: what it is called, without user and password. live: frames come in real time. clocked:
    the position of a frame is that of a recording, and has nothing to do with now. drops: frames
    that nobody takes in time are dropped; other sources wait. heard: when a frame came last,
    or the connection began, by time.monotonic. trouble: the latest that could not be decoded, in a
    sentence; empty where there is none.
    """

    live: bool = False
    drops: bool = False
    clocked: bool = False

    def __init__(self, text: str, wanted: Wanted) -> None:
        self.text, self.wanted = text, wanted
        self.heard = time.monotonic()
        self.stopping = threading.Event()
        self.trouble = ""

    @abstractmethod
    def frames(self) -> Frames:
        """The frames after the last one that was given, by this source or before its mark.

        It can be asked again after it ended or failed. A `SourceLostError` where trying again may
        help, a `DataError` where it does not.
        """

    def stop(self) -> None:
        """Let the frames end soon, for good."""
        self.stopping.set()


Kind = Literal["file", "http", "camera", "live"]


@dataclass(frozen=True)
class Opening:
    """How FFmpeg opens something: text is shown; name may hold a password, and is not."""

    text: str
    name: str = field(repr=False)
    kind: Kind
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


class Video(Source):
    """What FFmpeg reads: a video, a stream of an address, a camera.

    Whether an address of the web is a stream or a file is known once it is connected: a file has a
    duration. A file goes by its own time stamps, a stream by when frames arrive.
    """

    def __init__(self, opening: Opening, wanted: Wanted, mark: Any = None) -> None:
        super().__init__(opening.text, wanted)
        self.opening = opening
        self.live = self.drops = opening.kind != "file"
        self.clocked = not self.live
        self.length = 0.0  # seconds, once a file has been read
        self._done = _whole(mark, "frame", self.text) if opening.kind in ("file", "http") else 0
        self._pace = Pace(wanted.fps)
        self._began: float | None = None

    def frames(self) -> Frames:
        self.heard = time.monotonic()
        with _connected(self.opening, self.wanted.timeout) as container:
            self.heard = time.monotonic()
            if self.opening.kind == "http":
                self.live = self.drops = not container.duration
                self.clocked = not self.live
            yield from self._arriving(container) if self.live else self._recorded(container)

    def _recorded(self, container: InputContainer) -> Frames:
        """The frames of a file that are due, after those that are done."""
        step = _step(container.streams.video[0], self.wanted.fps)
        clock, pace, count = Clock(0.0, step), Pace(self.wanted.fps), 0
        for count, found in enumerate(self._decoded(container), 1):
            position = clock.at(found.time)
            if pace.due(position) and count > self._done:
                self._done = count
                pixels = _covering_frame(found, self.wanted.shape)
                yield Frame(pixels, position, {"frame": count})
        self.length = clock.position + step
        if not count and not self.stopping.is_set():
            raise DataError(f"The video '{self.text}' holds no frames.")

    def _arriving(self, container: InputContainer) -> Frames:
        """The frames of a stream that are due.

        Segments (HLS) arrive many frames at a time, so that within a connection their time stamps
        tell when a frame is from; those of other streams are often wrong.
        """
        clock: Clock | None = None
        by_stamps = container.format.name == "hls"
        for found in self._decoded(container):
            now = self.heard
            self._began = now if self._began is None else self._began
            position = now - self._began
            if by_stamps:
                step = _step(container.streams.video[0], self.wanted.fps)
                clock = clock or Clock(position, step)
                position = clock.at(found.time)
            if self._pace.due(position):
                yield Frame(_covering_frame(found, self.wanted.shape), position)
        if not self.stopping.is_set():
            raise SourceLostError(f"'{self.text}' sends no more frames: the stream has ended.")

    def _decoded(self, container: InputContainer) -> Iterator[VideoFrame]:
        """All frames, decoded; packets that cannot be decoded are left out and counted."""
        av = _av(self.text)
        stream, came = container.streams.video[0], False
        try:
            for packet in container.demux():  # sound too, which may go on where pictures do not
                found: list[VideoFrame] = []
                if packet.stream is stream:
                    try:
                        found = cast("list[VideoFrame]", packet.decode())
                    except av.error.InvalidDataError as error:
                        self.trouble = f"A part of '{self.text}' cannot be decoded: {_said(error)}."
                if self.stopping.is_set():
                    return
                now = time.monotonic()
                if self.live and not found and now - self.heard > self.wanted.timeout:
                    raise _silent(self.text, self.wanted.timeout)
                for frame in found:
                    self.heard, came = time.monotonic(), True
                    yield frame
        except av.FFmpegError as error:
            if self.opening.kind == "file" and came:
                self.trouble = f"'{self.text}' breaks off: {_said(error)}."
                return
            raise _refusal(error, self.opening, self.wanted.timeout) from None


class Playlist(Source):
    """Videos one after another, as if they were one."""

    clocked = True

    def __init__(self, path: Path, entries: list[Opening], wanted: Wanted, mark: Any) -> None:
        super().__init__(str(path), wanted)
        self._videos = [Video(entry, wanted) for entry in entries]
        self._current = _whole(mark, "file", self.text)
        self._start = float(mark.get("start", 0.0)) if mark else 0.0
        if self._current < len(entries):
            self._videos[self._current] = Video(entries[self._current], wanted, mark)
        for video in self._videos:
            video.stopping = self.stopping  # they stop as the whole does

    def frames(self) -> Frames:
        while self._current < len(self._videos) and not self.stopping.is_set():
            video, start = self._videos[self._current], self._start
            for frame in video.frames():
                if video.live:
                    raise DataError(
                        f"'{video.text}' in the playlist '{self.text}' is a stream that does not "
                        "end. Watch it by itself, or leave it out."
                    )
                mark = {"file": self._current, "start": start, **frame.mark}
                self.trouble = video.trouble or self.trouble
                yield Frame(frame.pixels, start + frame.position, mark)
            self.trouble = video.trouble or self.trouble
            self._current, self._start = self._current + 1, start + video.length


class Folder(Source):
    """A folder into which image files are put, in the natural order of their names.

    It has no clock: each image counts as 1/fps seconds. It does not end.
    """

    def __init__(self, path: Path, wanted: Wanted, mark: Any) -> None:
        super().__init__(str(path), wanted)
        self._folder, self._count = path, 0
        name = mark.get("name") if isinstance(mark, dict) else None
        if mark is not None and not isinstance(name, str):
            raise _foreign_mark(mark, self.text)
        self._after = self._last = name
        self._seen: set[str] = set()

    def frames(self) -> Frames:
        while not self.stopping.is_set():
            for name in self._unseen():
                found = self._pages(name)
                if self.stopping.is_set():
                    return
                self._seen.add(name)
                before, self._last = self._last, _later(self._last, name)
                for number, pixels in enumerate(found, 1):
                    last = self._last if number == len(found) else before
                    position = self._count / self.wanted.fps
                    self._count += 1
                    self.heard = time.monotonic()
                    yield Frame(pixels, position, {"name": last} if last else None)
            self.stopping.wait(POLL)

    def _unseen(self) -> list[str]:
        """The names of image files that were not shown yet, in natural order."""
        known = endings()
        try:
            with os.scandir(self._folder) as entries:
                names = {
                    entry.name
                    for entry in entries
                    if os.path.splitext(entry.name)[1].lower() in known  # noqa: PTH122, many names
                    and not entry.name.startswith(".")
                    and not entry.is_dir()
                }
        except OSError as error:
            raise SourceLostError(
                f"The folder '{self.text}' cannot be read: {error.strerror}."
            ) from None
        self._seen &= names  # so that it does not grow for months
        for name in names - self._seen:
            if not name.isprintable():  # in no mark and no sentence, if it is not UTF-8
                self._seen.add(name)
                self.trouble = f"The file {name!a} is left out: its name cannot be shown."
        after = None if self._after is None else natural(Path(self._after))
        keyed = ((natural(Path(name)), name) for name in names - self._seen)
        return [name for key, name in sorted(keyed) if after is None or key > after]

    def _pages(self, name: str) -> list[Pixels]:
        """The images of a file; none where it cannot be read after many tries, or is gone."""
        path, trouble = self._folder / name, ""
        for attempt in range(TRIES):
            if attempt and self.stopping.wait(PAUSE):
                return []
            try:
                size = path.stat().st_size
                found = [_covering(page, self.wanted.shape) for page in pages_of(path)]
                if path.stat().st_size == size:
                    return found
                trouble = f"The file '{path}' is still being written."
            except FileNotFoundError:
                return []
            except (VaseError, OSError) as error:
                trouble = f"{reason(error)}."
        self.trouble = f"{trouble} It is left out."
        return []


class Raw(Source):
    """Frames as bytes on standard input. They have no clock: each counts as 1/fps seconds."""

    def __init__(self, form: RawFormat, wanted: Wanted, stdin: BinaryIO | None) -> None:
        super().__init__("standard input", wanted)
        if stdin is None and sys.__stdin__ is not None and sys.__stdin__.isatty():
            raise DataError("Standard input is a terminal. Pipe raw frames into it.")
        self._form, self._file, self._count = form, stdin, 0

    def frames(self) -> Frames:
        form = self._form
        grey = form.pixels == "gray"
        if self._file is None:
            self._file = _standard_input()
        while len(data := self._bytes(self._file, form.size)) == form.size:
            pixels = np.frombuffer(data, np.uint8)
            pixels = pixels.reshape((form.height, form.width) + (() if grey else (3,)))
            pixels = pixels[..., ::-1] if form.pixels == "bgr24" else pixels
            self._count += 1
            yield Frame(
                _covering(np.ascontiguousarray(pixels), self.wanted.shape),
                (self._count - 1) / self.wanted.fps,
            )
        if not self._count and not self.stopping.is_set():
            raise DataError(
                f"Standard input ended before one frame had come: {form.width}x{form.height} "
                f"pixels in {form.pixels} are {form.size:,} bytes."
            )

    def _bytes(self, file: BinaryIO, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        found = bytearray()
        while len(found) < size and not self.stopping.is_set():
            if not (more := file.read(size - len(found))):
                break
            found += more
        return bytes(found)


def _standard_input() -> BinaryIO:
    """Not sys.stdin: Python cannot end while a thread waits inside its buffer."""
    try:
        return cast(BinaryIO, open(0, "rb", buffering=0, closefd=False))
    except OSError:
        raise DataError("This process has no standard input. Pipe raw frames into it.") from None


# ---- what a text names ---------------------------------------------------------------------------


def _is_camera(text: str) -> bool:
    """Whether a text names a camera of this machine."""
    if re.fullmatch(r"\d{1,3}", text):
        return True
    if sys.platform == "win32":
        return text.startswith("video=")
    return text.startswith("/dev/video")


def _camera(text: str) -> Opening:
    """How a camera is opened, which each system calls by its own names."""
    if sys.platform == "win32":
        return Opening(text, text, "camera", "dshow")  # a number is looked up once it is opened
    if sys.platform == "darwin":
        return Opening(text, text, "camera", "avfoundation", {"framerate": "30"})
    name = f"/dev/video{int(text)}" if text.isdecimal() else text
    return Opening(name, name, "camera", "v4l2")


def _file(path: Path) -> Opening:
    """How a file is opened: its name is never taken for an address."""
    return Opening(str(path), f"file:{path}", "file")


def _playlist(path: Path) -> list[Opening] | None:
    """What a playlist names; None for an index of segments (HLS), which FFmpeg reads itself."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"The playlist '{path}' cannot be read: {reason(error)}.") from None
    if any(line.startswith("#EXT-X-TARGETDURATION") for line in lines):
        return None
    found = [
        _entry(text, path, number)
        for number, line in enumerate(lines, 1)
        if (text := line.strip()) and not text.startswith("#")
    ]
    if not found:
        raise DataError(f"The playlist '{path}' names nothing. Write a file or address per line.")
    return found


def _entry(text: str, playlist: Path, number: int) -> Opening:
    where = f"Line {number} of the playlist '{playlist}'"
    if scheme := scheme_of(text):
        if scheme not in ("http", "https"):
            raise DataError(f"{where}, '{shown(text)}', is no video. Name files, or http://.")
        return Opening(shown(text), text, "http")
    path = playlist.parent / Path(text).expanduser()
    if not path.is_file():
        raise DataError(f"{where} names '{path}', and there is no such file.")
    if path.suffix.lower() in PLAYLISTS and _playlist(path) is not None:
        raise DataError(f"{where} names another playlist, '{path}'. Write its lines there.")
    return _file(path)


def _whole(mark: Any, key: str, text: str) -> int:
    """A number of a mark; 0 where there is no mark."""
    if mark is None:
        return 0
    found = mark.get(key) if isinstance(mark, dict) else None
    if not isinstance(found, int) or found < 0:
        raise _foreign_mark(mark, text)
    return found


def _foreign_mark(mark: Any, text: str) -> DataError:
    return DataError(
        f"'{text}' cannot go on after {mark!r}: that is a place in a source of another kind. "
        "Give the source that was watched before, or begin another run."
    )


def _later(before: str | None, name: str) -> str:
    """The later of two names, in natural order."""
    if before is None:
        return name
    return max(before, name, key=lambda each: natural(Path(each)))


# ---- FFmpeg --------------------------------------------------------------------------------------


def _av(text: str) -> ModuleType:
    return optional_package("av", f"'{text}' is read with av", "watch", DataError)


@contextmanager
def _connected(opening: Opening, timeout: float) -> Iterator[InputContainer]:
    """What FFmpeg has opened, with a video stream that can be decoded."""
    av = _av(opening.text)
    name = opening.name
    if opening.format == "dshow" and name.isdecimal():
        name = _windows_camera(int(name))
    try:
        container = av.open(
            name,
            format=opening.format,
            options=opening.options,
            timeout=None if opening.kind == "file" else (timeout, timeout),
        )
    except (av.FFmpegError, ValueError) as error:  # a ValueError names a format that is unknown
        raise _refusal(error, opening, timeout) from None
    with container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise DataError(
                f"'{opening.text}' is one image. Give a video, or the folder that images come to."
            )
        if not container.streams.video:
            raise DataError(f"'{opening.text}' holds no pictures, only sound or other data.")
        if container.streams.video[0].codec_context is None:
            raise DataError(f"'{opening.text}' is in a format that av cannot decode.")
        yield container


def _windows_camera(number: int) -> str:
    from av.device import enumerate_input_devices

    cameras = [each for each in enumerate_input_devices("dshow") if "video" in each.media_types]
    if number >= len(cameras):
        raise SourceLostError(f"There is no camera {number}; there are {len(cameras)} of them.")
    return f"video={cameras[number].description or cameras[number].name}"


def _refusal(error: Exception, opening: Opening, timeout: float) -> DataError:
    """Why something is not read, in a sentence without the address as it was given."""
    av = _av(opening.text)
    text, kind = opening.text, opening.kind
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return DataError(
            f"'{text}' asks for a user and a password, or refuses those that were given. Give "
            f"them in the address: {scheme_of(text)}://user:password@host/... (with %40 for @, "
            "%2F for / and the like)."
        )
    if isinstance(error, av.error.ExitError):
        return _silent(text, timeout)
    if isinstance(error, av.error.InvalidDataError | av.error.ProtocolNotFoundError):
        return DataError(f"'{text}' cannot be read as a video: {_said(error)}.")
    if kind == "camera":
        return _refused_camera(error, text)
    if kind == "file":
        return DataError(f"'{text}' cannot be read as a video: {_said(error)}.")
    return SourceLostError(
        f"'{text}' gives no frames: {_said(error)}. Check the address, and whether it is on."
    )


def _refused_camera(error: Exception, text: str) -> DataError:
    if isinstance(error, PermissionError):
        return DataError(
            f"The camera '{text}' may not be read by this user. On Linux the group 'video' may."
        )
    if not hasattr(error, "strerror"):
        return DataError(f"The camera '{text}' cannot be read by this build of av: {_said(error)}.")
    if isinstance(error, FileNotFoundError):
        others = ", ".join(sorted(map(str, Path("/dev").glob("video*"))))
        return SourceLostError(
            f"There is no camera '{text}'. " + (f"There is {others}." if others else "Plug it in.")
        )
    return SourceLostError(
        f"The camera '{text}' gives no frames: {_said(error)}. Is it plugged in, and does no other "
        "program use it?"
    )


def _silent(text: str, timeout: float) -> SourceLostError:
    return SourceLostError(f"'{text}' is silent: no frame has come for {timeout:g} seconds.")


def _said(error: Exception) -> str:
    """FFmpeg's words for an error; its whole message would hold the address as it was given."""
    return str(getattr(error, "strerror", error)).strip().rstrip(".")


def _step(stream: VideoStream, fps: float) -> float:
    """Seconds from one frame to the next, where they have no time stamps."""
    return 1 / float(stream.average_rate or stream.guessed_rate or fps)


# ---- time ----------------------------------------------------------------------------------------


class Clock:
    """Positions from time stamps: they begin at `start` and increase, whatever the stamps do.

    step: seconds after the last frame, for one without a stamp, or with an earlier one.
    """

    def __init__(self, start: float, step: float) -> None:
        self.position, self._step = start - step, step
        self._offset: float | None = None

    def at(self, stamp: float | None) -> float:
        last = self.position
        if stamp is not None and self._offset is not None:
            self.position = stamp + self._offset
        if self.position <= last:
            self.position = last + self._step
            self._offset = None if stamp is None else self.position - stamp
        return self.position


class Pace:
    """At most so many frames per second: those that are due, evenly spread."""

    def __init__(self, fps: float) -> None:
        self._interval = 1 / fps
        self._next: float | None = None

    def due(self, position: float) -> bool:
        """Whether a frame at a position, in seconds, is looked at."""
        planned = position if self._next is None else self._next
        if position < planned - TOLERANCE * self._interval:
            return False
        behind = position >= planned + self._interval  # after a gap nothing is made up for
        self._next = (position if behind else planned) + self._interval
        return True


# ---- pixels --------------------------------------------------------------------------------------


def _covering_frame(frame: VideoFrame, shape: tuple[int, int, int]) -> Pixels:
    colours = cast(Pixels, frame.to_ndarray(format="rgb24"))
    return _covering(colours, shape, frame.rotation // 90)


def _covering(found: Pixels, shape: tuple[int, int, int], turns: int = 0) -> Pixels:
    """Pixels [h, w] or [h, w, 3] as [H, W, C], like `filling`, several times as fast.

    turns: to be upright, quarter turns against the clock.
    """
    height, width, channels = shape
    target = (height, width) if turns % 2 else (width, height)
    image = Image.fromarray(found)
    scale = min(image.width / target[0], image.height / target[1])
    left = (image.width - scale * target[0]) / 2
    top = (image.height - scale * target[1]) / 2
    box = (left, top, image.width - left, image.height - top)
    small = image.resize(target, Image.Resampling.BICUBIC, box, DECIMATED).convert(MODES[channels])
    pixels = np.asarray(small).reshape((target[1], target[0], channels))
    return np.ascontiguousarray(np.rot90(pixels, turns))
