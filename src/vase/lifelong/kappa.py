"""The published rule, for comparison: asked at every batch, it knows no false-alarm rate.

A batch is of environment s, the environment head's best guess, if s reconstructs it within kappa
times the loss last recorded for s, and if the typical latents are the mask of s; else it is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vase.lifelong.memory import Environment
from vase.objective.atypicality import typical
from vase.records import Verdict, VerdictKind


@dataclass(frozen=True)
class Guess:
    """The head's best guess, the batch's distortion in it in nats per image, and alpha [N].

    fresh: the index that a new environment would have.
    """

    environment: Environment
    distortion: float
    alpha: NDArray[np.float64]
    current: int
    fresh: int


@dataclass(frozen=True)
class KappaRule:
    """kappa: the factor. atypical: lambda, in nats."""

    kappa: float = 1.5
    atypical: float = 0.5

    def identify(self, guess: Guess) -> Verdict:
        """A verdict of kind "same", "back" or "new"."""
        index = guess.environment.index
        recorded = float(guess.environment.moments.mean[-2])
        agree = np.array_equal(typical(guess.alpha, self.atypical), guess.environment.mask)
        reason = (
            f"the best guess, environment {index}, costs {guess.distortion:.0f} nats against "
            f"{recorded:.0f} on record, and the masks {'agree' if agree else 'differ'}"
        )
        numbers = {
            "guess": index,
            "loss_nats": round(guess.distortion, 2),
            "recorded_nats": round(recorded, 2),
            "kappa": self.kappa,
            "masks_agree": agree,
        }
        if guess.distortion > self.kappa * recorded or not agree:
            return Verdict("new", guess.fresh, f"new, since {reason}", numbers)
        kind: VerdictKind = "same" if index == guess.current else "back"
        return Verdict(kind, index, f"environment {index}, since {reason}", numbers)
