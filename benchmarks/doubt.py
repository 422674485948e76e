"""Is a model in doubt where an image is ambiguous? Posterior variance along paths of morphs.

    vase sweep small+sda small+sda+published --seeds 3 --keep --out runs/doubt
    python benchmarks/doubt.py runs/doubt/runs/*

The source: "presented with ambiguous stimuli our model expresses uncertainty through feature
variance, but can reconstruct them without ambiguity". Asked of each run's last model, on held-out
images, along every kind of path: the variance in the middle over that at the clearer and at the
less clear end, summed over the latents that are in use in either environment, of the posterior
q(z|x) and of the mixture over environments. And of the reconstructions in the middle: the entropy
of their pixels over that at the less clear end (`entropy`: not above 1 where nothing is blurred or
doubled), and the share that is three times nearer to one end's than to the other's (`decided`).
Between two domains the middle is where belief is even, on the paths on which it becomes so
(`paths`, their share), else half way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.distributions import Bernoulli

from vase import build
from vase.bench import provenance
from vase.domains.canvas import Floats
from vase.lifelong.environments import Environment
from vase.objective import gaussian
from vase.probes.ambiguity import MORPHS
from vase.probes.encode import Model
from vase.probes.evaluate import TEST_SEED, EvaluatedRun, matched_environment, open_run
from vase.probes.factor_predictor import IDENTITY
from vase.probes.translation import load_last_model, sample_labelled_images
from vase.records import Posterior
from vase.report import style
from vase.training.folder import RunFolder, rounded, write_json

PATHS = 128  # of each kind
LEVELS = 21
POOL = 4000  # images among which pairs are found
DECIDED = 3.0  # times nearer to one end's reconstruction than to the other's
BLUR = 6.0  # pixels, at the end of a path
FIRST, SECOND = "moving-fashion", "moving-mnist"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "doubt.png"
STRIPS = (f"{FIRST}, two places: mixture", f"{SECOND}, two classes: mixture")
CURVES = (*STRIPS, f"{SECOND}, two places: mixture", f"{FIRST} to {SECOND}: mixture")

Morph = Callable[[Floats, Floats, float], Floats]


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of path: its ends [P, C, H, W], and how it leads from one to the other."""

    first: Floats
    second: Floats
    morph: Morph
    domains: tuple[str, str]


def covered(image: Floats, blank: Floats, level: float) -> Floats:
    """The image with the right `level` of it covered."""
    return MORPHS["side by side"](image, blank, level)


def blurred(image: Floats, _: Floats, level: float) -> Floats:
    """The image under a Gaussian blur of up to `BLUR` pixels."""
    return np.asarray(gaussian_filter(image, sigma=(0, 0, BLUR * level, BLUR * level)))


def dimmed(image: Floats, blank: Floats, level: float) -> Floats:
    """The image on the way to black."""
    return MORPHS["mixture"](image, blank, level)


# ---- pairs -------------------------------------------------------------------------------------


def pairs_within(run: EvaluatedRun, name: str) -> dict[str, tuple[Floats, Floats]]:
    """Pairs of one domain: two classes at one place (within a pixel), one sprite at two places."""
    domain = run.test[name]
    shown = sample_labelled_images(domain, POOL, TEST_SEED)
    place = np.stack([shown.factors["x"], shown.factors["y"]], 1)
    down, right = domain.travel  # type: ignore[attr-defined]
    corner = np.rint(place * (right, down)).astype(int)
    classes, places = [], []
    identity = shown.factors[IDENTITY]
    by_corner: dict[tuple[int, ...], int] = {}
    for k, where in enumerate(map(tuple, corner)):
        other = by_corner.pop(where, None)
        if other is None:
            by_corner[where] = k
        elif identity[other] != identity[k]:
            classes.append((other, k))
    for k in range(PATHS):
        to = corner[k + PATHS] - corner[k]
        moved = np.roll(shown.images[k], (to[1], to[0]), axis=(-2, -1))
        places.append((shown.images[k], moved))
    one, other_end = np.array(classes[:PATHS]).T
    there, here = (np.stack(side) for side in zip(*places, strict=True))
    return {
        "two classes": (shown.images[one], shown.images[other_end]),
        "two places": (there, here),
    }


def kinds(run: EvaluatedRun) -> Iterator[tuple[str, Kind]]:
    """Yield every kind of path with its name."""
    for name in (FIRST, SECOND):
        for what, (one, other) in pairs_within(run, name).items():
            for how, morph in MORPHS.items():
                if (what, how) != ("two places", "side by side"):
                    yield f"{name}, {what}: {how}", Kind(one, other, morph, (name, name))
        clear = sample_labelled_images(run.test[name], PATHS, TEST_SEED).images
        for morph in (covered, blurred, dimmed):
            yield f"{name}: {morph.__name__}", Kind(clear, 0 * clear, morph, (name, name))
    one, other = (
        sample_labelled_images(run.test[name], PATHS, TEST_SEED + k).images
        for k, name in enumerate((FIRST, SECOND))
    )
    for how, morph in MORPHS.items():
        yield f"{FIRST} to {SECOND}: {how}", Kind(one, other, morph, (FIRST, SECOND))


# ---- one kind of path --------------------------------------------------------------------------


@torch.no_grad()
def measure(run: EvaluatedRun, model: Model, kind: Kind) -> dict[str, Any] | None:
    """Variance in the middle over that at the ends, and how decided the reconstructions are.

    Of the paths that have a middle; None if none has.
    """
    matches = [matched_environment(run, model, name) for name in kind.domains]
    used = torch.from_numpy(matches[0].used | matches[1].used)
    levels = np.linspace(0, 1, LEVELS)
    images = [
        torch.from_numpy(kind.morph(kind.first, kind.second, float(level)).astype(np.float32))
        for level in levels
    ]
    seen = [model.networks.encoder(each) for each in images]
    belief = [beliefs(model, each) for each in seen]
    rows, middle = levels_of_equality(belief, matches)
    if not len(rows):
        return None
    masks = torch.from_numpy(np.stack([known.mask for known in model.environments]))
    found: dict[str, Any] = {}
    for name, variances in {
        "posterior": [each.log_variance.exp() for each in seen],
        "over environments": [
            gaussian.over_environments(each, q, masks).log_variance.exp()
            for each, q in zip(seen, belief, strict=True)
        ],
    }.items():
        total = torch.stack(variances)[:, :, used].sum(2)  # [L, P]
        ends = [float(total[k, rows].mean()) for k in (0, -1)]
        half = float(total[middle, rows].mean())
        found[name] = {
            "ratios": [half / end for end in ends],
            "curve": total[:, rows].mean(1).tolist(),
        }
    shown = torch.stack([decoded(model, each, matches) for each in seen])  # [L, P, ...]
    apart = [(shown[middle, rows] - shown[k, rows]).flatten(1).norm(dim=1) for k in (0, -1)]
    nearer, farther = torch.minimum(*apart), torch.maximum(*apart)
    nats: Tensor = Bernoulli(probs=shown).entropy()  # type: ignore[no-untyped-call]
    vague = nats.flatten(2).sum(2)  # [L, P]
    ends_vague = torch.maximum(vague[0, rows].mean(), vague[-1, rows].mean())
    entropy = vague[middle, rows].mean() / ends_vague
    return {
        **found,
        "latents": int(used.sum()),
        "entropy": float(entropy),
        "decided": float((farther > DECIDED * nearer).float().mean()),
        "paths": len(rows) / len(kind.first),
    }


def beliefs(model: Model, posterior: Posterior) -> Tensor:
    """q(s|x) of every known environment, [P, E]."""
    found: Tensor = model.networks.classifier(posterior, len(model.environments)).exp()
    return found


def levels_of_equality(
    belief: Sequence[Tensor], matches: Sequence[Environment]
) -> tuple[Tensor, Tensor]:
    """The paths on which belief in two environments becomes even, and the level nearest to it.

    In one environment all paths, half way.
    """
    first, second = (matched.index for matched in matches)
    if first == second:
        count = len(belief[0])
        return torch.arange(count), torch.full((count,), len(belief) // 2)
    sides = torch.stack([q[:, second] / (q[:, first] + q[:, second]) for q in belief])
    rows = torch.nonzero((sides[0] < 0.5) & (sides[-1] > 0.5))[:, 0]
    return rows, (sides[:, rows] - 0.5).abs().argmin(0)


def decoded(model: Model, posterior: Posterior, matches: Sequence[Environment]) -> Tensor:
    """Reconstructions in the more probable of the two environments, [P, C, H, W]."""
    index = torch.tensor([matched.index for matched in matches])
    masks = torch.from_numpy(np.stack([matched.mask for matched in matches]))
    best = beliefs(model, posterior)[:, index].argmax(1)
    logits: Tensor = model.networks.decoder(posterior.mean * masks[best], index[best])
    return logits.sigmoid()


def measured(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Floats]]:
    """All figures of one run, and a strip of images of each kind that is drawn."""
    run = open_run(folder, build.DataOptions())
    model = load_last_model(run, folder)
    every = dict(kinds(run))
    record = {
        "published": run.config.model.encoder == "convolutional",
        "seed": run.config.training.seed,
        "kinds": {
            name: found for name, kind in every.items() if (found := measure(run, model, kind))
        },
    }
    return record, {name: strip(run, model, every[name]) for name in STRIPS}


# ---- the picture -------------------------------------------------------------------------------


@torch.no_grad()
def strip(run: EvaluatedRun, model: Model, kind: Kind) -> Floats:
    """One path and, below it, its reconstructions, [2 H, 9 W]."""
    matches = [matched_environment(run, model, name) for name in kind.domains]
    levels = np.linspace(0, 1, 9)
    path = np.concatenate([kind.morph(kind.first[:1], kind.second[:1], w) for w in levels])
    seen = model.networks.encoder(torch.from_numpy(path.astype(np.float32)))
    rows = (path, decoded(model, seen, matches).numpy())
    return np.vstack([np.hstack(list(row[:, 0])) for row in rows])


@style.styled
def figure(
    found: Sequence[Mapping[str, Any]], strips: Mapping[bool, Mapping[str, Floats]]
) -> Figure:
    """Paths with their reconstructions, and the variance along paths; published on the left."""
    picture = Figure(figsize=(style.FULL, 5.6), layout="constrained")
    grid = picture.subplots(1 + len(STRIPS), 2, height_ratios=[1] * len(STRIPS) + [2.6])
    for column, published in enumerate((True, False)):
        choices = "published choices" if published else "ours"
        for axes, (name, images) in zip(grid[:, column], strips[published].items(), strict=False):
            axes.imshow(images, cmap="gray_r", vmin=0, vmax=1)
            axes.set_axis_off()
            axes.set_title(f"{choices}: {name}", fontsize=9)
        axes = grid[-1, column]
        for k, name in enumerate(CURVES):
            for each in (e for e in found if e["published"] == published and name in e["kinds"]):
                curve = np.array(each["kinds"][name]["posterior"]["curve"])
                levels = np.linspace(0, 1, len(curve))
                label = name if each["seed"] == 0 else None
                axes.plot(levels, curve / max(curve[0], curve[-1]), color=style.PALETTE[k],
                          label=label, alpha=0.8)  # fmt: skip
        for height in (1, 2):
            axes.axhline(height, color=style.QUIET, lw=0.7, ls="-" if height == 1 else (0, (2, 2)))
        axes.set_xlabel("along the path")
    grid[-1, 1].sharey(grid[-1, 0])
    grid[-1, 0].set_yscale("log", base=2)
    grid[-1, 0].yaxis.set_major_formatter("{x:g}")
    grid[-1, 0].set_ylabel("variance over that\nat the less sure end")
    handles, labels = grid[-1, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=2)
    return picture


def main() -> None:
    """Measure runs, write the file, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/published/doubt.json"))
    chosen = parser.parse_args()
    torch.set_flush_denormal(True)
    found, strips = zip(*(measured(RunFolder(path)) for path in chosen.runs), strict=True)
    both = {each["published"]: images for each, images in zip(found, strips, strict=True)}
    if len(both) == 2:
        FIGURE.write_bytes(style.png(figure(found, both)))
    write_json(
        chosen.out,
        rounded({"code": provenance.code(), "versions": provenance.versions(), "runs": found}),
    )
    for each in found:
        print(f"published {each['published']}, seed {each['seed']}")
        for name, kind in each["kinds"].items():
            ratios = [
                " ".join(f"{ratio:5.2f}" for ratio in kind[of]["ratios"])
                for of in ("posterior", "over environments")
            ]
            print(
                f"  {name:50s} {ratios[0]}   {ratios[1]}   entropy {kind['entropy']:.2f} "
                f"decided {kind['decided']:.2f}"
            )


if __name__ == "__main__":
    main()
