"""RESULTS.md is what the raw files say, to the letter; the generator's pieces on known numbers."""

from types import ModuleType

import pytest
from scripts import ROOT, script


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return script("results_page")


def test_the_page_is_generated_from_the_raw_files(results: ModuleType) -> None:
    written = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert written == results.page(ROOT / "results") + "\n"


def test_the_table_of_the_readme_is_generated_from_the_raw_files() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert script("readme_table").with_results(readme, ROOT / "results") == readme


def test_spreads_are_means_and_standard_deviations(results: ModuleType) -> None:
    assert results.spread([0.5, 0.7], 100) == "60.0 ± 14.1"
    assert results.spread([0.5], 100) == "50.0"
    assert results.spread([None]) == "-"


def test_tables_are_markdown(results: ModuleType) -> None:
    assert results.table(["a", "b"], [[1, 2]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
