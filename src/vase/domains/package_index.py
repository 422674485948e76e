"""Files of a Python package index, fetched as plain files: pip would build a source archive.

Building runs the package's own code, before any checksum of ours. So pip is asked for one thing,
which index it uses; the index says where the file is (PEP 503 or 691); and the file is fetched,
checked and never installed. The index's page itself can have no known checksum: it is bounded, one
address is taken from it, and that must lie on the index's own server, or where the public index has
its files.
"""

import html
import json
import os
import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from vase.domains import clients
from vase.domains.catalogue import IndexFile, checked
from vase.domains.downloads import download, server
from vase.errors import DataError

PAGE_LIMIT_BYTES = 4 * 2**20
TIMEOUT_S = 15.0
ACCEPT = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}


def fetch(file: IndexFile) -> bytes:
    """Return the content of a file on the index, checked; DataError with a reason if it fails."""
    settings = _settings_of_pip()
    index = settings.get("index-url", "").rstrip("/") or public_index()[0]
    certificate = settings.get("cert")
    name = re.sub(r"[-_.]+", "-", file.project).lower()
    base = f"{index}/{name}/"
    page = download(
        base, TIMEOUT_S, limit=PAGE_LIMIT_BYTES, headers=ACCEPT, certificate=certificate
    )
    url = address(page, base, file.archive.name)
    return checked(file.archive, download(url, TIMEOUT_S, certificate=certificate))


def public_index() -> tuple[str, str]:
    """The index that pip asks where nobody says otherwise, and the host of its files.

    pip knows them, so that they are written down in one place.
    """
    try:
        found = import_module("pip._internal.models.index").PyPI
        return str(found.simple_url), str(found.file_storage_domain)
    except (ImportError, AttributeError):
        raise DataError("no package index is known: set PIP_INDEX_URL") from None


def address(page: bytes, base: str, name: str) -> str:
    """Return where the page at `base` says that file `name` is; DataError if nowhere fit."""
    text = page.decode("utf-8", "replace")
    try:
        links = [urljoin(base, link).partition("#")[0] for link in _links(text)]
        named = [link for link in links if unquote(urlsplit(link).path).endswith(f"/{name}")]
        places = [server(link) for link in named]
        home = server(base)
    except (ValueError, RecursionError) as error:
        raise DataError("the package index answers with what is no page of an index") from error
    if not named:
        raise DataError(f"the package index has no {name}")
    for link, place in zip(named, places, strict=True):
        own = place == home and place[0] in ("http", "https")
        if own or place == ("https", public_index()[1], None):
            return link
    scheme, host, _ = places[0]
    raise DataError(f"the package index points to {scheme}://{host or ''} for {name}: not asked")


def _links(text: str) -> Iterator[str]:
    """The addresses of files on a page, JSON (PEP 691) or HTML (PEP 503)."""
    if text.lstrip()[:1] == "{":
        files = json.loads(text).get("files")
        for entry in files if isinstance(files, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("url"), str):
                yield entry["url"]
        return
    # No parser: a pattern of bounded length takes linear time, whatever the page is.
    for match in re.finditer(r"href\s{0,9}=\s{0,9}[\"']([^\"'<>\s]{1,2000})[\"']", text, re.I):
        yield html.unescape(match.group(1))


def _settings_of_pip() -> dict[str, str]:
    """`index-url` and `cert` where pip's settings or its variables give them."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="vase-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            trouble = clients.run(("pip", "config", "list"), folder, 60.0)
        except DataError:
            trouble = "no pip here"  # its variables count all the same
        text = "" if trouble else (folder / clients.LOG).read_text("utf-8", "replace")
    for section in ("global", "download"):
        for key, value in re.findall(rf"^{section}\.(index-url|cert)='(.*)'$", text, re.M):
            found[key] = value
    for key, variable in (("index-url", "PIP_INDEX_URL"), ("cert", "PIP_CERT")):
        if value := os.environ.get(variable, "").strip():
            found[key] = value
    return found
