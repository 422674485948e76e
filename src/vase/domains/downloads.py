"""One download over HTTP into memory: bounded in size and time, and never led astray.

A redirection is followed to an address with TLS or on the same server, nowhere else. What comes
is bytes and no more: whoever asked checks them before anything reads them.
"""

import io
import re
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urljoin, urlsplit

from vase.domains import idx
from vase.errors import DataError

DOWNLOAD_LIMIT_S = 600.0  # for one file from one place, however steadily it drips
REASON_LIMIT = 200


class UnreachableError(DataError):
    """A server does not answer at all."""


class _Sink(io.BytesIO):
    """Takes a download into memory; stops it when it is too large or takes too long."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._deadline = time.monotonic() + DOWNLOAD_LIMIT_S

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._limit:
            raise DataError(f"the answer is larger than {self._limit // 2**20} MiB")
        if time.monotonic() > self._deadline:
            raise DataError(f"the download took more than {DOWNLOAD_LIMIT_S:g} s")
        return super().write(data)


def download(
    url: str,
    timeout_s: float,
    *,
    limit: int | None = None,
    headers: Mapping[str, str] | None = None,
    certificate: str | None = None,
) -> bytes:
    """Return what the address answers; DataError with a short reason if that fails.

    `limit` in bytes, that of an idx file by default; `certificate` is a file of authorities to
    trust in place of the usual ones.
    """
    import pooch
    import requests

    sink = _Sink(idx.MAX_BYTES if limit is None else limit)
    get = pooch.HTTPDownloader(
        timeout=timeout_s,
        chunk_size=2**16,
        headers=dict(headers or {}),
        hooks={"response": _refuse_a_bad_redirection},
        **({"verify": certificate} if certificate else {}),
    )
    try:
        get(url, sink, None)
    except requests.Timeout as error:
        raise UnreachableError(f"no answer within {timeout_s:g} s") from error
    except requests.HTTPError as error:
        status = "unknown" if error.response is None else error.response.status_code
        raise DataError(f"HTTP status {status}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise DataError("the connection broke off") from error
    except requests.ConnectionError as error:
        raise UnreachableError(_connection_reason(str(error))) from error
    except (requests.RequestException, OSError) as error:
        raise DataError(shortened(str(error))) from error
    return sink.getvalue()


def server(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of an address; ValueError if it is none."""
    # No blank and no backslash: programs differ about which host an address with one is on.
    if not re.fullmatch(r"[!-\[\]-~]+", url):
        raise ValueError("an address has a character that none has")
    parts: SplitResult = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _refuse_a_bad_redirection(response: object, **_: object) -> None:
    """Refuse to be led from TLS to an open connection, or from one open server to another."""
    import requests

    if not isinstance(response, requests.Response) or not response.is_redirect:
        return
    try:
        here = server(response.url)
        there = server(urljoin(response.url, response.headers["location"]))
    except ValueError as error:
        raise DataError("it redirects to what is no address") from error
    if there[0] != "https" and there != here:
        raise DataError(f"it redirects to {there[0]}:// on another server, without TLS")


def _connection_reason(text: str) -> str:
    if "timed out" in text:
        return "no answer in time"
    return f"no connection{' (its name is not known)' if 'resol' in text else ''}"


def shortened(text: str) -> str:
    """Return one line of bounded length in which addresses are left out."""
    text = re.sub(r"\w+://\S+", "<address>", " ".join(text.split()))
    text = re.sub(r"\b(?:[a-z0-9-]+\.)+(?:org|com|net|io|dev)\b", "<host>", text, flags=re.I)
    return text if len(text) <= REASON_LIMIT else f"{text[: REASON_LIMIT - 3]}..."
