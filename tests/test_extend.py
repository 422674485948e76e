"""The five worked examples of docs/extend, as a newcomer would follow them: one file, one command.

Each page has one file to write, in a block with a title, and one `vase train` command that uses it.
Here the file is written into an empty folder and the command is run there, for a few steps.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from commands import TINY, status

EXTEND = Path(__file__).parents[1] / "docs" / "extend"
PAGES = sorted(page.stem for page in EXTEND.glob("*.md"))
STEPS = 30
FEW = [*TINY, "stream.batch_size=64", "training.log_every=1", "probes.test=2000"]
SCHEDULES = {
    "domain": f'stream.schedule=[["discs", {STEPS}]]',
    "detector": f'stream.schedule=[["moving-solids", {STEPS // 2}], ["strokes", {STEPS // 2}]]',
}


def files(page: str) -> dict[str, str]:
    """The files that a page tells its reader to write, by name."""
    text = (EXTEND / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r'^```python title="(.*?)"\n(.*?)^```', text, re.M | re.S)
    return dict(found)


def command(page: str) -> list[str]:
    """The arguments of the page's `vase train`, without its folder."""
    text = (EXTEND / f"{page}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (vase train .*)$", text, re.M)
    assert len(lines) == 1
    arguments = shlex.split(lines[0])[1:]
    return arguments[: arguments.index("--out")]


@pytest.mark.parametrize("page", PAGES)
def test_each_example_is_one_file(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((name, text),) = files(page).items()
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    schedule = SCHEDULES.get(page, f'stream.schedule=[["moving-solids", {STEPS}]]')
    try:
        assert status(*command(page), *FEW, schedule, "--out", "run", "--no-report") == 0
        if page == "metric":
            assert status("probe", "run") == 0
    finally:
        sys.modules.pop(Path(name).stem, None)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == STEPS - 1
    if page == "loss":
        values = [line["my_terms:correlation"] for line in lines]
        assert all(value >= 0 for value in values)
        assert any(value > 0 for value in values)
    elif page == "detector":
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        assert (STEPS // 2, "new", 1) in [(e["step"], e["kind"], e["environment"]) for e in events]
    elif page == "metric":
        probes = json.loads((run / "probes.json").read_text())
        domain = probes["timeline"][-1]["domains"]["moving-solids"]
        assert 0 <= domain["metrics"]["my_metrics:largest_r2"] <= 1
        assert domain["metrics"]["mig"] == pytest.approx(domain["disentanglement"]["mig"], abs=0.2)


def test_there_is_an_example_for_each_of_the_five() -> None:
    assert PAGES == ["detector", "domain", "loss", "metric", "networks"]
