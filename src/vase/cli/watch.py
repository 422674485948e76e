"""`vase watch`, `vase name` and `vase events`: what they need is imported when they run."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from vase.cli.options import console, say
from vase.cli.signals import stop_request
from vase.errors import ConfigError, RunError

if TYPE_CHECKING:
    from vase.build import DataOptions
    from vase.explorer.run_data import ExplorerData
    from vase.watching.engine import Watch
    from vase.watching.journal import Journal
    from vase.watching.receivers import Receiver
    from vase.watching.records import WatchEvent, WatchStatus

OUTPUT = "standard output"  # a receiver like others: what it has got is in the journal
SECONDS_TO_DELIVER = 5.0  # at the end, what waits gets one more chance
SECONDS_BETWEEN = 1.0  # two updates of the screen and the metrics
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

errors = Console(stderr=True, markup=False, highlight=False, emoji=False)


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
    import torch

    from vase import config
    from vase.watching.session import WatchOptions, opened
    from vase.watching.sources import parse_raw

    options = WatchOptions(
        out=out or default_folder(source),
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
    _aside("Starting: this takes some seconds.")
    torch.set_num_threads(1)  # batches are small, and others work here too
    # What cannot be is refused before anything is begun.
    receivers = _receivers(webhook or (), webhook_secret, mqtt, run)
    with opened(source, options, _aside) as engine, stop_request() as stop:
        before = engine.state.frames
        with ExitStack() as stack:
            _deliver(engine, receivers, stack)
            shows = []
            if metrics_port is not None:
                shows.append(_metrics(metrics_port, host, stack))
            if page:
                _page(engine, host, port, allow_host or (), stack)
            tell, show = _screen(engine, lines, stack)
            _watch(engine, tell, [show, *shows], lambda: stop.asked)
        waiting = {name: count for name, count in engine.undelivered().items() if count}
    _aside(_ending(engine, stopped=stop.asked, new=engine.state.frames > before))
    for receiver, number in waiting.items():
        _aside(f"{number} event{'s wait' if number > 1 else ' waits'} for {receiver}.")


def _aside(text: str) -> None:
    """Print for people beside the events, which are on standard output."""
    errors.print(text, soft_wrap=True)


def _watch(
    engine: Watch,
    tell: Callable[[WatchEvent], None],
    shows: Sequence[Callable[[WatchStatus], None]],
    stopped: Callable[[], bool],
) -> None:
    """Tell every event, and show once a second how the watch stands."""
    shown = 0.0

    def go_on() -> bool:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN:
            shown, status = now, engine.status()
            for show in shows:
                show(status)
        return not stopped()

    for event in engine.events(go_on):
        tell(event)
    shows[0](engine.status())


def _ending(engine: Watch, *, stopped: bool, new: bool) -> str:
    """What is said at the end."""
    state = engine.state
    if stopped:
        saved = f" in {engine.folder.path}; the same command goes on" if engine.folder else ""
        kept = "saved" + saved if engine.folder and state.frames else "nothing was stored"
        return f"Stopped after {state.frames} frames: {kept}."
    if new:
        return f"{state.source} has been watched to its end: {state.frames} frames."
    return f"There is nothing new in {state.source}: it was watched to its end before."


Watched = Annotated[Path, typer.Argument(help="The watch's folder.", metavar="RUN")]


def name_environment(
    run: Watched,
    environment: Annotated[int, typer.Argument(help="Its number.", metavar="ENV", min=0)],
    name: Annotated[str, typer.Argument(help="What to call it; '' takes its name away.")],
) -> None:
    """Give an environment of a watch a name: from then on events say it."""
    from vase.watching.journal import MOST_EVENTS
    from vase.watching.words import plain

    journal = _journal(run)
    known = {event["environment"] for event in journal.latest(MOST_EVENTS)}
    if environment not in known:
        raise RunError(
            f"'{run}' has no environment {environment}: it knows "
            f"{', '.join(map(str, sorted(known))) or 'none yet'}."
        )
    name = plain(name)
    journal.rename(environment, name)
    say(f"Environment {environment} is called: {name}" if name else "It has no name now.")


def list_events(
    run: Annotated[Path | None, typer.Argument(help="The watch's folder.", metavar="RUN")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="Only the last 7d, 12h, 30m.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As lines of JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the events' JSON schema.")
    ] = False,
) -> None:
    """Say what has happened in a watch, as a table or as lines of JSON."""
    from vase.watching.journal import MOST_EVENTS
    from vase.watching.records import WatchEvent
    from vase.watching.terminal import events_table

    if schema:
        say(json.dumps(WatchEvent.model_json_schema(), indent=1))
        return
    if run is None:
        raise typer.BadParameter("Name the folder of a watch.")
    journal = _journal(run)
    begin = datetime.now(UTC) - duration(since) if since else None
    found = journal.latest(MOST_EVENTS, begin.isoformat() if begin else "")
    if as_json:
        for event in found:
            sys.stdout.write(json.dumps(event) + "\n")
        return
    names = journal.names()
    console.print(events_table([WatchEvent(**_renamed(event, names)) for event in found]))


def _journal(run: Path) -> Journal:
    """The journal of a watch; a RunError where there is no watch."""
    from vase.watching import folder as folders
    from vase.watching.journal import Journal

    folder = folders.WatchFolder(run)
    folders.read_settings(folder)
    return Journal(folder.journal)


def _renamed(event: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """An event with the names that environments have now."""
    before = names.get(event["previous"], "") if event["previous"] is not None else ""
    return {**event, "name": names.get(event["environment"], ""), "previous_name": before}


def explored(path: Path, data: DataOptions) -> Callable[[], ExplorerData]:
    """What reads a run, a watch or a model for the explorer."""
    from vase import integrity
    from vase.explorer import model_data, run_data
    from vase.watching.folder import WatchFolder
    from vase.watching.journal import Journal

    watched = WatchFolder(path)
    if path.suffix == ".safetensors":
        return lambda: model_data.load_model(path, {})
    if watched.settings.exists():
        names = Journal(watched.journal).names() if watched.journal.exists() else {}
        return lambda: model_data.load_model(watched.model, names)
    folder = integrity.open_run(path, trust=data.trust)
    return lambda: run_data.load_explorer_data(folder, data)


def duration(text: str) -> timedelta:
    """A time such as 90s, 15m, 12h, 7d or 2w; a ConfigError for another."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    try:
        return timedelta(seconds=float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(
            f"'{text}' is no time. Give a number and one of s, m, h, d or w, such as 7d."
        ) from None


# ---- where things go -----------------------------------------------------------------------------


def _receivers(
    webhooks: Sequence[str], secret: Path | None, mqtt: str | None, command: str | None
) -> list[Receiver]:
    """Where events go. A ConfigError says what cannot be."""
    from vase.watching.receivers import Command, Mqtt, Webhook

    found: list[Receiver] = [Webhook(address, secret) for address in webhooks]
    found += [Mqtt(mqtt)] if mqtt else []
    found += [Command(command)] if command else []
    if len({each.name for each in found}) < len(found):
        raise ConfigError("One receiver is given twice. Give each --webhook once.")
    return found


def _deliver(engine: Watch, receivers: Sequence[Receiver], stack: ExitStack) -> None:
    """Start a thread for every receiver of events."""
    from vase.watching.receivers import Delivery

    for each in receivers:
        engine.journal.join(each.name)
    engine.deliveries = [Delivery(each, engine.journal) for each in receivers]
    for delivery in engine.deliveries:
        delivery.start()
        stack.callback(delivery.close, SECONDS_TO_DELIVER)


def _metrics(port: int, host: str, stack: ExitStack) -> Callable[[WatchStatus], None]:
    from vase.watching.metrics import Metrics

    served = Metrics(port, host)
    stack.callback(served.close)
    return served.update


def _page(engine: Watch, host: str, port: int, allow: Sequence[str], stack: ExitStack) -> None:
    from vase.watching.page import serve

    served = serve(
        engine.status,
        engine.pictures,
        host=host,
        port=port,
        allow=allow,
        folder="" if engine.folder is None else str(engine.folder.path),
        say=_aside,
    )
    stack.callback(served.close)


def _screen(
    engine: Watch, as_json: bool, stack: ExitStack
) -> tuple[Callable[[WatchEvent], None], Callable[[WatchStatus], None]]:
    """What shows an event, and what shows how it stands: a live screen, or lines of JSON."""
    if console.is_terminal and not as_json:
        from vase.watching.terminal import Terminal

        screen = stack.enter_context(Terminal(console))
        return screen.tell, screen.show

    engine.journal.join(OUTPUT)
    written = engine.journal.cursor(OUTPUT)

    def lines(_: object) -> None:
        """Write what was not written yet, also by a process before this one."""
        nonlocal written
        with suppress(RunError):  # the disk is full: what was written is noted later
            for event in engine.journal.after(written):
                sys.stdout.write(json.dumps(event) + "\n")
                sys.stdout.flush()
                written = event["sequence"]
            if written > engine.journal.cursor(OUTPUT):
                engine.journal.delivered(OUTPUT, written)

    return lines, lines


def default_folder(source: str) -> Path:
    """Where a watch is kept if nobody says: by the name of the source, without any password."""
    parts = urlsplit(source)
    path = f"{parts.hostname or ''}{parts.path}" if "://" in source else source
    name = "-".join(re.findall(r"[\w.]+", path.rstrip("/").rpartition("/")[2])) or "input"
    return Path("runs") / f"watch-{name.partition('.')[0] or name}"
