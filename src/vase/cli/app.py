"""The commands and their words. What they need is imported when they run: `--help` is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vase import __version__

if TYPE_CHECKING:
    from vase.build import DataOptions

app = typer.Typer(
    name="vase",
    help="Lifelong, label-free, disentangled representation learning for image streams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()

Run = Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Look for data files here first.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never download anything.")]


@app.command()
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET | FILE.toml] [key=value ...]",
            help="A preset (default: quick) or file, then settings, such as training.seed=1.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's folder, new or empty. Default: runs/PRESET."),
    ] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
    report: Annotated[
        bool, typer.Option(help="Probe and write the report when training is done.")
    ] = True,
) -> None:
    """Train on a stream, then probe what was learnt and write the report."""
    from vase import config
    from vase.cli import session

    given = list(arguments or [])
    name = given.pop(0) if given and "=" not in given[0] else "quick"
    folder = out or Path("runs") / Path(name).stem
    session.train(config.load(name, given), folder, _data(data_dir, offline), console, report)


@app.command()
def resume(
    run: Run,
    data_dir: DataDir = None,
    offline: Offline = False,
    report: Annotated[
        bool, typer.Option(help="Probe and write the report when training is done.")
    ] = True,
) -> None:
    """Go on with a run exactly where it stopped."""
    from vase.cli import session

    session.resume(run, _data(data_dir, offline), console, report)


@app.command()
def probe(run: Run, data_dir: DataDir = None, offline: Offline = False) -> None:
    """Measure a run on held-out data: readouts, detection, forgetting -> RUN/probes.json."""
    from vase.cli import session

    session.probe(run, _data(data_dir, offline), console)


@app.command()
def report(run: Run, data_dir: DataDir = None, offline: Offline = False) -> None:
    """Write RUN/report.html and RUN/figures/*.png."""
    from vase.cli import session

    session.report(run, _data(data_dir, offline), console)


@app.command()
def presets() -> None:
    """List the presets, each with its cost."""
    from vase import config

    table = Table("preset", "cost", "what it trains", box=None, pad_edge=False)
    for name in config.presets():
        preset = config.load(name)
        table.add_row(f"[bold]{name}[/]", preset.cost, preset.description)
    console.print(table)
    console.print("\nTrain one with: vase train PRESET --out RUN")


data_app = typer.Typer(
    no_args_is_help=True, help="Where the data comes from, and whether it is whole."
)
app.add_typer(data_app, name="data")


@data_app.command("fetch")
def fetch(data_dir: DataDir = None, offline: Offline = False) -> None:
    """Bring all data sets into the cache."""
    from vase.worlds import sources

    paths = sources.fetch(data_dir=data_dir, offline=offline, progress=console.print)
    for path in paths:
        console.print(f"ready  {path}", soft_wrap=True, highlight=False)


@data_app.command("check")
def check(data_dir: DataDir = None) -> None:
    """Say where each file was found and whether it is whole. Downloads nothing."""
    from vase.worlds import sources

    statuses = sources.check(data_dir=data_dir)
    for status in statuses:
        colour = {"ok": "green", "wrong": "red"}.get(status.state, "yellow")
        where = f"{status.where}: {status.path}" if status.path else "not found"
        console.print(
            f"[{colour}]{status.state:8}[/]{status.dataset:14}{status.file:26}{where}",
            soft_wrap=True,
            highlight=False,
        )
    if any(status.state != "ok" for status in statuses):
        console.print("Bring the missing ones with: vase data fetch")
        raise typer.Exit(1)


def _version(asked: bool) -> None:
    if asked:
        console.print(f"vase {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Lifelong, label-free, disentangled representation learning for image streams."""


def _data(folder: Path | None, offline: bool) -> DataOptions:
    from vase.build import DataOptions

    return DataOptions(folder, offline, lambda text: console.print(text, highlight=False))
