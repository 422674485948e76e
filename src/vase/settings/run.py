"""The settings of networks, domains, stream, training and probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from vase.settings.learner import OptimizerSettings, Precision
from vase.settings.section import Section, Share


class ModelSettings(Section):
    """The networks and their sizes; see `vase.nets.architecture`."""

    latents: Annotated[int, Field(ge=1, le=1024)] = Field(24, description="latents N")
    encoder: str = Field(
        "window",
        description="`window`, `scaled-window` (which also follows size), `convolutional` (as "
        "published), `residual` (photographs), `dense` or `module:Class`; see "
        "docs/extend/networks.md",
    )
    decoder: str = Field(
        "window",
        description="`window`, `scaled-window`, `composited-window` (a scaled window that hides "
        "what is behind it), `convolutional`, `residual`, `dense` or `module:Class`",
    )
    classifier: Literal["posterior", "features"] = Field(
        "posterior",
        description="what the environment classifier reads: `posterior`, of which it moves no "
        "latent, or `features`, the encoder's last hidden layer, which it trains, as published",
    )
    encoder_channels: PositiveInt = Field(64, description="channels of the encoder's convolutions")
    decoder_channels: PositiveInt = Field(64, description="channels of the decoder's grid")
    hidden: PositiveInt = Field(256, description="units of the dense layers")
    space_to_depth: Literal[1, 2, 4, 8] = Field(
        4,
        description="side of the pixel blocks that become channels, in pixels (the windowed "
        "networks)",
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
    count: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        4000, description="of `solids` and `strokes`: how many are drawn"
    )
    side: Annotated[int, Field(ge=1, le=256)] = Field(
        14, description="of `solids` and `strokes`: in pixels"
    )
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

    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="of weights, noise and stream"
    )
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="`auto` takes the best device there is"
    )
    threads: Annotated[int, Field(ge=0, le=4096)] = Field(
        0,
        description="of the CPU; 0 takes as many as others leave free when the run begins, and is "
        "written down as that number: with another one sums round otherwise",
    )
    devices: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="devices that share every batch evenly"
    )
    precision: Precision = Field("32-true", description="of the arithmetic")
    tracker: Literal["none", "wandb", "trackio", "mlflow"] = Field(
        "none", description="an experiment tracker beside TensorBoard"
    )
    log_every: PositiveInt = Field(10, description="steps between lines of metrics.jsonl")
    checkpoint_every: PositiveInt = Field(500, description="steps between checkpoints")
    milestones: Annotated[int, Field(ge=1, le=1000)] = Field(
        4, description="weights kept per segment of the schedule; about 100 in all at most"
    )


class ProbeSettings(Section):
    """Images per domain on which probes are fitted and scored."""

    train: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        5000, description="images to fit readouts on"
    )
    test: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        5000, description="images to score them on"
    )
    metrics: tuple[str, ...] = Field(
        (),
        description="further metrics at every milestone: `mig`, `sap`, `dci`, `factor-vae`, "
        "`beta-vae` or `module:function`; see docs/extend/metric.md",
    )
