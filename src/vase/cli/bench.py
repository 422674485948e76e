"""The commands of `vase bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from vase.cli.options import (
    Changes,
    DataDir,
    Offline,
    Processes,
    Seeds,
    Tables,
    console,
    data_options,
)

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks, on streams made to be hard.")


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
        scenarios or [],
        range(seeds),
        detectors,
        null,
        jobs,
        out,
        data_options(data_dir, offline),
        console,
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

    data = data_options(data_dir, offline)
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

    data = data_options(data_dir, offline)
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

    data = data_options(data_dir, offline)
    folder = out or Path("runs/share") / worlds
    presets = bench.presets(worlds)
    session.every_seed(bench, presets, overrides or [], range(seeds), jobs, folder, data, console)


@bench_app.command("explore")
def explore(
    overrides: Changes = None,
    worlds: Annotated[
        Literal["explore", "explore-rooms"],
        typer.Option(help="The preset: clothes and digits, or hills and a room."),
    ] = "explore",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of raw files and tables, by default runs/explore-bench/WORLDS."),
    ] = None,
    seeds: Seeds = 5,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """What is exploring by imagination worth, beside random actions, novelty and an oracle?"""
    from vase.cli import exploration, session

    exploration.refuse_without_gymnasium()
    from vase.bench import exploration as bench

    data = data_options(data_dir, offline)
    folder = out or Path("runs/explore-bench") / worlds
    bench.prepare(worlds, overrides or [], data)
    session.every_seed(bench, [worlds], overrides or [], range(seeds), jobs, folder, data, console)


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
