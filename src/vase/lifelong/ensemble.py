"""Many learners, one step: members of one architecture learn as one batched network.

Every member decides for itself where it is, as it would alone; what is batched is the work. The
members' weights lie in stacks [M, ...], of which each member's own networks are views, as are its
averaged networks and the moments of its optimizer: a member can be saved, probed, or go on alone at
any time. One step of all is one call of `torch.func.vmap` over weights and lessons; convolutions
become grouped ones. A member that holds its batch back sits the step out.

A member's trajectory equals that of the same learner alone up to the rounding of sums (tested).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from vase.errors import ConfigError
from vase.lifelong.dream import Dream
from vase.lifelong.learner import Learner
from vase.lifelong.look import channels, to_moments
from vase.lifelong.replay import Replay
from vase.lifelong.step import Learnt, Step
from vase.nets import Networks
from vase.objective import gaussian
from vase.objective.likelihood import reconstruction
from vase.objective.proximity import Distance, decoder_proximity, encoder_proximity
from vase.records import Observation, Posterior

Weights = dict[str, Tensor]
Lesson = dict[str, Tensor]  # what one member learns in one step; stacked, [M, ...] each

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's, as torch has them
PRESENT = ("loss", "reconstruction", "kl", "belief")
PROXIMITY = ("encoder_proximity", "decoder_proximity")
REPLAY = ("replay_reconstruction", "replay_kl")


# ---- the loss of one member, written without branches so that it can be batched -----------------


def loss(
    model: Networks, distance: Distance, weights: Weights, lesson: Lesson
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """`vase.lifelong.loss.total` of one lesson; beside it its terms, KL per latent, and channels.

    A term that a member does not have is computed on blanks and weighs nothing.
    """
    call = partial(_call, model, weights)
    images, past = lesson["images"], lesson["past_images"]
    count = len(images)
    both = call("encoder", torch.cat([images, past]))
    posterior = Posterior(both.mean[:count], both.log_variance[:count])
    again = Posterior(both.mean[count:], both.log_variance[count:])

    used = gaussian.masked(posterior, lesson["mask"])
    z = gaussian.sample(used, lesson["noise"]) * lesson["mask"]
    seen = gaussian.masked(again, lesson["past_mask"])
    replayed = gaussian.sample(seen, lesson["past_noise"]) * lesson["past_mask"]
    z_past = torch.where(lesson["replays"] > 0, replayed, lesson["past_z"])
    environment = torch.cat([lesson["environment"].expand(count), lesson["past_environment"]])
    logits = call("decoder", torch.cat([z, z_past]), environment)

    distortion, kl = reconstruction(logits[:count], images), gaussian.kl_to_prior(used)
    rate = kl.sum(1)
    snapshot = Posterior(lesson["past_mean"], lesson["past_log_variance"])
    near = encoder_proximity(snapshot, again, distance).mean()
    far = decoder_proximity(lesson["past_logits"], logits[count:]).mean()
    past_distortion = reconstruction(logits[count:], past).mean()
    past_rate = gaussian.kl_to_prior(seen).sum(1).mean()
    belief = _belief(call("head.body", torch.cat([both.mean, both.log_variance], 1).detach()),
                     environment, count, lesson)  # fmt: skip

    total = (
        distortion.mean()
        + _charge(rate.mean(), lesson["capacity"], lesson)
        + lesson["belief"] * belief
        + lesson["dreams"] * (lesson["encoder"] * near + lesson["decoder"] * far)
        + lesson["replays"]
        * lesson["share"]
        * (past_distortion + _charge(past_rate, lesson["past_capacity"], lesson))
    )
    told = [total, distortion.mean(), rate.mean(), belief, near, far, past_distortion, past_rate]
    return total, (torch.stack(told), kl.mean(0), channels(posterior, distortion, rate))


def _call(model: Networks, weights: Weights, part: str, *inputs: Tensor) -> Any:
    """One part of the networks with the given weights."""
    own = {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
    return functional_call(model.get_submodule(part), own, inputs)


def _charge(rate: Tensor, capacity: Tensor, lesson: Lesson) -> Tensor:
    """What the objective charges for the rate; see `vase.objective.capacity.charge`."""
    excess = rate - capacity
    ceiling = lesson["price"] * rate + lesson["gamma"] * excess.clamp(min=0).square()
    held = torch.where(lesson["two_sided"] > 0, lesson["gamma"] * excess.square(), ceiling)
    return torch.where(lesson["entangled"] > 0, rate, held)


def _belief(scores: Tensor, environment: Tensor, present: int, lesson: Lesson) -> Tensor:
    """Cross-entropy of the head over the known environments; blanks are left out of the mean."""
    unknown = torch.arange(scores.shape[1], device=scores.device) >= lesson["known"]
    log_belief = torch.log_softmax(scores.float().masked_fill(unknown, -torch.inf), dim=1)
    cost = -log_belief.gather(1, environment[:, None])[:, 0]
    real = torch.ones_like(cost)
    real = torch.cat([real[:present], real[present:] * (lesson["dreams"] + lesson["replays"])])
    return torch.where(real > 0, cost, 0.0).sum() / real.sum()


# ---- members -----------------------------------------------------------------------------------


@dataclass(eq=False)
class Stacks:
    """Weights, averaged weights and Adam's moments of all members by name, [M, ...]; steps [M]."""

    weights: Weights
    average: Weights
    first: Weights
    second: Weights
    steps: Tensor


class Ensemble:
    """Learners of one architecture on one device that take their steps together.

    What may differ: seeds, streams, objectives, which letters are switched on, every rule. What may
    not: the architecture, the share of dreams, the distance of posteriors, and mixed precision,
    which there is none of here.
    """

    def __init__(self, members: Sequence[Learner]) -> None:
        self.members = tuple(members)
        self.share, self.distance = _alike(self.members)
        self.bound: list[tuple[Networks, Networks]] = []
        self.stacks = self._bind()

    def observe(self, batches: Sequence[Tensor]) -> list[Observation]:
        """One batch [B, C, H, W] for every member, all of one size; one observation of each."""
        begun = [member.begin(images) for member, images in zip(self.members, batches, strict=True)]
        self._bind_anew()
        learns = [k for k, step in enumerate(begun) if step.learns]
        learnt = dict(zip(learns, self._learn(learns, begun), strict=True)) if learns else {}
        return [
            member.finish(step, learnt.get(k))
            for k, (member, step) in enumerate(zip(self.members, begun, strict=True))
        ]

    # ---- one step ------------------------------------------------------------------------------

    def _learn(self, learns: list[int], begun: Sequence[Step]) -> list[Learnt | None]:
        """One step down every learning member's loss; None where that is no number."""
        lessons = [_lesson(self.members[k], begun[k].images, self.share) for k in learns]
        stacked = {name: torch.stack([lesson[name] for lesson in lessons]) for name in lessons[0]}
        rows = torch.tensor(learns, device=self.stacks.steps.device)
        weights = {name: value[rows] for name, value in self.stacks.weights.items()}
        member_loss = partial(loss, self.members[0].networks, self.distance)
        gradients, (_, (told, kl, tables)) = vmap(grad_and_value(member_loss, has_aux=True))(
            weights, stacked
        )
        numbers = torch.cat([told, kl], dim=1).detach().cpu()
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
        sound = (told[:, 0] + norm).isfinite()
        if not sound.all():  # the others go on
            rows, norm = rows[sound], norm[sound]
            gradients = {name: gradient[sound] for name, gradient in gradients.items()}
        if len(rows):
            self._descend(rows, gradients, norm)
        return [
            _learnt(row, lesson, table, len(begun[k].images)) if fine else None
            for k, row, lesson, table, fine in zip(
                learns, numbers.tolist(), lessons, tables.detach(), sound.tolist(), strict=True
            )
        ]

    def _descend(self, rows: Tensor, gradients: Mapping[str, Tensor], norm: Tensor) -> None:
        """Clip, step of Adam, moving average: each member's own, for the members in `rows`.

        norm: of each one's gradient.

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        w <- w - lr / (1 - b1^t) m / ( sqrt(v / (1 - b2^t)) + eps )
        """
        stacks, device = self.stacks, self.stacks.steps.device
        members = [self.members[int(k)] for k in rows]
        clip = torch.tensor([member.settings.clip for member in members], device=device)
        rates = torch.tensor([member.settings.learning_rate for member in members], device=device)
        follows = torch.tensor([1 - member.averaging for member in members], device=device)
        shrink = (clip / (norm + 1e-6)).clamp(max=1)
        stacks.steps[rows] += 1
        t = stacks.steps[rows]
        step_size, scale = rates / (1 - BETAS[0] ** t), (1 - BETAS[1] ** t).sqrt()
        for name, gradient in gradients.items():
            g = gradient * _over(shrink, gradient)
            first = stacks.first[name][rows].lerp(g, 1 - BETAS[0])
            second = BETAS[1] * stacks.second[name][rows] + (1 - BETAS[1]) * g * g
            spread = second.sqrt() / _over(scale, g) + EPSILON
            weights = stacks.weights[name][rows] - _over(step_size, g) * first / spread
            average = stacks.average[name][rows]
            stacks.average[name][rows] = average.lerp(weights, _over(follows, g))
            stacks.weights[name][rows] = weights
            stacks.first[name][rows], stacks.second[name][rows] = first, second

    # ---- stacks and views ----------------------------------------------------------------------

    def _bind_anew(self) -> None:
        """Gather again where a decision has given a member other networks, or longer tables."""
        rows = max(member.shape.environments for member in self.members)
        for member in self.members:
            if member.shape.environments < rows:
                member.grow(rows)
        if any(
            (member.networks, member.average) != pair
            for member, pair in zip(self.members, self.bound, strict=True)
        ):
            self.stacks = self._bind()

    @torch.no_grad()
    def _bind(self) -> Stacks:
        """Stack what the members have, and make theirs views of it."""
        names = [name for name, _ in self.members[0].networks.named_parameters()]
        weights = _stacked([dict(member.networks.named_parameters()) for member in self.members])
        average = _stacked([dict(member.average.named_parameters()) for member in self.members])
        slots = [_slots(member) for member in self.members]
        steps = torch.stack([slot[names[0]][2].float().reshape(()) for slot in slots])
        first = {name: torch.stack([slot[name][0] for slot in slots]) for name in names}
        second = {name: torch.stack([slot[name][1] for slot in slots]) for name in names}
        for k, member in enumerate(self.members):
            for name, parameter in member.networks.named_parameters():
                parameter.data = weights[name][k]
                member.optimizer.state[parameter] = {
                    "step": steps[k],
                    "exp_avg": first[name][k],
                    "exp_avg_sq": second[name][k],
                }
            for name, parameter in member.average.named_parameters():
                parameter.data = average[name][k]
        self.bound = [(member.networks, member.average) for member in self.members]
        return Stacks(weights, average, first, second, steps)


def _alike(members: Sequence[Learner]) -> tuple[float, Distance]:
    """The share of dreams and the distance of all members; a `ConfigError` where they differ."""
    if not members:
        raise ConfigError("An ensemble needs at least one member.")
    for what in _must_be_alike(members[0]):
        found = {_must_be_alike(member)[what] for member in members}
        if len(found) > 1:
            raise ConfigError(
                f"Members of an ensemble must have one {what}, not {', '.join(sorted(found))}. "
                "Train them in groups that do."
            )
    rule = members[0].settings.dream
    return rule.share, rule.distance


def _must_be_alike(member: Learner) -> dict[str, str]:
    rule = member.settings.dream
    return {
        "architecture": str(member.shape),
        "device": str(member.device),
        "dreaming.share": str(rule.share),
        "dreaming.distance": rule.distance,
    }


def _stacked(members: Sequence[Mapping[str, Tensor]]) -> Weights:
    return {name: torch.stack([one[name].data for one in members]) for name in members[0]}


def _slots(member: Learner) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Adam's two moments and step of every parameter; zeros where it has not stepped yet."""
    found = {}
    for name, parameter in member.networks.named_parameters():
        slot = member.optimizer.state.get(parameter) or {}
        blank = torch.zeros_like(parameter.data)
        step = torch.as_tensor(slot.get("step", 0.0), device=blank.device)
        found[name] = (slot.get("exp_avg", blank), slot.get("exp_avg_sq", blank), step)
    return found


def _over(values: Tensor, like: Tensor) -> Tensor:
    """[M] as [M, 1, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))


# ---- lessons -----------------------------------------------------------------------------------


def _lesson(member: Learner, images: Tensor, share: float) -> Lesson:
    """What a member learns from a batch, all of it tensors of one shape for every member."""
    noise, rehearsed = member.material(len(images), member.situation().past)
    here, settings, device = member.memory.here, member.settings, images.device
    count, latents = settings.dream.count(len(images)), noise.shape[1]

    def number(value: float) -> Tensor:
        return torch.tensor(float(value), device=device)

    rule = settings.capacity
    return {
        "images": images,
        "noise": noise,
        "mask": torch.as_tensor(here.mask, device=device),
        "environment": torch.tensor([here.index], device=device),
        "known": torch.tensor(len(member.memory.environments), device=device),
        "capacity": number(here.capacity.nats),
        "past_capacity": number(member.past_capacity),
        "entangled": number(settings.entangled),
        "two_sided": number(rule.two_sided),
        "gamma": number(rule.gamma),
        "price": number(rule.price),
        "belief": number(settings.belief),
        "encoder": number(settings.dream.encoder),
        "decoder": number(settings.dream.decoder),
        "share": number(share),
        "dreams": number(isinstance(rehearsed, Dream)),
        "replays": number(isinstance(rehearsed, Replay)),
        **_past(rehearsed, images.new_zeros(count, *images.shape[1:]), latents),
    }


def _past(rehearsed: Dream | Replay | None, blank: Tensor, latents: int) -> Lesson:
    """What is rehearsed; zeros in place of what is not."""
    device = blank.device
    zeros = torch.zeros(len(blank), latents, device=device)
    lesson = {
        "past_images": blank,
        "past_environment": torch.zeros(len(blank), dtype=torch.long, device=device),
        "past_z": zeros,
        "past_mean": zeros,
        "past_log_variance": zeros,
        "past_logits": blank,
        "past_mask": torch.ones_like(zeros, dtype=torch.bool),
        "past_noise": zeros,
    }
    match rehearsed:
        case Dream():
            lesson |= {
                "past_images": rehearsed.images,
                "past_environment": rehearsed.environment,
                "past_z": rehearsed.z,
                "past_mean": rehearsed.posterior.mean,
                "past_log_variance": rehearsed.posterior.log_variance,
                "past_logits": rehearsed.logits,
            }
        case Replay():
            lesson |= {
                "past_images": rehearsed.images,
                "past_environment": rehearsed.environment,
                "past_mask": rehearsed.mask,
                "past_noise": rehearsed.noise,
            }
    return lesson


def _learnt(row: Sequence[float], lesson: Lesson, table: Tensor, count: int) -> Learnt:
    """The numbers of one member, named as they are when it learns alone."""
    names = (*PRESENT, *PROXIMITY, *REPLAY)
    has = {**dict.fromkeys(PRESENT, True), **dict.fromkeys(PROXIMITY, bool(lesson["dreams"])),
           **dict.fromkeys(REPLAY, bool(lesson["replays"]))}  # fmt: skip
    numbers = {name: value for name, value in zip(names, row, strict=False) if has[name]}
    return Learnt(numbers, tuple(row[len(names) :]), to_moments(table, count))
