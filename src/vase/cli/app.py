"""The commands and their words. What they need is imported when they run: `--help` is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from vase.cli import watch
from vase.cli.bench import bench_app
from vase.cli.options import (
    Address,
    DataDir,
    Jobs,
    Keep,
    Offline,
    Run,
    Seeds,
    TrustPaths,
    console,
    data_options,
    say,
)
from vase.version import __version__

app = typer.Typer(
    name="vase",
    help="Lifelong, label-free, disentangled representation learning for image streams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command()
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET | FILE.toml | IMAGES] [key=value ...]",
            help="A preset (default: quick), a file of settings, or own images: a folder of "
            "them, a video, a folder of folders or videos, an .npy or .npz file. Then settings, "
            "such as training.seed=1.",
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
    name = given.pop(0) if given and session.is_source(given[0]) else "quick"
    folder = out or Path("runs") / Path(name).resolve().stem
    settings = session.configured(name, given)
    session.train(settings, folder, data_options(data_dir, offline), report)


@app.command()
def resume(
    run: Run,
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
    report: Annotated[
        bool, typer.Option(help="Probe and write the report when training is done.")
    ] = True,
) -> None:
    """Go on with a run exactly where it stopped."""
    from vase.cli import session

    session.resume(run, data_options(data_dir, offline, trust_paths), report)


@app.command()
def probe(
    run: Run,
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
) -> None:
    """Measure a run on held-out data: readouts, detection, forgetting -> RUN/probes.json."""
    from vase.cli import session

    session.probe(run, data_options(data_dir, offline, trust_paths))


@app.command()
def report(
    run: Run,
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
) -> None:
    """Write RUN/report.html and RUN/figures/*.png."""
    from vase.cli import session

    session.report(run, data_options(data_dir, offline, trust_paths))


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
    trust_paths: TrustPaths = False,
) -> None:
    """Show images of one environment as another would have them, and say what was kept.

    Without names, every pair: RUN/figures/translation-*.png and RUN/translation.json.
    """
    from vase.cli import sharing

    sharing.translate(run, source, target, images, data_options(data_dir, offline, trust_paths))


@app.command()
def ambiguity(
    run: Run,
    first: Annotated[str, typer.Argument(help="An environment of the run.", metavar="ENV")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="ENV")],
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
) -> None:
    """Show images between two environments: which are they taken for, and how surely.

    RUN/figures/ambiguity-*.png and RUN/ambiguity.json.
    """
    from vase.cli import sharing

    sharing.ambiguity(run, first, second, data_options(data_dir, offline, trust_paths))


@app.command()
def explore(
    run: Run,
    place: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="ENV",
            help="A domain of the run with objects at rest, or [MODULE:]NAME of Gymnasium.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Settings of the environment."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="imagination, random, novelty, oracle or nothing.")
    ] = "imagination",
    steps: Annotated[int, typer.Option(help="Of each of 64 agents.", min=100)] = 800,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
) -> None:
    """Imagine states that were never seen here, act until they are reached, and learn from them.

    RUN/exploration/ENV-POLICY: a film, a map of positions, the zero-shot evaluation, and the model.
    """
    from vase.cli import exploration

    options = data_options(data_dir, offline, trust_paths)
    exploration.explore(run, place, settings or [], policy, steps, seed, options)


@app.command("check")
def check_run(run: Run) -> None:
    """Verify settings, weights and logs of a run; say what looks wrong in it. Changes nothing."""
    from vase.cli import session

    if not session.check(run):
        raise typer.Exit(1)


@app.command()
def serve(
    run: Annotated[
        Path,
        typer.Argument(help="The folder of a run or of a watch, or a model's file.", metavar="RUN"),
    ],
    host: Annotated[
        str,
        typer.Option(help="The address to listen at; 0.0.0.0 for others, who then need a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name by which it may be asked; repeatable."),
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser on it.")] = False,
    data_dir: DataDir = None,
    offline: Offline = False,
    trust_paths: TrustPaths = False,
) -> None:
    """Explore what was learnt in the browser: drag latents, drop an image, scrub through a run."""
    from vase.explorer.server import serve_explored

    serve_explored(
        run,
        watch.explored(run, data_options(data_dir, offline, trust_paths)),
        host=host,
        port=port,
        allow=allow_host or (),
        show=show,
        say=say,
    )


@app.command()
def export(
    run: Run,
    onnx: Annotated[Path, typer.Option(help="The folder to write to.", metavar="FOLDER")],
    trust_paths: TrustPaths = False,
) -> None:
    """Write a run's model as ONNX: encoder, decoder, belief over environments, and their sizes."""
    from vase.cli import session

    session.export(run, onnx, trust_paths)


@app.command()
def presets() -> None:
    """List the presets, each with its cost."""
    from vase import config

    table = Table("preset", "cost", "what it trains", box=None, pad_edge=False)
    for name in config.presets():
        preset = config.load(name)
        table.add_row(Text(name, "bold"), preset.cost, preset.description)
    console.print(table)
    added = Table("part", "what it changes", box=None, pad_edge=False)
    for name, path in config.parts().items():
        added.add_row(Text(name, "bold"), config.described(path))
    say("\nParts, to be laid over a preset with a +, as in quick+sd+entangled:\n")
    console.print(added)
    say("\nTrain one with: vase train PRESET --out RUN")


@app.command()
def ablate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Settings for every run."),
    ] = None,
    conditions: Annotated[
        str, typer.Option(help="Conditions and baselines, separated by commas; all by default.")
    ] = "",
    objectives: Annotated[
        str, typer.Option(help="disentangled, entangled, or both, separated by a comma.")
    ] = "disentangled,entangled",
    seeds: Seeds = 3,
    scale: Annotated[str, typer.Option(help="small or poster.")] = "small",
    published: Annotated[
        bool, typer.Option("--published", help="With the published choices in place of ours.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of raw files. [default: runs/ablate/SCALE]")
    ] = None,
    jobs: Jobs = 2,
    address: Address = None,
    keep: Keep = False,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Run the paper's ablation table, with upper and lower bounds -> tables.md, forgetting.png.

    If it is interrupted, the same command resumes; finished runs are not repeated.
    """
    from vase.bench import ablation
    from vase.cli import session

    grid = ablation.ablation_runs(
        scale, _listed(conditions), _listed(objectives), range(seeds), published=published
    )
    session.ablate(
        grid,
        overrides or [],
        out or Path("runs/ablate") / f"{scale}{'-published' * published}",
        data_options(data_dir, offline),
        workers=jobs,
        address=address,
        keep=keep,
    )


@app.command()
def sweep(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="PRESET [PRESET ...] [key=value,value ...]",
            help="Presets or files of settings, then settings: every combination is tried.",
        ),
    ],
    seeds: Seeds = 1,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of raw files, and of the table.")
    ] = Path("runs/sweep"),
    jobs: Jobs = 2,
    address: Address = None,
    keep: Keep = False,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Train presets with every combination of settings and seeds -> raw files, table.md.

    If it is interrupted, the same command resumes; finished runs are not repeated.
    """
    from vase.bench.sweep import sweep_runs
    from vase.cli import session

    presets = [each for each in arguments if session.is_source(each)]
    settings = [each for each in arguments if not session.is_source(each)]
    wanted = sweep_runs(presets, settings, range(seeds))
    options = data_options(data_dir, offline)
    session.sweep(wanted, out, options, workers=jobs, address=address, keep=keep)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


data_app = typer.Typer(
    no_args_is_help=True, help="Where the data comes from, and whether it is whole."
)
app.add_typer(data_app, name="data")


@data_app.command("fetch")
def fetch(data_dir: DataDir = None, offline: Offline = False) -> None:
    """Bring all data sets into the cache."""
    from vase.domains import sources

    paths = sources.fetch(data_dir=data_dir, offline=offline, progress=say)
    for path in paths:
        say(f"ready  {path}")


@data_app.command("check")
def check(data_dir: DataDir = None) -> None:
    """Say where each file was found and whether it is whole. Downloads nothing."""
    from vase.domains import sources

    statuses = sources.check(data_dir=data_dir)
    for status in statuses:
        colour = {"ok": "green", "wrong": "red"}.get(status.state, "yellow")
        where = f"{status.where}: {status.path}" if status.path else "not found"
        told = f"{status.dataset:14}{status.file:26}{where}"
        say(Text(f"{status.state:8}", colour) + told)
    if any(status.state != "ok" for status in statuses):
        say("Bring the missing ones with: vase data fetch")
        raise typer.Exit(1)


app.add_typer(bench_app, name="bench")
app.command("watch")(watch.watch)
app.command("name")(watch.name_environment)
app.command("events")(watch.list_events)


def _version(asked: bool) -> None:
    if asked:
        say(f"vase {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Lifelong, label-free, disentangled representation learning for image streams."""
