"""Scores translations: do images keep the factors that two domains share?

For every factor that both domains have, a predictor fitted on real images of the target domain
predicts the factor from translated images; the target is the factor of the image before
translation. Its scores on real images of the target domain (upper bound) and against shuffled
targets (lower bound) stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vase import build
from vase.domains.canvas import Domain, Floats
from vase.errors import InputError, RunError
from vase.lifelong.environments import USED, Environment
from vase.lifelong.translation import translated
from vase.metrics import mig
from vase.nets import Networks
from vase.probes import factor_predictor
from vase.probes.disentangled import enough_images, varying_factors
from vase.probes.encode import Code, Model, encode, load_model, sample_images
from vase.probes.evaluate import (
    TEST_SEED,
    TRAIN_SEED,
    EvaluatedRun,
    domains_until,
    matched_environment,
)
from vase.training.folder import RunFolder

CHUNK = 500  # images that are translated at once


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images [B, C, H, W] of one domain, and the factors that vary behind them, [B] each."""

    images: Floats
    factors: dict[str, NDArray[Any]]

    def only(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Some of the factors."""
        return {name: self.factors[name] for name in names}


def sample_labelled_images(domain: Domain, count: int, seed: int) -> LabelledImages:
    """`count` images of a domain, the same for the same seed."""
    images, truths = zip(*sample_images(domain, count, seed), strict=True)
    factors = {
        name: np.concatenate([truth.factors[name] for truth in truths])
        for name in truths[0].factors
    } | {factor_predictor.IDENTITY: np.concatenate([truth.labels for truth in truths])}
    varied = {name: each for name, each in factors.items() if len(np.unique(each)) > 1}
    return LabelledImages(np.concatenate(images), varied)


# ---- a pair of domains --------------------------------------------------------------------------


def load_last_model(run: EvaluatedRun, folder: RunFolder) -> Model:
    """The model of the checkpoint."""
    if not folder.checkpoint.is_file():
        raise RunError(
            f"'{folder.path}' has no checkpoint. Go on with it: vase resume {folder.path}"
        )
    shape = build.architecture(run.config, next(iter(run.test.values())).shape)
    return load_model(folder.checkpoint, shape, torch.device("cpu"))


def distinct_pairs(
    run: EvaluatedRun, model: Model, source: str | None = None, target: str | None = None
) -> list[tuple[str, str]]:
    """The pairs of domains of a run that its model tells apart; see `told_apart`."""
    known = domains_until(run.schedule, model.step)
    index = {name: matched_environment(run, model, name).index for name in known}
    return pairs_of_environments(index, source, target)


def pairs_of_environments(
    index: Mapping[str, int], source: str | None, target: str | None
) -> list[tuple[str, str]]:
    """Pairs (source, target) of domains that are different environments, given which each is.

    Those of the names that are given, or all. An `InputError` for a name that there is not, a
    `RunError` where there is no pair.
    """
    for name in (source, target):
        if name is not None and name not in index:
            raise InputError(
                f"This run has seen no environment '{name}'. It knows: {', '.join(index)}."
            )
    if source is not None and source == target:
        raise InputError(f"'{source}' is both ends of the pair. Choose two environments.")
    found = [
        (one, other)
        for one, other in permutations(index, 2)
        if source in (None, one) and target in (None, other) and index[one] != index[other]
    ]
    if not found:
        raise RunError(_why_no_pair(index, source, target))
    return found


def _why_no_pair(index: Mapping[str, int], source: str | None, target: str | None) -> str:
    """Explain why no pair of environments exists."""
    if len(index) == 1:
        return (
            f"This run has seen one environment only ({', '.join(index)}), and this takes two. "
            "Train it on a stream with more domains."
        )
    names = (source, target) if source and target else tuple(index)
    return (
        f"The model took {' and '.join(map(repr, names))} for one environment, so there is no pair "
        "to look at. events.jsonl says whether a switch was noticed."
    )


def measure_translation(
    run: EvaluatedRun, model: Model, names: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The figures of pairs of domains (source, target) of a run, in their order."""
    matches = {name: matched_environment(run, model, name) for pair in names for name in pair}
    found = score_pairs(model.networks, run.train, run.test, matches, names, run.config.probes.test)
    return [{"step": model.step, **pair} for pair in found]


def score_pairs(
    networks: Networks,
    train: Mapping[str, Domain],
    test: Mapping[str, Domain],
    matches: Mapping[str, Environment],
    names: Sequence[tuple[str, str]],
    count: int,
) -> list[dict[str, Any]]:
    """The figures of pairs of domains, of so many images of each."""
    scenes = {name: sample_labelled_images(test[name], count, TEST_SEED) for name in matches}
    codes = {name: encode(networks, test[name], count, TEST_SEED) for name in matches}
    found = []
    for target in matches:
        factors = {
            source: common_factors(test, scenes, source, target)
            for source in matches
            if (source, target) in names
        }
        asked = sorted({factor for each in factors.values() for factor in each})
        predictor = (
            factor_predictor.fit_factor_predictor(train[target], asked, TRAIN_SEED)
            if asked
            else None
        )
        bound = (
            predictor.scores(scenes[target].images, scenes[target].only(asked)) if predictor else {}
        )
        for source, shared in factors.items():
            made = translate_images(
                networks,
                scenes[source].images,
                matches[source],
                matches[target],
            )
            found.append(
                {
                    "source": source,
                    "target": target,
                    "factors": _factor_scores(predictor, made, scenes[source].only(shared), bound)
                    if predictor
                    else {},
                    "latents": homology(codes, matches, source, target),
                }
            )
    return sorted(found, key=lambda each: names.index((each["source"], each["target"])))


def common_factors(
    domains: Mapping[str, Domain], tests: Mapping[str, LabelledImages], source: str, target: str
) -> list[str]:
    """The factors that vary in both domains; identity where it is of the same kinds of things."""
    both = [name for name in tests[source].factors if name in tests[target].factors]
    kinds = {domains[name].label_kind for name in (source, target)}
    alike = len(kinds) == 1 and kinds != {""}
    if (
        alike and factor_predictor.IDENTITY in both
    ):  # of one family, but perhaps not of the same classes
        one, other = (
            np.unique(tests[name].factors[factor_predictor.IDENTITY]) for name in (source, target)
        )
        alike = np.array_equal(one, other)
    return [name for name in both if name != factor_predictor.IDENTITY or alike]


def translate_images(
    networks: Networks, originals: Floats, source: Environment, target: Environment
) -> Floats:
    """Images [B, C, H, W] translated from one environment to another."""
    parts = [
        translated(networks, torch.from_numpy(originals[start : start + CHUNK]), source, target)
        for start in range(0, len(originals), CHUNK)
    ]
    made: Floats = torch.cat(parts).numpy()
    return made


def _factor_scores(
    predictor: factor_predictor.FactorPredictor,
    made: Floats,
    truths: dict[str, NDArray[Any]],
    bound: dict[str, float],
) -> dict[str, dict[str, float]]:
    """For each factor what is read from translated images, from them shuffled, from real ones."""
    order = np.random.default_rng(TEST_SEED).permutation(len(made))
    read = predictor.scores(made, truths)
    shuffled = predictor.scores(made, {name: values[order] for name, values in truths.items()})
    return {
        name: {"translated": read[name], "shuffled": shuffled[name], "real": bound[name]}
        for name in truths
    }


def homology(
    codes: Mapping[str, Code],
    matches: Mapping[str, Environment],
    source: str,
    target: str,
) -> dict[str, Any]:
    """Which latents both domains use, and how much each knows of each factor in both.

    information: by domain and factor I(z_n; v) / H(v) of every latent that either uses, in [0, 1].
    """
    used = {
        name: set(np.flatnonzero(matches[name].mask & (codes[name].kl >= USED)).tolist())
        for name in (source, target)
    }
    either = sorted(used[source] | used[target])
    return {
        "shared": sorted(used[source] & used[target]),
        "either": either,
        "information": {
            name: normalised_information(codes[name], matches[name], either)
            for name in (source, target)
        },
    }


def normalised_information(
    code: Code, matched: Environment, latents: Sequence[int]
) -> dict[str, list[float]]:
    """I(z_n; v) / H(v) of some latents for every factor that varies; 0 of a masked one.

    Nothing where no factor varies, or too few images were encoded to estimate information from.
    """
    factors = varying_factors(code)
    if not enough_images(factors, len(code.mean)):
        return {}
    found = mig(code.mean, np.stack(list(factors.values()), axis=1))
    shares = found.information / found.entropy * matched.mask[:, None]
    return {name: shares[list(latents), k].tolist() for k, name in enumerate(factors)}
