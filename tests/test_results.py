"""RESULTS.md is what the raw files say, to the letter; the generator's pieces on known numbers."""

import ast
import json
import re
import shutil
from functools import reduce
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import ROOT, script

GENERATOR = (
    *("findings", "findings_streams", "peers_page", "preset_page"),
    *("readme_table", "results_page"),
)
# What has a digit and is no figure: the unit of position, a score, formats of numbers and of text.
NAMES = re.compile(r"1e-4|\bR2\b|\bfloat32\b|\bTF32\b|\butf-8\b")
WORDS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozens?|hundreds?|thousands?"
FIGURE = re.compile(rf"\d|\b({WORDS})\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return script("results_page")


@pytest.mark.parametrize(
    ("name", "page"), [("RESULTS.md", "page"), ("docs/findings.md", "in_words")]
)
def test_the_pages_are_generated_from_the_raw_files(
    results: ModuleType, name: str, page: str
) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == getattr(results, page)(ROOT / "results") + "\n"


def test_the_table_of_the_readme_is_generated_from_the_raw_files() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script("readme_table").with_results(readme, ROOT / "results") == readme


def test_spreads_are_means_and_standard_deviations(results: ModuleType) -> None:
    assert results.spread([0.5, 0.7], scale=100) == "60.0 ± 14.1"
    assert results.spread([0.5, None, float("nan")], scale=100) == "50.0"
    assert results.spread([None]) == "–"


def test_tables_are_markdown(results: ModuleType) -> None:
    assert results.table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


# ---- the prose -----------------------------------------------------------------------------------

POSTER, SUMMARY = "poster/seed-0/probes.json", "summary"
SMALL = "ablate/small/a-disentangled-seed-0.json"
LONG = "ablate/poster/cci-disentangled-seed-0.json"
# A function of the generator; its folder in results/, none for a finding; a raw file and a figure
# in it; what else the figure may be; what the prose then says. Among seeds that are averaged a
# figure is so large that those of the others do not count.
CHANGES: list[tuple[str, str, str, tuple[str | int, ...], Any, str]] = [
    ("environments", "", POSTER, ("detection", "missed"), 1, "notices 1 of 2 changes"),
    ("forgetting", "", POSTER, (SUMMARY, "identity", "frozen", "change"), -0.5, "by -50.0 and"),
    ("identity", "", POSTER, (SUMMARY, "identity", "mlp", "max"), 0.5, "50.0 % in `poster`"),
    ("position", "", POSTER, (SUMMARY, "position_mse", "linear", "min"), 0.05, "500.0 with a lin"),
    ("cost", "", "poster/seed-0/cost.json", ("training_minutes",), 7.0, "`poster` trains in 7.0"),
    ("gpu", "", "gpu/poster.json", ("seconds",), 600, "takes 10.0 minutes"),
    ("parts", "", SMALL, (SUMMARY, "identity", "mlp", "change"), -30, "refitted readout loses 100"),
    ("parts", "", LONG, (SUMMARY, "identity", "frozen", "change"), -20, "to 101"),
    (
        *("meaning", "", "disentangle/dsprites-seed-0.json"),
        *(("domains", "dsprites", "then", "MIG"), 300, "orientation) 100."),
    ),
    (
        *("meaning", "", "dsprites-long/dsprites-seed-0.json"),
        *(("domains", "dsprites", "now", "MIG"), 300, "and 100."),
    ),
    (
        *("shared", "", "rooms/disentangled-seed-0.json"),
        *(("translation", 0, "factors", "pitch", "translated"), 300, "pitch 100."),
    ),
    (
        *("explored", "", "explore/seed-0.json"),
        *(("policies", 0, "zero_shot", -1, "domains", "moving mnist", "identity"), 5e3, "and 1000"),
    ),
    (
        *("hard_streams", "", "detect/suite-seed-0.json"),
        *(("detectors", "blocks", "scores", "missed"), 9, "`blocks` misses 9 of"),
    ),
    (
        *("hard_streams", "", "detect/drift-seed-0.json"),
        *(("detectors", "published", "scores", "false"), 4e5, "raises 400"),
    ),
    (
        *("frames", "", "frames/walk-seed-0.json"),
        *(("detectors", "blocks", "scores", "missed"), 9, "`walk` 9 + 0 of"),
    ),
    ("section", "poster", "seed-0/cost.json", ("training_minutes",), 7.0, "7.0 minutes"),
    ("ablations", "ablate/small", "a-disentangled-seed-0.json", ("steps",), 7, "7 steps each"),
    ("disentangled", "disentangle", "dsprites-seed-0.json", ("steps",), 7, "7 steps in all"),
    ("shared", "sharing", "disentangled-seed-0.json", ("steps",), 7, "7 steps"),
    ("explored", "explore", "seed-0.json", ("policies", 0, "agents"), 7, "7 agents act"),
    (
        *("networks", "networks", "small_training.precision=32-true_seed=0_b98784fd.json"),
        *(("config", "stream", "size"), 48, "48 x 48"),
    ),
    ("gpu", "gpu", "step.json", ("captured_over_replay",), 7.5, "7.5 times its floor"),
    ("digits", "split", "split-seed-0.json", ("steps",), 7, "7 steps in total"),
    (
        *("detection", "detect", "beside/suite-seed-0.json"),
        *(("detectors", "published", "scores", "missed"), 9e5, "900"),
    ),
    ("consecutive", "frames", "walk-seed-0.json", ("minutes",), 1e6, "1000"),
]


@pytest.mark.parametrize(
    ("name", "folder", "file", "keys", "value", "said"),
    CHANGES,
    ids=[f"{name} {folder}: {said}" for name, folder, *_, said in CHANGES],
)
def test_the_prose_follows_a_raw_figure(
    results: ModuleType,
    tmp_path: Path,
    name: str,
    folder: str,
    file: str,
    keys: tuple[str | int, ...],
    value: Any,
    said: str,
) -> None:
    findings = {finding.__name__: finding for finding in results.FINDINGS}
    prose = getattr(results, name) if folder else findings[name]
    raw = tmp_path / folder / file
    top = raw.relative_to(tmp_path).parts[0]
    shutil.copytree(ROOT / "results" / top, tmp_path / top, ignore=shutil.ignore_patterns("*.png"))
    before = "".join(prose(tmp_path / folder))
    record = json.loads(raw.read_text(encoding="utf-8"))
    *outer, last = keys
    reduce(getitem, outer, record)[last] = value
    raw.write_text(json.dumps(record), encoding="utf-8")
    assert said not in before
    assert said in "".join(prose(tmp_path / folder))


def test_every_finding_is_tried_and_left_out_without_raw_files(
    results: ModuleType, tmp_path: Path
) -> None:
    said = {finding.__name__: finding(tmp_path) for finding in results.FINDINGS}
    assert said.pop("not_done")
    assert set(said) == {name for name, folder, *_ in CHANGES if not folder}
    assert not any(said.values())


def test_what_is_not_done_follows_the_raw_files(results: ModuleType, tmp_path: Path) -> None:
    not_done = results.findings_streams.not_done
    for folder, left_out in (("ablate/poster", "sd-*"), ("quick", "seed-[1-9]")):
        shutil.copytree(
            ROOT / "results" / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns(left_out, "*.png"),
        )
    (said,) = not_done(tmp_path)
    assert "`quick` has seed 0 only" in said
    assert "disentangled `S`, `D`, `A`, `SA`, `DA`, `SD`;" in said
    assert "`explore`" in said
    (said,) = not_done(ROOT / "results")
    assert "`quick`" not in said
    assert "`SD`;" not in said
    assert "`explore`" not in said


def typed_figures(source: str) -> list[str]:
    """The strings of prose in which a figure is typed, rather than put in from elsewhere.

    Not prose: docstrings, keys, formats, and commands, which are indented by four spaces.
    """
    tree, aside = ast.parse(source), set[ast.AST]()
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=inner) | ast.Expr(value=ast.Constant() as inner):
                aside |= set(ast.walk(inner))
            case ast.FormattedValue(format_spec=ast.JoinedStr() as inner):
                aside |= set(ast.walk(inner))
    texts = [
        str(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node not in aside
        if isinstance(node.value, str)
    ]
    texts += [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Constant)
    ]
    return [text for text in texts if text[:4].strip() and FIGURE.search(NAMES.sub("", text))]


@pytest.mark.parametrize("name", GENERATOR)
def test_no_figure_is_typed_in_the_prose(name: str) -> None:
    assert typed_figures((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        'said = f"{x:.1f} of 64"',
        'said.append("Three seeds")',
        'yield f"{64} of {x}"',
        'said = ["a", "twelve domains"]',
    ],
)
def test_typed_figures_are_seen(source: str) -> None:
    assert len(typed_figures(source)) == 1


def test_what_is_no_figure_is_let_pass() -> None:
    source = """f'{row["64"]:.1f} in 1e-4, an R2, float32'"""
    assert typed_figures(f'"""12."""\nsaid = {source}\nrun = "    vase --seeds 3"') == []
