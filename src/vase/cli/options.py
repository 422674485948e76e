"""What the commands have in common: the console, and arguments and options of one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from vase.build import DataOptions

# Paths and names are printed as they are: nothing in them is markup, a number or an emoji.
console = Console(markup=False, highlight=False, emoji=False)

Run = Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")]
Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value ...]", help="Settings to change.")
]
Seeds = Annotated[int, typer.Option(help="How many seeds.", min=1)]
Processes = Annotated[int, typer.Option(help="Processes, one thread each.", min=1)]
Jobs = Annotated[int, typer.Option(help="Runs at a time on this machine.", min=1)]
Address = Annotated[str | None, typer.Option(help="A Dask scheduler, in place of this machine.")]
Keep = Annotated[bool, typer.Option(help="Keep the folders of finished runs.")]
Tables = Annotated[Path, typer.Option("--out", help="Folder of raw files and tables.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Look for data files here first.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never download anything.")]
TrustPaths = Annotated[
    bool,
    typer.Option(
        "--trust-paths",
        help="Let a run that was not begun on this machine read the paths, run the code and tell "
        "the tracker that its settings name.",
    ),
]


def data_options(folder: Path | None, offline: bool, trust: bool = False) -> DataOptions:
    """Where data is looked for."""
    from vase.build import DataOptions

    return DataOptions(folder, offline, say, trust)


def say(text: str | Text, style: str | None = None) -> None:
    """Print text that the terminal wraps, so that a path can be copied whole."""
    console.print(text, style=style, soft_wrap=True)
