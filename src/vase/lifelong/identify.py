"""Which environment is this? Pure functions of evidence: same, back, or new, and why.

Two rules stand behind one signature, `identify(evidence) -> Verdict`. `KappaRule` is the published
one: the classifier's best guess must reconstruct the batch within kappa times its recorded loss,
and the typical latents must be its mask. `DivergenceRule` compares the pooled suspicious batches
with every known environment's own moments, latents and distortion alike, and asks how far they
are apart in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vase.lifelong.memory import Environment
from vase.objective.atypicality import typical
from vase.objective.moments import Moments, divergence
from vase.records import Verdict, VerdictKind

Array = NDArray[np.float64]
SMALL_LOSS = 10.0  # nats


@dataclass(frozen=True)
class Candidate:
    """A known environment, and how the suspicious images look through its mask and decoder.

    seen: moments of the N + 2 channels of those images. expected: what they should be if the
    environment were this one. belief: mean log q(s|x) of the environment head, in nats.
    """

    environment: Environment
    seen: Moments
    expected: Moments
    belief: float


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: one candidate per known environment, and the latents' alpha [N]."""

    candidates: tuple[Candidate, ...]
    alpha: Array
    current: int
    fresh: int

    @property
    def images(self) -> int:
        return int(self.candidates[0].seen.count)


class IdentificationRule(Protocol):
    """The signature both rules share."""

    def identify(self, evidence: Evidence) -> Verdict:
        """A verdict of kind "kept", "back" or "new"."""
        ...


@dataclass(frozen=True)
class DivergenceRule:
    """The present environment if it fits, else the nearest absent one if it does, else a new one.

    here: nats, summed over channels, within which the present environment is kept; its record is
    fresh, so little is allowed. away: nats within which an absent one counts as back; its record
    has aged with the encoder. resolution: differences below this fraction do not count, in units of
    the prior's standard deviation for latents and of the expected value (at least `SMALL_LOSS`) for
    losses; it keeps a channel that hardly varies from dominating the sum.
    """

    here: float = 0.3
    away: float = 1.0
    resolution: float = 0.1

    def identify(self, evidence: Evidence) -> Verdict:
        distances = {
            candidate.environment.index: self.distances(candidate)
            for candidate in evidence.candidates
        }
        totals = {index: float(parts.sum()) for index, parts in distances.items()}
        found = self._nearest_enough(totals, evidence.current)
        numbers: dict[str, Any] = {
            "images": evidence.images,
            "here_nats": self.here,
            "away_nats": self.away,
            "distance_nats": {str(index): round(total, 4) for index, total in totals.items()},
        }
        told = min(totals, key=lambda index: totals[index]) if found is None else found
        return _verdict(evidence, found, _reason(distances[told], told), numbers)

    def _nearest_enough(self, totals: dict[int, float], current: int) -> int | None:
        """The present one within `here`, else the nearest absent one within `away`, else none."""
        if totals[current] <= self.here:
            return current
        absent = {index: total for index, total in totals.items() if index != current}
        nearest = min(absent, key=lambda index: absent[index], default=None)
        return nearest if nearest is not None and absent[nearest] <= self.away else None

    def distances(self, candidate: Candidate) -> Array:
        """KL( seen || expected ) of latents and distortion in nats, both blurred to `resolution`.

        The rate is left out: it repeats what the latents say, and it rises by itself while an
        environment is away, as others put its spare latents to use.
        """
        expected = candidate.expected
        scale = np.ones_like(expected.mean)
        scale[-2:] = np.maximum(np.abs(expected.mean[-2:]), SMALL_LOSS)
        blur = (self.resolution * scale) ** 2
        every = divergence(_blurred(candidate.seen, blur), _blurred(expected, blur))
        return every[:-1]


@dataclass(frozen=True)
class KappaRule:
    """The published rule: the best guess's loss within kappa of its record, and equal masks."""

    kappa: float = 1.5
    atypical: float = 0.5

    def identify(self, evidence: Evidence) -> Verdict:
        guess = max(evidence.candidates, key=lambda candidate: candidate.belief)
        index = guess.environment.index
        loss, recorded = guess.seen.mean[-2], guess.expected.mean[-2]
        fits = bool(loss <= self.kappa * recorded)
        mask = typical(evidence.alpha, self.atypical)
        agree = bool(np.array_equal(mask, guess.environment.mask))
        numbers = {
            "images": evidence.images,
            "guess": index,
            "loss_nats": round(float(loss), 2),
            "recorded_nats": round(float(recorded), 2),
            "kappa": self.kappa,
            "masks_agree": agree,
        }
        reason = (
            f"the best guess, environment {index}, costs {loss:.0f} nats against {recorded:.0f} "
            f"on record, and the masks {'agree' if agree else 'differ'}"
        )
        return _verdict(evidence, index if fits and agree else None, reason, numbers)


def _verdict(
    evidence: Evidence, found: int | None, reason: str, numbers: dict[str, Any]
) -> Verdict:
    if found is None:
        return Verdict("new", evidence.fresh, f"new, since {reason}", numbers)
    kind: VerdictKind = "kept" if found == evidence.current else "back"
    return Verdict(kind, found, f"environment {found}, since {reason}", numbers)


def _reason(parts: Array, index: int) -> str:
    """An environment's distance, and the channels that make most of it."""
    names = [*(f"latent {n}" for n in range(len(parts) - 1)), "distortion"]
    most = np.argsort(-parts)[:3]
    which = ", ".join(f"{names[k]} {parts[k]:.2f}" for k in most)
    return f"the nearest known is {index} at {parts.sum():.2f} nats ({which})"


def _blurred(moments: Moments, variance: Array) -> Moments:
    return Moments(moments.mean, moments.variance + variance, moments.count)
