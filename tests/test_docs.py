"""README and docs do not lie: Python runs, commands parse, links lead somewhere."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray

from vase import VASE
from vase.cli.app import app
from vase.worlds import sources

HOME = Path(__file__).parents[1]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))]
IMAGES = np.random.default_rng(0).random((40, 16, 16))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


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
    options = {"model.features": 8, "model.hidden": 16, "model.cells": 8}
    model = VASE(latents=4, options=options)
    model.partial_fit(IMAGES[:8])
    stream: list[NDArray[np.float64]] = [IMAGES[:8], IMAGES[8:16]]
    learner = model.learner_
    other = type(learner.memory.here)(**{**vars(learner.memory.here), "index": 1})
    learner.memory = learner.memory.enter(other)
    return {"model": model, "images": IMAGES, "stream": stream}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs(
    page: Path, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = sources.Images(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    monkeypatch.setattr(sources, "load", lambda *_: few)  # no page downloads anything here
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
    if "verdict" in names:
        assert names["verdict"].kind == "same"


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
