"""The one place that turns a configuration into objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from vase import config as configuration
from vase.config import Config, DetectionConfig, TrainingConfig, WorldConfig
from vase.errors import ConfigError, DataError, reason
from vase.lifelong.detector import DetectorRule
from vase.lifelong.dream import DreamRule
from vase.lifelong.identify import IdentificationRule, Identify, identify
from vase.lifelong.kappa import KappaRule
from vase.lifelong.learner import Learner
from vase.lifelong.ranks import ALONE
from vase.lifelong.settings import Settings
from vase.nets import Architecture, fold_for
from vase.objective.capacity import CapacityRule
from vase.training.devices import Devices
from vase.worlds import dsprites, files, own, rendered, scenery, shapes, sources
from vase.worlds.canvas import CanvasWorld, World
from vase.worlds.sources import Split
from vase.worlds.sprites import Sprites, only, shrunk, turned
from vase.worlds.stream import Schedule, Stream

if TYPE_CHECKING:
    from vase.training.folder import RunFolder
    from vase.training.recorder import Recorder

Rule = TypeVar("Rule", DetectorRule, IdentificationRule)

OWN_STEPS = 4000  # of each world of own images

# Test sprites are drawn from another seed than training sprites.
_SPRITE_SEEDS: dict[Split, int] = {"train": 0, "test": 1}


@dataclass(frozen=True)
class DataOptions:
    """Where downloaded data is looked for, and who is told about it."""

    folder: Path | None = None
    offline: bool = False
    progress: Callable[[str], None] | None = None


def stream(config: Config, data: DataOptions, split: Split = "train") -> Stream:
    """The stream of a run. Probes use its worlds with the "test" split."""
    worlds: dict[str, World] = {
        name: world(name, settings, config.stream.size, data, split)
        for name, settings in config.stream.worlds.items()
    }
    return Stream(
        Schedule.of(config.stream.schedule),
        worlds,
        config.stream.batch_size,
        config.training.seed,
        config.stream.joint,
    )


def world(name: str, config: WorldConfig, size: int, data: DataOptions, split: Split) -> World:
    """One world; loads its images, downloading them if need be."""
    if config.sprites == "dsprites":
        return _dsprites(name, config, size, data, split)
    if config.sprites == "own":
        return _own(name, config, size, data, split)
    if config.sprites == "hills" or config.sprites == "room":  # noqa: PLR1714, narrows
        return _rendered(name, config.sprites, size, data, split, at_rest=config.at_rest)
    return CanvasWorld(
        name=name,
        sprites=sprites(config, data, split),
        size=size,
        moving=config.moving,
        inverted=config.inverted,
        columns=config.columns,
        brightness=config.brightness,
        channels=config.channels,
        hue=config.hue,
    )


def _own(
    name: str, config: WorldConfig, size: int, data: DataOptions, split: Split
) -> own.OwnWorld:
    path = Path(config.path)
    images = own.load(path, size, config.channels, data.progress)
    if config.digest not in ("", own.digest(path)):
        raise DataError(
            f"World '{name}': the images at '{path}' are not those that this run began with. Put "
            "those back, or start a new run."
        )
    return own.world(name, images, split)


def _dsprites(
    name: str, config: WorldConfig, size: int, data: DataOptions, split: Split
) -> dsprites.DSprites:
    bits = dsprites.load(data.folder, data.offline, data.progress)
    made = dsprites.DSprites(name, bits, dsprites.part(split), config.shrink)
    if made.shape[1] != size:
        raise ConfigError(
            f"World '{name}': images of {made.shape[1]} pixels on a canvas of {size}. Set "
            f"stream.size to {made.shape[1]}, or the world's `shrink` to {dsprites.SIDE // size}."
        )
    return made


def _rendered(
    name: str, place: scenery.Place, size: int, data: DataOptions, split: Split, *, at_rest: bool
) -> rendered.RenderedWorld:
    if size != scenery.SIDE:
        raise ConfigError(
            f"World '{name}': frames of {scenery.SIDE} pixels on a canvas of {size}. Set "
            f"stream.size to {scenery.SIDE}."
        )
    return rendered.world(name, place, split, data.progress, at_rest=at_rest)


def sprites(config: WorldConfig, data: DataOptions, split: Split) -> Sprites:
    """What a canvas world places."""
    found = _family(config, data, split)
    if config.classes:
        found = only(found, config.classes)
    return turned(shrunk(found, config.shrink), config.turn)


def _family(config: WorldConfig, data: DataOptions, split: Split) -> Sprites:
    if config.sprites == "solids" or config.sprites == "strokes":  # noqa: PLR1714, narrows
        return shapes.sprites(config.sprites, config.count, config.side, _SPRITE_SEEDS[split])
    images = sources.load(
        config.sprites,
        split,
        data_dir=data.folder,
        offline=data.offline,
        progress=data.progress,
    )
    return Sprites(images.pixels, images.labels.astype("int64"), config.sprites)


def own_images(path: Path, overrides: Sequence[str]) -> Config:
    """The configuration of own images: each world for `OWN_STEPS` steps, networks that fit.

    path: an .npy or .npz file, a video, a folder of images, or a folder of folders or videos.
    """
    worlds = own.parts(path)
    colour = {"channels": files.channels(worlds.values())} if own.scaled(path) else {}
    values: dict[str, Any] = {
        "description": f"own images: {', '.join(worlds)}",
        "stream": {
            "schedule": [[name, OWN_STEPS] for name in worlds],
            "worlds": {
                name: {
                    "sprites": "own",
                    "path": str(part.resolve()),
                    "digest": own.digest(part),
                    **colour,
                }
                for name, part in worlds.items()
            },
        },
    }
    if own.scaled(path):
        size = configuration.changed(deepcopy(values), overrides, str(path)).stream.size
        sides = (size, size)
    else:
        sides = own.shape_of(own.array(path))[1:]
    values["model"] = {"fold": fold_for(*sides)}
    return configuration.changed(values, overrides, str(path))


def architecture(config: Config, shape: tuple[int, int, int]) -> Architecture:
    """The networks' shapes for images of (channels, height, width)."""
    channels, height, width = shape
    model = config.model
    return Architecture(
        channels=channels,
        height=height,
        width=width,
        latents=model.latents,
        features=model.features,
        hidden=model.hidden,
        cells=model.cells,
        fold=model.fold,
        environments=model.environments,
        nets=model.nets,
    )


def settings(config: Config) -> Settings:
    """The learner's settings."""
    objective, detection, dreaming, training = (
        config.objective,
        config.detection,
        config.dreaming,
        config.training,
    )
    return Settings(
        learning_rate=training.learning_rate,
        averaging=training.averaging,
        clip=training.clip,
        entangled=objective.kind == "vae",
        atypical=config.masks.atypical,
        belief=training.belief,
        infer=detection.enabled,
        dreams=dreaming.enabled,
        masks=config.masks.enabled,
        capacity=CapacityRule(**objective.model_dump(exclude={"kind"})),
        detector=_fields(DetectorRule, detection),
        identification=_fields(IdentificationRule, detection),
        kappa=_kappa(detection, config.masks.atypical),
        dream=DreamRule(**dreaming.model_dump(exclude={"enabled"})),
    )


def _kappa(detection: DetectionConfig, atypical: float) -> KappaRule | None:
    """The published rule, where it is chosen."""
    return KappaRule(detection.kappa, atypical) if detection.rule == "kappa" else None


def _fields(rule: type[Rule], section: DetectionConfig) -> Rule:
    """A rule from the settings that bear the names of its fields."""
    return rule(**section.model_dump(include={field.name for field in fields(rule)}))


def learner(
    config: Config,
    shape: tuple[int, int, int],
    *,
    identify: Identify = identify,
    shared: Devices | None = None,
) -> Learner:
    """A fresh learner for images of (channels, height, width), on the configured device.

    identify: from the evidence after an alarm to a verdict; see `docs/extend`. shared: the devices,
    where there are several.
    """
    if shared is None and config.training.devices > 1:
        raise ConfigError(
            f"training.devices is {config.training.devices}, and only `vase train` and `vase "
            "resume` share a run among devices. Leave it out."
        )
    on = shared or Devices(_fabric(config.training))
    return Learner(
        architecture(config, shape),
        settings(config),
        seed=config.training.seed,
        device=on.fabric.device,
        autocast=on.fabric.autocast,
        identify=identify,
        ranks=on if on.count > 1 else ALONE,
    )


def devices(config: Config) -> Devices:
    """All devices of a run, not launched yet; a `ConfigError` where a batch can't be shared out."""
    count, images = config.training.devices, config.stream.batch_size
    dreams = settings(config).dream.count(images) if config.dreaming.enabled else 0
    for what, shared in (("stream.batch_size", images), ("the dreams of a batch", dreams)):
        if shared % count:
            raise ConfigError(
                f"{count} devices cannot share {what} evenly: {shared} is no multiple of {count}. "
                "Change stream.batch_size, dreaming.share or training.devices."
            )
    return Devices(_fabric(config.training, count), count)


def recorder(config: Config, folder: RunFolder, learner: Learner, stream: Stream) -> Recorder:
    """What writes down a run, as often as its configuration says."""
    from vase.training.recorder import Recorder, milestone_steps  # TensorBoard is slow to load

    training = config.training
    return Recorder(
        folder,
        learner,
        log_every=training.log_every,
        checkpoint_every=training.checkpoint_every,
        milestones=milestone_steps(stream.schedule, training.milestones),
        tracker=training.tracker,
    )


def _fabric(training: TrainingConfig, count: int = 1) -> Fabric:
    """Devices and precision by name; "auto" takes the best device there is."""
    try:
        return Fabric(
            accelerator=training.accelerator,
            precision=training.precision,
            devices=count,
            strategy="ddp" if count > 1 else "auto",
            # Whatever cluster this is, the processes are started here.
            plugins=[LightningEnvironment()] if count > 1 else None,
        )
    except Exception as error:
        raise ConfigError(
            f"The accelerator '{training.accelerator}' cannot be used here: {reason(error)}. "
            "Set training.accelerator to auto or cpu, and training.devices to how many there are."
        ) from None
