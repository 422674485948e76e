"""A second learner, written naively from the equations, against which the real one is checked.

It takes one image at a time, in Python loops over images and latents, shares no pass, and imports
nothing of the project. It is given networks as functions: `encoder(images [1, C, H, W])` with a
`mean` and a `log_variance` [1, N], `decoder(z [1, N], environment [1])` with logits [1, C, H, W],
`classifier(posterior, known)` with log-probabilities [1, known]. Networks compute in float32,
everything else here in float64. It decides nothing: a script says of every batch `Same`, `New` or
`Returned`.

The loss of a batch of B images, in nats per image, with R replayed images of the past:

    L  = mean_B D + capacity_penalty(mean_B K, C) + belief mean_{B + R} -log q(s|x)  +  L_past
    D  = sum over pixels of -x log p - (1 - x) log(1 - p),  p = decode(a z, s)
    K  = sum over unmasked latents of KL( N(mu, sigma^2) || N(0, 1) )
    capacity_penalty(K, C) = beta K + gamma max(0, K - C)^2,  or gamma (K - C)^2,  or K (plain VAE)
    L_past = encoder_weight mean_R D_enc + decoder_weight mean_R D_dec      method "proximity"
    L_past = ratio ( mean_R D + capacity_penalty(mean_R K, mean_R C) )      method "replay"

The order in which random numbers are drawn, all from one generator, which every step seeds anew
with seed * 1_000_003 + step, the step being counted from 0 whether it learns or not:

1. A batch that is learnt: noise [B, N]; then, if there is a snapshot and a past, the choice of an
   environment among the E of the past, randint(E) [R], and the noise of the latents [R, N]; then,
   for method "replay" alone, the noise [R, N] with which the replayed images are encoded.
2. The first batch of all, before that: noise [B, N] of the first evaluation.
3. A change, which learns nothing: noise [B, N] of a look at the batch through the environment that
   is left, of which the atypicality is shown; then, for every absent environment in the order of
   their indices, but only if there was a snapshot before, randint(1) [M], noise of the latents
   [M, N] and of the looks [M, N], M = drift_images; then, for a new environment, noise [P, N] of
   the look at P pooled images through the environment that is left, and [P, N] of that through the
   new one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SPAN = 20  # batches over which records are averaged
USED = 0.5  # nats per image from which a latent counts as used
MAX_OVERDISPERSED_SHARE = 0.2  # of the code's nats; above it images are out of distribution
MIN_LATENT_VARIANCE, MIN_LOSS_VARIANCE, MIN_VARIANCE = 1e-3, 1.0, 1e-6
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam


@dataclass(frozen=True)
class Same:
    """The batch is of the present environment, and is learnt."""


@dataclass(frozen=True)
class New:
    """An environment begins, founded on pooled `images` [P, C, H, W]; the first one also learns."""

    images: Tensor


@dataclass(frozen=True)
class Returned:
    """The environment `index` is back. The batch is not learnt."""

    index: int


Decision = Same | New | Returned


@dataclass(frozen=True)
class Rules:
    """All numbers of the algorithm; capacities and slack in nats.

    drift_images: replayed images on which the drift of an absent environment is measured.
    """

    learning_rate: float = 4e-3
    ema_decay: float = 0.5
    max_grad_norm: float = 1e9
    entangled: bool = False
    threshold: float = 0.35
    classifier_weight: float = 0.7
    masks: bool = True
    gamma: float = 2.0
    c_start: float = 2.0
    c_increment: float = 0.05
    c_max: float = 60.0
    beta: float = 0.3
    c_slack: float = 0.5
    ema_steps: float = 4.0
    two_sided: bool = False
    steady: bool = False
    fill: str = "zero"
    mask_strangers: bool = False
    method: str = "proximity"
    ratio: float = 0.75
    source: str = "marginal"
    encoder_weight: float = 2.0
    decoder_weight: float = 3.0
    distance: str = "kl"
    drift_images: int = 32


@dataclass
class Nets:
    """Encoder, decoder and classifier, as functions."""

    encoder: nn.Module
    decoder: nn.Module
    classifier: nn.Module

    def copied(self) -> Nets:
        return copy.deepcopy(self)

    def weights(self) -> dict[str, nn.Parameter]:
        """Every parameter by its name, `encoder.…`, `decoder.…`, `classifier.…`."""
        return {
            f"{part}.{name}": weight
            for part, net in vars(self).items()
            for name, weight in net.named_parameters()
        }

    def encode(self, image: Tensor) -> tuple[Any, Tensor, Tensor]:
        """The network's own answer for one image [C, H, W], and its mean and log variance [N]."""
        answer = self.encoder(image[None].float())
        return answer, answer.mean[0].double(), answer.log_variance[0].double()

    def decode(self, z: Tensor, index: int) -> Tensor:
        """Logits [C, H, W] of one z [N] in the environment `index`."""
        logits: Tensor = self.decoder(z.float()[None], torch.tensor([index]))[0]
        return logits.double()


@dataclass
class Moments:
    """Mean and variance of N latents, distortion and rate, [N + 2] each, of `count` images."""

    mean: list[float]
    variance: list[float]
    count: float


@dataclass
class Record:
    """What is remembered of an environment; capacity, used and kl in nats."""

    index: int
    mask: list[bool]
    moments: Moments
    capacity: float
    used: float
    kl: list[float]
    out_of_distribution: bool = False
    batches: int = 0


@dataclass
class Slope:
    """What one batch shows before the step: terms and total in nats per image, gradients by name.

    gradients: before clipping. clipped: after it. moments, kl [N]: of the present images.
    """

    terms: dict[str, float]
    gradients: dict[str, Tensor]
    clipped: dict[str, Tensor]
    moments: Moments
    kl: list[float]


# ---- formulas, each for one image or one latent ----------------------------------------------


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL( N(m, s^2) || N(0, 1) ) = (m^2 + s^2 - 1 - log s^2) / 2 of one latent, in nats."""
    return (mean**2 + torch.exp(log_variance) - 1 - log_variance) / 2


def divergence(m_p: Tensor, log_p: Tensor, m_q: Tensor, log_q: Tensor) -> Tensor:
    """KL( p || q ) = log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2, in nats."""
    s_p, s_q = torch.exp(log_p / 2), torch.exp(log_q / 2)
    return torch.log(s_q / s_p) + (s_p**2 + (m_p - m_q) ** 2) / (2 * s_q**2) - 0.5


def transport(m_p: Tensor, log_p: Tensor, m_q: Tensor, log_q: Tensor) -> Tensor:
    """W_2^2 = (m_p - m_q)^2 + (s_p - s_q)^2 of one latent, in squared units of the latent."""
    return (m_p - m_q) ** 2 + (torch.exp(log_p / 2) - torch.exp(log_q / 2)) ** 2


def negative_log_likelihood(logits: Tensor, image: Tensor) -> Tensor:
    """-sum over pixels of x log p + (1 - x) log(1 - p) with p = 1 / (1 + exp(-logit)), in nats."""
    p, x = 1 / (1 + torch.exp(-logits)), image.double()
    return -(x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum()


def divergence_of_pixels(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL( p || q ) = sum over pixels of p log(p/q) + (1 - p) log((1 - p)/(1 - q)), in nats."""
    p, q = 1 / (1 + torch.exp(-logits_p)), 1 / (1 + torch.exp(-logits_q))
    return (p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))).sum()


def drawn(
    mean: Tensor, log_variance: Tensor, mask: Sequence[bool], noise: Tensor, fill: str = "zero"
) -> tuple[Tensor, list[Tensor]]:
    """The z [N] that is decoded and the nats of each latent: a masked one is 0 and costs nothing.

    z_n = mu_n + sigma_n noise_n. Where masked ones are filled from the prior, they are noise_n.
    """
    nothing = torch.zeros((), dtype=torch.float64)
    z, nats = [], []
    for n, used in enumerate(mask):
        other = noise[n].double() if fill == "prior" else nothing
        z.append(mean[n] + torch.exp(log_variance[n] / 2) * noise[n] if used else other)
        nats.append(divergence_from_prior(mean[n], log_variance[n]) if used else nothing)
    return torch.stack(z), nats


def total(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()


def number(value: Tensor) -> float:
    return float(value.detach())


def average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    """The mean squared distance from the mean."""
    centre = average(values)
    return average([(value - centre) ** 2 for value in values])


def unlikeness(mean: float, variance: float) -> float:
    """alpha = (m^2 + v - 1 - log v) / 2: KL of a moment-matched marginal to the prior, in nats."""
    return (mean**2 + variance - 1 - math.log(variance)) / 2


def pooled(memory: Moments, batch: Moments, span: float) -> Moments:
    """Both together, the memory weighing as much as `span` images at the most.

    m = w m_1 + (1 - w) m_2,  v = w (v_1 + m_1^2) + (1 - w) (v_2 + m_2^2) - m^2.
    """
    weight = min(memory.count, span)
    w = weight / (weight + batch.count)
    mean, variance = [], []
    for k in range(len(memory.mean)):
        m = w * memory.mean[k] + (1 - w) * batch.mean[k]
        first = memory.variance[k] + memory.mean[k] ** 2
        second = batch.variance[k] + batch.mean[k] ** 2
        mean.append(m)
        variance.append(max(MIN_VARIANCE, w * first + (1 - w) * second - m**2))
    return Moments(mean, variance, weight + batch.count)


# ---- the learner -----------------------------------------------------------------------------


class NaiveLearner:
    """The learner in slow motion: `decide`, then, if that says so, `slope` and `descend`."""

    def __init__(self, nets: Nets, latents: int, rules: Rules, seed: int) -> None:
        self.nets, self.average = nets.copied(), nets.copied()
        self.snapshot: Nets | None = None
        self.latents, self.rules, self.seed = latents, rules, seed
        self.step = 0
        self.records: list[Record] = []
        self.current = -1
        self.generator = torch.Generator()
        self.shown: Moments | None = None  # of the latest batch, as it was looked at
        self.updates = 0  # of Adam
        self.first = {name: 0.0 * w.detach().double() for name, w in self.nets.weights().items()}
        self.second = {name: 0.0 * w.detach().double() for name, w in self.nets.weights().items()}

    @property
    def here(self) -> Record:
        return self.records[self.current]

    @property
    def past(self) -> list[Record]:
        """Every record but the present one."""
        return [record for record in self.records if record.index != self.current]

    @property
    def alpha(self) -> list[float]:
        """Atypicality of every latent on the latest batch, [N], in nats."""
        assert self.shown is not None
        moments = zip(self.shown.mean, self.shown.variance, strict=True)
        return [unlikeness(mean, variance) for mean, variance in moments][: self.latents]

    def noise(self, count: int) -> Tensor:
        """[count, N], standard normal."""
        return torch.randn(count, self.latents, generator=self.generator)

    # ---- decisions -----------------------------------------------------------------------------

    @torch.no_grad()
    def decide(self, images: Tensor, decision: Decision) -> bool:
        """Carry out a decision on the batch [B, C, H, W]; whether the batch is to be learnt."""
        self.generator.manual_seed(self.seed * 1_000_003 + self.step)
        if isinstance(decision, Same):
            return True
        if isinstance(decision, New) and not self.records:
            self._found_first(images)
            return True
        left = self.here
        noise = self.noise(len(images))
        self.shown = self.seen(self.average, images, left.index, left.mask, noise)
        self._take_snapshot()
        if isinstance(decision, New):
            self._found(decision.images)
        else:
            assert isinstance(decision, Returned)
            self.current = decision.index
        self.step += 1
        return False

    def _found_first(self, images: Tensor) -> None:
        everything = [True] * self.latents
        moments = self.seen(self.average, images, 0, everything, self.noise(len(images)))
        kl = self.carried(images, everything)
        self.records.append(Record(0, everything, moments, self.rules.c_start, 0.0, kl))
        self.current = 0

    def _found(self, images: Tensor) -> None:
        """A new record: its mask from what is typical, its capacity from what is used already.

        a_n = [alpha_n < lambda], unless the images are out of distribution: then all latents are,
        where strangers are not masked.
        """
        rules, left, index = self.rules, self.here, len(self.records)
        before = self.seen(self.average, images, left.index, left.mask, self.noise(len(images)))
        out_of_distribution = self._foreign(before)
        mask = [
            not rules.masks
            or (out_of_distribution and not rules.mask_strangers)
            or unlikeness(before.mean[n], before.variance[n]) < rules.threshold
            for n in range(self.latents)
        ]
        moments = self.seen(self.average, images, index, mask, self.noise(len(images)))
        start = min(rules.c_max, moments.mean[-1])
        kl = self.carried(images, mask)
        self.records.append(Record(index, mask, moments, start, start, kl, out_of_distribution))
        self.current = index

    def _foreign(self, marginal: Moments) -> bool:
        """Whether latents that are atypical and too wide, m^2 + v > 1, bear a fifth of the code.

        The code: of every latent the most nats that it carries in an environment that uses it.
        """
        code, overdispersed = 0.0, 0.0
        for n in range(self.latents):
            used = [r.kl[n] for r in self.records if r.mask[n] and r.kl[n] >= USED]
            most = max([0.0, *used])
            mean, variance = marginal.mean[n], marginal.variance[n]
            code += most
            if unlikeness(mean, variance) >= self.rules.threshold and mean**2 + variance > 1:
                overdispersed += most
        return overdispersed > MAX_OVERDISPERSED_SHARE * code

    def _take_snapshot(self) -> None:
        """Correct the absent records, freeze the average, and go on learning from it."""
        if self.snapshot is not None:
            for record in self.past:
                record.moments = self._drifted(record)
        self.snapshot = self.average.copied()
        for name, weight in self.nets.weights().items():
            weight.copy_(self.average.weights()[name])

    def _drifted(self, record: Record) -> Moments:
        """An absent record by today's average, measured on images that the snapshot replays.

        m <- m + m_now - m_then,  v <- v clip(v_now / v_then, 1/4, 4).
        """
        assert self.snapshot is not None
        images, *_ = zip(*self._replayed([record], self.rules.drift_images), strict=True)
        noise = self.noise(self.rules.drift_images)
        then = self.seen(self.snapshot, images, record.index, record.mask, noise)
        now = self.seen(self.average, images, record.index, record.mask, noise)
        mean, variance = [], []
        for k in range(self.latents + 2):
            ratio = now.variance[k] / then.variance[k]
            mean.append(record.moments.mean[k] + now.mean[k] - then.mean[k])
            slower = record.moments.variance[k] * min(4.0, max(0.25, ratio))
            variance.append(max(MIN_VARIANCE, slower))
        return Moments(mean, variance, record.moments.count)

    # ---- what networks see ---------------------------------------------------------------------

    @torch.no_grad()
    def seen(
        self,
        nets: Nets,
        images: Sequence[Tensor] | Tensor,
        index: int,
        mask: Sequence[bool],
        noise: Tensor,
    ) -> Moments:
        """Moments of images as networks see them in an environment, through its mask.

        Of a latent, masked or not: m = mean mu, v = mean sigma^2 + mean (mu - m)^2.
        """
        means, log_variances, distortions, rates = [], [], [], []
        for image, draw in zip(images, noise, strict=True):
            _, mean, log_variance = nets.encode(image)
            z, nats = drawn(mean, log_variance, mask, draw)
            distortions.append(float(negative_log_likelihood(nets.decode(z, index), image)))
            rates.append(float(total(nats)))
            means.append(mean)
            log_variances.append(log_variance)
        return self._moments(means, log_variances, distortions, rates)

    def _moments(
        self,
        means: Sequence[Tensor],
        log_variances: Sequence[Tensor],
        distortions: Sequence[float],
        rates: Sequence[float],
    ) -> Moments:
        mean, variance = [], []
        for n in range(self.latents):
            mus = [float(each[n]) for each in means]
            own = average([math.exp(float(each[n])) for each in log_variances])
            mean.append(average(mus))
            variance.append(max(MIN_LATENT_VARIANCE, own + spread(mus)))
        for losses in (distortions, rates):
            mean.append(average(losses))
            variance.append(max(MIN_LOSS_VARIANCE, spread(losses)))
        return Moments(mean, variance, len(means))

    @torch.no_grad()
    def carried(self, images: Tensor, mask: Sequence[bool]) -> list[float]:
        """Mean nats per image of each latent [N] as the average sees images through a mask."""
        rows = []
        for image in images:
            _, mean, log_variance = self.average.encode(image)
            _, nats = drawn(mean, log_variance, mask, torch.zeros(self.latents))
            rows.append([float(each) for each in nats])
        return [average(column) for column in zip(*rows, strict=True)]

    @torch.no_grad()
    def _replayed(
        self, past: Sequence[Record], count: int, fill: str = "zero"
    ) -> list[tuple[Tensor, Tensor, Record]]:
        """`count` images of the past [C, H, W] from the snapshot, their z [N] and their records.

        z_n = a_n ( m_n + sqrt(v_n) noise_n ), or a_n noise_n from the prior; of a masked one 0 or,
        where those are filled from the prior, noise_n.
        """
        assert self.snapshot is not None
        choice = torch.randint(len(past), (count,), generator=self.generator).tolist()
        noise = self.noise(count).double()
        result = []
        for row, draw in zip(choice, noise, strict=True):
            record, z = past[row], torch.zeros(self.latents, dtype=torch.float64)
            for n in range(self.latents):
                if not record.mask[n]:
                    z[n] = draw[n] if fill == "prior" else 0.0
                else:
                    marginal = self.rules.source == "marginal"
                    m = record.moments.mean[n] if marginal else 0.0
                    v = record.moments.variance[n] if marginal else 1.0
                    z[n] = m + math.sqrt(v) * draw[n]
            logits = self.snapshot.decode(z, record.index)
            result.append(((1 / (1 + torch.exp(-logits))).float(), z, record))
        return result

    # ---- learning ------------------------------------------------------------------------------

    def slope(self, images: Tensor) -> Slope:
        """Terms, total and gradients for a batch [B, C, H, W] of the present environment."""
        here, known = self.here, len(self.records)
        means, log_variances, distortions, nats, beliefs = [], [], [], [], []
        for image, draw in zip(images, self.noise(len(images)), strict=True):
            answer, mean, log_variance = self.nets.encode(image)
            z, costs = drawn(mean, log_variance, here.mask, draw, self.rules.fill)
            logits = self.nets.decode(z, here.index)
            distortions.append(negative_log_likelihood(logits, image))
            nats.append(costs)
            beliefs.append(-self.nets.classifier(answer, known)[0, here.index].double())
            means.append(mean.detach())
            log_variances.append(log_variance.detach())
        rates = [total(costs) for costs in nats]
        terms = {
            "reconstruction": total(distortions) / len(images),
            "kl": total(rates) / len(images),
        }
        terms |= self._rehearsed(len(images), beliefs)
        terms["classifier"] = total(beliefs) / len(beliefs)
        terms["loss"] = self._total(terms)
        weights = self.nets.weights()
        slopes = torch.autograd.grad(terms["loss"], list(weights.values()))
        gradients = dict(zip(weights, slopes, strict=True))
        self.shown = self._moments(
            means, log_variances, [number(d) for d in distortions], [number(r) for r in rates]
        )
        return Slope(
            terms={name: number(value) for name, value in terms.items()},
            gradients=gradients,
            clipped=self._clipped(gradients),
            moments=self.shown,
            kl=[average([number(costs[n]) for costs in nats]) for n in range(self.latents)],
        )

    def _rehearsed(self, present: int, beliefs: list[Tensor]) -> dict[str, Tensor]:
        """The terms of the past, means over replayed images; each also names its environment."""
        if self.snapshot is None or not self.past:
            return {}
        count = max(1, round(self.rules.ratio * present))
        replayed = self._replayed(self.past, count, self.rules.fill)
        if self.rules.method == "replay":
            return self._learnt_again(replayed, beliefs)
        near, far = [], []
        measure = divergence if self.rules.distance == "kl" else transport
        for image, z, record in replayed:
            with torch.no_grad():
                _, old_mean, old_log = self.snapshot.encode(image)
                old_logits = self.snapshot.decode(z, record.index)
            answer, mean, log_variance = self.nets.encode(image)
            apart = [
                measure(old_mean[n], old_log[n], mean[n], log_variance[n])
                for n in range(self.latents)  # all of them, masked ones too
            ]
            near.append(total(apart))
            far.append(divergence_of_pixels(old_logits, self.nets.decode(z, record.index)))
            name = self.nets.classifier(answer, len(self.records))[0, record.index]
            beliefs.append(-name.double())
        return {"encoder_proximity": total(near) / count, "decoder_proximity": total(far) / count}

    def _learnt_again(
        self, replayed: list[tuple[Tensor, Tensor, Record]], beliefs: list[Tensor]
    ) -> dict[str, Tensor]:
        """Replayed images as data: seen anew, through the mask of the environment they are of."""
        distortions, rates = [], []
        noise = self.noise(len(replayed))
        for (image, _, record), draw in zip(replayed, noise, strict=True):
            answer, mean, log_variance = self.nets.encode(image)
            z, nats = drawn(mean, log_variance, record.mask, draw, self.rules.fill)
            logits = self.nets.decode(z, record.index)
            distortions.append(negative_log_likelihood(logits, image))
            rates.append(total(nats))
            name = self.nets.classifier(answer, len(self.records))[0, record.index]
            beliefs.append(-name.double())
        return {
            "replay_reconstruction": total(distortions) / len(replayed),
            "replay_kl": total(rates) / len(replayed),
        }

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        rules = self.rules
        loss = terms["reconstruction"] + self._capacity_penalty(terms["kl"], self.here.capacity)
        loss = loss + rules.classifier_weight * terms["classifier"]
        if "encoder_proximity" in terms:
            loss = loss + rules.encoder_weight * terms["encoder_proximity"]
            loss = loss + rules.decoder_weight * terms["decoder_proximity"]
        if "replay_kl" in terms:
            capacity = average([record.capacity for record in self.past])
            again = terms["replay_reconstruction"] + self._capacity_penalty(
                terms["replay_kl"], capacity
            )
            loss = loss + rules.ratio * again
        return loss

    def _capacity_penalty(self, rate: Tensor, capacity: float) -> Tensor:
        """beta K + gamma max(0, K - C)^2, or gamma (K - C)^2, or K for a plain VAE."""
        rules = self.rules
        if rules.entangled:
            return rate
        if rules.two_sided:
            return rules.gamma * (rate - capacity) ** 2
        excess = (rate - capacity) ** 2 if number(rate) > capacity else 0.0 * rate
        return rules.beta * rate + rules.gamma * excess

    def _clipped(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """g <- g min(1, clip / |g|), |g| being the norm over all parameters together."""
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
        factor = min(1.0, self.rules.max_grad_norm / (norm + 1e-6))
        return {name: gradient * factor for name, gradient in gradients.items()}

    @torch.no_grad()
    def descend(self, slope: Slope, gradients: dict[str, Tensor] | None = None) -> None:
        """One step of Adam, of the average, and of the record.

        gradients: to take in place of the slope's own clipped ones, from a learner which was seen
        to have the same: rounding can turn the sign of a gradient near 0, and Adam's first steps
        are as long for a small gradient as for a large one.
        """
        self._adam(slope.clipped if gradients is None else gradients)
        old = min(self.rules.ema_decay, (1 + self.step) / (10 + self.step))
        for name, weight in self.average.weights().items():
            weight.copy_(old * weight + (1 - old) * self.nets.weights()[name])
        self._remember(slope)
        self.step += 1

    def _adam(self, gradients: dict[str, Tensor]) -> None:
        """w <- w - rate m^ / (sqrt(v^) + eps), m^ = m / (1 - b1^t), v^ = v / (1 - b2^t)."""
        self.updates += 1
        for name, weight in self.nets.weights().items():
            g = gradients[name].double()
            self.first[name] = BETA_1 * self.first[name] + (1 - BETA_1) * g
            self.second[name] = BETA_2 * self.second[name] + (1 - BETA_2) * g**2
            m = self.first[name] / (1 - BETA_1**self.updates)
            v = self.second[name] / (1 - BETA_2**self.updates)
            move = self.rules.learning_rate * m / (torch.sqrt(v) + EPSILON)
            weight.copy_(weight.double() - move)

    def _remember(self, slope: Slope) -> None:
        """Moments over 20 batches, nats per latent over min(batches, 20), and the capacity.

        U <- U + (K - U) / memory;  C <- min(limit, C + growth) if U >= C - slack.
        """
        here, rules = self.here, self.rules
        here.moments = pooled(here.moments, slope.moments, SPAN * slope.moments.count)
        here.batches += 1
        share = 1 / min(here.batches, SPAN)
        here.kl = [(1 - share) * a + share * b for a, b in zip(here.kl, slope.kl, strict=True)]
        if not rules.entangled:
            here.used += (slope.terms["kl"] - here.used) / rules.ema_steps
            if rules.steady or here.used >= here.capacity - rules.c_slack:
                here.capacity = min(rules.c_max, here.capacity + rules.c_increment)
