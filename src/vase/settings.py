"""All settings, each defined once: what the configuration reads and what the code uses.

A class is a section of the configuration (`vase.config`) and a table of `docs/settings.md`, which
is generated from the descriptions here. They give units: nats, steps, batches, images, pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Share = Annotated[float, Field(ge=0, le=1)]
Distance = Literal["kl", "wasserstein"]
Source = Literal["marginal", "prior"]
Precision = Literal["32-true", "bf16-mixed"]

OVERSHOOT = 2.6  # mean of M at the alarm over the threshold; simulated in tests/test_detection.py


class Section(BaseModel):
    """A section of settings: fixed once read, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ---- the learner: objective, detection, memory, masks, replay, optimizer -----------------------


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
        {}, description="further loss terms: `module:function` to weight; see docs/extend/loss.md"
    )


class DetectionSettings(Section):
    """When has the domain changed, and to which environment?

    The settings after `rule` belong to the default rule, `feature-statistics`, unless they say so.
    """

    rule: str = Field(
        "feature-statistics",
        description="the change detector: `feature-statistics`, `published` (kappa and masks), "
        "`atypicality`, `oracle`, `none` (one environment for ever: the letter S is off), or "
        "`module:Class`",
    )
    target_arl: Annotated[float, Field(ge=10)] = Field(
        190_000.0, description="average run length: batches between two false alarms"
    )
    window: Annotated[int, Field(ge=16)] = Field(
        256, description="latest scores of an environment that form the null distribution"
    )
    span: PositiveInt = Field(
        8192, description="images over which an environment's feature statistics are averaged"
    )
    hold_p_value: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="a batch with at most this p-value is deferred at once"
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
    probation: NonNegativeInt = Field(
        64, description="batches that a new environment must last, or it is discarded"
    )
    kappa: PositiveFloat = Field(
        1.5, description="rule `published`: a batch fits up to this factor of the recorded loss"
    )
    options: Mapping[str, Any] = Field({}, description="settings of a detector of your own")

    @property
    def enabled(self) -> bool:
        """Whether environments are inferred at all (the letter S)."""
        return self.rule != "none"

    @property
    def threshold(self) -> float:
        """The value of the Shiryaev-Roberts statistic M at which the alarm is raised."""
        return self.target_arl / OVERSHOOT


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


class MaskSettings(Section):
    """Which latents a new environment may use (the letter A of the paper's ablations)."""

    enabled: bool = Field(True, description="mask atypical latents in a new environment")
    threshold: PositiveFloat = Field(
        0.5, description="lambda: latents with an atypicality of so many nats or more are masked"
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
    """Adam, and the moving average of the weights."""

    learning_rate: PositiveFloat = Field(1e-3, description="of Adam")
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


# ---- networks, stream, training, probes --------------------------------------------------------


class ModelSettings(Section):
    """The networks and their sizes; see `vase.nets.architecture`."""

    latents: Annotated[int, Field(ge=1, le=1024)] = Field(24, description="latents N")
    encoder: str = Field(
        "window", description="`window`, `dense` or `module:Class`; see docs/extend/networks.md"
    )
    decoder: str = Field("window", description="`window`, `dense` or `module:Class`")
    encoder_channels: PositiveInt = Field(64, description="channels of the encoder's convolutions")
    decoder_channels: PositiveInt = Field(64, description="channels of the decoder's grid")
    hidden: PositiveInt = Field(256, description="units of the dense layers")
    space_to_depth: Literal[1, 2, 4, 8] = Field(
        4, description="side of the pixel blocks that become channels, in pixels"
    )
    environments: Annotated[int, Field(ge=1, le=4096)] = Field(
        16, description="rows of the tables of environments at first; they grow when they are full"
    )
    options: Mapping[str, Any] = Field({}, description="settings of networks of your own")


IMAGE_SETTINGS = {
    "dsprites": {"shrink"},
    "hills": {"at_rest", "walk", "light"},
    "room": {"at_rest", "walk", "light"},
    "own": {"path", "digest", "channels"},
    "autoregressive": {"options"},
}


class DomainSettings(Section):
    """One domain of the stream: sprites on a canvas, or whole images.

    "dsprites", "hills", "room", "own", "autoregressive" and domains of your own have whole images;
    of the settings below they take only those that say so.
    """

    domain: str = Field(
        description="sprites `mnist`, `fashion-mnist`, `solids`, `strokes`; whole images "
        "`dsprites`, `hills`, `room`, `own`; vectors `autoregressive`; or `module:Class`, see "
        "docs/extend/domain.md"
    )
    path: str = Field("", description="of `own` images: an array, a video or a folder")
    digest: str = Field("", description="of `own` images: what a run began with")
    classes: tuple[NonNegativeInt, ...] = Field((), description="the only classes shown, if any")
    shrink: PositiveInt = Field(1, description="factor by which sprites (or dSprites) get smaller")
    turn: Annotated[int, Field(ge=0, le=3)] = Field(0, description="quarter turns to the left")
    moving: bool = Field(False, description="at a random place, else in the centre")
    lifetime: PositiveInt = Field(
        100, description="frames that show one sprite, then another, in a stream in order"
    )
    speed: Annotated[NonNegativeFloat, Field(le=256)] = Field(
        1.0,
        description="of moving sprites in a stream in order: mean, in pixels per frame; each has "
        "0.5 to 1.5 times it, and bounces off the walls",
    )
    pause: Share = Field(
        0.0,
        description="share of the time in which moving sprites of a stream in order stand still",
    )
    at_rest: bool = Field(False, description="of `hills` and `room`: one object at rest")
    walk: bool = Field(
        False,
        description="of `hills` and `room`: frames of a walk, for a stream in order; the room "
        "has a door that opens",
    )
    light: Literal["day", "night", "lamp"] = Field(
        "day", description="of a walk: by day, by night, or by a lamp that the viewer carries"
    )
    inverted: bool = Field(False, description="dark on light")
    columns: tuple[Share, Share] = Field(
        (0.0, 1.0), description="share of the way from left to right that moving sprites keep to"
    )
    brightness: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="factor of every pixel"
    )
    channels: Literal[1, 3] = Field(1, description="1 grey, 3 colour")
    hue: Share | Literal["random", "none"] = Field(
        "random", description="with 3 channels: a hue in [0, 1), one per image, or grey"
    )
    count: PositiveInt = Field(4000, description="of `solids` and `strokes`: how many are drawn")
    side: PositiveInt = Field(14, description="of `solids` and `strokes`: in pixels")
    options: Mapping[str, Any] = Field(
        {},
        description="settings of a domain of your own; of `autoregressive`: `phi` (0.9), `size` of "
        "a vector (16), and `shift` of the mean (0), in standard deviations",
    )

    @model_validator(mode="after")
    def _whole_images_are_not_placed(self) -> Self:
        others = {
            name: known.default
            for name, known in type(self).model_fields.items()
            if name != "domain"
        }
        changed = {name for name in others if getattr(self, name) != others[name]}
        if (self.domain == "own") != bool(self.path):
            raise ValueError('domain="own" and `path` go together: give both, or neither')
        custom = ":" in self.domain
        if custom or self.domain in IMAGE_SETTINGS:
            applies = {"options"} if custom else IMAGE_SETTINGS[self.domain]
            idle = sorted(changed - applies)
            if idle:
                raise ValueError(f"{self.domain} has whole images: leave out {', '.join(idle)}")
        elif self.at_rest:
            raise ValueError(f"at_rest is for hills and room; {self.domain} rest unless `moving`")
        elif self.walk or self.light != "day":
            raise ValueError(
                f"walk and light are for hills and room; leave them out of {self.domain}"
            )
        elif self.options:
            raise ValueError(
                "options are for autoregressive and a domain of your own, named as module:Class"
            )
        if self.walk and self.at_rest:
            raise ValueError("a walk is not at rest: leave out walk or at_rest")
        if self.light != "day" and not self.walk:
            raise ValueError("light is of a walk: set walk = true, or leave it out")
        return self


class StreamSettings(Section):
    """WHEN and WHAT: a schedule of segments, and the domains by name."""

    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(64, description="images per batch")
    size: Annotated[int, Field(ge=8, le=256)] = Field(
        64, description="side of the canvas, in pixels"
    )
    schedule: tuple[tuple[str, PositiveInt], ...] = Field(
        min_length=1, description="segments: pairs of a domain's name and a number of steps"
    )
    joint: bool = Field(False, description="every batch holds images of all domains")
    order: Literal["independent", "consecutive", "shuffled"] = Field(
        "independent",
        description="`independent` images; `consecutive` frames, so that batch k holds the frames "
        "k B to k B + B - 1 of its domain; or the same frames `shuffled` within each segment",
    )
    domains: dict[str, DomainSettings] = Field(description="the domains by name")

    @model_validator(mode="after")
    def _joint_has_no_order(self) -> Self:
        if self.joint and self.order != "independent":
            raise ValueError("a joint stream has no order: leave out stream.joint or stream.order")
        return self


class TrainingSettings(OptimizerSettings):
    """The optimizer, the device, and what is written when."""

    seed: NonNegativeInt = Field(0, description="of weights, noise and stream")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="`auto` takes the best device there is"
    )
    devices: PositiveInt = Field(1, description="devices that share every batch evenly")
    precision: Precision = Field("32-true", description="of the arithmetic")
    tracker: Literal["none", "wandb", "trackio", "mlflow"] = Field(
        "none", description="an experiment tracker beside TensorBoard"
    )
    log_every: PositiveInt = Field(10, description="steps between lines of metrics.jsonl")
    checkpoint_every: PositiveInt = Field(500, description="steps between checkpoints")
    milestones: PositiveInt = Field(
        4, description="weights kept per segment of the schedule; about 100 in all at most"
    )


class ProbeSettings(Section):
    """Images per domain on which probes are fitted and scored."""

    train: Annotated[int, Field(ge=100)] = Field(5000, description="images to fit readouts on")
    test: Annotated[int, Field(ge=100)] = Field(5000, description="images to score them on")
    metrics: tuple[str, ...] = Field(
        (),
        description="further metrics at every milestone: `mig`, `sap`, `dci`, `factor-vae`, "
        "`beta-vae` or `module:function`; see docs/extend/metric.md",
    )
