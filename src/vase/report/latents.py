"""Which latent means what in which world: rows of latents, sorted so that sharing is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vase.report import style
from vase.report.run import Record

State = Literal["used", "masked", "spare"]


@dataclass(frozen=True)
class Cell:
    """A latent in one world: its state, mean KL in nats, and what it encodes ("" if unknown)."""

    state: State
    nats: float
    meaning: str


@dataclass(frozen=True)
class Row:
    """A latent in all worlds, and the group it belongs to."""

    latent: int
    group: str
    cells: tuple[Cell, ...]

    @property
    def most(self) -> float:
        """The most nats it carries in any world."""
        return max((cell.nats for cell in self.cells if cell.state == "used"), default=0.0)


def rows(record: Record) -> list[Row]:
    """All latents that any world uses or masks: position, shared, own, idle; dearest first.

    record: the `latents` part of probes.json.
    """
    found = []
    for latent in range(record["count"]):
        cells = tuple(_cell(world, latent) for world in record["worlds"])
        if any(cell.state != "spare" for cell in cells):
            found.append(Row(latent, _group(record, latent, cells), cells))
    names = [world["name"] for world in record["worlds"]]
    order = ["position", "shared", *(f"only {name}" for name in names), "idle"]
    return sorted(found, key=lambda row: (order.index(row.group), -row.most, row.latent))


def spare(record: Record) -> int:
    """How many latents no world uses or masks."""
    return int(record["count"]) - len(rows(record))


def _cell(world: Record, latent: int) -> Cell:
    state: State = "used" if latent in world["used"] else "spare"
    if latent in world["masked"]:
        state = "masked"
    return Cell(state, float(world["kl"][latent]), world.get("encodes", {}).get(str(latent), ""))


def _group(record: Record, latent: int, cells: Sequence[Cell]) -> str:
    users = [
        world["name"]
        for world, cell in zip(record["worlds"], cells, strict=True)
        if cell.state == "used"
    ]
    if latent in (record.get("position") or {}).get("latents", []):
        return "position"
    if len(users) > 1:
        return "shared"
    return f"only {users[0]}" if users else "idle"


GROUP_TEXT = {
    "position": "position",
    "shared": "shared\nbetween worlds",
    "idle": "no longer used",
}


@style.styled
def matrix(record: Record) -> Figure:
    """Latents down, worlds across; in a cell, a bar of the latent's nats and what it encodes."""
    table = rows(record)
    names = [world["name"] for world in record["worlds"]]
    colours = style.world_colours(names)
    pitch, head, gap = 0.27, 0.62, 0.14
    breaks = sum(a.group != b.group for a, b in pairwise(table))
    down = pitch * len(table) + gap * breaks
    figure = Figure(figsize=(style.FULL, head + down + 0.5))
    axes = style.empty_axes(figure, (0, head, style.FULL, down + 0.5))
    axes.set_xlim(0, style.FULL)
    axes.set_ylim(down + 0.5, 0)
    left = 2.1
    wide = (style.FULL - left - 0.1) / max(len(names), 1)
    _heads(axes, record, colours, left, wide)
    most = max((row.most for row in table), default=1.0) or 1.0
    y, group, begun = 0.0, "", 0.0
    for row in table:
        if group and row.group != group:
            _group_label(axes, group, begun, y)
            y += gap
        if row.group != group:
            group, begun = row.group, y
        axes.text(left - 0.12, y + pitch / 2, f"z{row.latent}", ha="right", va="center")
        for column, (name, cell) in enumerate(zip(names, row.cells, strict=True)):
            box = (left + column * wide, y, wide - 0.12, pitch - 0.05)
            _draw_cell(axes, cell, box, colours[name], most)
        y += pitch
    if group:
        _group_label(axes, group, begun, y)
    _spare_line(axes, spare(record), left, y + 0.26)
    return figure


def _heads(
    axes: Axes, record: Record, colours: Mapping[str, str], left: float, wide: float
) -> None:
    for column, world in enumerate(record["worlds"]):
        x, room = left + column * wide, wide - 0.12
        note = f"{len(world['used'])} used, {len(world['masked'])} masked"
        if room > 2:
            note = f"environment {world['index']}: {note}"
        elif not world["masked"]:
            note = f"{len(world['used'])} used"
        for y, text, size, look in (
            (-0.38, world["name"], 10.5 if room > 2 else 9, style.INK),
            (-0.18, note, 8.5 if room > 2 else 7, style.QUIET),
        ):
            weight = "bold" if look == style.INK else "normal"
            shown = style.fitted(text, room, size)
            axes.text(x, y, shown, fontsize=size, va="center", color=look, weight=weight)
        axes.plot(
            [x, x + room],
            [-0.05, -0.05],
            color=colours[world["name"]],
            linewidth=2.5,
            clip_on=False,
            solid_capstyle="butt",
        )


def _draw_cell(
    axes: Axes, cell: Cell, box: tuple[float, float, float, float], colour: str, most: float
) -> None:
    x, y, width, height = box
    middle = y + height / 2
    if cell.state == "masked":
        axes.fill_between(
            [x, x + width],
            y,
            y + height,
            facecolor=style.GROUND,
            hatch="////",
            linewidth=0,
            edgecolor="#c3c8ce",
        )
        axes.text(
            x + width / 2,
            middle,
            "masked",
            ha="center",
            va="center",
            fontsize=8.5,
            color=style.QUIET,
            bbox={"facecolor": style.GROUND, "linewidth": 0, "pad": 1.5},
        )
    elif cell.state == "used":
        axes.fill_between(
            [x, x + width], y, y + height, color=style.tint(colour, 0.10), linewidth=0
        )
        bar = width * cell.nats / most
        axes.fill_between([x, x + bar], y, y + height, color=style.tint(colour, 0.5), linewidth=0)
        _write(axes, cell, x + 0.06, middle, width)
    else:
        axes.text(
            x + width / 2, middle, "spare", ha="center", va="center", fontsize=8.5, color="#9aa1a9"
        )


def _write(axes: Axes, cell: Cell, x: float, middle: float, width: float) -> None:
    """What the latent carries and what it encodes, as far as there is room."""
    roomy = width > 1.8
    size, shift = (9, 0.72) if roomy else (7.5, 0.25)
    carries = f"{cell.nats:.1f} nats" if roomy else f"{cell.nats:.1f}"
    meaning = style.fitted(cell.meaning, width - shift - 0.1, size)
    axes.text(x, middle, carries, va="center", fontsize=size)
    axes.text(x + shift, middle, meaning, va="center", fontsize=size, weight="bold")


def _group_label(axes: Axes, group: str, top: float, bottom: float) -> None:
    name = style.fitted(group.removeprefix("only "), 1.3, 9)
    axes.plot([1.52, 1.52], [top + 0.03, bottom - 0.08], color=style.QUIET, linewidth=1)
    axes.text(
        1.42,
        (top + bottom - 0.05) / 2,
        GROUP_TEXT.get(group, f"only\n{name}"),
        ha="right",
        va="center",
        fontsize=9,
    )


def _spare_line(axes: Axes, count: int, left: float, y: float) -> None:
    if count:
        text = f"+ {count} spare latents, at rest in every world: room for what comes next"
        axes.text(left, y, text, va="center", fontsize=9.5, color=style.QUIET)


def label(latent: int, meaning: str, nats: float) -> tuple[str, str]:
    """The two lines that name a latent beside a picture: its meaning, then its number and nats."""
    if not meaning:
        return f"z{latent}", f"{nats:.1f} nats"
    return meaning, f"z{latent}, {nats:.1f} nats"


def by_information(world: Record, most: int) -> list[int]:
    """The latents that a world uses, the most informative first."""
    ranked = sorted(world["used"], key=lambda latent: -world["kl"][latent])
    return ranked[:most]
