"""Who may ask the explorer, and for what: hosts, origins, a token, the size of what is sent.

A pure ASGI middleware, so that WebSockets, which carry all of a page's events, are judged too.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from vase.errors import ConfigError
from vase.explorer.run_data import MAX_UPLOAD_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
EVERYWHERE = frozenset(("0.0.0.0", "::"))
MOST_OTHER_BYTES = 1_000_000  # of a request that is no upload: the page's events, without WebSocket
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]*]+)(?::([0-9]{1,5}))?", re.ASCII)
ORIGIN = re.compile(r"(https?)://(.+)", re.ASCII | re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # an address may hold the token
    "Cross-Origin-Resource-Policy": "same-origin",
}
# NiceGUI compiles its templates in the browser, and writes scripts and styles into the page.
CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'{sockets}; "
    "object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)


# ---- hosts and origins ---------------------------------------------------------------------------


def canonical(host: str) -> str:
    """One spelling of a host: lower case, no brackets, no final dot, addresses at their shortest.

    An IPv4 address within an IPv6 one (::ffff:127.0.0.1) is the IPv4 address.
    """
    name = host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone: localhost, ::1, or any of 127.0.0.0/8."""
    name = canonical(host)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def allowed_hosts(host: str, named: Iterable[str] = ()) -> frozenset[str]:
    """The hosts that a request may name: those that lead here, and those that were named.

    A page of another site whose name was made to lead here names that site, and is refused. Raises
    ConfigError for a name that is none.
    """
    found = {canonical(host)} | LOOPBACK_NAMES
    if not is_loopback(host):
        found |= own_hosts() if canonical(host) in EVERYWHERE else _addresses(host)
    for name in named:
        parts = split_authority(name if name.count(":") < 2 or name[:1] == "[" else f"[{name}]")
        if parts is None or parts[1] is not None:
            raise ConfigError(
                f"--allow-host '{name}' is no host. Give a name or an address alone, such as "
                "box.local: no http://, no port, no *."
            )
        found.add(parts[0])
    return frozenset(found - EVERYWHERE)


def own_hosts() -> frozenset[str]:
    """The names of this machine, and the addresses that they or its routes lead to."""
    name = socket.gethostname()
    outward = {each for each in (outward_address(), outward_address("2001:db8::1")) if each}
    return frozenset({canonical(name), canonical(f"{name}.local")} | _addresses(name) | outward)


def outward_address(target: str = "192.0.2.1") -> str | None:
    """The address by which others reach this machine, None without a network. Sends nothing."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return canonical(probe.getsockname()[0])
    except OSError:
        return None


def _addresses(host: str) -> set[str]:
    try:
        return {canonical(str(found[4][0])) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()


def split_authority(text: str) -> tuple[str, int | None] | None:
    """A host, in its one spelling, and the port; None where text is not host[:port]."""
    found = AUTHORITY.fullmatch(text)
    if found is None:
        return None
    host, port = canonical(found[1]), found[2]
    return (host, int(port) if port else None) if host else None


def is_allowed_host(text: str, allowed: frozenset[str]) -> bool:
    """Whether the Host of a request is one of those allowed, with any port."""
    parts = split_authority(text)
    return parts is not None and parts[0] in allowed


def is_allowed_origin(text: str, host: str, allowed: frozenset[str]) -> bool:
    """Whether an Origin is a page of this server: an allowed host, and the port that is asked.

    host: the Host of the request. What another port of this machine shows is another's page.
    """
    found = ORIGIN.fullmatch(text)
    page, asked = split_authority(found[2]) if found else None, split_authority(host)
    if found is None or page is None or asked is None or page[0] not in allowed:
        return False
    usual = DEFAULT_PORTS[found[1].lower()]
    return (page[1] or usual) == (asked[1] or usual)


# ---- the token and the size ----------------------------------------------------------------------


def is_token(given: str | None, token: str) -> bool:
    """Whether a token is the right one, in a time that does not tell how much of it is."""
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def query_token(query: bytes) -> str | None:
    """The token of an address, ?token=..."""
    return parse_qs(query.decode("latin-1")).get("token", [None])[0]


def cookie_token(header: str, name: str) -> str | None:
    """The token of a Cookie header."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return found.value if found else None


def size_complaint(method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """What is wrong with the size that a request states of its body; None if nothing is."""
    size = headers.get("content-length", "0")
    if "transfer-encoding" in headers or (method == "POST" and size == "0"):
        return "Too large, or of unknown size: send a Content-Length."
    most = MAX_UPLOAD_BYTES if "/upload/" in path else MOST_OTHER_BYTES
    if not (size.isascii() and size.isdigit() and len(size) < 12 and int(size) <= most):
        return f"Too large: the limit is {most:,} bytes."
    return None


# ---- the middleware ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: an HTTP status and a sentence."""

    status: int
    sentence: str


class Guard:
    """Hands on what may be asked; everything else is answered here, before the app sees it.

    hosts: see `allowed_hosts`. token: what a visitor has to know, None where all may look.
    cookie: its name, of which a browser holds one for all ports of a machine.
    """

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str], token: str | None, cookie: str = "vase"
    ) -> None:
        self.app = app
        self.hosts = hosts
        self.token = token
        self.cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name = key.decode("latin-1").lower()
            joined = [headers[name]] if name in headers else []  # two of a kind match nothing
            headers[name] = "; ".join([*joined, value.decode("latin-1")])
        extra = SECURITY_HEADERS | {"Content-Security-Policy": _policy(headers, self.hosts)}
        refusal = self.judge(scope, headers)
        if refusal is not None:
            await _refuse(scope, send, refusal, extra)
            return
        if self.token and is_token(query_token(scope["query_string"]), self.token):
            # No redirect to an address without it: after a link in another site's page, a browser
            # would follow that without the cookie.
            extra["Set-Cookie"] = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"

        async def adding(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message = {**message, "headers": _added(message.get("headers", ()), extra)}
            await send(message)

        await self.app(scope, receive, adding)

    def judge(self, scope: Scope, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request is refused, None if it is not. headers: by name in lower case."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_allowed_host(host, self.hosts):
            return Refusal(400, "This host is not served here. --allow-host adds one.")
        if origin is not None and not is_allowed_origin(origin, host, self.hosts):
            return Refusal(403, "Pages of other sites may not ask here.")
        if self.token and not any(
            is_token(given, self.token)
            for given in (
                query_token(scope["query_string"]),
                cookie_token(headers.get("cookie", ""), self.cookie),
            )
        ):
            return Refusal(403, "Open the address that was printed, with its ?token=...")
        if scope["type"] == "http":
            complaint = size_complaint(scope["method"], scope["path"], headers)
            return Refusal(413, complaint) if complaint else None
        return None


def _policy(headers: Mapping[str, str], hosts: frozenset[str]) -> str:
    """The Content-Security-Policy; older browsers do not take 'self' for a WebSocket to it."""
    host = headers.get("host", "")
    known = is_allowed_host(host, hosts)
    return CONTENT_POLICY.format(sockets=f" ws://{host} wss://{host}" if known else "")


def _added(
    headers: Iterable[tuple[bytes, bytes]], extra: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    """Headers and more; a response that does not say how long it may be kept is not kept."""
    found = list(headers)
    if not any(name.lower() == b"cache-control" for name, _ in found):
        extra = {**extra, "Cache-Control": "no-store"}
    return found + [
        (name.lower().encode(), value.encode("latin-1")) for name, value in extra.items()
    ]


async def _refuse(scope: Scope, send: Send, refusal: Refusal, extra: Mapping[str, str]) -> None:
    websocket = scope["type"] == "websocket"
    if websocket and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})  # the server answers 403
        return
    body, kind = refusal.sentence.encode(), "websocket.http" if websocket else "http"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is still being sent is not read
    ]
    start = {"type": f"{kind}.response.start", "status": refusal.status}
    await send({**start, "headers": _added(headers, extra)})
    await send({"type": f"{kind}.response.body", "body": body, "more_body": False})
