"""The command line: a thin door to the learner, the probes and the report."""

from __future__ import annotations

import sys

from vase.errors import VaseError


def main() -> None:
    """Run `vase`. What a user can mend is one sentence and exit status 2, never a trace."""
    from vase.cli.app import app

    try:
        app()
    except VaseError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
