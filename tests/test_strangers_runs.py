"""A run folder, a model or an archive of a stranger: refused in a sentence before it does harm."""

import io
import json
import os
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import TINY, refused, vase
from hand_made import metric, settings, write_probes, write_run
from PIL import Image
from typer.testing import CliRunner

from vase import VASE, build, config, consent, integrity
from vase.cli.app import app
from vase.domains import own
from vase.errors import CheckpointError, ConfigError, DataError, InputError, VaseError
from vase.images import files
from vase.memory_limit import machine_memory
from vase.nets import Architecture, Networks
from vase.nets.memory import training_bytes
from vase.training import checkpoint
from vase.training.folder import RunFolder, write_json

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX alone has it")
pytestmark = pytest.mark.usefixtures("unpainted")

# Every command that opens a run, with what else it takes.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("resume",),
    ("probe",),
    ("report",),
    ("translate",),
    ("ambiguity", "moving", "still"),
    ("explore", "--in", "still"),
    ("serve",),
    ("export", "--onnx", "onnx"),
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's consent is kept."""
    monkeypatch.setattr(consent, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> RunFolder:
    """A whole run with measurements, begun somewhere else."""
    folder = write_run(tmp_path / "theirs", settings(), [metric(step, 0) for step in range(100)])
    write_probes(folder)
    return folder


def command(run: RunFolder, words: tuple[str, ...]) -> tuple[str, ...]:
    return words[0], str(run.path), *words[1:]


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---- links, pipes, sockets --------------------------------------------------------------------


def cleared(path: Path) -> Path:
    """The same path, at which there is nothing any more, in a folder that is there."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def link(path: Path, to: Path) -> None:
    cleared(path).symlink_to(to)


def a_socket(run: RunFolder, outside: Path) -> None:
    before = Path.cwd()
    os.chdir(run.path)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("report.html")
    finally:
        os.chdir(before)


# What is put into a run, given a folder outside.
ATTACKS: dict[str, Callable[[RunFolder, Path], object]] = {
    "milestones": lambda run, out: link(run.path / "milestones", out),
    "log": lambda run, out: link(run.metrics, out / "step-000000900.safetensors"),
    "figures": lambda run, out: link(run.figures, Path("..") / out.name),
    "TensorBoard": lambda run, out: link(run.tensorboard / "events.out.tfevents.1", out),
    "link to nowhere": lambda run, out: link(run.translation, out / "to-be-made.json"),
    "loop": lambda run, _: link(run.ambiguity, run.ambiguity),
    "pipe": lambda run, _: os.mkfifo(cleared(run.events)),
    "pipe deep inside": lambda run, _: os.mkfifo(cleared(run.path / "exploration/a-b/film.gif")),
    "socket": a_socket,
}


@posix
@pytest.mark.parametrize(
    ("attack", "words"),
    [
        *(("milestones", words) for words in (*COMMANDS, ("check",))),
        *((attack, ("report",)) for attack in ATTACKS if attack != "milestones"),
    ],
)
def test_what_leads_out_of_a_run_is_refused_before_anything_is_touched(
    attack: str,
    words: tuple[str, ...],
    run: RunFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outside = tmp_path / "mine"
    outside.mkdir()
    (outside / "step-000000900.safetensors").write_bytes(b"precious")
    ATTACKS[attack](run, outside)
    told = refused(capsys, *command(run, words))
    assert "is a link out of the run folder" in told or "is no file and no folder" in told
    assert listing(outside) == {"step-000000900.safetensors": b"precious"}


@posix
def test_a_link_within_a_run_and_a_link_to_a_run_are_nothing_bad(
    run: RunFolder, tmp_path: Path
) -> None:
    (run.path / "wandb").mkdir()
    (run.path / "wandb" / "run-1").mkdir()
    (run.path / "wandb" / "latest-run").symlink_to("run-1")
    (tmp_path / "link").symlink_to(run.path)
    assert "whole" in vase("check", str(tmp_path / "link"))


# ---- consent ------------------------------------------------------------------------------------


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears if the module `evil`, in the present folder, is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('it-ran').touch()\n")
    return tmp_path / "it-ran"


def changed(run: RunFolder, **changes: Any) -> None:
    """Put other settings into a run."""
    run.config.write_text(config.to_toml(settings(**changes)), encoding="utf-8")


def stream_of(**domain: Any) -> dict[str, Any]:
    values = settings().model_dump(mode="json")["stream"]
    values["domains"]["moving"] = domain
    return {"stream": values}


def saved_images(path: Path) -> str:
    np.save(path, np.random.default_rng(0).random((40, 16, 16), dtype=np.float32))
    return str(path)


def own_images(tmp_path: Path) -> dict[str, Any]:
    return stream_of(domain="own", path=saved_images(tmp_path / "private.npy"))


TWO_STEPS = ("model.hidden=8", "model.encoder_channels=4", "model.decoder_channels=4",
             "stream.batch_size=8", 'stream.schedule=[["own", 2]]', "probes.train=100",
             "probes.test=100")  # fmt: skip

CODE: dict[str, Callable[[], dict[str, Any]]] = {
    "domain": lambda: stream_of(domain="evil:Thing"),
    "detector": lambda: {"detection": {"rule": "evil:Thing"}},
    "loss term": lambda: {"objective": {"terms": {"evil:thing": 1.0}}},
    "encoder": lambda: {"model": {**settings().model.model_dump(), "encoder": "evil:Thing"}},
    "decoder": lambda: {"model": {**settings().model.model_dump(), "decoder": "evil:Thing"}},
    "metric": lambda: {"probes": {"metrics": ["evil:thing"]}},
}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_strangers_run_reads_no_private_images(
    words: tuple[str, ...], run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(run, **own_images(tmp_path))
    told = refused(capsys, *command(run, words))
    assert "private.npy" in told
    assert "--trust-paths" in told
    assert not run.report.exists()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        *(("loss term", words) for words in (*COMMANDS, ("check",))),
        *((where, ("report",)) for where in CODE),
    ],
)
def test_a_strangers_run_runs_no_code(
    where: str,
    words: tuple[str, ...],
    run: RunFolder,
    ran: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not even where its code lies in the folder in which the command is called."""
    changed(run, **CODE[where]())
    if words[0] == "check":
        assert "to run the code 'evil:" in vase(*command(run, words))
    else:
        assert "run the code 'evil:" in refused(capsys, *command(run, words))
    assert not ran.exists()


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_code_that_only_a_checkpoint_names_is_not_run(
    part: str,
    run: RunFolder,
    ran: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tensors, record = checkpoint.read(run.checkpoint)
    record["architecture"][part] = "evil:Thing"
    checkpoint.write(run.checkpoint, tensors, record)
    for words in (("report",), ("serve",), ("export", "--onnx", "onnx")):
        assert "does not name" in refused(capsys, *command(run, words))
    assert not ran.exists()


@pytest.mark.parametrize(
    "options",
    [{"model.encoder": "evil:Thing"}, {"detection": {"rule": "evil:Thing"}},
     {"objective.terms": {"evil:thing": 1.0}}],
)  # fmt: skip
def test_a_strangers_model_runs_no_code_unless_that_is_said(
    options: dict[str, Any], tmp_path: Path, ran: Path
) -> None:
    model = VASE(latents=2, accelerator="cpu", options={"model.hidden": 8})
    model.partial_fit(torch.rand(8, 1, 16, 16))
    path = model.save(tmp_path / "model")
    tensors, record = checkpoint.read(path)
    record["estimator"]["parameters"]["options"] |= options
    if "model.encoder" in options:
        record["architecture"]["encoder"] = "evil:Thing"
    checkpoint.write(path, tensors, record)
    with pytest.raises(CheckpointError, match="names code to run: evil:"):
        VASE.load(path)
    assert not ran.exists()
    with pytest.raises(VaseError):  # it has no Thing
        VASE.load(path, trust_code=True)
    assert ran.exists()


def test_a_strangers_run_tells_no_tracker(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for tracker in ("wandb", "trackio", "mlflow"):
        changed(run, training={"tracker": tracker})
        assert f"tell the tracker '{tracker}'" in refused(capsys, "resume", str(run.path))
    assert str(run.report) in vase("report", str(run.path))  # which tells nobody


def test_consent_is_asked_for_once_and_again_when_the_settings_change(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(run, **own_images(tmp_path))
    refused(capsys, "report", str(run.path))
    vase("report", str(run.path), "--trust-paths")
    integrity.open_run(run.path)
    shutil.copy(tmp_path / "private.npy", tmp_path / "other.npy")
    run.config.write_text(run.config.read_text().replace("private.npy", "other.npy"))
    assert "other.npy" in refused(capsys, "report", str(run.path))


def test_images_inside_of_a_run_need_no_consent_and_a_name_that_climbs_out_does(
    run: RunFolder, tmp_path: Path
) -> None:
    own_images(tmp_path)
    inside = run.path / "images.npy"
    shutil.move(tmp_path / "private.npy", inside)
    assert not consent.demands(settings(**stream_of(domain="own", path=str(inside))), run.path)
    climbing = f"{run.path}/../private.npy"
    assert consent.demands(settings(**stream_of(domain="own", path=climbing)), run.path)


def test_a_run_that_was_begun_here_has_consent(
    cache: Path, tmp_path: Path, own_cache: Path
) -> None:
    folder = tmp_path / "begun"
    vase(
        "train", saved_images(tmp_path / "own.npy"), *TWO_STEPS, "--out", str(folder), "--no-report"
    )
    assert "trained to its end" in vase("resume", str(folder), "--no-report")


def test_a_run_is_reported_where_no_consent_can_be_kept(
    cache: Path, tmp_path: Path, own_cache: Path
) -> None:
    cache.write_text("a file where a folder should be")
    folder = tmp_path / "begun"
    assert "Report:" in vase(
        "train", saved_images(tmp_path / "own.npy"), *TWO_STEPS, "--out", str(folder)
    )


# ---- forged records ---------------------------------------------------------------------------


def forged_line(name: str, **changes: Any) -> Callable[[RunFolder], None]:
    def forge(run: RunFolder) -> None:
        path = run.path / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[2] |= changes
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return forge


def forged_record(name: str, *keys: Any, value: Any) -> Callable[[RunFolder], None]:
    def forge(run: RunFolder) -> None:
        record = place = json.loads((run.path / name).read_text())
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        write_json(run.path / name, record)

    return forge


def forged_memory(*keys: Any, value: Any) -> Callable[[RunFolder], None]:
    def forge(run: RunFolder) -> None:
        tensors, record = checkpoint.read(run.checkpoint)
        place = record["environments"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        checkpoint.write(run.checkpoint, tensors, record)

    return forge


FORGED = {
    "event of an unknown kind": forged_line("events.jsonl", kind="owned"),
    "event in no environment": forged_line("events.jsonl", environment=-1),
    "event whose step is text": forged_line("events.jsonl", step="44"),
    "event without end": forged_line("events.jsonl", reason="x" * 100_000),
    "masks that are no latents": forged_line("events.jsonl", evidence={"masked": [10**9]}),
    "metrics without a step": forged_line("metrics.jsonl", step=None),
    "metrics of infinite capacity": forged_line("metrics.jsonl", capacity=float("inf")),
    "metrics whose loss is text": forged_line("metrics.jsonl", loss="<script>"),
    "metrics of too many latents": forged_line("metrics.jsonl", alpha=[0.0] * 50_000),
    "metrics whose alpha is a number": forged_line("metrics.jsonl", alpha=1.0),
    "probes of a latent that is none": forged_record(
        "probes.json", "latents", "domains", 0, "used", value=[99]
    ),
    "probes whose nats are too few": forged_record(
        "probes.json", "latents", "domains", 0, "kl", value=[1.0]
    ),
    "probes whose timeline is text": forged_record("probes.json", "timeline", value="x"),
    "probes whose steps are negative": forged_record("probes.json", "steps", value=-5),
    "probes of a billion latents": forged_record("probes.json", "latents", "count", value=10**9),
    "translations that are none": forged_record("translation.json", "pairs", value=[1]),
    "memory of a present that is absent": forged_memory("current", value=99),
    "memory of a negative environment": forged_memory("records", 0, "index", value=-1),
    "memory of an environment twice": forged_memory("records", 1, "index", value=0),
    "memory that is not finite": forged_memory("records", 0, "mean", 0, value=float("nan")),
    "memory whose mask is too long": forged_memory("records", 0, "mask", value=[True] * 99),
    "memory of text": forged_memory("records", 0, "kl", value="x"),
}


# What else refuses them than `report`: every command looks through logs and measurements first; a
# memory is read by those alone that show it.
REFUSED_BY = {name: (("serve",),) if name.startswith("memory") else () for name in FORGED} | {
    "probes of a latent that is none": COMMANDS
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_run_is_found_out_by_the_check_and_refused(
    name: str, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    FORGED[name](run)
    checked = CliRunner().invoke(app, ["check", str(run.path)], catch_exceptions=False)
    assert checked.exit_code == 1
    wrong = [line.split()[1] for line in checked.output.splitlines() if line.startswith("wrong")]
    for words in (("report",), *REFUSED_BY[name]):
        told = refused(capsys, *command(run, words))
        assert [file for file in wrong if file in told], words


def test_a_whole_run_passes_every_check(run: RunFolder) -> None:
    assert "wrong" not in vase("check", str(run.path))
    assert run.report.name in vase("report", str(run.path))


@pytest.mark.parametrize(
    ("name", "limit"), [("metrics.jsonl", "MOST_LOG_BYTES"), ("probes.json", "MOST_JSON_BYTES")]
)
def test_a_file_beyond_its_limit_is_not_read(
    name: str,
    limit: str,
    run: RunFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"vase.training.folder.{limit}", 1000)
    assert "at most 1,000" in refused(capsys, "report", str(run.path))
    assert name in refused(capsys, "report", str(run.path))


# ---- settings that exhaust ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 20_000 + " = 1", '"a" . ' * 20_000 + "b = 1", "[" + "a." * 20_000 + "a]",
     "x = " + "[" * 20_000, "x = " + "{a = " * 20_000, "#" * 2_000_000,
     "'''" + "a." * 100 + "'''\nb" + ".b" * 40 + " = 1"],
)  # fmt: skip
def test_settings_that_are_nested_deep_or_long_are_refused_at_once(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.toml"
    path.write_text(text)
    began = time.perf_counter()
    with pytest.raises(ConfigError, match=r"32|1,000,000"):
        config.load(str(path))
    assert time.perf_counter() - began < 1  # 40 KB of dotted keys took 12 s


def test_points_and_brackets_in_strings_comments_and_numbers_are_no_depth(tmp_path: Path) -> None:
    words = "see. " * 100 + "[[[" * 40
    path = tmp_path / "fine.toml"
    text = config.to_toml(settings())
    text = text.replace('"solids -> strokes"', f'"{words}"').replace("\n", f"  # {words}\n", 3)
    path.write_text(text)
    assert config.load(str(path)).description == words


def test_a_thousand_mistakes_are_told_in_a_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text("".join(f"k{k} = 1\n" for k in range(1000)))
    with pytest.raises(ConfigError) as refusal:
        config.load(str(path))
    assert "and 981 more" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) < 25


# ---- memory -------------------------------------------------------------------------------------


def packed(path: Path, content: bytes, member: str = "images.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


def array_bytes(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def test_an_archive_that_unpacks_to_more_than_there_is_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = array_bytes((2000, 64, 64), bytes(2000 * 64 * 64))
    path = packed(tmp_path / "bomb.npz", zeros)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(own, "machine_memory", lambda: 10_000_000)
    with pytest.raises(DataError, match=r"needs 8\.19 MB of memory, and at most 5 MB"):
        own.array(path)
    monkeypatch.setattr(own, "machine_memory", lambda: 20_000_000)
    assert own.array(path).shape == (2000, 64, 64)


@pytest.mark.parametrize("shape", [(10**6, 1000, 1000), (100, 64, 64), (2**40,)])
def test_an_archive_whose_header_promises_more_than_it_holds_takes_no_memory(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = packed(tmp_path / "odd.npz", array_bytes(shape, bytes(1000)))
    with pytest.raises(DataError, match="holds less than its header says"):
        own.array(path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("model.hidden=1000000000", "memory"), ("model.decoder_channels=1000000", "memory"),
     ("model.encoder_channels=10000000", "memory"), ("model.hidden=1000000000000", "memory"),
     ("memory.frames=100000000000", "memory"), ("replay.ratio=4.5", "less than or equal to 4"),
     ("training.seed=9223372036854775808", "9223372036854775808"),
     ("probes.train=100000000", "less than or equal to 1000000"),
     ("training.milestones=1000000000", "less than or equal to 1000"),
     ("training.devices=1000000", "less than or equal to 1024"),
     ("stream.batch_size=5000", "less than or equal to 4096")],
)  # fmt: skip
def test_settings_that_ask_for_more_than_there_is_are_refused(
    setting: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "train", "toy", *TINY, setting, "--out", str(tmp_path / "run"))
    assert words in told
    assert not (tmp_path / "run").exists()


def test_large_batches_of_large_images_are_reckoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "machine_memory", lambda: 16 * 2**30)
    chosen = config.load("toy", ["stream.batch_size=4096", "stream.size=256"])
    with pytest.raises(ConfigError, match=r"Training on batches of 4096 images of 256 x 256"):
        build.learner(chosen, (3, 256, 256))


def test_what_a_step_takes_is_what_autograd_keeps_and_nine_copies_of_the_weights() -> None:
    """Against a pass in truth."""
    shape = Architecture(height=16, width=16, latents=4, encoder_channels=8, hidden=16,
                         decoder_channels=8, space_to_depth=2)  # fmt: skip
    kept = []
    networks = Networks(shape)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        posterior = networks.encoder(torch.rand(5, 1, 16, 16))
        networks.decoder(posterior.mean, torch.zeros(5, dtype=torch.long))
    weights = sum(each.nbytes for each in networks.parameters())
    assert training_bytes(shape, 5) == 9 * weights + sum(kept)
    assert training_bytes(shape.model_copy(update={"hidden": 10**15}), 5) == float("inf")


def test_the_machine_has_some_memory() -> None:
    assert 2**28 < machine_memory() < 2**50


# ---- images -----------------------------------------------------------------------------------


def written(kind: str) -> bytes:
    """An image in a format that Pillow writes."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, kind)
    return file.getvalue()


# Formats of Pillow's that are not read here.
UNREAD = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n",
    "ICO": b"\0\0\1\0\1\0" + bytes(40),
    "PSD": b"8BPS\0\1" + bytes(40),
    "FITS": b"SIMPLE  =" + bytes(2900),
    **{kind: written(kind) for kind in ("PCX", "TGA", "SGI", "DDS")},
}


@posix
@pytest.mark.parametrize(
    ("kind", "name"),
    [("EPS", "cat.jpg"), ("EPS", "cat.tif"), *((kind, "cat.png") for kind in UNREAD)],
)
def test_content_decides_what_an_image_is_and_starts_no_program(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostScript would start Ghostscript."""
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch it-ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(UNREAD[kind])
    with pytest.raises(InputError, match=f"{name}' cannot be read as an image"):
        files.read(path, (3, 64, 64), 1)
    with pytest.raises(InputError, match=f"'{name}' is no image"):
        files.fitted(io.BytesIO(path.read_bytes()), name, (3, 64, 64))  # as the explorer does
    assert not (tmp_path / "it-ran").exists()


# ---- what is written --------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_files_have_the_mode_that_the_user_gives_to_files(
    mask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        folder = write_run(tmp_path / "run", settings(), [metric(0, 0)])
        write_probes(folder)
        checkpoint.write_bytes(folder.probes, b"{}")  # a second time
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in folder.path.rglob("*") if path.is_file()}
    assert modes == {mode}
