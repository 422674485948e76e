"""docs/reliability.md, from what the benchmarks of reliability have found.

    python benchmarks/reliability_page.py

What has not been run to its end (results/fuzz.json by `make fuzz`, results/soak.json by `make
soak`, results/mutation.json by `make mutation`) is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
RESULTS, PAGE = HOME / "results", HOME / "docs" / "reliability.md"
RAW, FUZZ, SOAK, ATTACKS, MUTATION, EQUIVALENT, FAULTS, MONTH, COST = (
    RESULTS / f"{name}.json"
    for name in (
        *("reliability", "fuzz", "soak", "attacks", "mutation", "mutation-equivalent"),
        *("watch-faults", "watch-month", "watch-cost"),
    )
)
STEPS = 24  # of a run that is disturbed


def write() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(PAGE)


def page() -> str:
    """docs/reliability.md, from what was found."""
    kills = "\n".join(
        f"| {each['name']} | {each['struck']} | {each['struck'] - each['lost']} | "
        f"{each['lost']} | {each['speechless']} |"
        for each in read(RAW)
    )
    fuzz = FUZZED.format(rows=fuzzed()) if FUZZ.is_file() else ""
    soak = SOAKED.format(rows=soaked()) if SOAK.is_file() else ""
    attacks = "\n".join(
        f"| {each['attack']} | {each['tried']} | {each['withstood']} |" for each in read(ATTACKS)
    )
    mutation = MUTATED.format(**mutated()) if MUTATION.is_file() else ""
    watch = WATCHED.format(**watched()) if FAULTS.is_file() and MONTH.is_file() else ""
    return TEXT.format(
        steps=STEPS, kills=kills, fuzz=fuzz, soak=soak, attacks=attacks, mutation=mutation,
        watch=watch,
    )  # fmt: skip


def read(path: Path) -> Any:
    """What a benchmark has found."""
    return json.loads(path.read_text())


def fuzzed() -> str:
    """A line for each reader: cases at random and guided, and what came of them."""
    lines = []
    for name, found in read(FUZZ).items():
        tallies = [Counter(found[way]) for way in ("random", "guided")]
        came = sum(tallies, Counter())
        counts = [tally["cases"] for tally in tallies]
        counts += [came[key] for key in ("understood", "refused", "crashed")]
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines)


def mutated() -> dict[str, str]:
    """A line for each module: mutants, killed, equivalent; and why those are."""
    found = read(MUTATION)["modules"]
    rows = [
        [name.removeprefix("vase."), *(each.get(key, 0) for key in ("mutants", "killed",
         "equivalent", "words", "untried"))] for name, each in found.items() if each.get("mutants")
    ]  # fmt: skip
    rows.append(["**all**", *(sum(row[k] for row in rows) for k in (1, 2, 3, 4, 5))])
    lines = [
        f"| {name} | {tried:,} | {killed:,} | {equal:,} | {words:,} | "
        f"{tried - killed - equal - words:,} | "
        f"{100 * killed / max(1, tried - equal - words):.1f} % | {untried:,} |"
        for name, tried, killed, equal, words, untried in rows
    ]
    reasons = Counter(each["reason"] for each in read(EQUIVALENT))
    why = [f"- {count} x {reason}" for reason, count in reasons.most_common()]
    return {"rows": "\n".join(lines), "reasons": "\n".join(why)}


def watched() -> dict[str, Any]:
    """What a hundred faults and a month did to a watch."""
    faults, months = read(FAULTS), read(MONTH)
    rows = [
        f"| {name} | {count} | {count - faults['missed'].get(name, 0)} |"
        for name, count in faults["struck"].items()
    ]
    wrong = ("lost", "unknown", "gaps", "differ")
    figures = [
        f"| {name} | {month['frames']:,} | {month['noticed']} of {month['changes']} | "
        f"{month['delay_median_s']:.0f}, worst {month['delay_worst_s']:.0f} | "
        f"{month['returns_known']} of {month['returns']} | {month['false_first_day']} | "
        f"{month['false_later']} | {month['between_pieces']} |"
        for name, month in months.items()
    ]
    learns, looks = read(COST)
    third, last = (months["clouds"]["kept"][day] for day in (2, -1))
    kept = [
        f"{third[key]:.0f} MB of {what} on the third day and {last[key]:.0f} on the last"
        for key, what in (("memory_mb", "memory"), ("files_mb", "files"))
    ]
    return {
        "rows": "\n".join(rows),
        "months": "\n".join(figures),
        "kept": ", ".join(kept),
        "learns": f"{learns['share']:.1%}",
        "looks": f"{looks['share']:.1%}",
        "dropped": int(learns["dropped"] + looks["dropped"]),
        "again": faults["sent_again"],
        "events": faults["events"],
        "wrong": ", ".join(f"{faults[name]} {WRONG[name]}" for name in wrong),
    }


def soaked() -> str:
    """A line for each thing that might have grown, and for what is told of each domain."""
    found = read(SOAK)
    blocks = found["blocks"]
    tenth, end = blocks[len(blocks) // 10 - 1], blocks[-1]
    rows = [
        ("resident memory, MiB", f"{tenth['resident_mib']:.0f}", f"{end['resident_mib']:.0f}"),
        ("processor time of a step, ms", *(f"{found['time'][at]:.2f}" for at in ("tenth", "end"))),
        ("files of the run, MiB", f"{tenth['files_mib']:.1f}", f"{end['files_mib']:.1f}"),
        ("environments known", str(tenth["environments"]), str(end["environments"])),
    ]
    for name, domain in found["domains"].items():
        for key, title, form in (
            ("identity", "identity told right", "{:.1%}"),
            ("position_mse", "squared error of the position", "{:.4f}"),
            ("reconstruction_nats", "nats of reconstruction", "{:.1f}"),
        ):
            both = [domain[at][key] for at in ("tenth", "end")]
            if isinstance(both[0], dict):
                both = [scores["mlp"] for scores in both]
            if both[0] is not None:
                rows.append((f"{name}: {title}", *map(form.format, both)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


FUZZED = """## Bytes that cannot be believed

`make fuzz` spoils what was whole: bytes are changed, cut out, doubled and put in, at random and
guided by which lines of code they reach. In a forged checkpoint the checksum is right and the
record or a tensor is not. "Understood" is whatever is read without complaint, for a spoilt pixel
is a pixel; everything else must be refused in a sentence.

| reader of | cases at random | guided | understood | refused | crashed |
|---|---|---|---|---|---|
{rows}

"""

SOAKED = """## A million steps

`make soak` trains a small model on three domains that take turns every 500 steps. Nothing may grow,
and what the latents tell may not get worse.

| | after a tenth | at the end |
|---|---|---|
{rows}

"""

MUTATED = """## Tests that bite

`make mutation` puts one plausible bug after the other into the code (mutmut: signs, dropped
arguments, borders, constants) and runs those tests of the same part that reach it. Killed are those
that a test fails for, that never end, or that mypy refuses. Equivalent are those that change
nothing that could be noticed, each with its reason below. Wording is what a message says to a
person, which no test spells out; neither counts. Survivors are named in results/mutation.json. Of
some modules a share is tried, drawn by name: the last column has the rest. Modules that are not in
the table were not tried yet.

| module | tried | killed | equivalent | wording | survive | killed, of those that count | left |
|---|---|---|---|---|---|---|---|
{rows}

Equivalent:

{reasons}

"""

WRONG = {
    "lost": "lost",
    "unknown": "that the journal does not know",
    "gaps": "gaps in their numbers",
    "differ": "of one id and different text",
}
WATCHED = """## A watch

`benchmarks/watch_faults.py` runs [`vase watch`](watch.md) on a camera in the network. It changes
the scene, does one of the following at most three seconds later, and waits until the watch reports
the change.

| what was done | times | the change was told |
|---|---|---|
{rows}

Events in its journal: {events}. Of those that the webhook received: {wrong}. Sent again with the
same id, since the answer to the first time never came: {again}.

`benchmarks/watch_month.py` shows a month to it, a frame a second: by day one place, by night
another. Under clouds the light wanders about as much every hour. Under a sun noon never looks like
morning: that it gets an environment of its own is right for the change detector, and a false alarm
for whoever cares for the lamp alone. On the first day the watch does not know yet how slowly clouds
move. One false alarm in ten days was allowed, and so three in the month. "Between" are false alarms
that took one piece of the same half of the day for another.

| light | frames | changes told | after, s | returns known | false, first day | later | between |
|---|---|---|---|---|---|---|---|
{months}

Memory and files: {kept}.

`benchmarks/watch_cost.py` measures what it takes: at ten frames a second of 64 x 64 in colour, over
a change, {learns} of one processor while it learns and {looks} without learning; frames dropped:
{dropped}.

"""

TEXT = """# Reliability

<!-- Made by `make reliability` from the raw files in results/. -->

## Kills and failing disks

A run that is killed goes on with `vase resume`, and ends as if it had never been: same weights,
events, metrics and milestones, byte for byte on a CPU. A disk that is full, failing or read-only
ends it with a sentence, and it goes on likewise once there is room. That is tried, not only meant:
`make reliability` disturbs runs of {steps} steps that log every second step, save every fifth and
thin their log out twice. "Inside a write" is half way through each single write, and before each
single sync and rename.

| what was done | times | recovered | lost | ended without a sentence |
|---|---|---|---|---|
{kills}

{fuzz}{soak}{watch}{mutation}## Attacks

Who may send what to which door is in the [threat model](threat-model.md). `make attacks` tries it:
each attack is refused in a sentence, does no harm, or is cut off, and what it should have harmed
is as it was.

| attack | tried | withstood |
|---|---|---|
{attacks}

## What guards a run

- **One file, one rename.** A checkpoint is written beside the old one, synced, and put in its
  place. The one before it is kept as `checkpoint-earlier.safetensors`; if a disk gives back other
  bytes than it was given, the checksum tells, and `vase resume` says so and goes on from there.
- **`vase check RUN`** reads and verifies settings, checkpoints, milestones, logs and measurements,
  and says what the run wants of this machine; every other command checks what it reads likewise.
- **One writer.** A second process that would train the same run is refused; the lock is given back
  when a process ends, however it ends.
- **No number that is none.** A batch with NaN or infinity in its loss, its gradient, or the images
  of a domain is left out, the weights being as they were (event `skipped`); eight in a row end the
  run with a sentence. In arrays of your own and in `partial_fit` such values are refused at once.
- **No byte is believed.** Every reader of files (settings, logs, checkpoints with a right checksum
  and an odd content, arrays, images, data sets) is given spoilt ones, 200 cases each in the tests
  and 10,000 by `make fuzz`: understood, or refused in a sentence. A header that promises terabytes,
  an image that would fill the memory, a file that is nested too deep are refused at once.
- **No pickle** is read or written; a test looks.
- **Bounded files.** `metrics.jsonl` keeps at most 10,000 lines, `milestones/` at most 100 files.
- **What is installed is what was tested.** `make` installs wheels held to hashes (`locks/`, made
  again by `make lock`), build backends and tools too; `make audit` lists known weaknesses, and
  `make package` writes a bill of materials. Data sets are held to pinned SHA-256 sums, wherever
  they come from, and nothing that is fetched runs.
- **The explorer** listens on this machine alone unless told otherwise, and then wants a token; it
  takes one image of 13 megapixels a request, has time-outs, and serves no files.
- **Files are the user's**: what is written has the mode that the umask leaves, and no wider one
  than it had.
"""


if __name__ == "__main__":
    write()
