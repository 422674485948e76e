"""Attacks on the explorer: hosts, origins, tokens, uploads, and connections that are left open."""

import asyncio
import http.client
import io
import re
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hand_made import environment, metric, settings, write_run
from PIL import Image
from serving import answers, free_port, served, until

from vase import build
from vase.errors import ConfigError, InputError
from vase.explorer import guard, run_data
from vase.explorer.server import addresses, serve
from vase.explorer.uploads import AT_ONCE, MOST_WAITING, ImageReader
from vase.images import files
from vase.training.folder import RunFolder

NEAR = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
MOST = 40  # connections of the servers here
HEAD, BODY = 1.0, 1.5  # seconds that they grant
PATIENCE = 15.0  # seconds: of a busy machine
SERVE = f"""
import os
import signal
import sys
from pathlib import Path
import vase.explorer.page
from vase import build
from vase.explorer import connections, serve
from vase.training.folder import RunFolder
connections.SECONDS.update(head={HEAD}, body={BODY}, close=1.0)
connections.MOST_CONNECTIONS = {MOST}
say = lambda text: print(text, flush=True)
data = build.DataOptions(offline=True)
children = []

def end(*_):
    for child in children:
        os.kill(child, signal.SIGTERM)

for each in sys.argv[2:]:
    host, port, *allow = each.split()
    children.append(os.fork())
    if not children[-1]:
        serve(RunFolder(Path(sys.argv[1])), data, host=host, port=int(port), allow=allow, say=say)
        os._exit(0)
signal.signal(signal.SIGTERM, end)
children.remove(os.wait()[0])
end()
os.wait()
"""  # forks: most of what a server costs is loading PyTorch and NiceGUI, which this does once
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
ALLOWED = guard.allowed_hosts("127.0.0.1", ["box.local"])


class Serving(NamedTuple):
    """A server in a process of its own, and what it and the other have said."""

    host: str
    port: int
    said: Path

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Serving]]:
    """One for this machine alone, and one for others, whom a token lets in."""
    home = tmp_path_factory.mktemp("guarded")
    known = (environment(0), environment(1))
    metrics = [metric(step, int(step >= 50)) for step in range(0, 100, 5)]
    folder = write_run(home / "run", settings(), metrics, known)
    said, (here, there) = home / "said.txt", (free_port(NEAR), free_port("0.0.0.0"))
    near, far = Serving(NEAR, here, said), Serving("127.0.0.1", there, said)
    asked = (f"{NEAR} {here}", f"0.0.0.0 {there} box.local")
    with served([sys.executable, "-c", SERVE, str(folder.path), *asked], *near):
        until(lambda: answers(far.host, far.port))
        yield near, far
        assert "Traceback" not in said.read_text()


@pytest.fixture
def near(servers: tuple[Serving, Serving]) -> Serving:
    return servers[0]


@pytest.fixture
def far(servers: tuple[Serving, Serving]) -> Serving:
    return servers[1]


def ask(
    server: Serving,
    method: str = "GET",
    path: str = "/",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], str]:
    """Status, headers by name in lower case, and text; of a WebSocket that is accepted no text."""
    caller = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        caller.request(method, path, body, named)
        answer = caller.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, "" if answer.status == 101 else answer.read().decode()
    finally:
        caller.close()


def open_websocket(server: Serving, path: str = SOCKET, **headers: str) -> int:
    """The status that answers a WebSocket's handshake."""
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    asked = {"Connection": "Upgrade", "Upgrade": "websocket"} | key | headers
    return ask(server, path=path, **asked)[0]


# --- hosts and origins ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((each, True) for each in ("127.0.0.1", "127.0.0.2", "127.255.3.4", "::1", "[::1]")),
        *((each, True) for each in ("::ffff:127.0.0.1", "0:0:0:0:0:0:0:1", "LOCALHOST.")),
        *((each, False) for each in ("0.0.0.0", "::", "192.168.1.5", "::ffff:8.8.8.8", "")),
        *((each, False) for each in ("127.0.0.1.evil.example", "localhost.evil.example", "127.1")),
    ],
)
def test_what_is_this_machine_alone(host: str, expected: bool) -> None:
    assert guard.is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((each, True) for each in ("127.0.0.1", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:8080")),
        *((each, True) for each in ("[::ffff:127.0.0.1]:80", "localhost.:8080", "Box.Local")),
        *((each, False) for each in ("evil.example", "127.0.0.1.evil.example", "", ":8080", ".")),
        *((each, False) for each in ("localhost:8080@evil.example", "localhost:x", "::1", "*")),
        *((each, False) for each in ("localhost, evil.example", "a.box.local", "[localhost]")),
    ],
)
def test_what_host_a_request_may_name(host: str, expected: bool) -> None:
    assert guard.is_allowed_host(host, ALLOWED) is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        *((each, True) for each in ("http://127.0.0.1:8080", "http://LOCALHOST:8080")),
        *((each, True) for each in ("http://[::1]:8080", "https://box.local:8080")),
        *((each, False) for each in ("http://evil.example", "null", "", "localhost:8080")),
        *((each, False) for each in ("http://localhost:3000", "ftp://localhost:8080")),
        *(
            (f"http://{each}:8080", False)
            for each in ("127.0.0.1.evil.org", "localhost:8080@evil.org")
        ),
    ],
)
def test_what_page_may_ask(origin: str, expected: bool) -> None:
    assert guard.is_allowed_origin(origin, "127.0.0.1:8080", ALLOWED) is expected


def test_behind_a_proxy_the_usual_port_is_not_named() -> None:
    assert guard.is_allowed_origin("https://box.local", "box.local", ALLOWED)
    assert guard.is_allowed_origin("http://box.local:80", "box.local", ALLOWED)
    assert not guard.is_allowed_origin("http://box.local:8080", "box.local", ALLOWED)


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0", "::", "::1", "localhost"])
def test_no_host_allows_all(host: str) -> None:
    allowed = guard.allowed_hosts(host)
    assert not {"evil.example", "", "*", "0.0.0.0", "::"} & allowed
    assert {"localhost", "127.0.0.1", "::1"} <= allowed


@pytest.mark.parametrize("name", ["http://box", "box:80", "*", "*.box", "", "a b", "user@box", "."])
def test_a_name_that_is_none_is_not_allowed(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--allow-host '.*' is no host\. Give a name"):
        guard.allowed_hosts("127.0.0.1", [name])
    assert "fe80::1" in guard.allowed_hosts("127.0.0.1", ["FE80::1"])


@pytest.mark.parametrize("host", ["", " "])
def test_an_empty_host_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--host is empty"):
        serve(RunFolder(tmp_path), build.DataOptions(offline=True), host=host)


def test_hosts_of_a_server(near: Serving) -> None:
    port = near.port
    for host in ("evil.example", f"evil.example:{port}"):
        status, _, text = ask(near, Host=host)
        assert (status, "--allow-host" in text) == (400, True)
    for host in (f"LOCALHOST:{port}", near.name):
        assert ask(near, Host=host)[0] == 200
    assert open_websocket(near, Host="evil.example") == 400


def test_origins_of_a_server(near: Serving) -> None:
    for origin in (f"http://evil.example:{near.port}", "http://localhost:1"):
        assert open_websocket(near, Origin=origin) == 403
        assert ask(near, "POST", "/_nicegui/upload", b"x", Origin=origin)[0] == 403
    polling = SOCKET.replace("websocket", "polling")
    status, headers, _ = ask(near, path=polling, Origin="http://evil.example")
    assert (status, headers.get("access-control-allow-origin")) == (403, None)
    assert open_websocket(near, Origin=f"http://{near.name}") == 101
    assert open_websocket(near) == 101  # no browser


def test_every_response_is_kept_from_frames_and_caches(near: Serving) -> None:
    page = ask(near)
    static = re.search(r"/_nicegui/[^\"']+\.js", page[2])
    assert static is not None
    answers = {200: page, 400: ask(near, Host="evil"), 413: ask(near, "POST", "/", b"")}
    for status, (found, headers, _) in answers.items():
        assert found == status
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "no-store" in headers["cache-control"]
    assert "evil" not in answers[400][1]["content-security-policy"]
    assert "max-age" in ask(near, path=static[0])[1]["cache-control"]


def test_a_guard_without_a_server() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append(scope["type"])

    def run(kind: str, *headers: tuple[bytes, bytes], query: bytes = b"") -> Any:
        sent.clear()
        scope = {"type": kind, "headers": headers, "query_string": query, "path": "/"}
        asked = guard.Guard(app, ALLOWED, "secret")({**scope, "method": "GET"}, None, send)  # type: ignore[arg-type]
        asyncio.run(asked)
        return sent[0]

    host = (b"host", b"box.local")
    assert run("lifespan") == "lifespan"
    assert run("websocket", host, query=b"token=secret") == "websocket"
    assert run("websocket", host) == {"type": "websocket.close", "code": 1008}
    assert run("http", host)["status"] == 403
    assert run("http", host, (b"cookie", b"vase=secret")) == "http"
    assert run("http", host, (b"cookie", b"other=1"), (b"cookie", b"vase=secret")) == "http"
    assert run("http", host, (b"cookie", b"vase=secre"))["status"] == 403
    assert run("http", host, query="token=sécret".encode())["status"] == 403
    assert run("http", host, host, query=b"token=secret")["status"] == 400
    assert run("http", query=b"token=secret")["status"] == 400


# --- a token --------------------------------------------------------------------------------


def test_only_who_knows_the_token_may_look(far: Serving) -> None:
    found = re.search(r"at (http://127\.0\.0\.1:\d+)/\?token=([\w-]{40,})", far.said.read_text())
    assert found is not None
    assert found[1] == f"http://{far.name}"
    token = found[2]
    status, headers, text = ask(far, path=f"/?token={token}")
    assert status == 200
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    static = re.search(r"/_nicegui/[^\"']+\.js", text)
    assert static is not None
    for path in ("/", static[0], "/favicon.ico", "/?token=", f"/?token={token[:-1]}"):
        refused, told, why = ask(far, path=path)
        assert (refused, told["cache-control"], "?token=" in why) == (403, "no-store", True)
        assert "set-cookie" not in told
    assert ask(far, path=static[0], Cookie=cookie)[0] == 200
    assert ask(far, Cookie=f"{cookie}x")[0] == 403
    assert open_websocket(far) == open_websocket(far, Cookie=f"{cookie}x") == 403
    assert open_websocket(far, Cookie=cookie) == 101
    assert open_websocket(far, f"{SOCKET}&token={token}") == 101
    assert ask(far, Cookie=cookie, Host="box.local")[0] == 200
    assert ask(far, Cookie=cookie, Host="evil.example")[0] == 400
    assert ask(far, Cookie=cookie, Host="0.0.0.0")[0] == 400
    assert open_websocket(far, Cookie=cookie, Origin="http://evil.example") == 403


def test_the_address_that_is_said() -> None:
    assert addresses("127.0.0.1", 8080, None) == ["http://127.0.0.1:8080"]
    assert addresses("::1", 8080, None) == ["http://[::1]:8080"]
    assert addresses("192.0.2.7", 80, "abc") == ["http://192.0.2.7:80/?token=abc"]
    assert addresses("::", 80, "abc")[0] == "http://[::1]:80/?token=abc"


# --- uploads --------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size, and holds next to nothing."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def multipart(*fields: bytes, named: bool = True) -> bytes:
    name = '; filename="own.png"' if named else ""
    head = f'--edge\r\nContent-Disposition: form-data; name="file"{name}\r\n\r\n'.encode()
    return b"".join(head + field + b"\r\n" for field in fields) + b"--edge--\r\n"


def upload(server: Serving, body: bytes, kind: str = "multipart/form-data; boundary=edge") -> Any:
    found = re.search(r"/_nicegui/client/[\w-]+/upload/\d+", ask(server)[2])
    assert found is not None
    status, _, text = ask(server, "POST", found[0], body, Content_Type=kind)
    return status, text


SMALL = Image.new("RGB", (20, 20), "white")
TINY = {254: 1, 256: 10, 257: 10, 262: 1, 273: 8, 279: 1}  # tags of a page of a TIFF
LARGE = encoded(Image.new("1", (7_000, 7_000)))  # 49 megapixels in 6 kB


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (multipart(encoded(SMALL)), None, 200, "Looked at"),
        (multipart(*[LARGE] * 30), None, 413, "One file a request"),
        (multipart(*[b"text"] * 30, named=False), None, 413, "One file a request"),
        (multipart(), None, 400, "no file"),
        (multipart(LARGE), None, 200, "7000 x 7000 pixels. Make it smaller"),
        (multipart(png_header(20_000, 10_000)), None, 200, "far too many pixels. Make it smaller"),
        (multipart(b"nothing"), None, 200, "'own.png' is no image"),
        (b"a&" * 1_000_000, "application/x-www-form-urlencoded", 415, "Send one file"),
        (b"x", "multipart/form-data", 400, "boundary"),
    ],
)
def test_what_is_sent(
    near: Serving, body: bytes, kind: str | None, status: int, sentence: str
) -> None:
    begun = time.monotonic()
    found, text = upload(near, body, *([kind] if kind else []))
    assert (found, sentence in text) == (status, True), text
    assert time.monotonic() - begun < 5  # not a second of decoding


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_pages_are_neither_decoded_nor_counted(kind: str) -> None:
    pages = encoded(SMALL, kind, save_all=True, append_images=[Image.new("RGB", (20, 20), "red")])
    with pytest.raises(InputError, match="holds several images"):
        files.fitted(io.BytesIO(pages), "own", (3, 16, 16))


def test_smaller_copies_of_a_page_are_no_other_pages() -> None:
    copy = Image.new("RGB", (10, 10), "red")
    copy.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    pages = encoded(SMALL, "TIFF", save_all=True, append_images=[copy])
    fitted = files.fitted(io.BytesIO(pages), "own.tif", (3, 16, 16))
    np.testing.assert_array_equal(fitted, np.ones((3, 16, 16)))


def test_a_tiff_of_very_many_pages_is_refused_at_once() -> None:
    first = bytearray(encoded(SMALL, "TIFF"))
    at = struct.unpack("<I", first[4:8])[0]
    tags = struct.unpack("<H", first[at : at + 2])[0]
    # Each says that it is a smaller copy, of 10 x 10 pixels.
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in TINY.items()]
    begin = len(first) + len(first) % 2
    first[at + 2 + 12 * tags : at + 6 + 12 * tags] = struct.pack("<I", begin)
    count, size = 20_000, 2 + 12 * len(TINY) + 4
    pages = b"".join(
        struct.pack("<H", len(TINY))
        + b"".join(entries)
        + struct.pack("<I", begin + size * (k + 1) if k < count else 0)
        for k in range(count)
    )
    content = bytes(first).ljust(begin, b"\0") + pages
    begun = time.monotonic()
    with pytest.raises(InputError, match="holds several images"):
        files.fitted(io.BytesIO(content), "pages.tif", (3, 16, 16))
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "fits"),
    [
        ("POST", "/a/upload/3", {"content-length": "20000000"}, True),
        ("POST", "/a/upload/3", {"content-length": "20000001"}, False),
        ("POST", "/a", {"content-length": "1000001"}, False),
        ("POST", "/a", {}, False),
        ("POST", "/a/upload/3", {"transfer-encoding": "chunked"}, False),
        ("PUT", "/a/upload/3", {"transfer-encoding": "chunked", "content-length": "1"}, False),
        ("DELETE", "/a/upload/3", {"content-length": "1" * 12}, False),
        ("POST", "/a", {"content-length": "²"}, False),
        ("GET", "/a", {"content-length": "-1"}, False),
        ("GET", "/a", {}, True),
    ],
)
def test_sizes(method: str, path: str, headers: dict[str, str], fits: bool) -> None:
    assert (guard.size_complaint(method, path, headers) is None) is fits


def test_a_body_in_chunks_is_refused_before_it_is_read(near: Serving) -> None:
    with near.connect() as caller:
        head = (
            f"POST /a/upload/3 HTTP/1.1\r\nHost: {near.name}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        caller.sendall(head.encode())
        assert ended(caller).startswith(b"HTTP/1.1 413 ")


def test_images_are_computed_a_few_at_once_and_not_by_the_server_s_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, running, threads = threading.Event(), [], set()

    def slow(*_: object) -> str:
        running.append(1)
        threads.add(threading.get_ident())
        assert go.wait(PATIENCE)
        return "found"

    async def ask_for_many() -> None:
        reader, image = ImageReader(None), np.zeros((1, 8, 8), np.float32)  # type: ignore[arg-type]
        asked = [asyncio.create_task(reader.infer(image)) for _ in range(MOST_WAITING)]
        while len(running) < AT_ONCE:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(running) == AT_ONCE
        with pytest.raises(InputError, match="Too many images at once"):
            await reader.infer(image)
        go.set()
        assert await asyncio.gather(*asked) == ["found"] * MOST_WAITING
        assert await reader.infer(image) == "found"

    monkeypatch.setattr(run_data, "infer_image", slow)
    asyncio.run(ask_for_many())
    assert threading.get_ident() not in threads


# --- connections ----------------------------------------------------------------------------


def ended(caller: socket.socket) -> bytes:
    """What is answered until the connection ends; a failure if it does not."""
    found = b""
    try:
        while part := caller.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


def drip(caller: socket.socket, parts: Iterator[bytes], pause: float) -> None:
    """Send a little at a time until the other side has had enough."""
    try:
        for part in parts:
            caller.sendall(part)
            time.sleep(pause)
    except OSError:
        return
    pytest.fail("Nobody stopped it.")


def endless() -> Iterator[bytes]:
    for _ in range(int(PATIENCE / 0.2)):
        yield b"x"


def drip_head(caller: socket.socket, host: str) -> None:
    caller.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: ".encode())
    drip(caller, endless(), 0.2)


def drip_body(caller: socket.socket, host: str) -> None:
    head = f"POST {SOCKET.replace('websocket', 'polling')} HTTP/1.1\r\nHost: {host}\r\n"
    caller.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
    drip(caller, endless(), 0.2)


def half_a_head(caller: socket.socket, host: str) -> None:
    caller.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())


def half_a_body(caller: socket.socket, host: str) -> None:
    path = "/_nicegui/client/a/upload/3"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n"
    caller.sendall(f"{head}Content-Type: multipart/form-data; boundary=a\r\n\r\n--a".encode())


def a_second_head(caller: socket.socket, host: str) -> None:
    caller.sendall(f"GET /favicon.ico HTTP/1.1\r\nHost: {host}\r\n\r\nGET / HT".encode())


STALLING: dict[str, tuple[Callable[[socket.socket, str], None], bytes]] = {
    "silent": (lambda caller, host: None, b""),
    "half a head": (half_a_head, b"HTTP/1.1 408 "),
    "dripping head": (drip_head, b"HTTP/1.1 408 "),
    "half a second head": (a_second_head, b"HTTP/1.1 200 "),
    "half a body": (half_a_body, b"HTTP/1.1 "),
    "dripping body": (drip_body, b""),
    "an empty line": (lambda caller, host: caller.sendall(b"\r\n"), b""),
    "no HTTP": (lambda caller, host: caller.sendall(b"no such thing\r\n\r\n"), b"HTTP/1.1 400 "),
}


def test_who_does_not_go_on_is_cut(near: Serving) -> None:
    """All of them side by side."""

    def answered(name: str) -> bytes:
        with near.connect() as caller:
            STALLING[name][0](caller, near.name)
            return ended(caller)

    begun = time.monotonic()
    with ThreadPoolExecutor(len(STALLING)) as pool:
        answers = dict(zip(STALLING, pool.map(answered, STALLING), strict=True))
    assert time.monotonic() - begun < PATIENCE - 1
    for name, (_, answer) in STALLING.items():
        assert answers[name].startswith(answer), name


def test_a_websocket_in_use_is_not_cut(near: Serving) -> None:
    with near.connect() as caller:
        head = f"GET {SOCKET} HTTP/1.1\r\nHost: {near.name}\r\nUpgrade: websocket\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
        caller.sendall(f"{head}Connection: Upgrade\r\n{key}\r\n\r\n".encode())
        assert caller.recv(65536).startswith(b"HTTP/1.1 101 ")
        caller.settimeout(max(HEAD, BODY) + 0.5)
        with pytest.raises(TimeoutError):
            ended(caller)


def test_there_are_only_so_many_connections(near: Serving) -> None:
    time.sleep(HEAD + 0.5)  # those of other tests are gone
    callers = [near.connect() for _ in range(MOST + 10)]
    try:
        refused = 0
        for caller in callers:
            refused += b"503 " in ended(caller)[:20]
        assert refused == 10
    finally:
        for caller in callers:
            caller.close()
    assert ask(near)[0] == 200
