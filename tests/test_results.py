"""RESULTS.md is what the raw files say, to the letter; the generator's pieces on known numbers."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["results"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_generated_from_the_raw_files(results: ModuleType) -> None:
    written = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert written == results.page(ROOT / "results") + "\n"


def test_spreads_are_means_and_standard_deviations(results: ModuleType) -> None:
    assert results.spread([0.5, 0.7], 100) == "60.0 ± 14.1"
    assert results.spread([0.5], 100) == "50.0"
    assert results.spread([None]) == "-"


def test_tables_are_markdown(results: ModuleType) -> None:
    assert results.table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
