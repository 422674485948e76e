"""Paths, names and terminals: whatever they are called, and whatever they can show."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import BRIEF, refused, status
from PIL import Image
from typer.testing import CliRunner

from vase import ConfigError, DataError, build, config
from vase.cli import session, threads
from vase.cli.app import app
from vase.domains import own
from vase.images import files

pytestmark = pytest.mark.usefixtures("own_cache")


def pictures(folder: Path, count: int = 25) -> Path:
    folder.mkdir(parents=True)
    for k in range(count):
        Image.new("L", (20, 20), 10 * k).save(folder / f"{k}.png")
    return folder


# ---- what a path is ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["date=2024-01-01", "a=b/imgs", "training.seed=1", "toy"])
def test_what_exists_is_a_path_before_it_is_a_setting_or_a_preset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for given in (name, f"./{name}", str(tmp_path / name)):
        assert session.is_source(given)
        found = session.configured(given, BRIEF)
        assert [domain.domain for domain in found.stream.domains.values()] == ["own"]
        with_part = session.configured(f"{given}+scaled-window", BRIEF)
        assert with_part.stream == found.stream
        assert (found.model.encoder, with_part.model.encoder) == ("window", "scaled-window")
    assert not session.is_source("training.seed=2")


def test_a_folder_of_runs_does_not_hide_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy" / "milestones").mkdir(parents=True)
    (tmp_path / "toy" / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert session.configured("toy", []) == config.load("toy")
    (tmp_path / "quick").write_text((config.presets()["toy"]).read_text())
    assert session.configured("quick", []) == config.load("toy")  # a file of settings


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["[red]:smile:\\[b]{0}", "r[/]n"])
def test_names_are_printed_as_they_are(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    schedule = f"stream.schedule={json.dumps([[folder.name, 2]])}"
    arguments = ["train", str(pictures(folder)), *BRIEF, schedule]
    out = tmp_path / "runs" / name
    result = CliRunner().invoke(app, [*arguments, "--no-report", "--out", str(out)])
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(app, ["resume", str(out), "--no-report"])
    assert f"{out} has been trained to its end" in " ".join(again.output.split())
    checked = CliRunner().invoke(app, ["check", str(out)])
    assert checked.exit_code == 0, checked.output


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("where", ["file", "domain", "folder", "out"])
def test_names_that_are_not_utf_8_are_refused_in_a_sentence(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    images, out = tmp_path / "images", str(tmp_path / "run")
    if where == "file":
        Image.new("L", (9, 9)).save(pictures(images) / f"{odd}.png")
    elif where == "domain":
        pictures(images / odd)
    elif where == "folder":
        images = pictures(tmp_path / odd)
    else:
        pictures(images)
        out = str(tmp_path / odd)
    told = refused(capsys, "train", str(images), *BRIEF, "--no-report", "--out", out)
    assert told.startswith("error: The name '")
    assert "caf\\xe9" in told
    assert "is not UTF-8. " in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["train", "Gänge ✓/0.png", *BRIEF], 2, b"error: "),
        (["presets"], 0, b"Train one with: vase train PRESET"),
        (["resume", "Gänge ✓"], 2, b"error: 'G\\xe4nge \\u2713' is not a run folder"),
    ],
)
def test_a_terminal_that_knows_few_letters_is_no_reason_to_fail(
    arguments: list[str], code: int, told: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "Gänge ✓")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    shown = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(shown, "ascii", write_through=True))
    assert status(*arguments) == code
    assert told in shown.getvalue()


def test_a_home_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "home"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setattr(own, "cache_folder", lambda: blocked / "vase")
    with pytest.raises(DataError, match=r"cannot be written.*set XDG_CACHE_HOME=FOLDER"):
        own.load(pictures(tmp_path / "images"), 16, 1)


# ---- what is in a folder -------------------------------------------------------------------------


def test_files_and_domains_come_as_people_count(tmp_path: Path) -> None:
    for name in ("frame_10", "frame_2", "frame_1", "Frame_3", "x9y10", "x9y9", "x10y1"):
        pictures(tmp_path / "domains" / name, 1)
        Image.new("L", (9, 9)).save(tmp_path / f"{name}.png")
    expected = ["frame_1", "frame_2", "Frame_3", "frame_10", "x9y9", "x9y10", "x10y1"]
    assert [path.stem for path in files.listed(tmp_path)] == expected
    assert list(own.parts(tmp_path / "domains")) == expected


@pytest.mark.parametrize("ending", [".jfif", ".avif", ".jp2", ".JPG", ".Tif", ".heic"])
def test_endings_that_can_be_read_are_read(ending: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.full((16, 16, 3), 200, np.uint8))
    path = tmp_path / f"a{ending}"
    if ending == ".heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(image).save(path)
    else:
        kind = {".jfif": "JPEG", ".jpg": "JPEG", ".tif": "TIFF", ".jp2": "JPEG2000"}
        image.save(path, kind.get(ending.lower(), "AVIF"))
    found = own.load(tmp_path, 16, files.channels([tmp_path]))
    assert found.shape == (1, 16, 16, 3)
    assert np.abs(found.astype(int) - 200).max() <= 3


def test_reading_heic_leaves_pillow_as_it_was(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.new("RGB", (16, 16))).save(path)
    before = dict(Image.OPEN), dict(Image.EXTENSION)
    files.read(path, (3, 16, 16), 1)
    assert before == (Image.OPEN, Image.EXTENSION)


def test_heic_without_its_package_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"pip install 'vase-lifelong\[heic\]'"):
        own.load(tmp_path, 16, 3)


@pytest.mark.parametrize("names", [["a.xcf", "b.xcf"], ["a.dcm"], ["a", "b.txt"]])
def test_a_folder_of_what_cannot_be_read_names_the_endings(
    names: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    endings = sorted({Path(name).suffix or "none" for name in names})
    with pytest.raises(DataError, match=f"the endings in it are {', '.join(endings)}"):
        own.load(tmp_path, 16, 3)


def test_images_a_level_deeper_are_missed_in_a_sentence(tmp_path: Path) -> None:
    pictures(tmp_path / "day", 2)
    pictures(tmp_path / "night" / "camera_1", 2)
    with pytest.raises(DataError, match=r"night' holds no images itself, and its folders do"):
        build.own_images(tmp_path, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [("x.h5", "Give an .npy or .npz file, an image, a video"), ("x.pkl", "Give an .npy")],
)
def test_what_is_no_source_is_told_what_is(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(DataError, match=words) as error:
        own.load(tmp_path / name, 16, 3)
    assert "pickle" not in str(error.value)


def test_an_unknown_name_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preset and no file"):
        session.configured(str(tmp_path / "nowhere"), [])


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idle", "quota", "given", "expected"),
    [
        (4.0, None, {}, {}),  # all is free: as PyTorch has it
        (3.6, None, {}, {}),
        (2.2, None, {}, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}),
        (0.0, None, {}, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}),
        (4.0, 3, {}, {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}),
        (None, None, {}, {}),  # nobody counts
        (None, 1, {}, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}),
        (0.0, 1, {"OMP_NUM_THREADS": "9"}, {"OMP_NUM_THREADS": "9"}),
        (
            0.0,
            1,
            {"OMP_WAIT_POLICY": "ACTIVE"},
            {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"},
        ),
    ],
)
def test_as_many_threads_as_are_free_unless_the_user_says_otherwise(
    idle: float | None,
    quota: int | None,
    given: dict[str, str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "processors", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "quota", lambda: quota)
    monkeypatch.setattr(threads, "free", lambda *_: idle)
    threads.prepare(threads.usage(), given)
    assert given == expected


def test_what_others_leave_free_is_what_is_idle_and_what_is_used_here(tmp_path: Path) -> None:
    before, after = threads.Usage(10.0, 1.0, 100.0), threads.Usage(12.0, 2.5, 103.0)
    assert threads.free(before, after) == pytest.approx(2.25)  # of 3 idle seconds and 1.5 own ones
    assert threads.free(before, replace(after, idle=None)) is None
    number = min(threads.processors())
    statistics = tmp_path / "stat"
    statistics.write_text(f"cpu 9 9 9 9 9\ncpu{number} 1 2 3 400 50 6\ncpu999 0 0 0 7000 0 0\n")
    assert threads.usage(statistics).idle == 450 / os.sysconf("SC_CLK_TCK")
    assert threads.usage(tmp_path / "nothing").idle is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "rubbish"}, None),
        ({}, None),
    ],
)
def test_a_container_s_quota(content: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.quota(tmp_path) == expected


def test_what_openmp_reads_is_set_before_pytorch_is_loaded() -> None:
    code = (
        "import sys, vase.cli; assert 'torch' not in sys.modules; "
        "from vase.cli import app, threads; threads.prepare(threads.usage()); "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
