"""The published decision, for comparison: asked at every batch, without a false-alarm rate.

A batch is of environment s, the environment classifier's best guess, if s reconstructs it within
kappa times the loss last recorded for s, and if the typical latents are the mask of s; else it is
new (Achille et al. 2018, section 2.3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from vase.detection.protocol import ModelView
from vase.objective.atypicality import atypicality, typical
from vase.records import Decision, DecisionKind
from vase.settings import DetectionSettings


class PublishedDetector:
    """Rule `published`: a new environment where the loss exceeds kappa or the masks differ."""

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        self.kappa, self.model = settings.kappa, model
        self.known = 0

    def update(self, images: Tensor) -> Decision:
        """Compare the batch with the environment that the classifier takes it for."""
        if not self.known:
            self.known = 1
            return Decision("new", 0, "the first images of the stream")
        guess = int(self.model.classify(images).argmax())
        seen, recorded = self.model.evaluate(images, guess), self.model.moments(guess)
        loss, usual = float(seen.mean[-2]), float(recorded.mean[-2])
        mask = self.model.mask(guess)
        found = typical(atypicality(seen)[: len(mask)], self.model.mask_threshold)
        decision = decide(
            guess,
            loss,
            usual,
            masks_agree=np.array_equal(found, mask),
            kappa=self.kappa,
            present=self.model.present,
            known=self.known,
        )
        self.known += decision.kind == "new"
        return decision

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.known = state["known"]


class AtypicalityDetector(PublishedDetector):
    """Rule `atypicality`: a new environment where the masks differ, whatever the loss."""

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        super().__init__(settings, model)
        self.kappa = math.inf


def decide(
    guess: int,
    loss: float,
    usual: float,
    *,
    masks_agree: bool,
    kappa: float,
    present: int,
    known: int,
) -> Decision:
    """Decide "same", "returned" or "new" from the loss in the guessed environment, in nats.

    usual: the loss on record there. present: the present environment. known: how many there are.
    """
    reason = (
        f"the best guess, environment {guess}, costs {loss:.0f} nats against {usual:.0f} on record,"
        f" and the masks {'agree' if masks_agree else 'differ'}"
    )
    numbers = {
        "guess": guess,
        "loss_nats": round(loss, 2),
        "recorded_nats": round(usual, 2),
        "kappa": kappa if math.isfinite(kappa) else None,
        "masks_agree": masks_agree,
    }
    if loss > kappa * usual or not masks_agree:
        return Decision("new", known, f"new, since {reason}", numbers=numbers)
    kind: DecisionKind = "same" if guess == present else "returned"
    return Decision(kind, guess, f"environment {guess}, since {reason}", numbers=numbers)
