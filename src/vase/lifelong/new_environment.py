"""The record with which an environment begins, and which decisions can be carried out."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vase.errors import VaseError
from vase.lifelong.environments import Environment, Environments
from vase.lifelong.evaluation import evaluate, latent_kl
from vase.lifelong.transaction import NotFiniteError
from vase.nets import Networks
from vase.objective.atypicality import atypicality, out_of_distribution, typical
from vase.objective.capacity import Capacity
from vase.objective.moments import Moments
from vase.records import Decision, DecisionKind
from vase.settings import LearnerSettings


def first_environment(
    average: Networks, images: Tensor, settings: LearnerSettings, generator: torch.Generator
) -> Environment:
    """Return the record of the first environment, in which every latent may be used.

    average: the averaged networks. images: the first batch, [B, C, H, W].
    """
    mask = np.ones(average.architecture.latents, dtype=bool)
    capacity = Capacity(settings.objective.c_start)
    blank = Environment(0, mask, Moments(np.zeros(1), np.ones(1), 1.0), capacity)
    seen = evaluate(average, images, blank, generator)
    return replace(blank, moments=seen, kl=latent_kl(average, images, mask))


def create_environment(
    average: Networks,
    environments: Environments,
    index: int,
    images: Tensor,
    settings: LearnerSettings,
    generator: torch.Generator,
) -> Environment:
    """Return the record of a new environment, from pooled images [B, C, H, W].

    Its mask is what is typical of the images, its capacity what they use. index: its id; a record
    that is still there under it, of an environment that is discarded, does not count.
    """
    before = evaluate(average, images, environments.present, generator)
    threshold = settings.masks.threshold
    strange = out_of_distribution(before, environments.most_kl(index), threshold)
    judged = settings.masks.enabled and not (
        strange and settings.masks.out_of_distribution == "none"
    )
    latents = average.architecture.latents
    mask = typical_latents(before, settings) if judged else np.ones(latents, dtype=bool)
    draft = Environment(index, mask, before, Capacity())
    seen = evaluate(average, images, draft, generator)
    start = min(float(seen.mean[-1]), settings.objective.c_max)
    return replace(
        draft,
        moments=seen,
        capacity=Capacity(start, start),
        kl=latent_kl(average, images, mask),
        out_of_distribution=strange,
    )


def typical_latents(seen: Moments, settings: LearnerSettings) -> NDArray[np.bool_]:
    """Return the mask [N]: the latents that are typical where moments [N + 2] were seen."""
    return typical(atypicality(seen)[:-2], settings.masks.threshold)


def raise_if_skipped_or_invalid(
    decision: Decision, environments: Environments, detector: object, step: int
) -> None:
    """Raise `NotFiniteError` for "skipped", `VaseError` for what cannot be carried out."""
    name = type(detector).__name__
    if not isinstance(decision, Decision):
        raise VaseError(
            f"The change detector {name} returned {type(decision).__name__} at step {step}: its "
            "`update` has to return a `vase.records.Decision`."
        )
    if decision.kind not in get_args(DecisionKind):
        raise VaseError(
            f"The change detector {name} decided '{decision.kind}' at step {step}, which is no "
            f"decision. There are: {', '.join(get_args(DecisionKind))}."
        )
    if decision.kind == "skipped":
        raise NotFiniteError(decision.reason)
    where, count, current = decision.environment, len(environments), environments.current
    fits = {
        "new": not decision.discards and where == count,
        "reopened": decision.discards and where == current,
        "returned": where in environments and where != current,
    }.get(decision.kind, count > 0 and where == current and not decision.discards)
    newest = count > 1 and current == count - 1
    if fits and (newest or not decision.discards):
        return
    discarding = ", which it discards" if decision.discards else ""
    now = f"in environment {current} of {count}" if count else "before any environment is known"
    raise VaseError(
        f"The change detector {name} decided '{decision.kind}' for environment {where} at step "
        f"{step}, {now}{discarding}: that cannot be carried out. The "
        "first decision is 'new' for 0, a new environment takes the next id, one that returns is "
        "known and not the present one, and only the newest can be discarded."
    )
