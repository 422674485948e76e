"""The commands and their words. What they need is imported when they run: `--help` is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[key=value ...]", help="Settings to change.")
]
Seeds = Annotated[int, typer.Option(help="How many seeds.", min=1)]
Processes = Annotated[int, typer.Option(help="Processes, one thread each.", min=1)]
Tables = Annotated[Path, typer.Option("--out", help="Folder of raw files and tables.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Look for data files here first.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never download anything.")]


@app.command()
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET | FILE.toml | IMAGES] [key=value ...]",
            help="A preset (default: quick), a file of settings, or own images: a folder of them, "
            "a folder of folders, an .npy or .npz file. Then settings, such as training.seed=1.",
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
    from vase.cli import session

    given = list(arguments or [])
    name = given.pop(0) if given and "=" not in given[0] else "quick"
    folder = out or Path("runs") / Path(name).resolve().stem
    settings = session.configured(name, given)
    session.train(settings, folder, _data(data_dir, offline), console, report)


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
def translate(
    run: Run,
    source: Annotated[
        str | None, typer.Option("--from", help="The environment that images come from.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="The environment they are painted in.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Translate these instead: an image, or a folder of them.")
    ] = None,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Show images of one environment as another would have them, and say what was kept.

    Without names, every pair: RUN/figures/translation-*.png and RUN/translation.json.
    """
    from vase.cli import sharing

    sharing.translate(run, source, target, images, _data(data_dir, offline), console)


@app.command()
def ambiguity(
    run: Run,
    first: Annotated[str, typer.Argument(help="An environment of the run.", metavar="ENV")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="ENV")],
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Show images between two environments: which are they taken for, and how surely.

    RUN/figures/ambiguity-*.png and RUN/ambiguity.json.
    """
    from vase.cli import sharing

    sharing.ambiguity(run, first, second, _data(data_dir, offline), console)


@app.command()
def export(
    run: Run, onnx: Annotated[Path, typer.Option(help="The folder to write to.", metavar="FOLDER")]
) -> None:
    """Write a run's model as ONNX: encoder, decoder, belief over environments, and their sizes."""
    from vase.cli import session

    session.export(run, onnx, console)


@app.command()
def presets() -> None:
    """List the presets, each with its cost."""
    from vase import config

    table = Table("preset", "cost", "what it trains", box=None, pad_edge=False)
    for name in config.presets():
        preset = config.load(name)
        table.add_row(f"[bold]{name}[/]", preset.cost, preset.description)
    console.print(table)
    added = Table("part", "what it changes", box=None, pad_edge=False)
    for name, path in config.parts().items():
        added.add_row(f"[bold]{name}[/]", config.described(path))
    console.print("\nParts, to be laid over a preset with a +, as in quick+sd+entangled:\n")
    console.print(added)
    console.print("\nTrain one with: vase train PRESET --out RUN")


@app.command()
def ablate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Settings that hold for every cell."),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="Rows and brackets, with commas; all by default: vase presets.")
    ] = "",
    halves: Annotated[
        str, typer.Option(help="disentangled, entangled, or both with a comma.")
    ] = "disentangled,entangled",
    seeds: Seeds = 3,
    scale: Annotated[str, typer.Option(help="small or poster.")] = "small",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of raw files. [default: runs/ablate/SCALE]")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells at a time on this machine.", min=1)] = 2,
    address: Annotated[
        str | None, typer.Option(help="A Dask scheduler, in place of this machine.")
    ] = None,
    together: Annotated[
        int, typer.Option(help="Cells trained as one batched ensemble: for a GPU.", min=1)
    ] = 1,
    keep: Annotated[bool, typer.Option(help="Keep the run folders of finished cells.")] = False,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Train every row of the source's table -> raw files, tables.md, forgetting.png.

    Interrupted, the same command goes on; what is done is not done twice.
    """
    from vase.bench import ablation
    from vase.cli import session

    grid = ablation.cells(scale, _listed(rows), _listed(halves), range(seeds))
    session.ablate(
        grid,
        overrides or [],
        out or Path("runs/ablate") / scale,
        _data(data_dir, offline),
        console,
        workers=jobs,
        address=address,
        together=together,
        keep=keep,
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


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


bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks, on streams made to be hard.")
app.add_typer(bench_app, name="bench")


@bench_app.command("detect")
def detect(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO ...]", help="Which streams; all but the long suite by default."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for raw files, tables, figure.")
    ] = Path("runs/detect"),
    seeds: Seeds = 3,
    detectors: Annotated[
        str, typer.Option(help="ours; kappa: and the published rule; all: and those of river.")
    ] = "ours",
    null: Annotated[
        int, typer.Option(help="Batches of a null run, added where over 0.", min=0)
    ] = 0,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """How well are changes of environment found? -> tables.md, timeline.png and raw files."""
    from vase.cli import session

    session.detect(
        scenarios or [], range(seeds), detectors, null, jobs, out, _data(data_dir, offline), console
    )


@bench_app.command("split")
def split(
    overrides: Changes = None,
    out: Tables = Path("runs/split"),
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Split-MNIST without labels: ten digits arrive one by one, and nobody says so."""
    from vase.bench import split as bench
    from vase.cli import session

    data = _data(data_dir, offline)
    session.every_seed(
        bench, bench.PRESETS, overrides or [], range(seeds), jobs, out, data, console
    )


@bench_app.command("disentangle")
def disentangle(
    overrides: Changes = None,
    out: Tables = Path("runs/disentangle"),
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """MIG, SAP, DCI and more, of dSprites and canvas worlds, before and after others came."""
    from vase.bench import disentanglement as bench
    from vase.cli import session

    data = _data(data_dir, offline)
    session.every_seed(
        bench, bench.PRESETS, overrides or [], range(seeds), jobs, out, data, console
    )


@bench_app.command("share")
def share(
    overrides: Changes = None,
    worlds: Annotated[
        Literal["sharing", "rooms"],
        typer.Option(help="The preset: clothes and digits, or two places in three dimensions."),
    ] = "sharing",
    out: Annotated[Path | None, typer.Option(help="Folder of raw files.")] = None,
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """What shared latents are good for: translation and ambiguity, disentangled and entangled."""
    from vase.bench import sharing as bench
    from vase.cli import session

    data = _data(data_dir, offline)
    folder = out or Path("runs/share") / worlds
    presets = bench.presets(worlds)
    session.every_seed(bench, presets, overrides or [], range(seeds), jobs, folder, data, console)


@bench_app.command("list")
def list_scenarios() -> None:
    """List the streams, each with what makes it hard."""
    from vase.bench.scenarios import SCENARIOS

    table = Table("stream", "batches", "what makes it hard", box=None, pad_edge=False)
    for scenario in SCENARIOS.values():
        steps = sum(steps for _, steps in scenario.schedule(0))
        table.add_row(f"[bold]{scenario.name}[/]", f"{steps:,}", scenario.why)
    console.print(table)
    console.print("\nRun some with: vase bench detect STREAM ... --out FOLDER")


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
