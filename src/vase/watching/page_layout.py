"""What a visitor of a watch's page sees. Names and reasons are shown as text, never as HTML."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui

from vase.explorer.page import appearance_buttons, card, column_of_cards, heading, png_address
from vase.report.style import PALETTE
from vase.watching import timeline, words
from vase.watching.records import KnownEnvironment, WatchEvent, WatchStatus

SECONDS_BETWEEN = 2.0
SECONDS_BETWEEN_PICTURES = 10.0
MOST_EVENTS = 20
WINDOWS = {"24 hours": timedelta(days=1), "7 days": timedelta(days=7), "all": None}
WATCH_STYLE = """
<style>
  .watch-here { font-size: clamp(24px, 5vw, 38px); font-weight: 650; line-height: 1.15;
    overflow-wrap: anywhere; }
  .watch-text { overflow-wrap: anywhere; min-width: 0; }
  .watch-trouble { background: #b42318; color: #fff; border-radius: 10px; padding: 12px 20px;
    width: 100%; overflow-wrap: anywhere; }
  .watch-troubles:empty { display: none; }
  .watch-bands { display: flex; height: 34px; border-radius: 4px; overflow: hidden; width: 100%;
    background: repeating-linear-gradient(45deg, transparent 0 4px, var(--line) 4px 5px); }
  .watch-axis { position: relative; height: 24px; width: 100%; }
  .watch-tick { position: absolute; top: 0; border-left: 1px solid var(--quiet); height: 6px; }
  .watch-time { position: absolute; top: 6px; transform: translateX(-50%); font-size: 12px;
    color: var(--quiet); white-space: nowrap; }
  .watch-dot { width: .62em; height: .62em; border-radius: 50%; flex: none; display: inline-block; }
  .watch-places { display: grid; gap: 20px; width: 100%;
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); }
  .watch-figures { display: grid; gap: 18px 24px; width: 100%;
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); }
  .watch-look { height: 64px; max-width: 100%; object-fit: contain; object-position: left;
    image-rendering: pixelated; border-radius: 6px; }
  .watch-command { font-family: ui-monospace, monospace; font-size: 13px; user-select: all;
    background: var(--ground); border: 1px solid var(--line); border-radius: 6px;
    padding: 3px 8px; overflow-wrap: anywhere; }
  .watch-event { border-top: 1px solid var(--line); padding: 9px 0; width: 100%; }
  .watch-event summary { cursor: pointer; color: var(--quiet); font-size: 13px; }
  .watch-event summary::before { content: "\\25b8  "; }
  .watch-event [open] summary::before { content: "\\25be  "; }
  .watch-evidence { font-family: ui-monospace, monospace; font-size: 12px; white-space: pre-wrap;
    overflow-wrap: anywhere; }
  .watch-value { font-size: 20px; font-weight: 600; }
</style>
"""


@dataclass(frozen=True)
class Look:
    """How a watch stands, and what its environments look like: addresses of pictures by index."""

    status: WatchStatus
    pictures: Mapping[int, str]


class Reading:
    """What all visitors see: asked of the watch in a thread, once for all of them."""

    def __init__(
        self,
        status: Callable[[], WatchStatus],
        pictures: Callable[[], Mapping[int, bytes]],
    ) -> None:
        self._status, self._pictures = status, pictures
        self._look: Look | None = None
        self._at = self._pictured = -float("inf")
        self._lock = asyncio.Lock()

    async def now(self) -> Look:
        """How it stands, as of a moment ago."""
        async with self._lock:
            if self._look is None or time.monotonic() - self._at > SECONDS_BETWEEN / 2:
                self._look = await asyncio.to_thread(self._read)
                self._at = time.monotonic()
            return self._look

    def _read(self) -> Look:
        if self._look is not None and time.monotonic() - self._pictured < SECONDS_BETWEEN_PICTURES:
            return Look(self._status(), self._look.pictures)
        made = {index: png_address(png) for index, png in self._pictures().items()}
        self._pictured = time.monotonic()
        return Look(self._status(), made)


class Page:
    """One visitor's page. A part of it is made anew only where what it shows has changed."""

    def __init__(self, reading: Reading, look: Look, folder: str) -> None:
        self.reading, self.look = reading, look
        self.folder = shlex.quote(words.plain(folder or look.status.run))
        self.window = next(iter(WINDOWS))
        self.parts: list[tuple[ui.element, Callable[[], Any], Callable[[Any], None]]] = []
        self.shown: dict[ui.element, Any] = {}

    @property
    def status(self) -> WatchStatus:
        return self.look.status

    def build(self) -> None:
        """Lay out the page, and keep it up to date."""
        with column_of_cards(WATCH_STYLE):
            with ui.row().classes("w-full items-center justify-between"):
                self._part(ui.column().classes("gap-0 watch-text"), self._source, _show_source)
                appearance_buttons()
            troubles = ui.column().classes("w-full gap-2 watch-troubles").props("role=alert")
            self._part(troubles, lambda: words.troubles(self.status), _show_troubles)
            self._part(card(), self._here, _show_here)
            with card():
                self._timeline()
            with card():
                note = "Pictures are what the model imagines, or the last frame that was kept."
                heading("Environments", note if self.look.pictures else "")
                self._part(ui.element().classes("watch-places"), self._places, _show_places)
            with card():
                heading(
                    "What happened", f"The last {MOST_EVENTS} events at most, the latest first."
                )
                self._part(ui.column().classes("w-full gap-0"), self._events, _show_events)
            with card():
                heading("Camera and change detector", "")
                self._part(ui.element().classes("watch-figures"), self._figures, _show_figures)
            self._part(ui.column().classes("gap-1 p-2"), self._notes, _show_notes)
        self._show()
        ui.timer(SECONDS_BETWEEN, self._refresh, immediate=False)

    def _part(
        self, place: ui.element, what: Callable[[], Any], show: Callable[[Any], None]
    ) -> None:
        """A part of the page: where it is, what it shows, and how."""
        self.parts.append((place, what, show))

    def _show(self) -> None:
        ui.page_title(f"{self._here()[0]}: {words.plain(self.status.run)}, VASE")
        for place, what, show in self.parts:
            found = what()
            if self.shown.get(place) != found:
                self.shown[place] = found
                place.clear()
                with place:
                    show(found)

    async def _refresh(self) -> None:
        self.look = await self.reading.now()
        self._show()

    # ---- what the parts show -------------------------------------------------------------------

    def _now(self) -> datetime:
        return words.present_time(self.status, datetime.now(UTC))

    def _source(self) -> tuple[str, str]:
        status = self.status
        how = "and learns from" if status.learning else "without learning from"
        source = f"Watches {how} {words.plain(status.source)}"
        return words.plain(
            status.run
        ), f"{source}, since {words.moment(status.started, self._now())}"

    def _here(self) -> tuple[str, str, str]:
        status, now = self.status, datetime.now(UTC)
        if not status.frames:
            return "Nothing seen yet", words.here_since(status, now), "transparent"
        here = words.plain(status.name) or f"environment {status.environment}"
        line = f"environment {status.environment}, " if status.name else ""
        return here, line + words.here_since(status, now), _colour(status.environment)

    def _timeline(self) -> None:
        with ui.row().classes("w-full items-start justify-between"):
            with ui.column().classes("gap-0"):
                heading("Timeline", "Which environment was there; times are local.")
            ui.toggle([*WINDOWS], value=self.window, on_change=self._choose).props(
                "flat dense no-caps size=sm"
            )
        self._part(ui.column().classes("w-full gap-1"), self._bands, _show_bands)

    def _choose(self, event: Any) -> None:
        self.window = event.value
        self._show()

    def _bands(self) -> Any:
        now, stays = self._now(), self.status.stays
        start, end = timeline.span(stays, now, WINDOWS[self.window])
        found = timeline.bands(timeline.lasting(stays, now, end), start, end)
        names = words.names_of(self.status)
        return start, end, found, names

    def _places(self) -> Any:
        status, now = self.status, self._now()
        frames = sum(each.frames for each in status.environments)
        return [
            (
                (each.index, words.called(each.index, each.name)),
                f"First seen {words.moment(each.first_seen, now)}; "
                + _last_seen(each, status.environment, now)
                + f"; {_percent(each.frames, frames)} of the time",
                self.look.pictures.get(each.index, ""),
                f'vase name {self.folder} {each.index} "{"another" if each.name else "a"} name"',
            )
            for each in status.environments
        ]

    def _events(self) -> Any:
        now, names = self._now(), words.names_of(self.status)
        return [
            (event, words.moment(event.time, now), words.what_happened(event, names))
            for event in self.status.latest[:MOST_EVENTS]
        ]

    def _figures(self) -> list[tuple[str, str, str, float | None]]:
        """Name, value, what it means, and how full a bar is, of each figure."""
        status = self.status
        found = [
            ("frames looked at", f"{status.frames:,}", "", None),
            ("frames a second", words.figure(status.frames_per_second), "of late", None),
            ("frames dropped", f"{status.dropped:,}", "not looked at: they came too fast", None),
            ("reconnects", f"{status.reconnects:,}", "the camera was lost, and came back", None),
            (
                "correlation time",
                words.correlation(status),
                "for so long, one frame resembles the next",
                None,
            ),
            (
                "p-value of the latest frames",
                words.figure(status.p_value),
                "near 0 they are unusual for this environment",
                None,
            ),
            (
                "evidence of a change",
                words.evidence(status),
                "the bar is logarithmic; full, it raises the alarm",
                round(words.evidence_share(status), 2),
            ),
        ]
        receivers = words.waiting(status)
        return [*found, *([("receivers", receivers, "", None)] if receivers else [])]

    def _notes(self) -> list[tuple[str, str]]:
        kept = "the model, " if self.status.learning else ""
        notes = [
            (
                f"Stored in the run's folder: {kept}the change detector, events and names, and "
                "frames at events where that was asked for. Nothing leaves this machine but events "
                "for the receivers that were given, and this page for those who may see it.",
                "",
            )
        ]
        if self.status.learning:
            notes.append(
                ("What the model has learnt can be explored:", f"vase serve {self.folder}")
            )
        return notes


# ---- how they show it ----------------------------------------------------------------------------


def _show_source(found: tuple[str, str]) -> None:
    ui.label(found[0]).classes("text-2xl font-bold watch-text")
    ui.label(found[1]).classes("vase-quiet watch-text")


def _show_troubles(found: list[str]) -> None:
    for sentence in found:
        ui.label(sentence).classes("watch-trouble")


def _show_here(found: tuple[str, str, str]) -> None:
    here, since, colour = found
    with ui.row().classes("items-center gap-4 no-wrap"):
        _dot(colour).style("font-size: 38px")
        with ui.column().classes("gap-1 watch-text"):
            ui.label(here).classes("watch-here")
            ui.label(since).classes("vase-quiet")


def _show_bands(found: Any) -> None:
    start, end, bands, names = found
    seen = dict.fromkeys(band.environment for band in bands)
    with ui.element().classes("watch-bands") as row:
        row.props["role"], row.props["aria-label"] = "img", "the timeline, told in its legend"
        for band in bands:
            colour = "transparent" if band.environment is None else _colour(band.environment)
            width = "0" if band.environment is None else "2px"
            made = ui.element().style(
                f"flex: {band.share:.6f} 0 0px; min-width: {width}; background: {colour}"
            )
            made.props["title"] = _told(band, names, end)
    with ui.element().classes("watch-axis"):
        for tick in timeline.ticks(start, end):
            place = f"left: {100 * tick.place:.3f}%"
            ui.element().classes("watch-tick").style(place)
            ui.label(tick.label).classes("watch-time").style(place)
    with ui.row().classes("w-full gap-x-6 gap-y-1"):
        for index in seen:
            with ui.row().classes("items-center gap-2 no-wrap watch-text"):
                if index is not None:
                    _dot(_colour(index))
                    share = sum(band.share for band in bands if band.environment == index)
                    ui.label(f"{_legend(index, names)}, {_percent(share, 1)}").classes("watch-text")


def _show_places(found: Any) -> None:
    for (index, name), seen, picture, command in found:
        with ui.column().classes("gap-2 watch-text"):
            if picture:
                look = ui.element("img").classes("watch-look")
                look.props["src"], look.props["alt"] = picture, f"environment {index}"
            with ui.row().classes("items-center gap-2 no-wrap watch-text"):
                _dot(_colour(index))
                ui.label(name).classes("vase-meaning watch-text")
            ui.label(seen).classes("vase-quiet")
            ui.label(command).classes("watch-command")
    if not found:
        ui.label("None yet.").classes("vase-quiet")


def _show_events(found: Any) -> None:
    for event, moment, what in found:
        with ui.element().classes("watch-event"):
            with ui.row().classes("items-baseline gap-x-3 gap-y-0 w-full"):
                ui.label(moment).classes("vase-quiet")
                ui.label(what).classes("vase-meaning watch-text")
            if event.reason:
                ui.label(words.plain(event.reason)).classes("vase-quiet watch-text")
            if event.evidence:
                with ui.element("details"):
                    with ui.element("summary"):
                        ui.label("evidence in numbers").classes("inline")
                    ui.label(_evidence(event)).classes("watch-evidence")
    if not found:
        ui.label("Nothing yet.").classes("vase-quiet")


def _show_figures(found: list[tuple[str, str, str, float | None]]) -> None:
    for name, value, meaning, share in found:
        with ui.column().classes("gap-0 watch-text"):
            ui.label(name).classes("vase-quiet")
            ui.label(value).classes("watch-value watch-text")
            if share is not None:
                ui.linear_progress(share, show_value=False, size="8px").props("rounded")
            ui.label(meaning).classes("vase-quiet")


def _show_notes(found: list[tuple[str, str]]) -> None:
    for note, command in found:
        ui.label(note).classes("vase-quiet")
        if command:
            ui.label(command).classes("watch-command")


# ---- pieces --------------------------------------------------------------------------------------


def _dot(colour: str) -> ui.element:
    return ui.element().classes("watch-dot").style(f"background: {colour}")


def _colour(environment: int) -> str:
    return PALETTE[environment % len(PALETTE)]


def _legend(environment: int | None, names: Mapping[int, str]) -> str:
    if environment is None:
        return "not watched"
    return words.called(environment, names.get(environment, ""))


def _told(band: timeline.Band, names: Mapping[int, str], now: datetime) -> str:
    begin, end = words.moment(band.start, now), words.moment(band.end, now)
    lasted = words.length(words.seconds(band.start, band.end))
    return f"{_legend(band.environment, names)}: {begin} to {end}, {lasted}"


def _last_seen(each: KnownEnvironment, present: int, now: datetime) -> str:
    if each.index == present:
        return "it is there now"
    return f"last seen {words.moment(each.last_seen, now)}"


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 1 or share == 0 else "less than 1 %"


def _evidence(event: WatchEvent) -> str:
    """The evidence, one number or list a line."""
    return "\n".join(
        f"{words.plain(key)}: {words.plain(json.dumps(value, ensure_ascii=False))}"
        for key, value in event.evidence.items()
    )
