"""Formats the numbers, tables and sentences of the page from the run's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vase.report.latents import latent_rows
from vase.report.readouts import signed
from vase.report.run import Record, RunRecords

READOUTS = {"linear": "linear", "mlp": "MLP", "frozen": "frozen"}


@dataclass(frozen=True)
class Card:
    """One big number: what it is, its value, and a line below it."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class SummaryRow:
    """One line of the table of readouts. `whole`: a mean over domains rather than one domain."""

    quantity: str
    domain: str
    readout: str
    best: str
    end: str
    change: str
    whole: bool


def cards(run: RunRecords, latents: Record) -> list[Card]:
    """Four to six numbers that say how the run went; fewer before it was probed."""
    shown = [
        _environments_card(run),
        *(_probe_cards(run.probes) if run.probes else []),
        _latents_card(latents),
    ]
    return [card for card in shown if card]


def _environments_card(run: RunRecords) -> Card:
    detection = (run.probes or {}).get("detection", {})
    note = "found / true"
    if detection.get("returns"):
        back = f"{detection['returns_recognised']} of {detection['returns']}"
        note = f"{note}; {back} returns recognised"
    return Card(
        "Environments",
        f"{len(run.environments)} / {len(run.domains)}",
        note,
    )


def _probe_cards(probes: Record) -> list[Card | None]:
    detection, summary = probes.get("detection") or {}, probes.get("summary") or {}
    return [
        _false_alarms_card(detection, probes),
        _delay_card(detection),
        _identity_card(summary.get("identity") or {}),
        _position_card(summary.get("position_mse") or {}),
    ]


def _false_alarms_card(detection: Record, probes: Record) -> Card | None:
    if "false_alarms" not in detection:
        return None
    note, kept = f"in {probes['steps']:,} batches", detection.get("dismissed", 0)
    if kept:
        note = f"{note}; {counted(kept, 'suspicion')} weighed and dropped"
    return Card("False alarms", str(len(detection["false_alarms"])), note)


def _delay_card(detection: Record) -> Card | None:
    switches, delay = len(detection.get("switches", [])), detection.get("mean_delay")
    if not switches:
        return None
    seen = sum(switch["detected_at"] is not None for switch in detection["switches"])
    value = "–" if delay is None else f"{delay:.1f}"
    note = f"batches, mean; {seen} of {counted(switches, 'switch')} noticed"
    return Card("Detection delay", value, note)


def _identity_card(summary: Record) -> Card | None:
    if "mlp" not in summary or summary["mlp"].get("max") is None:
        return None
    best = summary["mlp"]["max"]
    change = points(summary["mlp"].get("change"))
    return Card("Object identity", percent(best), f"at best; {change} points at the end")


def _position_card(summary: Record) -> Card | None:
    if "mlp" not in summary or summary["mlp"].get("min") is None:
        return None
    best, change = summary["mlp"]["min"], summary["mlp"].get("change")
    note = f"× 10⁻⁴ squared error at best; {_scaled(change, signs=True)} at the end"
    return Card("Position error", _scaled(best), note)


def _latents_card(latents: Record) -> Card:
    used = {latent for domain in latents["domains"] for latent in domain["used"]}
    idle = latents["count"] - len(latent_rows(latents))
    return Card("Latents in use", f"{len(used)} / {latents['count']}", f"{idle} spare for later")


def percent(value: float | None) -> str:
    """A fraction as a percentage."""
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return "–" if value is None else signed(100 * value, 1)


def _scaled(value: float | None, *, signs: bool = False) -> str:
    """A squared error in units of 1e-4."""
    if value is None:
        return "–"
    return signed(1e4 * value, 1) if signs else f"{1e4 * value:.1f}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 switch, 3 switches."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def summary_rows(summary: Mapping[str, Any]) -> list[SummaryRow]:
    """Every readout of identity and position: the means over domains first, then each domain."""
    table = []
    for quantity, best in (("identity", "max"), ("position_mse", "min")):
        for readout, title in READOUTS.items():
            values = (summary.get(quantity) or {}).get(readout) or {}
            parts: dict[str | None, Record] = {None: values, **values.get("domains", {})}
            table += [
                _summary_row(quantity, best, domain, title, part)
                for domain, part in parts.items()
                if part.get(best) is not None
            ]
    domains = list(dict.fromkeys(row.domain for row in table))
    return sorted(table, key=lambda row: (not row.whole, row.quantity, domains.index(row.domain)))


def _summary_row(
    quantity: str, best: str, domain: str | None, readout: str, values: Record
) -> SummaryRow:
    identity = quantity == "identity"
    show = percent if identity else _scaled
    change = values.get("change")
    return SummaryRow(
        quantity="identity, %" if identity else "position, 10⁻⁴",
        domain=domain or "all domains",
        readout=readout,
        best=show(values.get(best)).removesuffix(" %"),
        end=show(values.get("end")).removesuffix(" %"),
        change=points(change) if identity else _scaled(change, signs=True),
        whole=domain is None,
    )


def reason(event: Record) -> str:
    """Why an event happened, with the latents that a new environment masks."""
    masked = (event.get("evidence") or {}).get("masked", [])
    if not masked:
        return str(event["reason"])
    return f"{event['reason']}; masks {', '.join(f'z{latent}' for latent in masked)}"


def translation_rows(pairs: Sequence[Record]) -> list[tuple[str, ...]]:
    """Scores after translation, one row per pair and factor; identity in percent.

    A row: from, to, factor; the score of translated images, of real ones, and shuffled.
    """
    return [
        (
            pair["source"],
            pair["target"],
            "identity, %" if factor == "identity" else f"{factor}, R²",
            *(_factor_score(factor, scores[name]) for name in ("translated", "real", "shuffled")),
        )
        for pair in pairs
        for factor, scores in pair["factors"].items()
    ]


def _factor_score(factor: str, score: float) -> str:
    """Format a score of a factor predictor: a percentage for identity, R^2 otherwise."""
    text = percent(score).removesuffix(" %") if factor == "identity" else f"{score:.3f}"
    return text.replace("-", "\u2212")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def probe_notice(run: RunRecords) -> str:
    """Say which probes are missing or out of date, and how to run them; empty if none are."""
    if not run.probes:
        return (
            "This run has not been probed, so the page does not say what its latents mean and how "
            "much can be read out of them. Add that, and make the page again:"
        )
    probed = run.probes.get("steps", run.steps)
    if probed < run.steps:
        return (
            f"This run was probed at step {probed:,} and has gone on to step {run.steps:,} since. "
            "Probe it again, and make the page again:"
        )
    return ""


def description(run: RunRecords) -> str:
    """What the preset says of itself, with true arrows."""
    return run.config.description.replace("->", "→")


def run_line(run: RunRecords) -> str:
    """Seed, steps, images and time in one line."""
    batch = run.config.stream.batch_size
    parts = [
        f"seed {run.config.training.seed}",
        f"{run.steps:,} steps of {batch} images",
        f"{run.config.model.latents} latents",
    ]
    planned = sum(steps for _, steps in run.config.stream.schedule)
    if run.steps < planned:
        parts.append(f"not finished: {planned:,} steps are planned")
    if run.seconds is not None:
        parts.append(f"{duration(run.seconds)} of training")
    return " · ".join(parts)


def shared_sentence(latents: Record) -> str:
    """Which domains share the latents of position, in words; empty if none do."""
    position = latents.get("position") or {}
    which = position.get("latents") or []
    serve = [
        domain["name"] for domain in latents["domains"] if _mostly(which, _position_latents(domain))
    ]
    off = [domain["name"] for domain in latents["domains"] if _mostly(which, domain["masked"])]
    if len(serve) < 2:
        return ""
    text = f"{listed([f'z{latent}' for latent in which])} carry position in {listed(serve)} alike"
    if not off:
        return f"{text}."
    masked = [set(domain["masked"]) for domain in latents["domains"] if domain["name"] in off]
    them = "they" if all(set(which) <= each for each in masked) else "most of them"
    return f"{text}; {them} are masked in {listed(off)}."


def _position_latents(domain: Record) -> list[int]:
    """The latents that encode a position in a domain."""
    return [int(latent) for latent, text in domain["encodes"].items() if "position" in text]


def _mostly(which: Sequence[int], among: Sequence[int]) -> bool:
    return 2 * len(set(which) & set(among)) > len(which)


def chance_sentence(summary: Mapping[str, Any]) -> str:
    """What guessing would score; empty if that was not measured."""
    chance = summary.get("chance") or {}
    parts = []
    if chance.get("identity") is not None:
        parts.append(f"{percent(chance['identity'])} of identities")
    if chance.get("position_mse") is not None:
        parts.append(f"a position error of {_scaled(chance['position_mse'])}\u00a0×\u00a010⁻⁴")
    return f"Guessing would score {listed(parts)}." if parts else ""


def listed(names: Sequence[str]) -> str:
    """Words in a row: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
