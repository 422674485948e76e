"""The settings of the learner: objective, detection, memory, masks, replay, optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from vase.settings.section import RunLength, Section, run_length_frames

Distance = Literal["kl", "wasserstein"]
Source = Literal["marginal", "prior"]
Fill = Literal["zero", "prior"]
Precision = Literal["32-true", "bf16-mixed"]

OVERSHOOT = 2.6  # mean of M at the alarm over the threshold; checked in tests/test_blocks.py

_REMOVED = (
    "the change detector of this name was removed: 'blocks', the default, takes its place, "
    "on independent images too; leave detection.rule out, and begin a new model"
)
# By the name in a configuration and by the class in a checkpoint: what is said of a removed rule.
REMOVED = {
    "signature": _REMOVED,
    "feature-statistics": _REMOVED,
    "vase.detection.detector:FeatureStatisticsDetector": _REMOVED,
}


class ObjectiveSettings(Section):
    """The loss of present images; the weights of replay are in `replay`."""

    kind: Literal["capacity", "vae"] = Field(
        "capacity",
        description="`capacity` controls the KL by a capacity C; `vae` is the plain evidence lower "
        "bound (beta = 1), which the paper calls entangled. The settings below, up to `two_sided`, "
        "belong to `capacity`.",
    )
    gamma: PositiveFloat = Field(10.0, description="weight of the squared penalty, in 1/nats")
    beta: NonNegativeFloat = Field(0.3, description="loss per nat of KL below C")
    c_start: NonNegativeFloat = Field(12.0, description="C of the first environment, in nats")
    c_increment: NonNegativeFloat = Field(0.02, description="growth of C, in nats per step")
    c_growth: Literal["used", "steady"] = Field(
        "used",
        description="`used`: C grows while it is used up; `steady`: at every step, as published",
    )
    c_max: PositiveFloat = Field(60.0, description="largest C, in nats")
    c_slack: PositiveFloat = Field(
        1.0, description="C grows while it is at most this far above the averaged KL, in nats"
    )
    ema_steps: PositiveFloat = Field(50.0, description="steps over which the KL is averaged")
    two_sided: bool = Field(
        False, description="charge gamma (KL - C)^2 below C too, without beta, as published"
    )
    classifier_weight: NonNegativeFloat = Field(
        1.0, description="weight of the cross-entropy of the environment classifier"
    )
    terms: Mapping[str, FiniteFloat] = Field(
        {},
        description="further loss terms to their weights: `total_correlation`, `latent_sparsity`, "
        "or `module:function`, see docs/extend/loss.md",
    )
    terms_after: NonNegativeInt = Field(
        0, description="`terms` count once an environment has learnt so many batches"
    )


class DetectionSettings(Section):
    """When has the domain changed, and to which environment?

    The settings after `rule` belong to `blocks`, the default, unless they say so; `kappa` has
    `min_batches`, `min_images` and `max_pooled_images` too.
    """

    rule: str = Field(
        "blocks",
        description="the change detector: `blocks` (consecutive frames or independent images), "
        "`published` (kappa and masks), `kappa` (the same, made to last), `atypicality`, "
        "`oracle`, `none` (one environment for ever: the letter S is off), or `module:Class`",
    )
    target_arl: RunLength = Field(
        140_000.0,
        description="average run length between two false alarms: a number of batches, or text "
        "such as `30 days`, `12 hours` or `1000000 frames`",
    )
    frames_per_second: PositiveFloat = Field(
        30.0, description="of the stream, for a `target_arl` that is a time"
    )
    window: Annotated[int, Field(ge=16)] = Field(
        256, description="`hold_p_value` counts as 1 / (1 + window) at least"
    )
    hold_p_value: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="a pair of chunks with at most this p-value is deferred at once"
    )
    tolerance: PositiveFloat = Field(
        0.6, description="distance up to which images belong to an environment, in nats per image"
    )
    z_threshold: NonNegativeFloat = Field(
        3.0, description="standard deviations that a distance must be away from `tolerance`"
    )
    min_batches: PositiveInt = Field(3, description="deferred batches before any decision")
    min_images: PositiveInt = Field(192, description="deferred images before a new environment")
    max_pooled_images: PositiveInt = Field(
        512, description="latest deferred images on which a decision rests, at most (every rule)"
    )
    max_f_ratio: PositiveFloat = Field(
        3.0, description="F ratio up to which deferred batches are taken to be of one domain"
    )
    max_wait: PositiveInt = Field(
        64, description="deferred batches after which a mixture counts as a new environment"
    )
    min_visit: NonNegativeFloat = Field(
        8.0,
        description="effective images (frames over their correlation time) that a new environment "
        "must last, or it is discarded",
    )
    max_transition: NonNegativeFloat = Field(
        4096.0,
        description="effective images up to which a new environment is discarded if it turns out "
        "to be a mixture of the one before and the one after it",
    )
    kappa: PositiveFloat = Field(
        1.5,
        description="rules `published` and `kappa`: a batch fits up to this factor of the recorded "
        "loss; `kappa` is meant with 1.25, as the part `kappa` sets it",
    )
    hysteresis: Annotated[float, Field(ge=1)] = Field(
        2.0,
        description="rule `kappa`: a latent has changed beyond this factor of `masks.threshold`, "
        "on either side",
    )
    options: Mapping[str, Any] = Field({}, description="settings of a detector of your own")

    @field_validator("rule")
    @classmethod
    def _is_not_removed(cls, rule: str) -> str:
        if rule in REMOVED:
            raise ValueError(f"detection.rule: {REMOVED[rule]}")
        return rule

    @property
    def enabled(self) -> bool:
        """Whether environments are inferred at all (the letter S)."""
        return self.rule != "none"

    @property
    def threshold(self) -> float:
        """The value of the Shiryaev-Roberts statistic M at which the alarm is raised.

        Of a run length in frames or in time: for batches of 64 images.
        """
        return self.frames_between_alarms(64) / 64 / OVERSHOOT

    def frames_between_alarms(self, batch_size: int) -> float:
        """The average run length in frames."""
        if isinstance(self.target_arl, str):
            return run_length_frames(self.target_arl, self.frames_per_second)
        return self.target_arl * batch_size


class MemorySettings(Section):
    """A working memory of the present environment, for frames that depend on one another.

    It is emptied when the environment is left, and never saved.
    """

    use: Literal["auto", "always"] = Field(
        "auto",
        description="`auto` learns from the memory while the change detector finds that frames "
        "depend on one another; `always` does so whatever it finds",
    )
    frames: NonNegativeInt = Field(4096, description="frames that are kept at most; 0: no memory")
    frames_per_step: PositiveInt = Field(
        32, description="new frames after which a step learns from as many of the memory, at least"
    )
    pairs: Annotated[int, Field(ge=0, le=4096)] = Field(
        0,
        description="learn pairs of frames, so many frames apart, that share the latents that have "
        "not changed; 0: single frames",
    )


class MaskSettings(Section):
    """Which latents a new environment may use (the letter A of the paper's ablations)."""

    enabled: bool = Field(True, description="mask atypical latents in a new environment")
    threshold: PositiveFloat = Field(
        0.5, description="lambda: latents with an atypicality of so many nats or more are masked"
    )
    out_of_distribution: Literal["none", "atypical"] = Field(
        "none",
        description="what is masked where images are out of distribution for the encoder: nothing, "
        "since atypicality says nothing of them, or what is atypical, as published",
    )
    fill: Fill = Field(
        "zero",
        description="what the decoder gets of a masked latent while it is trained: 0, or noise "
        "from the prior",
    )


class ReplaySettings(Section):
    """How the past is replayed (the letter D of the paper's ablations)."""

    enabled: bool = Field(True, description="replay the past at all")
    method: Literal["proximity", "replay"] = Field(
        "proximity",
        description="`proximity` keeps encoder and decoder near the snapshot on replayed images; "
        "`replay` learns replayed images as if they were present ones",
    )
    ratio: Annotated[float, Field(gt=0, le=4)] = Field(
        0.5, description="replayed images per present image"
    )
    source: Source = Field(
        "marginal",
        description="where latents are drawn: from the environment's own marginals, or the prior",
    )
    encoder_weight: NonNegativeFloat = Field(1.0, description="weight of the encoder's proximity")
    decoder_weight: NonNegativeFloat = Field(1.0, description="weight of the decoder's proximity")
    distance: Distance = Field(
        "kl", description="of posteriors: `kl` in nats, or `wasserstein` (squared 2-Wasserstein)"
    )
    snapshot_every: NonNegativeInt = Field(
        0, description="steps between snapshots; 0: only where the environment changes"
    )
    stored_images: NonNegativeInt = Field(
        0, description="images to store and replay in place of generated ones; a baseline"
    )

    def count(self, present: int) -> int:
        """Number of replayed images per batch of `present` images."""
        return max(1, round(self.ratio * present))


class OptimizerSettings(Section):
    """The optimizer, and the moving average of the weights."""

    optimizer: Literal["adam", "muon"] = Field(
        "adam",
        description="`adam`; or `muon`, which orthogonalises the steps of hidden weights, uses "
        "Adam for all others, and learns as much in about half the steps",
    )
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam")
    muon_rate: PositiveFloat = Field(
        0.005, description="of `muon`: the length of a step of a hidden weight in each direction"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="decay of the exponential moving average (EMA) of the weights, per step"
    )
    max_grad_norm: PositiveFloat = Field(200.0, description="gradients are clipped to this norm")


class LearnerSettings(Section):
    """Everything that makes one learner differ from another, apart from its architecture.

    The letters of the paper's ablations: S is `detection.rule` other than "none", D is
    `replay.enabled`, A is `masks.enabled`.
    """

    objective: ObjectiveSettings = ObjectiveSettings()
    detection: DetectionSettings = DetectionSettings()
    memory: MemorySettings = MemorySettings()
    masks: MaskSettings = MaskSettings()
    replay: ReplaySettings = ReplaySettings()
    training: OptimizerSettings = OptimizerSettings()

    @property
    def stores_images(self) -> bool:
        """Whether images are stored: only without detection, and never by VASE itself."""
        replay = self.replay
        return replay.enabled and replay.stored_images > 0 and not self.detection.enabled
