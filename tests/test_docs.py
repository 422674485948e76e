"""README and docs do not lie: Python runs, commands parse, links lead somewhere."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer
from commands import SMALL, TINY
from numpy.typing import NDArray

from vase import VASE
from vase.cli.app import app
from vase.domains import sources

HOME = Path(__file__).parents[1]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").rglob("*.md"))]
TOUR = HOME / "docs" / "tour.ipynb"
# What a page says that its code prints: kinds of events, and their environments.
PRINTED = {
    "quickstart.md": [("new", "0"), ("new", "1")],
    "domain.md": [("new", "0"), ("new", "1"), ("returned", "0")],
    "watch.md": [("new", "0"), ("new", "1"), ("returned", "0")],
}
IMAGES = np.random.default_rng(0).random((40, 16, 16))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def titled(page: Path) -> dict[str, str]:
    """The files that a page tells its reader to write, by name."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r'^```python title="(.*?)"\n(.*?)^```', text, re.M | re.S))


def commands() -> list[Any]:
    """Every line of a page that calls the program, without its comment; patterns are left out."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if re.match(r"(    |)vase ", line) and "|" not in line and "[" not in line:
                found.append(pytest.param(line, id=f"{page.name}: {line.split('#')[0].strip()}"))
    return found


@pytest.fixture
def names() -> dict[str, Any]:
    """What a page takes for granted: a model of two environments, images, a stream."""
    model = VASE(latents=4, options=SMALL)
    model.partial_fit(IMAGES[:8])
    stream: list[NDArray[np.float64]] = [IMAGES[:8], IMAGES[8:16]]
    learner = model.learner_
    other = type(learner.environments.present)(**{**vars(learner.environments.present), "index": 1})
    learner.environments = learner.environments.enter(other)
    return {"model": model, "images": IMAGES, "stream": stream}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs(
    page: Path,
    names: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    few = sources.Images(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    monkeypatch.setattr(sources, "load", lambda *_, **__: few)  # no page downloads anything here
    for name, text in titled(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
    if "decision" in names:
        assert names["decision"].kind == "same"
    if page.name in PRINTED:
        printed = capsys.readouterr().out
        assert re.findall(r"\b(new|returned)\b\D* (\d)", printed) == PRINTED[page.name]


@pytest.mark.parametrize("line", commands())
def test_the_commands_of_a_page_are_those_of_the_program(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    command, context = typer.main.get_command(app), None
    while hasattr(command, "get_command"):
        context = command.make_context(program, [], parent=context, resilient_parsing=True)
        program, *arguments = arguments
        inner = command.get_command(context, program)
        assert inner is not None, f"there is no command '{program}'"
        command = inner
    command.make_context(program, arguments, parent=context)  # raises what a user would see


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_extra_is_told_of() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = (HOME / "docs" / "quickstart.md").read_text(encoding="utf-8")
    table = [line for line in told.splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(project["optional-dependencies"]) - {"dev", "fuzz"}


# --- where in the code ------------------------------------------------------------------------


def named(dotted: str) -> Any:
    """The object of the package with a dotted name; a name that leads nowhere raises."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


def test_every_term_of_the_glossary_is_where_it_says() -> None:
    text = (HOME / "docs" / "glossary.md").read_text(encoding="utf-8")
    names = re.findall(r"`(vase\.[\w.]+)`", text)
    assert len(names) > 40
    for name in names:
        named(name)


def test_every_function_and_test_of_the_method_exists() -> None:
    text = (HOME / "docs" / "method.md").read_text(encoding="utf-8")
    packages = "objective|lifelong|detection|agent"
    functions = re.findall(rf"`((?:{packages})\.\w+\.[\w.]+)`", text)
    assert len(functions) > 20
    for name in functions:
        named(f"vase.{name}")
    tests = "\n".join(path.read_text() for path in (HOME / "tests").glob("test_*.py"))
    for name in re.findall(r"`(?:test_\w+\.py::)?(test_\w+?)(?:_?\.\.\.)?`", text):
        assert f"def {name}" in tests, name


# --- the notebook, and the site ---------------------------------------------------------------


def cells(path: Path) -> list[str]:
    """The code of a notebook, a cell each."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == "code"]


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", plt.close)


@pytest.mark.usefixtures("in_a_folder")
def test_the_notebook_runs_from_top_to_bottom() -> None:
    names: dict[str, Any] = {}
    for cell in cells(TOUR):
        few = cell.replace("STEPS = 600", "STEPS = 4").replace('("toy")', f'("toy", {TINY})')
        exec(compile(few, TOUR.name, "exec"), names)


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder")
def test_the_notebook_finds_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for cell in cells(TOUR):
        exec(compile(cell, TOUR.name, "exec"), names)
    told = re.findall(r"(\S+): (new|returned) (\d)", capsys.readouterr().out)
    assert told == [
        ("moving-solids", "new", "0"),
        ("strokes", "new", "1"),
        ("moving-strokes", "new", "2"),
        ("strokes", "returned", "1"),
    ]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=HOME, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "partial_fit" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    abroad = re.findall(
        r'(?:src|href)="(https?:[^"]+\.(?:js|css|woff2?))"',
        "".join(page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")),
    )
    assert abroad == []
