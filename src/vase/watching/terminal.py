"""The terminal: how a watch stands, redrawn in place, and above it a line for each event."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vase.watching import words
from vase.watching.records import WatchEvent, WatchStatus

SECONDS_BETWEEN_DRAWINGS = 0.25
MOST_SHOWN = 5  # events
LABEL = 12  # cells of a label
NARROW = 110  # columns: below, the last events are told in fewer words
STYLES = {
    "new": "bold green",
    "returned": "bold cyan",
    "reopened": "green",
    "undetermined": "bold yellow",
    "skipped": "bold red",
    "source_lost": "bold red",
    "source_back": "green",
}
SAY_WHY = ("undetermined", "skipped", "source_lost")  # kinds whose reason is worth a line's room


class Terminal:
    """A live screen, while the context lasts; what it last showed stays.

    Any thread may call it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: WatchStatus | None = None
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._screen)

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, status: WatchStatus) -> None:
        """Show how it stands; the screen is redrawn 4 times a second at most."""
        self._status, now = status, time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN_DRAWINGS:
            self._drawn = now
            self._live.refresh()

    def tell(self, event: WatchEvent) -> None:
        """Print an event above the live part, where it stays."""
        self._console.print(event_line(event), highlight=False)

    def _screen(self) -> RenderableType:
        if self._status is None:
            return Text("waiting for the first frame", "dim")
        return screen(self._status, datetime.now(UTC), *self._console.size)


def event_line(event: WatchEvent) -> Text:
    """An event as one line: local time, and what happened in words."""
    local = event.time.astimezone()
    line = Text().append(f"{local.day} {local:%b %H:%M:%S}  ", "dim")
    line.append(words.what_happened(event), STYLES[event.kind])
    if event.kind in SAY_WHY and event.reason:
        line.append(f": {words.plain(event.reason)}")
    return line


def events_table(events: Sequence[WatchEvent]) -> Table:
    """Events with their reasons, as they are given: local time, what happened, and why."""
    table = Table(box=box.SIMPLE_HEAD, caption=None if events else "There are no events.")
    table.add_column("local time", no_wrap=True, style="dim")
    table.add_column("what happened", ratio=1, overflow="fold")
    table.add_column("why", ratio=1, overflow="fold")
    for event in events:
        table.add_row(
            f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}",
            Text(words.what_happened(event), STYLES[event.kind]),
            Text(words.plain(event.reason)),
        )
    return table


# ---- the live part -------------------------------------------------------------------------------


def screen(status: WatchStatus, now: datetime, width: int, height: int) -> Panel:
    """How a watch stands; where there are too few rows, the last events are left out.

    now: with its time zone.
    """
    troubles = [_trouble(sentence, width) for sentence in words.troubles(status)]
    above: list[RenderableType] = [*_headline(status, now), Text(), *troubles, _figures(status)]
    above += [_evidence(status)]
    receivers = words.waiting(status)
    if receivers:
        above.append(_row("receivers", _line(receivers)))
    rows = 10 + 2 * len(troubles) + bool(receivers)  # with the frame; a trouble may take two
    room = min(MOST_SHOWN, height - 1 - rows - 2)
    if status.latest and room > 0:
        above += [Text(), _latest(status, now, room, brief=width < NARROW)]
    return Panel(
        Group(*above),
        title=Text(_title(status), "bold", overflow="ellipsis"),
        title_align="left",
        box=box.ROUNDED,
        border_style="red" if troubles else "dim",
        width=width,
    )


def _title(status: WatchStatus) -> str:
    how = "and learning" if status.learning else "without learning"
    return f"watching {words.plain(status.run)} {how}"


def _headline(status: WatchStatus, now: datetime) -> list[Text]:
    colour = "bold" if status.frames else "dim"
    here = words.called(status.environment, status.name) if status.frames else "nothing seen yet"
    return [_line(here, colour), _line(words.here_since(status, now), "dim")]


def _figures(status: WatchStatus) -> RenderableType:
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(2):
        table.add_column(width=LABEL - 2, style="dim")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    dropped = Text(f"{status.dropped:,}", "yellow" if status.dropped else "")
    table.add_row("frames", Text(f"{status.frames:,}"), "dropped", dropped)
    rate = f"{words.figure(status.frames_per_second)} frames a second"
    table.add_row("speed", Text(rate), "reconnects", Text(f"{status.reconnects:,}"))
    p = Text(words.figure(status.p_value))
    table.add_row("correlated", Text(f"for {words.correlation(status)}"), "p-value", p)
    come = Text("frames come from ", "green", no_wrap=True, overflow="ellipsis")
    if not status.connected:
        come = Text("no frames from ", "bold red", no_wrap=True, overflow="ellipsis")
    return Group(_row("source", come.append(words.plain(status.source), "default")), table)


def _evidence(status: WatchStatus) -> RenderableType:
    """The evidence of a change, as a bar that is full where the alarm is raised."""
    share = words.evidence_share(status)
    colour = "green" if share < 0.5 else "yellow" if share < 1 else "bold red"
    bar = ProgressBar(total=1, completed=share, complete_style=colour, finished_style=colour)
    said = Text(f"{words.evidence(status)}", no_wrap=True)
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(ratio=1)
    grid.add_column()
    grid.add_row(bar, said)
    return _row("evidence", grid)


def _latest(status: WatchStatus, now: datetime, most: int, *, brief: bool) -> RenderableType:
    names, end = words.names_of(status), words.present_time(status, now)
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim", show_edge=False)
    table.add_column("last events", no_wrap=True, style="dim")
    table.add_column("", ratio=5, no_wrap=True, overflow="ellipsis")
    if not brief:  # of so few letters nothing can be understood
        table.add_column("why", ratio=2, no_wrap=True, overflow="ellipsis", style="dim")
    for event in status.latest[:most]:
        what = Text(words.what_happened(event, names, brief=brief), STYLES[event.kind])
        why = [] if brief else [Text(words.plain(event.reason))]
        table.add_row(words.moment(event.time, end), what, *why)
    return table


def _trouble(sentence: str, width: int) -> RenderableType:
    """A sentence in red, on two lines at most."""
    text = Text(sentence, "bold red")
    text.truncate(2 * (width - 4) - 12, overflow="ellipsis")
    return Padding(text, 0)


def _row(label: str, value: RenderableType) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(width=LABEL - 2, style="dim", no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_row(label, value)
    return grid


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
