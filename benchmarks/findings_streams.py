"""What to take from exploring and from change detection, and what is missing: a bullet per finding.

Every figure is from the raw files, as in `findings.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from findings import bullet, cells, extremes, listed, presets
from preset_page import seeds

from vase.agent.policies import IMAGINATION, POLICIES
from vase.bench import exploration, frame_detectors, frame_page
from vase.bench import page as detect
from vase.bench.ablation import CONDITIONS, OBJECTIVES, SCALES
from vase.bench.ablation_page import PAPER_TABLE, by_seed, read_ablations
from vase.bench.detectors import RIVER

EXPLORED = ("explore", "explore-tinted", "explore-rooms")
ERRORS = ("missed", "false")
NOTHING = "nothing"  # the policy that stays where it is


# ---- exploring -----------------------------------------------------------------------------------


def explored(folder: Path) -> list[str]:
    """Return how well agents do what they imagine, and what it is worth."""
    return [each for name in EXPLORED for each in _explored(folder / name)]


def _explored(folder: Path) -> list[str]:
    records = exploration.read_records(folder)
    if not records:
        return []
    (goals, *_), rows = (
        cells(each(records)) for each in (exploration.goal_table, exploration.zero_shot_table)
    )
    seen = {row["policy"]: row["coverage, %"] for row in rows}
    others = [policy for policy in POLICIES if policy != IMAGINATION]
    said = [
        f"Agents reach {goals['reached, %']} % of imagined places, "
        f"{goals['in twice the min. steps, %']} % within twice the fewest steps, and see "
        f"{seen[IMAGINATION]} % of all places ("
        f"{', '.join(f'{each} {seen[each]}' for each in others)}).",
        *_worth(records, others),
    ]
    return bullet(f"Exploring by imagination, `{folder.name}` ({seeds(len(records))})", said)


def _worth(records: Sequence[exploration.Record], others: list[str]) -> Iterator[str]:
    """Yield, per unseen domain, what is read of it after exploring, beside other policies."""
    shot = cells(exploration.zero_shot_table(records))
    ratios, error = cells(exploration.error_ratio_table(records)), "its error over imagination's"
    for domain in dict.fromkeys(row["unseen domain"] for row in ratios):
        after = {row["policy"]: row for row in shot if row["unseen domain"] == domain}
        worse = {row["policy"]: row for row in ratios if row["unseen domain"] == domain}
        own = after[IMAGINATION]
        told = (f"{each} {worse[each][error]}, {after[each]['identity, %']} %" for each in others)
        yield (
            f"Then {domain}, never seen, is read with an MSE of position of "
            f"{own['position MSE, 1e-4']} (1e-4) and {own['identity, %']} % of identity. Errors of "
            f"other policies over this one, and their identity: {'; '.join(told)}. Where the "
            f"latents that the model masks are left out, the error after {NOTHING} is "
            f"{worse[NOTHING]['masked']} times the error after {IMAGINATION}."
        )


# ---- change detection ----------------------------------------------------------------------------


def hard_streams(folder: Path) -> list[str]:
    """Return what is noticed on streams made to be hard, and by whom."""
    jobs = detect.read(folder / "detect")
    short = [record for record in jobs if "forgetting" not in record]
    suite = [record for record in jobs if "forgetting" in record]
    return bullet("Hard streams", [*_suite(suite), *_short(short)])


def _suite(records: Sequence[detect.Record]) -> Iterator[str]:
    """Yield what is noticed and forgotten in the long suite."""
    if records:
        scores = detect.pooled(records, detect.OURS)
        summaries = [record["forgetting"]["summary"]["identity"] for record in records]
        mlp, frozen = (
            f"{100 * np.mean([each[readout]['change'] for each in summaries]):+.1f}"
            for readout in ("mlp", "frozen")
        )
        yield (
            f"In the long suite ({seeds(len(records))}) `{records[0]['rule']}` misses "
            f"{scores['missed']} of {scores['switches']} switches, raises {scores['false']} false "
            f"alarms and re-identifies {detect.returns_known(records)} of {scores['returns']} "
            f"returns; its delay is {scores['delay_median']:.0f} batches in the median and "
            f"{scores['delay_worst']:.0f} at worst. Identity changes by {mlp} points with a "
            f"refitted MLP and by {frozen} with a frozen one."
        )


def _short(records: Sequence[detect.Record]) -> Iterator[str]:
    """Yield what is noticed on the other streams, and what others notice there."""
    if not records:
        return
    rows = {row["detector"]: row for row in cells(detect.detector_table(records))}
    published = rows[detect.NAMES["published"]]
    ours = rows[detect.NAMES[detect.OURS].strip("*")]
    river = [rows[name] for drift in RIVER if (name := f"{drift.name} on {drift.on}") in rows]
    yield (
        f"On the other streams it misses {ours['missed']} of {ours['switches']} switches, raises "
        f"{ours['false']} false alarms and re-identifies {ours['returns re-identified']} of the "
        f"returns; the published rule misses {published['missed']} of "
        f"{published['switches']} switches and raises {published['false']} false alarms; river's "
        f"detectors miss {extremes(row['missed'] for row in river)} and raise "
        f"{extremes(row['false'] for row in river)}, at a median delay of "
        f"{extremes(row['delay, batches: median'] for row in river)} batches."
    )


def frames(folder: Path) -> list[str]:
    """Return what is noticed in consecutive frames."""
    records = frame_page.read(folder / "frames")
    tables, hostile = dict(frame_page.tables(records)), [r for r in records if r.get("expected")]
    rule = frame_detectors.OURS
    streams = cells(tables.get(frame_page.BY_STREAM, ""))
    wrong = [row for row in streams if any(int(row[key].replace(",", "")) for key in ERRORS)]
    right = [record["detectors"][rule]["as_expected"] for record in hostile]
    said = [
        f"`{rule}` makes no error on {len(streams) - len(wrong)} of {len(streams)} streams, "
        f"and does what it should in {sum(right)} of {len(right)} runs with disturbed cameras."
    ]
    if wrong:
        told = (
            f"{row['stream'].split(':')[0]} {' + '.join(row[key] for key in ERRORS)} of "
            f"{row['changes']} changes"
            for row in wrong
        )
        said.append(f"Its errors (missed + false): {'; '.join(told)}.")
    return bullet("Consecutive frames", said if records else [])


# ---- what is missing -----------------------------------------------------------------------------


def not_done(folder: Path) -> list[str]:
    """Return of what there is a single seed, and of what there are no raw files."""
    said = [
        f"`{preset}` has seed {found[0].seed} only."
        for preset, found in presets(folder)
        if len(found) == 1
    ]
    for scale in SCALES:
        records = read_ablations(folder / "ablate" / scale)
        absent = {
            each: [CONDITIONS[row] for row in PAPER_TABLE[each] if not by_seed(records, row, each)]
            for each in OBJECTIVES
        }
        rows = [f"{each} {listed(names)}" for each, names in absent.items() if names]
        if rows:
            said.append(f"Scale `{scale}` lacks rows of the paper's table: {'; '.join(rows)}.")
    if missing := [name for name in EXPLORED if not exploration.read_records(folder / name)]:
        said.append(f"There are no raw files of {listed(missing)}.")
    return bullet("Not done", said)
