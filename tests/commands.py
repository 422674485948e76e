"""Commands of the program, run in this process."""

import io
import sys
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from vase.cli import main
from vase.cli.app import app

# A model as small as it can be, on the CPU; and the preset `toy`.
BRIEF = (
    "stream.size=16",
    "model.encoder_channels=8",
    "model.hidden=16",
    "model.decoder_channels=8",
    "model.latents=4",
    "training.accelerator=cpu",
    "probes.train=100",
    "probes.test=100",
)
TINY = (
    *BRIEF,
    *(
        f"stream.domains.{name}.{setting}"
        for name in ("moving-solids", "strokes", "moving-strokes")
        for setting in ("side=8", "count=200")
    ),
)


def leave_unpainted(patch: pytest.MonkeyPatch) -> None:
    """Let figures be drawn, but let one pixel stand for each: painting them takes seconds."""
    from vase.report import style

    @style.styled
    def drawn(figure: Any) -> bytes:
        figure.draw_without_rendering()
        Image.new("L", (1, 1)).save(pixel := io.BytesIO(), "PNG")
        return pixel.getvalue()

    patch.setattr(style, "png", drawn)


def vase(*arguments: str) -> str:
    """Run a command in this process; it must succeed."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def status(*arguments: str) -> object:
    """The status with which the program ends."""
    before, path = sys.argv, sys.path
    sys.argv, sys.path = ["vase", *arguments], [*path]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv, sys.path = before, path
    return stop.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with status 2 and one error on the error stream."""
    assert status(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message
