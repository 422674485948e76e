"""The words of `vase watch`, `vase name` and `vase events`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vase.cli.options import console


def watch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A camera (0, /dev/video0), an address (rtsp://, http://, https://), a video, a "
            "playlist, a folder that fills up, or - for raw frames on standard input.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Settings of a new model."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The watch's folder; it goes on with what is there. Default: runs/watch-NAME.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model to begin with, as VASE.save has written it.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second to look at, at most. Default: 5.")
    ] = None,
    learn: Annotated[
        bool | None,
        typer.Option(
            "--learn/--no-learn",
            help="Whether the model learns. Default: "
            "it does; without, a watch costs next to nothing.",
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels a side to which frames are brought. Default: 64.")
    ] = None,
    grey: Annotated[bool | None, typer.Option("--grey/--colour", help="Of the frames.")] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="WxH:FORMAT", help="What standard input holds: 64x48:rgb24, bgr24 or gray."
        ),
    ] = None,
    alarm_every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Mean time between two false alarms. Default: 30 days."),
    ] = None,
    save_every: Annotated[float, typer.Option(help="Seconds between two saves.")] = 600.0,
    keep_frames: Annotated[
        int, typer.Option(help="How many frames at events are kept. By default no frame is.")
    ] = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a source that is not there yet.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--json", help="Print events as lines of JSON, on a terminal too.")
    ] = False,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="POST every event there; repeatable. Signed if VASE_WEBHOOK_SECRET is set.",
        ),
    ] = None,
    webhook_secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the secret, instead.")
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(metavar="mqtt://HOST/TOPIC", help="Publish every event there.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Run it for every event, which it can read as JSON."),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve figures for Prometheus there.", min=1, max=65535)
    ] = None,
    page: Annotated[bool, typer.Option("--serve", help="Serve a page to look at.")] = False,
    port: Annotated[int, typer.Option(help="Of the page.", min=1, max=65535)] = 8080,
    host: Annotated[
        str, typer.Option(help="Where page and figures are served; 0.0.0.0 for others too.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name by which the page may be asked."),
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the code that the model names.")
    ] = False,
) -> None:
    """Watch a camera: say when something has changed, what it is, and when it was there last.

    The same command goes on with a watch that was ended. Ctrl-C ends it, and saves.
    """
    from vase import config
    from vase.cli import watching
    from vase.watching.session import WatchOptions
    from vase.watching.sources import parse_raw

    options = WatchOptions(
        out=out or watching.default_folder(source),
        model=model,
        fps=fps,
        learn=learn,
        size=size,
        grey=grey,
        raw=parse_raw(raw) if raw else None,
        alarm_every=alarm_every,
        settings=dict(map(config.assignment, settings or ())),
        save_every=save_every,
        keep_frames=keep_frames,
        patient=wait,
        trust_code=trust_code,
    )
    outlets = watching.Outlets(
        webhook or (), webhook_secret, mqtt, run, metrics_port, port if page else None, host,
        allow_host or (), lines,
    )  # fmt: skip
    watching.watch(source, options, outlets, console)


Watched = Annotated[Path, typer.Argument(help="The watch's folder.", metavar="RUN")]


def name_environment(
    run: Watched,
    environment: Annotated[int, typer.Argument(help="Its number.", metavar="ENV", min=0)],
    name: Annotated[str, typer.Argument(help="What to call it; '' takes its name away.")],
) -> None:
    """Give an environment of a watch a name: from then on events say it."""
    from vase.cli import watching

    watching.name(run, environment, name, console)


def list_events(
    run: Annotated[Path | None, typer.Argument(help="The watch's folder.", metavar="RUN")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="Only the last 7d, 12h, 30m.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As lines of JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the events' JSON schema.")
    ] = False,
) -> None:
    """Say what has happened in a watch, as a table or as lines of JSON."""
    from vase.cli import watching

    if schema:
        console.print(watching.schema(), soft_wrap=True)
        return
    if run is None:
        raise typer.BadParameter("Name the folder of a watch.")
    watching.events(run, since, as_json, console)
