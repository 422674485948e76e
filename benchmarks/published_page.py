"""docs/published.md: the published method beside this one, from the raw files in results/.

    vase ablate --published --seeds 5 --out results/ablate/small-published
    vase ablate --seeds 5 --out results/published/ours
    python benchmarks/published_page.py

The other commands stand on the page. What has not been run to its end is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vase.bench.ablation import CONDITIONS, OBJECTIVES
from vase.bench.ablation_page import (
    FORGETTING_MEASURES,
    HEADLINE_MEASURES,
    PAPER_TABLE,
    Interval,
    Measure,
    Record,
    by_seed,
    interval,
    interval_cell,
    paired,
    paper,
    read_ablations,
)
from vase.bench.page import spread, table
from vase.errors import RunError
from vase.report import style
from vase.training.folder import read_json

HOME = Path(__file__).parents[1]
RESULTS, PAGE = HOME / "results", HOME / "docs" / "published.md"
FIGURE = HOME / "docs" / "images" / "published-replay.png"
SHARES = {0.5: "1/2", 0.125: "1/8", 0.03125: "1/32", 0.0: "none"}  # replayed per present image
DOMAINS = {"three": 3, "six": 6, "twelve": 12}
COMPARED = ("sd", "sda", "sd+published", "sda+published")
PARTS = ("training", "probes")  # minutes of a run
STREAMS = "benchmarks/streams/"
LONG_STREAM = f"{STREAMS}long.toml"
CLEAR = 2.0  # points or 1e-4: differences of the paper from which on an order is asked for
IDENTITY, POSITION = "frozen: change", "frozen: MSE change"
MEASURES = {**HEADLINE_MEASURES, **FORGETTING_MEASURES}


# ---- the table -----------------------------------------------------------------------------------


def paper_tables(published: Sequence[Record], ours: Sequence[Record]) -> list[str]:
    """The table with the published choices and, where there are runs of them, with ours.

    The paper's figures stand between the two.
    """
    parts = []
    for objective in OBJECTIVES:
        for title, columns, frozen in (
            ("identity, %", ("identity max %", "change"), ("frozen: identity max %", IDENTITY)),
            ("MSE of position, 1e-4", ("MSE min 1e-4", "MSE change"),
             ("frozen: MSE min 1e-4", POSITION)),
        ):  # fmt: skip
            rows = [
                _row(condition, objective, columns, frozen, published, ours)
                for condition in PAPER_TABLE[objective]
            ]
            head = ["condition", "seeds"]
            for readout in (
                *("published frozen", "published refitted", "**the paper**"),
                *(("ours refitted", "ours frozen") if ours else ()),
            ):
                head += [f"{readout}: best", "change"]
            parts += [f"### {objective.capitalize()}: {title}", table(head, rows)]
    return parts


def _row(
    condition: str,
    objective: str,
    columns: tuple[str, str],
    frozen: tuple[str, str],
    published: Sequence[Record],
    ours: Sequence[Record],
) -> list[str]:
    def seeds(records: Sequence[Record]) -> Sequence[Record]:
        return list(by_seed(records, condition, objective).values())

    def cells(records: Sequence[Record], names: Sequence[str]) -> list[str]:
        return [spread(MEASURES[name](r) for r in seeds(records)) for name in names]

    best, change = (paper(objective, name)[condition] for name in columns)
    counts = [str(len(seeds(records))) for records in (published, ours) if records]
    return [
        CONDITIONS[condition],
        " and ".join(counts),
        *cells(published, frozen),
        *cells(published, columns),
        *(f"**{best:.1f}**", f"**{change:+.1f}**"),
        *((*cells(ours, columns), *cells(ours, frozen)) if ours else ()),
    ]


def table_section(published: Sequence[Record], ours: Sequence[Record]) -> list[str]:
    """The table, and what follows from it."""
    if not published:
        return []
    hours = sum(sum(r["minutes"][part] for part in PARTS) for r in [*published, *ours]) / 60
    commands = [
        "    vase ablate --published --seeds 5 --out results/ablate/small-published",
        "    vase ablate --seeds 5 --out results/published/ours",
    ]
    return [
        f"## The paper's table{' twice' if ours else ' with the published choices'}",
        "\n".join(commands[: 1 + bool(ours)]),
        TABLE.format(len(published) + len(ours), hours),
        *paper_tables(published, ours),
        "### What follows",
        "\n".join([*orders(published, "Published choices"), *orders(ours, "Ours")]),
    ]


def orders(records: Sequence[Record], label: str) -> list[str]:
    """What follows from a table in words: the order of VASE, SD and nothing; where it differs."""
    said = []
    for measure, unit, sign in ((IDENTITY, "points of identity", 1), (POSITION, "1e-4", -1)):
        chain = [
            f"{names} {interval_cell(found)}"
            for names, found in (
                ("VASE minus SD", _difference(records, "sda", "sd", measure)),
                ("SD minus `-`", _difference(records, "sd", "cci", measure)),
                ("VASE minus `-`", _difference(records, "sda", "cci", measure)),
            )
            if found
        ]
        better = "above" if sign > 0 else "below"
        if chain:
            said.append(
                f"- **{label}, frozen readout, {unit}** ({better} 0 is less forgotten): "
                f"{'; '.join(chain)}."
            )
    for objective in OBJECTIVES:
        differing = list(contradicted(records, objective))
        if differing:
            said.append(f"- {label}, {objective}, against the paper: {'; '.join(differing)}.")
    return said


def contradicted(records: Sequence[Record], objective: str) -> Iterator[str]:
    """Every pair of conditions that the paper orders by `CLEAR` or more and we the other way round.

    Only where the paired interval leaves out 0. Frozen readouts of identity and of position.
    """
    for column, name, sign in (("change", "identity", 1), ("MSE change", "position", -1)):
        theirs = paper(objective, column)
        for one, other in permutations(theirs, 2):
            gap = sign * (theirs[one] - theirs[other])
            found = _difference(records, one, other, f"frozen: {column}", objective)
            if gap >= CLEAR and found and sign * (found.high if sign > 0 else found.low) < 0:
                yield (
                    f"{name}, {CONDITIONS[one]} minus {CONDITIONS[other]} {interval_cell(found)}, "
                    f"there {theirs[one] - theirs[other]:+.1f}"
                )


def _difference(
    records: Sequence[Record],
    one: str,
    other: str,
    measure: str,
    objective: str = "disentangled",
) -> Interval | None:
    return paired(records, (one, objective), (other, objective), FORGETTING_MEASURES[measure])


# ---- sweeps --------------------------------------------------------------------------------------


def sweep(folder: Path) -> list[Record]:
    """The raw files of a sweep, each with its condition and objective."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    if len({record["code"] for record in found}) > 1:
        raise RunError(f"{folder} holds results of different code. Run its command again.")
    return [
        {
            **record,
            "condition": record["preset"].split("+")[1],
            "objective": OBJECTIVES["entangled" in record["preset"].split("+")],
        }
        for record in found
    ]


def long_section() -> list[str]:
    """The order of the published choices in a run that is long enough for their masks."""
    records = sweep(RESULTS / "published" / "long")
    if not records:
        return []
    rows = [
        [
            CONDITIONS[each],
            *(spread([measure(r) for r in own]) for measure in MEASURES.values()),
            *(f"{paper('disentangled', name)[each]:+.1f}" for name in ("change", "MSE change")),
        ]
        for each in ("cci", "sd", "sda")
        if (own := list(by_seed(records, each, "disentangled").values()))
    ]
    presets = (f"small+{each}+published+{LONG_STREAM}" for each in ("cci", "sd", "sda"))
    return [
        "## Four times as long",
        LONG,
        f"    vase sweep {' '.join(presets)} --seeds 5 --out results/published/long",
        table(["condition", *MEASURES, "the paper: change", "the paper: MSE change"], rows),
        "\n".join(orders(records, "Published choices, four times as long")),
    ]


def length_section() -> list[str]:
    """Ours at the length of the paper's runs, beside the same with the former detector."""
    now = read_ablations(RESULTS / "published" / "paper-length")
    if not now:
        return []
    former = read_ablations(RESULTS / "ablate" / "poster")
    before = list(by_seed(former, "sda", "disentangled").values())
    rows = [
        [label, str(len(own)), *(spread(measure(r) for r in own) for measure in MEASURES.values())]
        for label, own in (("ours", now), ("ours, before", before))
    ]
    theirs = [
        f"{paper('disentangled', name)['sda']:.1f}" if name in HEADLINE_MEASURES else "–"
        for name in MEASURES
    ]
    rows.append(["the paper", "", *theirs])
    return [
        "## Ours at the paper's length",
        LENGTH,
        "    vase ablate --scale poster --conditions sda --objectives disentangled --seeds 1 "
        "--out results/published/paper-length",
        table(["VASE (SDA)", "seeds", *MEASURES], rows),
    ]


def line_of(record: Record) -> tuple[str, bool]:
    """Whether a run has masks ("VASE" or "SD"), and whether its choices are published ones."""
    settings = record["config"]
    masks = settings["masks"]["enabled"]
    return ("VASE" if masks else "SD"), settings["model"]["encoder"] == "convolutional"


def share_of(record: Record) -> float:
    """Replayed images per present image; 0 without replay."""
    replay = record["config"]["replay"]
    return float(replay["ratio"]) if replay["enabled"] else 0.0


def domains_of(record: Record) -> float:
    """How many domains a run saw."""
    return float(len(record["config"]["stream"]["schedule"]))


Points = Mapping[tuple[str, bool], Mapping[float, Mapping[int, float]]]


def points(records: Sequence[Record], at: Callable[[Record], float], measure: Measure) -> Points:
    """A measure by line, by place on the axis, and by seed."""
    found: dict[tuple[str, bool], dict[float, dict[int, float]]] = {}
    for record in records:
        by_place = found.setdefault(line_of(record), {})
        by_place.setdefault(at(record), {})[record["seed"]] = measure(record)
    return found


def of_table(records: Sequence[Record]) -> list[Record]:
    """The runs of a table that belong to the curve over the share of replay."""
    wanted = {"s", "sa", "sd", "sda"}
    return [r for r in records if r["condition"] in wanted and r["objective"] == "disentangled"]


@style.styled
def figure(shares: Points, domains: Points) -> Figure:
    """Forgetting of identity against the share of replay, and against the number of domains."""
    picture = Figure(figsize=(style.FULL, 3.6), layout="constrained")
    left, right = picture.subplots(1, 2, sharey=True)
    places = {share: k for k, share in enumerate(sorted(SHARES))}
    _lines(left, shares, lambda share: places[share])
    left.set_xticks(range(len(places)), [SHARES[share] for share in places])
    left.set_xlabel("replayed images per present image")
    left.set_ylabel("frozen identity, change in points")
    left.set_title("The scarcer the replay")
    places = {float(count): k for k, count in enumerate(DOMAINS.values())}
    _lines(right, domains, lambda count: places[count])
    right.set_xticks(range(len(places)), [str(count) for count in DOMAINS.values()])
    right.set_xlabel("domains, one after the other")
    right.set_title("The more domains")
    handles, labels = left.get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=4)
    return picture


def _lines(axes: Axes, found: Points, place: Callable[[float], float]) -> None:
    for (name, published), by_place in sorted(found.items()):
        colour = style.PALETTE[name == "VASE"]
        shift = 0.04 * ((name == "VASE") - 0.5)
        where = sorted(by_place)
        means = [float(np.mean(list(by_place[each].values()))) for each in where]
        line = "-" if published else (0, (4, 2))
        label = f"{name}, {'published choices' if published else 'ours'}"
        axes.plot([place(w) + shift for w in where], means, ls=line, color=colour, label=label)
        for each in where:
            values = list(by_place[each].values())
            axes.plot(
                [place(each) + shift] * len(values), values, "o", ms=2.5, color=colour, alpha=0.5
            )
    axes.axhline(0, color=style.QUIET, lw=0.7)
    axes.grid(axis="y")


def worth_of_masks(found: Points, head: str, labels: Mapping[float, str]) -> str:
    """VASE minus SD, paired by seed, at every place of a curve, and of how many seeds that is."""
    rows = []
    for place, label in labels.items():
        gains = [_gains(found, published, place) for published in (True, False)]
        if any(gains):
            cells = [interval_cell(interval(each)) if each else "–" for each in gains]
            rows.append([label, " and ".join(str(len(each)) for each in gains), *cells])
    return table([head, "seeds", "published choices", "ours"], rows)


def _gains(found: Points, published: bool, place: float) -> list[float]:
    """VASE minus SD of every seed that both have at a place."""
    first, second = (found.get((name, published), {}).get(place, {}) for name in ("VASE", "SD"))
    return [first[seed] - second[seed] for seed in sorted(set(first) & set(second))]


def replay_section(published: Sequence[Record], ours: Sequence[Record]) -> list[str]:
    """What masks are worth when replay is scarce, and when there are many domains."""
    measure = FORGETTING_MEASURES[IDENTITY]
    folder = RESULTS / "published"
    shown = sweep(folder / "share"), sweep(folder / "domains")
    if not all(shown):
        return []
    at_share = [*of_table(published), *of_table(ours), *shown[0]]
    shares = points(at_share, share_of, measure)
    domains = points(shown[1], domains_of, measure)
    FIGURE.write_bytes(style.png(figure(shares, domains)))
    return [
        "## What masks are worth when replay is scarce",
        COMMANDS,
        f"![Forgetting against the share of replay, and the domains](images/{FIGURE.name})",
        "Points of frozen identity that VASE keeps more than SD, paired by seed, with 95 % "
        "intervals; a difference without one is of a single seed. With replay of 1/2 and with none "
        "the runs are those of SD, VASE, S and SA in the table above:",
        worth_of_masks(shares, "replayed images per present image", SHARES),
        worth_of_masks(domains, "domains", {float(n): str(n) for n in DOMAINS.values()}),
    ]


# ---- first weights, doubt ------------------------------------------------------------------------


def first_weights_section() -> list[str]:
    """What the window's hints are worth."""
    records = sweep(RESULTS / "published" / "first-weights")
    if not records:
        return []
    rows = []
    kinds = {
        ("window", "window"): "as they are",
        ("first_weights:DrawnEncoder", "window"): "the encoder's drawn",
        ("window", "first_weights:DrawnDecoder"): "the decoder's drawn",
        ("first_weights:DrawnEncoder", "first_weights:DrawnDecoder"): "both drawn",
        ("convolutional", "convolutional"): "no window: plain convolutional networks",
    }
    names = ("identity max %", "change", "MSE min 1e-4", "MSE change")
    for networks, label in kinds.items():
        for kind, objective in (("capacity", "disentangled"), ("vae", "entangled")):
            own = [
                r
                for r in records
                if (r["config"]["model"]["encoder"], r["config"]["model"]["decoder"]) == networks
                and r["config"]["objective"]["kind"] == kind
            ]
            if own:
                cells = [spread([MEASURES[name](r) for r in own]) for name in names]
                mig = [_first_mig(r) for r in own]
                rows.append([label, objective, *cells, spread(mig, 2), str(len(own))])
    return [
        "## What the window's first weights are worth",
        "The encoder of this package begins by looking at what is not empty, and the first two "
        "latents begin by moving the decoder's window ([the networks](method.md)). Here these "
        "weights are drawn like all others, on the canvas of `small`.",
        "    PYTHONPATH=benchmarks vase sweep small+sda small+sda+entangled "
        "model.encoder=window,first_weights:DrawnEncoder "
        "model.decoder=window,first_weights:DrawnDecoder "
        "--seeds 3 --out results/published/first-weights\n"
        "    vase sweep small+sda small+sda+entangled model.encoder=convolutional "
        "model.decoder=convolutional --seeds 3 --out results/published/first-weights",
        table(["first weights", "objective", *names, "MIG, moving-fashion, end", "seeds"], rows),
    ]


def _first_mig(record: Record) -> float:
    found = record["timeline"][-1]["domains"]["moving-fashion"].get("disentanglement")
    return float(found["mig"]) if found else math.nan


def doubt_section() -> list[str]:
    """Where the variance of the posterior says that an image is ambiguous."""
    path = RESULTS / "published" / "doubt.json"
    if not path.is_file():
        return []
    runs: list[Mapping[str, Any]] = read_json(path)["runs"]
    head = ["path", *(f"{choices}: {what}" for choices in ("published", "ours") for what in (
        "posterior", "over environments", "entropy", "decided"
    ))]  # fmt: skip
    rows = [
        [
            name,
            *(
                cell
                for published in (True, False)
                for cell in _doubt_cells(
                    [
                        r["kinds"][name]
                        for r in runs
                        if r["published"] == published and name in r["kinds"]
                    ]
                )
            ),
        ]
        for name in dict.fromkeys(name for r in runs for name in r["kinds"])
    ]
    return [
        "## Doubt",
        DOUBT,
        "    vase sweep small+sda small+sda+published --seeds 3 --keep --out runs/doubt\n"
        "    python benchmarks/doubt.py runs/doubt/runs/* --out results/published/doubt.json",
        "![Paths between two images, and the variance along them](images/doubt.png)",
        _doubted(runs),
        table(head, rows),
    ]


def _doubted(runs: Sequence[Mapping[str, Any]]) -> str:
    """On which paths the variance in the middle is at least twice both ends' in every seed."""
    said = []
    for published, name in ((True, "published choices"), (False, "ours")):
        own = [r["kinds"] for r in runs if r["published"] == published]
        kinds = [
            kind
            for kind in dict.fromkeys(kind for each in own for kind in each)
            if all(kind in each and min(each[kind]["posterior"]["ratios"]) >= 2 for each in own)
        ]
        said.append(f"{name}: {', '.join(kinds) or 'on none'}")
    return f"At least twice that at both ends in every seed, {'; '.join(said)}."


def _doubt_cells(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ratio to the less sure end, of each seed, and how decided reconstructions are."""
    if not found:
        return ["–"] * 4
    ratios = [
        ", ".join(_marked(min(each[of]["ratios"])) for each in found)
        for of in ("posterior", "over environments")
    ]
    entropy = spread([each["entropy"] for each in found], 2)
    return [*ratios, entropy, spread([100 * each["decided"] for each in found], 0)]


def _marked(ratio: float) -> str:
    return f"**{ratio:.1f}**" if ratio >= 2 else f"{ratio:.1f}"


DOUBT = (
    'The poster: "presented with ambiguous stimuli our model expresses uncertainty through '
    'feature variance, but can reconstruct them without ambiguity". Along paths from one image to '
    "another: the variance in the middle over that at the *less* sure end, summed over the latents "
    "in use, a figure for each seed, bold from 2 on; of the posterior q(z|x) and of the mixture "
    "over environments. *Entropy*: of the pixels of the reconstructions in the middle over that at "
    "the less clear end; at 1 and less they are as clear as there. *Decided*: percent of "
    "reconstructions in the middle that are three times nearer to one end's than to the other's."
)


# ---- the page ------------------------------------------------------------------------------------


def page() -> str:
    """docs/published.md."""
    published, ours = (
        read_ablations(RESULTS / name) for name in ("ablate/small-published", "published/ours")
    )
    streams = [[r["config"]["stream"] for r in records[:1]] for records in (published, ours)]
    if published and streams[0] != streams[1]:
        ours = []  # of another stream: they cannot stand beside these
    parts = [
        "# The published method beside this one",
        INTRODUCTION,
        *table_section(published, ours),
        *long_section(),
        *length_section(),
        *replay_section(published, ours),
        *first_weights_section(),
        *doubt_section(),
    ]
    return "\n\n".join(parts) + "\n"


def _presets(stream: str) -> list[str]:
    """The presets of a sweep over a stream."""
    return [f"small+{each}+{STREAMS}{stream}.toml" for each in COMPARED]


COMMANDS = "\n".join(
    [
        "    vase sweep small+sd small+sda small+sd+published small+sda+published "
        "replay.ratio=0.125,0.03125 --seeds 5 --out results/published/share",
        *(
            f"    vase sweep {' '.join(_presets(name))} --seeds 5 --out results/published/domains"
            for name in DOMAINS
        ),
    ]
)

LONG = (
    "The same order where every domain has four times the steps of `small`, and C grows by 0.0025 "
    "nats a step, to 24 at the end of the first: closer to the paper's figures."
)

LENGTH = (
    "The preset `poster`: a canvas of 64 x 64, three domains of 15,000 steps of 64 images. "
    "*Before*: with the change detector that was removed. The paper does not say which readout its "
    "figures are of."
)

TABLE = (
    "{} runs on a canvas of 32 x 32, {:.1f} hours of one core. Mean and standard deviation over "
    "seeds. *Refitted* readouts are fitted again at every milestone, *frozen* ones once, when "
    "their domain was last present; *change* is the end minus the best. The paper does not say "
    "which readout it uses, nor the unit of its MSE."
)

INTRODUCTION = (
    "Where this package chooses differently from the paper, and where the paper leaves the choice "
    "open, there is a setting with both values ([the list](method.md#as-published-and-here)); the "
    "part `published` makes the published choices together. This page shows what they give, what "
    "each part of the method is worth under either, and what doubt looks like. It is generated "
    "from the raw files in `results/` by `python benchmarks/published_page.py`."
)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
