"""`vase watch`, `vase name` and `vase events`: what they need is imported when they run."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.console import Console

from vase.cli.signals import stop_request
from vase.errors import ConfigError, RunError

if TYPE_CHECKING:
    from vase.build import DataOptions
    from vase.explorer.run_data import ExplorerData
    from vase.watching.engine import Watch
    from vase.watching.receivers import Receiver
    from vase.watching.records import WatchEvent, WatchStatus
    from vase.watching.session import WatchOptions

OUTPUT = "standard output"  # a receiver like others: what it has got is in the journal
SECONDS_TO_DELIVER = 5.0  # at the end, what waits gets one more chance
SECONDS_BETWEEN = 1.0  # two updates of the metrics
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Outlets:
    """Where events and figures go beside the terminal; ports are None where nothing is served."""

    webhooks: Sequence[str] = ()
    webhook_secret: Path | None = None
    mqtt: str | None = None
    command: str | None = None
    metrics_port: int | None = None
    page_port: int | None = None
    host: str = "127.0.0.1"
    allow: Sequence[str] = ()
    lines: bool = False


def watch(source: str, options: WatchOptions, outlets: Outlets, console: Console) -> None:
    """Watch until the source ends, or a signal asks for the end; then everything is saved."""
    errors = Console(stderr=True, markup=False, highlight=False, emoji=False)

    def say(text: str) -> None:
        errors.print(text, soft_wrap=True)

    say("Starting: this takes some seconds.")
    import torch

    from vase.watching.session import opened

    torch.set_num_threads(1)  # batches are small, and others work here too
    receivers = _receivers(outlets)  # what cannot be is refused before anything is begun
    with opened(source, options, say) as engine, stop_request() as stop:
        before = engine.state.frames
        with ExitStack() as stack:
            _deliver(engine, receivers, stack)
            count = _metrics(outlets, stack)
            _page(engine, outlets, stack, say)
            tell, show = _screen(engine, outlets, console, stack)
            looked = 0.0

            def go_on() -> bool:
                nonlocal looked
                now = time.monotonic()
                if now - looked >= SECONDS_BETWEEN:
                    looked, status = now, engine.status()
                    show(status)
                    count(status)
                return not stop.asked

            for event in engine.events(go_on):
                tell(event)
            show(engine.status())
        waiting = {name: count for name, count in engine.undelivered().items() if count}
    say(_ending(engine, stopped=stop.asked, new=engine.state.frames > before))
    for receiver, number in waiting.items():
        say(f"{number} event{'s wait' if number > 1 else ' waits'} for {receiver}.")


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


def name(run: Path, environment: int, text: str, console: Console) -> None:
    """Call an environment of a watch by a name."""
    from vase.watching import folder as folders
    from vase.watching.folder import WatchFolder
    from vase.watching.journal import MOST_EVENTS, Journal
    from vase.watching.words import plain

    folder = WatchFolder(run)
    folders.read_settings(folder)
    journal = Journal(folder.journal)
    known = {event["environment"] for event in journal.latest(MOST_EVENTS)}
    if environment not in known:
        raise RunError(
            f"'{run}' has no environment {environment}: it knows "
            f"{', '.join(map(str, sorted(known))) or 'none yet'}."
        )
    text = plain(text)
    journal.rename(environment, text)
    console.print(f"Environment {environment} is called: {text}" if text else "It has no name now.")


def events(run: Path, since: str, as_json: bool, console: Console) -> None:
    """Print the events of a watch, as a table or as lines of JSON."""
    from vase.watching import folder as folders
    from vase.watching.folder import WatchFolder
    from vase.watching.journal import MOST_EVENTS, Journal
    from vase.watching.records import WatchEvent
    from vase.watching.terminal import events_table

    folder = WatchFolder(run)
    folders.read_settings(folder)
    begin = datetime.now(UTC) - duration(since) if since else None
    journal = Journal(folder.journal)
    found = journal.latest(MOST_EVENTS, begin.isoformat() if begin else "")
    if as_json:
        for event in found:
            sys.stdout.write(json.dumps(event) + "\n")
        return
    names = journal.names()
    console.print(events_table([WatchEvent(**_renamed(event, names)) for event in found]))


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


def schema() -> str:
    """The JSON schema of an event."""
    from vase.watching.records import WatchEvent

    return json.dumps(WatchEvent.model_json_schema(), indent=1)


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


def _receivers(outlets: Outlets) -> list[Receiver]:
    """Where events go. A ConfigError says what cannot be."""
    from vase.watching.receivers import Command, Mqtt, Webhook

    found: list[Receiver] = [
        Webhook(address, outlets.webhook_secret) for address in outlets.webhooks
    ]
    found += [Mqtt(outlets.mqtt)] if outlets.mqtt else []
    found += [Command(outlets.command)] if outlets.command else []
    if len({each.name for each in found}) < len(found):
        raise ConfigError("One receiver is given twice. Give each --webhook once.")
    return found


def _deliver(engine: Watch, receivers: Sequence[Receiver], stack: ExitStack) -> None:
    """Start a thread for every receiver of events."""
    from vase.watching.receivers import Delivery

    names = [each.name for each in receivers]
    for name in names:
        engine.journal.join(name)
    deliveries = [Delivery(each, engine.journal) for each in receivers]
    for each in deliveries:
        each.start()
        stack.callback(each.close, SECONDS_TO_DELIVER)

    def wake() -> None:
        for each in deliveries:
            each.wake()

    engine.wake = wake
    engine.undelivered = lambda: {name: engine.journal.waiting(name) for name in names}
    engine.receiver_trouble = lambda: next((d.trouble for d in deliveries if d.trouble), "")


def _metrics(outlets: Outlets, stack: ExitStack) -> Callable[[WatchStatus], None]:
    if outlets.metrics_port is None:
        return lambda _: None
    from vase.watching.metrics import Metrics

    served = Metrics(outlets.metrics_port, outlets.host)
    stack.callback(served.close)
    return served.update


def _page(
    engine: Watch,
    outlets: Outlets,
    stack: ExitStack,
    say: Callable[[str], None],
) -> None:
    if outlets.page_port is None:
        return
    from vase.watching.page import serve
    from vase.watching.pictures import of_environments

    served = serve(
        engine.status,
        lambda: of_environments(engine),
        host=outlets.host,
        port=outlets.page_port,
        allow=outlets.allow,
        folder="" if engine.folder is None else str(engine.folder.path),
        say=say,
    )
    stack.callback(served.close)


def _screen(
    engine: Watch, outlets: Outlets, console: Console, stack: ExitStack
) -> tuple[Callable[[WatchEvent], None], Callable[[WatchStatus], None]]:
    """What shows an event, and what shows how it stands: a live screen, or lines of JSON."""
    if console.is_terminal and not outlets.lines:
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
