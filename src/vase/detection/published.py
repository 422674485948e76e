"""The published decision, for comparison: asked at every batch, without a false-alarm rate.

A batch is of environment s, the environment classifier's best guess, if s reconstructs it within
kappa times the loss last recorded for s, and if the typical latents are the mask of s; else it is
new (Achille et al. 2018, section 2.3).

So it opens an environment at almost every batch. `KappaDetector` keeps its two questions, and asks
them so that the answers last:

- the present environment is asked first, since the classifier has not learnt a new one yet;
- typical latents are compared with those of the environment's own record, and not with its mask:
  what an encoder makes of its own domain moves while it learns;
- a latent has changed where it was typical and is beyond h lambda, or was atypical and is within
  lambda / h (hysteresis);
- images that cost less than 1 / kappa of the record are not of an absent environment either, in
  which nothing can have been learnt since;
- no fewer than `FEWEST` images are judged, small batches together with those before them;
- what does not fit is deferred, and judged once on `min_batches` and `min_images`, pooled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.detection.protocol import ModelView, deferred_batches
from vase.errors import ConfigError
from vase.objective.atypicality import atypicality, typical
from vase.records import Decision, DecisionKind
from vase.settings import DetectionSettings

FEWEST = 32  # images: of fewer the atypicality is large by chance


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


# ---- made to last ------------------------------------------------------------------------------


class KappaDetector:
    """Rule `kappa`: the published questions, asked of pooled batches and with hysteresis."""

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        if settings.kappa < 1 or 2 * settings.min_images > settings.max_pooled_images:
            raise ConfigError(
                "Rule kappa needs detection.kappa of 1 or more, and detection.min_images of at "
                "most half of detection.max_pooled_images, not "
                f"{settings.kappa}, {settings.min_images} and {settings.max_pooled_images}."
            )
        self.settings, self.model = settings, model
        self.known = 0
        self.waiting: tuple[Tensor, ...] = ()  # batches that are deferred
        self.recent: tuple[Tensor, ...] = ()  # the latest that fitted, fewer than `FEWEST` images

    def update(self, images: Tensor) -> Decision:
        """Ask the present environment, then the best guess; until then, defer what does not fit."""
        if not self.known:
            self.known = 1
            return Decision("new", 0, "the first images of the stream")
        settings, present = self.settings, self.model.present
        self.waiting = deferred_batches(self.waiting, images, settings)
        pooled, count = torch.cat(self.waiting), len(self.waiting)
        judged = torch.cat([*self.recent, pooled])[-max(FEWEST, len(pooled)) :]
        fits, numbers = self._fit(judged, present)
        if fits:
            self.recent = (judged[-FEWEST + 1 :],) if len(images) < FEWEST else ()
            self.waiting = ()
            return Decision("same" if count == 1 else "dismissed", present, "it fits", count)
        if count < settings.min_batches or len(pooled) < settings.min_images:
            return Decision("deferred", present, "it does not fit", count, numbers=numbers)
        self.waiting = self.recent = ()
        guess = int(self.model.classify(pooled).argmax())
        fits, numbers = (False, numbers) if guess == present else self._fit(pooled, guess)
        if fits:
            reason = f"environment {guess}, the best guess, fits, and the present one does not"
            return Decision("returned", guess, reason, count, numbers=numbers)
        self.known += 1
        reason = f"new, since neither the present environment nor the best guess, {guess}, fits"
        return Decision("new", self.known - 1, reason, count, numbers=numbers)

    def _fit(self, images: Tensor, environment: int) -> tuple[bool, dict[str, Any]]:
        """Whether images are of an environment; the figures."""
        seen, recorded = self.model.evaluate(images, environment), self.model.moments(environment)
        loss, usual = float(seen.mean[-2]), float(recorded.mean[-2])
        changed = changed_latents(
            atypicality(seen)[:-2],
            atypicality(recorded)[:-2],
            self.model.mask_threshold,
            self.settings.hysteresis,
        )
        numbers = {
            "environment": environment,
            "loss_nats": round(loss, 2),
            "recorded_nats": round(usual, 2),
            "changed": np.flatnonzero(changed).tolist(),
        }
        kappa = self.settings.kappa
        too_cheap = environment != self.model.present and loss < usual / kappa
        return loss <= kappa * usual and not too_cheap and not changed.any(), numbers

    def state_dict(self) -> dict[str, Any]:
        batches = {"waiting": list(self.waiting), "recent": list(self.recent)}
        return {"known": self.known, **batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.known = state["known"]
        self.waiting, self.recent = (
            tuple(each.to(self.model.device) for each in state[name])
            for name in ("waiting", "recent")
        )


def changed_latents(
    seen: NDArray[np.float64], recorded: NDArray[np.float64], threshold: float, hysteresis: float
) -> NDArray[np.bool_]:
    """[N], True where a latent was typical and is not, or the other way round, by a margin.

    seen, recorded: atypicality in nats. Changed: recorded < lambda and seen > h lambda, or recorded
    >= lambda and seen < lambda / h.
    """
    was = typical(recorded, threshold)
    now = np.where(was, typical(seen, hysteresis * threshold), seen < threshold / hysteresis)
    return np.asarray(was != now)
