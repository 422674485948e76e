"""Which latent means what in which domain: rows of latents, sorted so that sharing is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vase.lifelong.effects import described
from vase.report import style
from vase.report.run import Record

State = Literal["used", "masked", "spare"]


@dataclass(frozen=True)
class LatentCell:
    """A latent in one domain: its state, mean KL in nats, and what it does ("" if unknown)."""

    state: State
    nats: float
    meaning: str


@dataclass(frozen=True)
class LatentRow:
    """A latent in all domains, and the group it belongs to."""

    latent: int
    group: str
    cells: tuple[LatentCell, ...]

    @property
    def most(self) -> float:
        """The most nats it carries in any domain."""
        return max((cell.nats for cell in self.cells if cell.state == "used"), default=0.0)


def latent_rows(record: Record) -> list[LatentRow]:
    """All latents that any domain uses or masks: position, shared, own, idle; dearest first.

    record: the `latents` part of probes.json.
    """
    found = []
    for latent in range(record["count"]):
        cells = tuple(_latent_cell(domain, latent) for domain in record["domains"])
        if any(cell.state != "spare" for cell in cells):
            found.append(LatentRow(latent, _group(record, latent, cells), cells))
    names = [domain["name"] for domain in record["domains"]]
    order = ["position", "shared", *(f"only {name}" for name in names), "idle"]
    return sorted(found, key=lambda row: (order.index(row.group), -row.most, row.latent))


def spare_count(record: Record) -> int:
    """How many latents no domain uses or masks."""
    return int(record["count"]) - len(latent_rows(record))


def _latent_cell(domain: Record, latent: int) -> LatentCell:
    state: State = "used" if latent in domain["used"] else "spare"
    if latent in domain["masked"]:
        state = "masked"
    return LatentCell(state, float(domain["kl"][latent]), described(domain, latent)[0])


def _group(record: Record, latent: int, cells: Sequence[LatentCell]) -> str:
    users = [
        domain["name"]
        for domain, cell in zip(record["domains"], cells, strict=True)
        if cell.state == "used"
    ]
    if latent in (record.get("position") or {}).get("latents", []):
        return "position"
    if len(users) > 1:
        return "shared"
    return f"only {users[0]}" if users else "idle"


GROUP_TEXT = {
    "position": "position",
    "shared": "shared\nbetween domains",
    "idle": "no longer used",
}


@style.styled
def plot_latent_matrix(record: Record) -> Figure:
    """Latents down, domains across; in a cell, a bar of the latent's nats and what it does."""
    table = latent_rows(record)
    names = [domain["name"] for domain in record["domains"]]
    colours = style.domain_colours(names)
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
    _spare_line(axes, spare_count(record), left, y + 0.26)
    return figure


def _heads(
    axes: Axes, record: Record, colours: Mapping[str, str], left: float, wide: float
) -> None:
    for column, domain in enumerate(record["domains"]):
        x, room = left + column * wide, wide - 0.12
        note = f"{len(domain['used'])} used, {len(domain['masked'])} masked"
        if room > 2:
            note = f"environment {domain['index']}: {note}"
        elif not domain["masked"]:
            note = f"{len(domain['used'])} used"
        for y, text, size, look in (
            (-0.38, domain["name"], 10.5 if room > 2 else 9, style.INK),
            (-0.18, note, 8.5 if room > 2 else 7, style.QUIET),
        ):
            weight = "bold" if look == style.INK else "normal"
            shown = style.truncate(text, room, size)
            axes.text(x, y, shown, fontsize=size, va="center", color=look, weight=weight)
        axes.plot(
            [x, x + room],
            [-0.05, -0.05],
            color=colours[domain["name"]],
            linewidth=2.5,
            clip_on=False,
            solid_capstyle="butt",
        )


def _draw_cell(
    axes: Axes, cell: LatentCell, box: tuple[float, float, float, float], colour: str, most: float
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
            [x, x + width], y, y + height, color=style.lighten(colour, 0.10), linewidth=0
        )
        bar = width * cell.nats / most
        axes.fill_between(
            [x, x + bar], y, y + height, color=style.lighten(colour, 0.5), linewidth=0
        )
        _write(axes, cell, x + 0.06, middle, width)
    else:
        axes.text(
            x + width / 2, middle, "spare", ha="center", va="center", fontsize=8.5, color="#9aa1a9"
        )


def _write(axes: Axes, cell: LatentCell, x: float, middle: float, width: float) -> None:
    """What the latent carries and what it does, as far as there is room."""
    roomy = width > 1.8
    size, shift = (9, 0.72) if roomy else (7.5, 0.25)
    carries = f"{cell.nats:.1f} nats" if roomy else f"{cell.nats:.1f}"
    meaning = style.truncate(cell.meaning, width - shift - 0.1, size)
    axes.text(x, middle, carries, va="center", fontsize=size)
    axes.text(x + shift, middle, meaning, va="center", fontsize=size, weight="bold")


def _group_label(axes: Axes, group: str, top: float, bottom: float) -> None:
    name = style.truncate(group.removeprefix("only "), 1.3, 9)
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
        text = f"+ {count} spare latents, at rest in every domain: room for what comes next"
        axes.text(left, y, text, va="center", fontsize=9.5, color=style.QUIET)


def latent_label(latent: int, meaning: str, share: float | None, nats: float) -> tuple[str, str]:
    """The two lines that name a latent beside a picture: what it does, then number, nats, share."""
    if not meaning:
        return f"z{latent}", f"{nats:.1f} nats"
    explained = f", {100 * share:.0f} %" if share else ""
    return meaning, f"z{latent}, {nats:.1f} nats{explained}"


def most_informative(domain: Record, most: int) -> list[int]:
    """The latents that a domain uses, the most informative first."""
    ranked = sorted(domain["used"], key=lambda latent: -domain["kl"][latent])
    return ranked[:most]
