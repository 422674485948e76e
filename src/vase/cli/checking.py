"""`vase check`: is a run whole, and what does it want of this machine?"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from vase import config, consent, integrity
from vase.training import folder as folders


def check(path: Path, console: Console) -> bool:
    """Say whether a run is whole, what it wants of this machine, and what looks wrong in it."""
    from vase.report import diagnostics
    from vase.report.run import read_run

    folder = folders.open_run(path)
    findings = integrity.examine(folder)
    for each in findings:
        state = Text("whole", "green") if each.whole else Text("wrong", "red")
        console.print(state + f"  {each.file:40}  {each.message}", soft_wrap=True)
    if not all(each.whole for each in findings):
        return False
    settings = config.load(str(folder.config))
    for demand in consent.demands(settings, path):
        console.print(Text("asks", "yellow") + f"    to {demand}", soft_wrap=True)
    if folder.checkpoint.is_file() and not consent.own_code(settings):
        for complaint in diagnostics.diagnose(read_run(folder)):
            console.print(Text("note", "yellow") + f"   {complaint}", soft_wrap=True)
    return True
