"""From a run with two domains to translations, morphs, figures, tables: commands and benchmark."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, vase
from PIL import Image

from vase import InputError, build
from vase.bench import sharing as bench
from vase.bench.seeds import SeedJob
from vase.probes import ambiguity, factor_predictor
from vase.training.folder import RunFolder, rounded, write_json

BRIEF = (
    *TINY,
    'stream.schedule=[["moving-solids", 150], ["moving-strokes", 100]]',
    "stream.batch_size=32",
    "model.encoder_channels=16",
    "model.hidden=32",
    "model.decoder_channels=16",
    "training.learning_rate=2e-3",
    "training.milestones=1",
    "probes.train=400",
    "probes.test=400",
)


@pytest.fixture(scope="module", autouse=True)
def brief_readers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_predictor, "STEPS", 50)
        patch.setattr(factor_predictor, "SIDE", 16)
        patch.setattr(ambiguity, "PAIRS", 32)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("sharing")
    job = SeedJob("toy", 0, BRIEF, out, build.DataOptions(offline=True))
    record = bench.run_seed(job)
    bench.write_record(record, out)
    return job.settings_and_folder()[1], record, out


def test_the_benchmark_measures_both_ways_and_draws(
    trained: tuple[RunFolder, dict[str, Any], Path],
) -> None:
    _, record, out = trained
    there, back = record["translation"]
    assert (there["source"], there["target"]) == ("moving-solids", "moving-strokes")
    assert (back["source"], back["target"]) == ("moving-strokes", "moving-solids")
    for pair in (there, back):
        assert set(pair["factors"]) == {"x", "y"}
        for scores in pair["factors"].values():
            assert scores["shuffled"] < 0.2
            assert scores["real"] > 0.5
    for name in ("translations", "morphs", "belief"):
        assert (out / f"disentangled-{name}.png").stat().st_size > 5000


def test_the_tables_are_made_from_the_raw_files(
    trained: tuple[RunFolder, dict[str, Any], Path],
) -> None:
    _, record, out = trained
    (read,) = bench.read_records(out)
    assert read["translation"][0]["source"] == "moving-solids"
    page = bench.markdown([read])
    x = record["translation"][0]["factors"]["x"]
    row = f"| moving-solids | moving-strokes | x | {x['translated']:.3f} | – | {x['real']:.3f} |"
    assert row in page
    latents = record["translation"][0]["latents"]
    shared, either = (len(latents[kind]) for kind in ("shared", "either"))
    assert f"| moving-solids | moving-strokes | {shared:.1f} of {either:.1f} | – |" in page
    alone = record["ambiguity"]["morphs"]["mixture"]["alone"]
    assert f"| disentangled | mixture | {alone['equality']['mean']:.3f} |" in page


def test_a_model_that_merges_both_domains_does_not_affect_others(
    trained: tuple[RunFolder, dict[str, Any], Path],
) -> None:
    _, record, _ = trained
    failed = {**record, "translation": [], "ambiguity": None, "why": "one environment"}
    assert "1 of 2 models do not separate" in bench.markdown([record, failed])
    assert bench.markdown([failed]) == "No model separates the two domains."


def test_own_images_are_translated_or_refused_in_a_sentence(
    trained: tuple[RunFolder, dict[str, Any], Path], tmp_path: Path
) -> None:
    folder, _, _ = trained
    ends = ("--from", "moving-solids", "--to", "moving-strokes", "--images")
    with pytest.raises(InputError, match="holds no images"):
        vase("translate", str(folder.path), *ends, str(tmp_path))
    path = tmp_path / "own.png"
    Image.new("RGB", (20, 30), "grey").save(path)  # it is brought to the model's size, in grey
    vase("translate", str(folder.path), *ends, str(path))
    figure = folder.figures / "translation-own-moving-solids-to-moving-strokes.png"
    with Image.open(figure) as drawn:
        assert drawn.width > 500


def test_the_commands_leave_figures_and_numbers_that_the_report_shows(
    trained: tuple[RunFolder, dict[str, Any], Path],
    unpainted: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vase.report.decode.measure_effects", lambda *_: {})  # not asked for here
    folder, record, _ = trained
    path = str(folder.path)
    assert "moving-strokes" in vase("translate", path, "--offline")
    first = rounded(record["ambiguity"])
    del first["morphs"]["mixture"]
    write_json(folder.ambiguity, {"pairs": [first]})
    vase("ambiguity", path, "moving-solids", "moving-strokes", "--offline")  # in place of the first
    translations, morphs = (
        json.loads(each.read_text())["pairs"] for each in (folder.translation, folder.ambiguity)
    )
    assert len(translations) == 2
    assert [[*each["morphs"]] for each in morphs] == [[*record["ambiguity"]["morphs"]]]
    x, again = (
        each[0]["factors"]["x"]["translated"] for each in (record["translation"], translations)
    )
    assert x == pytest.approx(again, abs=1e-5)
    for name in (
        "translation-moving-solids-to-moving-strokes",
        "ambiguity-moving-solids-moving-strokes",
    ):
        assert (folder.figures / f"{name}.png").is_file()
    vase("report", path, "--offline")
    page = folder.report.read_text()
    for anchor in ("translations", "ambiguity"):
        assert f'href="#{anchor}"' in page
        assert f'id="{anchor}"' in page
    assert "x, R²" in page
