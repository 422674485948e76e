"""The learner against a naive one: the same script of decisions, compared at every step.

`naive_learner` is written from the equations and shares no code with the project. Both are given
the same weights, images, decisions and random numbers; then every term, gradient, weight and record
must agree. What is known of the project's interface stands in one section, ADAPTER.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from naive_learner import Decision, Moments, NaiveLearner, Nets, New, Record, Returned, Rules, Same
from torch import Tensor

from vase import records
from vase.detection import ModelView
from vase.lifelong import evaluation
from vase.lifelong.learner import Learner
from vase.lifelong.weights import frozen
from vase.nets import Architecture, Networks
from vase.settings import DetectionSettings, LearnerSettings

# ==== ADAPTER: all that is known of the project; the imports of `vase` above belong to it =====

SIDE, LATENTS, SEED = 16, 5, 3
ARCHITECTURE = Architecture(
    height=SIDE, width=SIDE, latents=LATENTS, encoder_channels=8, decoder_channels=8, hidden=16,
    space_to_depth=2, environments=4,
)  # fmt: skip


SECTIONS = {
    "objective": "gamma beta c_start c_increment c_max c_slack ema_steps two_sided "
    "classifier_weight",
    "masks": "threshold",
    "replay": "method ratio source encoder_weight decoder_weight distance",
    "training": "learning_rate ema_decay max_grad_norm",
}


def settings(rules: Rules) -> LearnerSettings:
    """The project's settings that say the same."""
    values: dict[str, Any] = {
        section: {name: getattr(rules, name) for name in names.split()}
        for section, names in SECTIONS.items()
    }
    values["objective"]["kind"] = "vae" if rules.entangled else "capacity"
    values["objective"]["c_growth"] = "steady" if rules.steady else "used"
    values["masks"]["enabled"], values["masks"]["fill"] = rules.masks, rules.fill
    strangers = "atypical" if rules.mask_strangers else "none"
    values["masks"]["out_of_distribution"] = strangers
    return LearnerSettings.model_validate(values)


@dataclass(frozen=True)
class Reading:
    """Terms of a step in nats per image, none if it learnt nothing; nats and alpha per latent."""

    terms: dict[str, float]
    kl: list[float]
    alpha: list[float]


class ScriptedDetector:
    """Decides what the script says; it knows nothing of the images."""

    script: Decision = Same()

    def __init__(self, settings: DetectionSettings, model: ModelView) -> None:
        self.current = self.known = 0

    def update(self, images: Tensor) -> records.Decision:
        match self.script:
            case New():
                self.current, self.known = self.known, self.known + 1
                return records.Decision("new", self.current, "scripted")
            case Returned(index):
                self.current = index
                return records.Decision("returned", index, "scripted")
        return records.Decision("same", self.current)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Scripted(Learner):
    """The learner; a new environment begins with the images that the script gives."""

    def _move(self, decision: records.Decision, images: Tensor) -> dict[str, object]:
        script = self.detector.script
        return super()._move(decision, script.images if isinstance(script, New) else images)


class Real:
    """The real learner, in the words of the naive one."""

    def __init__(self, rules: Rules, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(evaluation, "DRIFT_IMAGES", rules.drift_images)
        options: dict[str, Any] = {"seed": SEED, "device": torch.device("cpu")}
        self.learner = Scripted(ARCHITECTURE, settings(rules), detector=ScriptedDetector, **options)

    def set_weights(self, change: Any) -> None:
        """Let `change(nets)` alter the weights that learn; the average becomes a copy of them."""
        change(parts(self.learner.networks))
        self.learner.average = frozen(self.learner.networks)

    def set_average(self, change: Any) -> None:
        """Let `change(nets)` alter the averaged weights alone."""
        change(parts(self.learner.average))

    def set_variance(self, index: int, variance: list[float]) -> None:
        """Put variances [N + 2] into a record."""
        environments = self.learner.environments
        known = environments[index]
        moments = replace(known.moments, variance=np.array(variance))
        changed = {**environments.records, index: replace(known, moments=moments)}
        self.learner.environments = replace(environments, records=changed)

    def observe(self, images: Tensor, decision: Decision) -> Reading:
        """One step: its terms with their weighted sum as "loss", nats and alpha per latent [N]."""
        self.learner.detector.script = decision
        seen = self.learner.observe(images)
        return Reading(dict(seen.terms), list(seen.kl_per_latent), list(seen.alpha))

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step that learnt, as they went into Adam, by name."""
        named = parts(self.learner.networks).weights().items()
        return {name: weight.grad for name, weight in named if weight.grad is not None}

    def nets(self) -> dict[str, Nets | None]:
        snapshot = self.learner.snapshot
        return {
            "networks": parts(self.learner.networks),
            "average": parts(self.learner.average),
            "snapshot": parts(snapshot) if snapshot is not None else None,
        }

    @property
    def current(self) -> int:
        return self.learner.environments.current

    def records(self) -> list[Record]:
        return [
            Record(
                index=known.index,
                mask=known.mask.tolist(),
                moments=Moments(
                    *(each.tolist() for each in (known.moments.mean, known.moments.variance)),
                    known.moments.count,
                ),
                capacity=known.capacity.nats,
                used=known.capacity.used,
                kl=known.kl.tolist(),
                out_of_distribution=known.out_of_distribution,
                batches=known.batches,
            )
            for known in self.learner.environments
        ]


def parts(networks: Networks) -> Nets:
    """The networks as functions for the naive learner; the tensors are the same ones."""
    return Nets(networks.encoder, networks.decoder, networks.classifier)


# The names of the layers that tests alter: the encoder's last one, and the decoder's table.
POSTERIOR_WEIGHT, POSTERIOR_BIAS = "encoder.posterior.weight", "encoder.posterior.bias"
TABLE = "decoder.environment.weight"

# ==== end of ADAPTER ==========================================================================


# ---- images and first weights ----------------------------------------------------------------


SPREAD = 4.0  # standard deviation of the weights from which means are computed
LOG_VARIANCES = [0.0, -1.5, -1.5, -1.0, -2.0]  # of the latents, to begin with


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(domain: int, count: int, seed: int, ramp: float = 0.4) -> Tensor:
    """Images [count, 1, SIDE, SIDE] in [0, 1] of one of three domains.

    0: a blob anywhere, of any width and brightness. 1: a blob that hardly varies. 2: a ramp in any
    direction, `ramp` bright. All with some noise.
    """
    u = torch.rand(count, 4, 1, 1, generator=generator(1000 * domain + seed))
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    if domain == 2:
        images = ramp * (u[:, 0] * y + (1 - u[:, 0]) * (SIDE - x)) / SIDE
    else:
        a = 0.1 if domain == 1 else 1.0  # how much is varied
        row, column = (8 + 9 * a * (u[:, k] - 0.5) for k in (0, 1))
        width, bright = 4 + 4 * a * (u[:, 2] - 0.5), 0.6 + 0.7 * a * (u[:, 3] - 0.5)
        images = bright * torch.exp(-((y - row) ** 2 + (x - column) ** 2) / width**2)
    noise = torch.rand(count, SIDE, SIDE, generator=generator(77 + seed))
    return (0.9 * images + 0.1 * noise).clamp(0, 1)[:, None]


@torch.no_grad()
def wake(nets: Nets) -> None:
    """Give the first weights something to say.

    The decoder's table of environments, zero at first, becomes random, so that it matters as which
    environment z is decoded. Means spread, and variances are small, so that some latents become
    atypical where the images do not vary.
    """
    weights = nets.weights()
    weights[TABLE].normal_(generator=generator(1))
    weights[POSTERIOR_WEIGHT][:LATENTS].normal_(std=SPREAD, generator=generator(2))
    weights[POSTERIOR_BIAS][LATENTS:] = torch.tensor(LOG_VARIANCES)
    weights[POSTERIOR_BIAS][:LATENTS] -= nets.encoder(pictures(0, 64, 0)).mean.mean(0)


# ---- comparison ------------------------------------------------------------------------------


def close(real: Any, naive: Any, what: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Two lists or tensors agree to `rtol` of the largest number among them, or to `atol`."""
    found, expected = (torch.as_tensor(each).detach().double() for each in (real, naive))
    assert found.shape == expected.shape, what
    apart, size = (found - expected).abs(), expected.abs()
    worst = float(apart.max()) if apart.numel() else 0.0
    allowed = atol + rtol * (float(size.max()) if size.numel() else 0.0)
    assert worst <= allowed, f"{what}: {worst:.3g} apart, {allowed:.3g} allowed"


def same_records(real: Real, naive: NaiveLearner, when: str) -> None:
    assert real.current == naive.current, when
    records = real.records()
    assert len(records) == len(naive.records), when
    for found, expected in zip(records, naive.records, strict=True):
        what = f"{when}, record {expected.index}"
        for name in ("index", "mask", "out_of_distribution", "batches"):
            assert getattr(found, name) == getattr(expected, name), f"{what}: {name}"
        for name in ("capacity", "used", "kl"):
            close(getattr(found, name), getattr(expected, name), f"{what}: {name}")
        assert found.moments.count == expected.moments.count, f"{what}: count"
        for k in range(LATENTS + 2):
            m, v = expected.moments.mean[k], expected.moments.variance[k]
            where = f"{what}, channel {k}"
            close(found.moments.mean[k], m, f"{where}: mean", 2e-5, 2e-5 * v**0.5)
            close(found.moments.variance[k], v, f"{where}: variance", 1e-4, 0)


def same_weights(real: Real, naive: NaiveLearner, when: str) -> None:
    expected = {"networks": naive.nets, "average": naive.average, "snapshot": naive.snapshot}
    for kind, nets in real.nets().items():
        other = expected[kind]
        assert (nets is None) == (other is None), f"{when}: {kind}"
        if nets is not None and other is not None:
            weights = other.weights()
            for name, weight in nets.weights().items():
                close(weight, weights[name], f"{when}: {kind}.{name}", 1e-6, 1e-6)


def same_slope(real: Real, seen: Reading, naive: NaiveLearner, images: Tensor, when: str) -> None:
    """The batch is looked at and learnt by the naive learner too."""
    slope = naive.slope(images)
    assert seen.terms.keys() == slope.terms.keys(), when
    for name, value in slope.terms.items():
        close(seen.terms[name], value, f"{when}: {name}", 1e-5, 2e-5)
    close(seen.kl, slope.kl, f"{when}: nats per latent")
    gradients = real.gradients()
    assert gradients.keys() == slope.clipped.keys(), when
    largest = max(float(gradient.abs().max()) for gradient in slope.clipped.values())
    for name, gradient in slope.clipped.items():
        close(gradients[name], gradient, f"{when}: gradient of {name}", 1e-4, 1e-6 * largest)
    naive.descend(slope, gradients)


Script = list[tuple[Tensor, Decision]]  # of every step its batch, and what is decided of it


def followed(real: Real, naive: NaiveLearner, script: Script) -> None:
    """Let both learners go through a script, and compare after every step all that there is."""
    for images, decision in script:
        when = f"step {naive.step}, {type(decision).__name__}"
        learns = naive.decide(images, decision)
        seen = real.observe(images, decision)
        if learns:
            same_slope(real, seen, naive, images, when)
        else:
            assert not seen.terms, when
        close(seen.alpha, naive.alpha, f"{when}: alpha", 1e-4, 1e-5)
        same_weights(real, naive, when)
        same_records(real, naive, when)


def pair(rules: Rules, patch: pytest.MonkeyPatch) -> tuple[Real, NaiveLearner]:
    """Both learners, with the same first weights."""
    real = Real(rules, patch)
    real.set_weights(wake)
    nets = real.nets()["networks"]
    assert nets is not None
    return real, NaiveLearner(nets, LATENTS, rules, SEED)


def stay(domain: int, steps: int, start: int) -> Script:
    """Batches of one domain, of 8 and 6 images in turn."""
    return [(pictures(domain, 8 - 2 * (k % 2), start + k), Same()) for k in range(steps)]


def journey(ramp: float) -> Script:
    """Three environments one after the other, then the second one again."""
    first = pictures(0, 8, 0)
    return [
        (first, New(first)),
        *stay(0, 4, 1),
        (pictures(1, 8, 10), New(pictures(1, 16, 11))),
        *stay(1, 4, 12),
        (pictures(2, 6, 20), New(pictures(2, 16, 21, ramp))),
        *stay(2, 3, 22),
        (pictures(1, 8, 30), Returned(1)),
        *stay(1, 3, 31),
    ]


RULES = {
    "own": Rules(),
    "published": Rules(distance="wasserstein", source="prior"),
    "two-sided": Rules(two_sided=True, gamma=0.5),
    "clipped": Rules(max_grad_norm=1.0, threshold=0.4, encoder_weight=3.0, decoder_weight=0.5),
    "replay": Rules(method="replay", ratio=0.5),
    "replay, two-sided": Rules(
        method="replay", source="prior", two_sided=True, gamma=0.5, c_start=1.0
    ),
    "to the letter": Rules(
        fill="prior", steady=True, mask_strangers=True, two_sided=True, gamma=0.5, source="prior"
    ),
    "noisy replay": Rules(fill="prior", method="replay", ratio=0.5),
    "plain": Rules(entangled=True, masks=False, distance="wasserstein"),
}

# Where the third domain happens to be out of distribution to the encoder.
OUT_OF_DISTRIBUTION = ("two-sided", "to the letter", "plain")


@pytest.mark.parametrize("name", RULES)
def test_learner_agrees_with_the_naive_one_on_a_journey(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes and a return: two past environments are replayed, each with its own mask."""
    real, naive = pair(RULES[name], monkeypatch)
    followed(real, naive, journey(0.4))
    _, first, second = (record.mask for record in naive.records)
    if naive.rules.masks:  # or else the test would not see masks mixed up
        assert any(first), first
        assert first != second
        assert not all(first)
    found = naive.records[2].out_of_distribution
    assert found == (name in OUT_OF_DISTRIBUTION)  # so that this is seen too


def test_records_are_averaged_over_twenty_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More images at first than twenty batches hold, then more than twenty batches."""
    real, naive = pair(Rules(c_start=3.0, ema_steps=3.0), monkeypatch)
    first = pictures(0, 48, 0)
    followed(real, naive, [(first, New(first))])
    before = naive.here.capacity
    steps = [(pictures(0, 2, k), Same()) for k in range(1, 23)]
    grown = []
    for step in steps:
        followed(real, naive, [step])
        grown.append(naive.here.capacity > before)
        before = naive.here.capacity
    assert any(grown)  # or else the test would not see the rule by which capacity grows
    assert not all(grown)


def test_drift_is_bounded_and_no_variance_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that has moved far: variances change by a factor of 4 at most, down to a floor."""
    real, naive = pair(Rules(), monkeypatch)
    first, second, third = (pictures(domain, 8, 40) for domain in range(3))
    followed(real, naive, [(first, New(first)), *stay(0, 2, 41), (second, New(second))])
    followed(real, naive, stay(1, 1, 43))

    @torch.no_grad()
    def move(nets: Nets) -> None:
        weights = nets.weights()
        log_variance = weights[POSTERIOR_BIAS][LATENTS:]
        log_variance[0] += 3
        log_variance[1] -= 4
        log_variance[2] = -11
        weights[POSTERIOR_WEIGHT][[1, 2, LATENTS + 1, LATENTS + 2]] = 0

    variance = [1.5, 2e-6, 1e-3, 0.7, 0.3, 9.0, 1.0]
    real.set_average(move)
    real.set_variance(0, variance)
    move(naive.average)
    naive.records[0].moments.variance = list(variance)
    followed(real, naive, [(third, New(third)), *stay(2, 2, 44)])
    drifted = naive.records[0].moments.variance
    assert drifted[:3] == pytest.approx([6.0, 1e-6, 2.5e-4], rel=1e-6)
    assert naive.records[2].moments.variance[2] < 0.05
