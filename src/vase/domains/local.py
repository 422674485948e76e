"""Looking for idx files on this machine: the user's folder, the cache, an installed copy.

`find` returns the first file with the right checksum. A wrong file in the user's folder or in
the cache stops the search, so that the user hears of it. The MNIST and the Fashion-MNIST files
have the same names: a file that belongs to another known set is passed over. `store` puts a
verified content into the cache.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vase.domains import idx
from vase.domains.cache import cache_folder, replacing
from vase.domains.catalogue import Dataset, IdxFile, checksum
from vase.errors import DataError

DATA_VARIABLE = "VASE_DATA"
OFFLINE_VARIABLE = "VASE_OFFLINE"


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Place:
    """A folder and the folders below it that may hold files; a wrong one is an error if strict."""

    label: str
    root: Path
    below: tuple[str, ...] = (".",)
    strict: bool = True

    def __str__(self) -> str:
        below = ", ".join(name for name in self.below if name != ".")
        return f"{self.label} {self.root}{f' with {below}' if below else ''}"

    def candidates(self, file: IdxFile) -> Iterator[Path]:
        """Yield the files here that have one of the names of `file`."""
        paths = (self.root / folder / name for folder in self.below for name in file.spellings)
        return (path for path in paths if path.is_file())


@dataclass(frozen=True)
class Find:
    """A file of the right name; `content` is None unless its checksum is right.

    `found` is the SHA-256 of the decompressed content, or why it cannot be read.
    """

    place: Place
    path: Path
    found: str
    content: bytes | None


def places(dataset: Dataset, data_dir: Path | None) -> tuple[Place, ...]:
    """Return where to look, in order. DataError if the user's folder is not one."""
    return (
        *_own_places(dataset, data_dir),
        Place("cache", cache_folder() / dataset.name),
        *(Place("system", folder, strict=False) for folder in dataset.system),
    )


def _own_places(dataset: Dataset, data_dir: Path | None) -> tuple[Place, ...]:
    setting = os.environ.get(DATA_VARIABLE, "").strip()
    if data_dir is None and not setting:
        return ()
    label = DATA_VARIABLE if data_dir is None else "data_dir"
    folder = Path(setting if data_dir is None else data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"{label} is {folder}, which is not a folder. Create it or correct it.")
    return (Place(label, folder, dataset.folders),)


def find(file: IdxFile, where: Sequence[Place], others: Iterable[Dataset]) -> Find | None:
    """Return the first right file, or else the wrong one that stops the search, or None.

    `others` are the sets whose files are passed over. A wrong file stops the search if its place
    is strict and has no right one as well; any other wrong file is returned if nothing is right.
    """
    foreign = frozenset(known.sha256 for other in others for known in other.files)
    wrong = None
    for place in where:
        found = _best(file, place, foreign)
        if found is not None and (found.content is not None or place.strict):
            return found
        wrong = wrong or found
    return wrong


def _best(file: IdxFile, place: Place, foreign: frozenset[str]) -> Find | None:
    """Return the first right file in `place`, else the first wrong one that is not foreign."""
    wrong = None
    for path in place.candidates(file):
        found = _inspected(file, place, path)
        if found.content is not None:
            return found
        if found.found not in foreign:
            wrong = wrong or found
    return wrong


def _inspected(file: IdxFile, place: Place, path: Path) -> Find:
    try:
        content = idx.read(path)
    except DataError as error:
        return Find(place, path, str(error), None)
    found = checksum(content)
    return Find(place, path, found, content if found == file.sha256 else None)


def store(dataset: Dataset, file: IdxFile, content: bytes) -> Path:
    """Write a verified content into the cache, whole or not at all, and return its path."""
    path = cache_folder() / dataset.name / file.name
    try:
        with replacing(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}. Make the cache folder writable, or put "
            f"the files of {dataset.title} into a folder and set {DATA_VARIABLE}=FOLDER."
        ) from error
    return path
