"""What sharing is worth: is what two domains have in common still there after a translation?

For every factor that both domains have, a reader fitted on real images of the target domain reads
it from translated images; it should say what was true of the image that was translated. Beside it
stand what it says of real images of the target domain (the most that can be asked) and what it says
when the truths are shuffled (nothing carried over).
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
from vase.probes.disentangled import estimable, varying
from vase.probes.encode import Code, Model, encode, load, sample
from vase.probes.evaluate import TEST_SEED, TRAIN_SEED, Run, matched_environment, seen
from vase.training.folder import RunFolder

CHUNK = 500  # images that are translated at once


@dataclass(frozen=True, eq=False)
class Scene:
    """Images [B, C, H, W] of one domain, and the factors that vary behind them, [B] each."""

    images: Floats
    factors: dict[str, NDArray[Any]]

    def only(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Some of the factors."""
        return {name: self.factors[name] for name in names}


def scene(domain: Domain, count: int, seed: int) -> Scene:
    """`count` images of a domain, the same for the same seed."""
    images, truths = zip(*sample(domain, count, seed), strict=True)
    factors = {
        name: np.concatenate([truth.factors[name] for truth in truths])
        for name in truths[0].factors
    } | {factor_predictor.IDENTITY: np.concatenate([truth.labels for truth in truths])}
    varied = {name: each for name, each in factors.items() if len(np.unique(each)) > 1}
    return Scene(np.concatenate(images), varied)


# ---- a pair of domains --------------------------------------------------------------------------


def last_model(run: Run, folder: RunFolder) -> Model:
    """The model as it is now: that of the checkpoint."""
    if not folder.checkpoint.is_file():
        raise RunError(
            f"'{folder.path}' has no checkpoint. Go on with it: vase resume {folder.path}"
        )
    shape = build.architecture(run.config, next(iter(run.test.values())).shape)
    return load(folder.checkpoint, shape, torch.device("cpu"))


def pairs(
    run: Run, model: Model, source: str | None = None, target: str | None = None
) -> list[tuple[str, str]]:
    """The pairs of domains of a run that its model tells apart; see `told_apart`."""
    known = seen(run.schedule, model.step)
    index = {name: matched_environment(run, model, name).index for name in known}
    return told_apart(index, source, target)


def told_apart(
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
        raise RunError(_alone(index, source, target))
    return found


def _alone(index: Mapping[str, int], source: str | None, target: str | None) -> str:
    """Why there is nothing to translate between."""
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


def translation(run: Run, model: Model, names: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The figures of pairs of domains (source, target) of a run, in their order."""
    matches = {name: matched_environment(run, model, name) for pair in names for name in pair}
    found = measure(model.networks, run.train, run.test, matches, names, run.config.probes.test)
    return [{"step": model.step, **pair} for pair in found]


def measure(
    networks: Networks,
    train: Mapping[str, Domain],
    test: Mapping[str, Domain],
    matches: Mapping[str, Environment],
    names: Sequence[tuple[str, str]],
    count: int,
) -> list[dict[str, Any]]:
    """The figures of pairs of domains, of so many images of each."""
    scenes = {name: scene(test[name], count, TEST_SEED) for name in matches}
    codes = {name: encode(networks, test[name], count, TEST_SEED) for name in matches}
    found = []
    for target in matches:
        factors = {
            source: common(test, scenes, source, target)
            for source in matches
            if (source, target) in names
        }
        asked = sorted({factor for each in factors.values() for factor in each})
        expert = factor_predictor.fit(train[target], asked, TRAIN_SEED) if asked else None
        bound = expert.scores(scenes[target].images, scenes[target].only(asked)) if expert else {}
        for source, shared in factors.items():
            made = images(
                networks,
                scenes[source].images,
                matches[source],
                matches[target],
            )
            found.append(
                {
                    "source": source,
                    "target": target,
                    "factors": _scores(expert, made, scenes[source].only(shared), bound)
                    if expert
                    else {},
                    "latents": homology(codes, matches, source, target),
                }
            )
    return sorted(found, key=lambda each: names.index((each["source"], each["target"])))


def common(
    domains: Mapping[str, Domain], tests: Mapping[str, Scene], source: str, target: str
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


def images(
    networks: Networks, originals: Floats, source: Environment, target: Environment
) -> Floats:
    """Images [B, C, H, W] translated from one environment to another."""
    parts = [
        translated(networks, torch.from_numpy(originals[start : start + CHUNK]), source, target)
        for start in range(0, len(originals), CHUNK)
    ]
    made: Floats = torch.cat(parts).numpy()
    return made


def _scores(
    expert: factor_predictor.FactorPredictor,
    made: Floats,
    truths: dict[str, NDArray[Any]],
    bound: dict[str, float],
) -> dict[str, dict[str, float]]:
    """For each factor what is read from translated images, from them shuffled, from real ones."""
    order = np.random.default_rng(TEST_SEED).permutation(len(made))
    read = expert.scores(made, truths)
    shuffled = expert.scores(made, {name: values[order] for name, values in truths.items()})
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
            name: known_of(codes[name], matches[name], either) for name in (source, target)
        },
    }


def known_of(code: Code, matched: Environment, latents: Sequence[int]) -> dict[str, list[float]]:
    """I(z_n; v) / H(v) of some latents for every factor that varies; 0 of a masked one.

    Nothing where no factor varies, or too few images were encoded to estimate information from.
    """
    factors = varying(code)
    if not estimable(factors, len(code.mean)):
        return {}
    found = mig(code.mean, np.stack(list(factors.values()), axis=1))
    shares = found.information / found.entropy * matched.mask[:, None]
    return {name: shares[list(latents), k].tolist() for k, name in enumerate(factors)}
