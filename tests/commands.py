"""Commands of the program, run in this process."""

import sys

import pytest
from typer.testing import CliRunner

from vase.cli import main
from vase.cli.app import app


def vase(*arguments: str) -> str:
    """Run a command in this process; it must succeed."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with status 2 and one error on the error stream."""
    before = sys.argv
    sys.argv = ["vase", *arguments]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message
