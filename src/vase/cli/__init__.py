"""The command line: a thin door to the learner, the probes and the report."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

from vase.cli import threads
from vase.errors import VaseError


def main() -> None:
    """Run `vase`. What a user can mend is one sentence and exit status 2, never a trace."""
    begun = threads.usage()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may not know every letter
            stream.reconfigure(errors="backslashreplace")

    from vase.cli.app import app

    threads.prepare(begun)  # before PyTorch is loaded

    here = str(Path.cwd())
    if here not in sys.path:  # last, so that nothing there hides a module that is installed
        sys.path.append(here)
    try:
        app()
    except VaseError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
