"""The commands of `vase bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from vase.cli.options import (
    Changes,
    DataDir,
    Offline,
    Processes,
    Seeds,
    Tables,
    console,
    data_options,
    say,
)

Clips = Annotated[
    Path | None,
    typer.Option(
        help="Folder of three or more videos, for the streams of clips.", metavar="FOLDER"
    ),
]
DetectOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder for raw files, tables, figure; runs/detect or runs/detect-frames.",
        show_default=False,
    ),
]

bench_app = typer.Typer(no_args_is_help=True, help="Benchmarks.")


@bench_app.command("detect")
def detect(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STREAM ...]", help="Which streams; all but the long suite by default."
        ),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Streams of consecutive frames; nothing is learnt.")
    ] = False,
    clips: Clips = None,
    out: DetectOut = None,
    seeds: Seeds = 3,
    detectors: Annotated[
        str,
        typer.Option(
            help="ours; published: also the published rule; all: also those of other packages."
        ),
    ] = "ours",
    rule: Annotated[
        str,
        typer.Option(help="The change detector that is measured where something is learnt."),
    ] = "blocks",
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Measure change detection on hard streams -> tables.md, timeline.png and raw files."""
    from vase.cli import session

    data, names = data_options(data_dir, offline), scenarios or []
    if frames:
        from vase.bench import frame_page
        from vase.bench import frames as frame_bench
        from vase.bench.frame_scenarios import FrameData

        todo = frame_bench.jobs(names, range(seeds), detectors, FrameData(data, clips))
        session.detect(frame_bench, frame_page, todo, jobs, out or Path("runs/detect-frames"))
    else:
        from vase.bench import detect as bench
        from vase.bench import page

        wanted = bench.jobs(names, range(seeds), detectors, data, rule)
        session.detect(bench, page, wanted, jobs, out or Path("runs/detect"))


@bench_app.command("split")
def split(
    overrides: Changes = None,
    out: Tables = Path("runs/split"),
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Split-MNIST without labels or task boundaries: ten digits, one by one."""
    from vase.bench import split as bench
    from vase.cli import session

    data = data_options(data_dir, offline)
    session.every_seed(bench, bench.PRESETS, overrides or [], range(seeds), jobs, out, data)


@bench_app.command("disentangle")
def disentangle(
    overrides: Changes = None,
    domains: Annotated[
        Literal["dsprites", "dsprites-long"],
        typer.Option(help="The preset: independent images, or one factor moves at a time."),
    ] = "dsprites",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of raw files and tables, one for each of --domains; by default "
            "runs/disentangle/DOMAINS."
        ),
    ] = None,
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """MIG, SAP, DCI and more, on dSprites and canvas domains, before and after other domains."""
    from vase.bench import disentanglement as bench
    from vase.cli import session

    data = data_options(data_dir, offline)
    folder = out or Path("runs/disentangle") / domains
    session.every_seed(bench, [domains], overrides or [], range(seeds), jobs, folder, data)


@bench_app.command("share")
def share(
    overrides: Changes = None,
    domains: Annotated[
        Literal["sharing", "rooms"],
        typer.Option(help="The preset: clothes and digits, or two places in three dimensions."),
    ] = "sharing",
    out: Annotated[Path | None, typer.Option(help="Folder of raw files.")] = None,
    seeds: Seeds = 3,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Measure translation and ambiguity between two domains, disentangled and entangled."""
    from vase.bench import sharing as bench
    from vase.cli import session

    data = data_options(data_dir, offline)
    folder = out or Path("runs/share") / domains
    presets = bench.objective_presets(domains)
    session.every_seed(bench, presets, overrides or [], range(seeds), jobs, folder, data)


@bench_app.command("explore")
def explore(
    overrides: Changes = None,
    domains: Annotated[
        Literal["explore", "explore-rooms"],
        typer.Option(help="The preset: clothes and digits, or hills and a room."),
    ] = "explore",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of raw files and tables, by default runs/explore-bench/DOMAINS."),
    ] = None,
    seeds: Seeds = 5,
    jobs: Processes = 2,
    data_dir: DataDir = None,
    offline: Offline = False,
) -> None:
    """Compare exploring by imagination with random actions, novelty and an oracle."""
    from vase.cli import exploration, session

    exploration.refuse_without_gymnasium()
    from vase.bench import exploration as bench

    data = data_options(data_dir, offline)
    folder = out or Path("runs/explore-bench") / domains
    bench.prepare(domains, overrides or [], data)
    session.every_seed(bench, [domains], overrides or [], range(seeds), jobs, folder, data)


@bench_app.command("list")
def list_scenarios() -> None:
    """List the streams, and what makes each one hard."""
    from vase.bench.frame_null import NULLS
    from vase.bench.frame_scenarios import SCENARIOS as FRAME_SCENARIOS
    from vase.bench.scenarios import SCENARIOS

    table = Table("stream", "batches", "what makes it hard", box=None, pad_edge=False)
    for scenario in SCENARIOS.values():
        steps = sum(steps for _, steps in scenario.schedule(0))
        table.add_row(Text(scenario.name, "bold"), f"{steps:,}", scenario.why)
    console.print(table)
    say("\nRun some with: vase bench detect STREAM ... --out FOLDER\n")
    listed = Table("consecutive frames", "what makes it hard", box=None, pad_edge=False)
    for each in FRAME_SCENARIOS.values():
        listed.add_row(Text(each.name, "bold"), each.why)
    for null in NULLS.values():
        listed.add_row(Text(null.name, "bold"), null.why)
    console.print(listed)
    say("\nRun some with: vase bench detect --frames STREAM ... --out FOLDER")
