"""The one place that turns a configuration into objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vase import config as configuration
from vase import registry
from vase.config import Config
from vase.detection import DetectorClass
from vase.domains import dsprites, own, rendered, scenery, shapes, sources
from vase.domains.autoregressive import AutoregressiveDomain
from vase.domains.bouncing import Motion
from vase.domains.canvas import CanvasDomain, Domain
from vase.domains.sources import Split
from vase.domains.sprites import Sprites, only, shrunk, turned
from vase.domains.stream import Schedule, Stream
from vase.errors import ConfigError, DataError, reason
from vase.images import files
from vase.lifelong.learner import Learner
from vase.memory_limit import machine_memory, refuse_above
from vase.nets import Architecture, space_to_depth_for
from vase.nets.memory import training_bytes
from vase.settings import DomainSettings, Precision, TrainingSettings
from vase.training.cuda_graphs import CudaGraphLearner
from vase.training.data_parallel import DataParallelLearner
from vase.training.devices import Devices

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vase.training.folder import RunFolder
    from vase.training.recorder import Recorder

OWN_STEPS = 4000  # of each domain of own images

# Test sprites are drawn from another seed than training sprites.
_SPRITE_SEEDS: dict[Split, int] = {"train": 0, "test": 1}


@dataclass(frozen=True)
class DataOptions:
    """Where downloaded data is looked for, and who is told about it.

    trust: whether a run that was not begun here may have what its settings want of this machine.
    """

    folder: Path | None = None
    offline: bool = False
    progress: Callable[[str], None] | None = None
    trust: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: it tells nobody, and what is here is trusted here alone."""
        return {"folder": self.folder, "offline": self.offline}


def stream(config: Config, data: DataOptions, split: Split = "train") -> Stream:
    """The stream of a run. Probes use its domains with the "test" split."""
    domains: dict[str, Domain] = {
        name: domain(name, settings, config.stream.size, data, split)
        for name, settings in config.stream.domains.items()
    }
    return Stream(
        Schedule.of(config.stream.schedule),
        domains,
        config.stream.batch_size,
        config.training.seed,
        config.stream.joint,
        order=config.stream.order,
    )


def domain(
    name: str, settings: DomainSettings, size: int, data: DataOptions, split: Split
) -> Domain:
    """Return one domain; loads its images, and downloads them if need be.

    A domain of your own is called as `MyDomain(name=..., size=..., split=..., **options)`.
    """
    make = registry.resolve(settings.domain, DOMAINS, "domain", registry.lacks_methods("sample"))
    if settings.domain in DOMAINS:
        found: Domain = make(name, settings, size, data, split)
    else:
        found = make(name=name, size=size, split=split, **settings.options)
    return found


def _canvas(
    name: str, settings: DomainSettings, size: int, data: DataOptions, split: Split
) -> CanvasDomain:
    return CanvasDomain(
        name=name,
        sprites=sprites(settings, data, split),
        size=size,
        moving=settings.moving,
        inverted=settings.inverted,
        columns=settings.columns,
        brightness=settings.brightness,
        channels=settings.channels,
        hue=settings.hue,
        motion=Motion(settings.lifetime, settings.speed, settings.pause),
    )


def _autoregressive(name: str, settings: DomainSettings, *_: object) -> AutoregressiveDomain:
    known = {each.name for each in fields(AutoregressiveDomain)} - {"name"}
    if unknown := sorted(set(settings.options) - known):
        raise ConfigError(
            f"Domain '{name}' has no {', '.join(unknown)} among its options: they are "
            f"{', '.join(sorted(known))}."
        )
    return AutoregressiveDomain(name, **settings.options)


def _own(
    name: str, config: DomainSettings, size: int, data: DataOptions, split: Split
) -> own.OwnDomain:
    path = Path(config.path)
    images = own.load(path, size, config.channels, data.progress)
    if config.digest not in ("", own.digest(path)):
        raise DataError(
            f"Domain '{name}': the images at '{path}' are not those that this run began with. Put "
            "those back, or start a new run."
        )
    return own.domain(name, images, split)


def _dsprites(
    name: str, config: DomainSettings, size: int, data: DataOptions, split: Split
) -> dsprites.DSprites:
    bits = dsprites.load(data.folder, data.offline, data.progress)
    made = dsprites.DSprites(name, bits, dsprites.part(split), config.shrink)
    if made.shape[1] != size:
        raise ConfigError(
            f"Domain '{name}': images of {made.shape[1]} pixels on a canvas of {size}. Set "
            f"stream.size to {made.shape[1]}, or the domain's `shrink` to {dsprites.SIDE // size}."
        )
    return made


def _rendered(
    name: str, settings: DomainSettings, size: int, data: DataOptions, split: Split
) -> rendered.RenderedDomain:
    if size != scenery.SIDE:
        raise ConfigError(
            f"Domain '{name}': frames of {scenery.SIDE} pixels on a canvas of {size}. Set "
            f"stream.size to {scenery.SIDE}."
        )
    place: scenery.Place = "hills" if settings.domain == "hills" else "room"
    if settings.walk:
        return rendered.walk_domain(name, place, settings.light, split, data.progress)
    return rendered.domain(name, place, split, data.progress, at_rest=settings.at_rest)


DOMAINS: dict[str, Callable[..., Domain]] = {
    **dict.fromkeys(("mnist", "fashion-mnist", "solids", "strokes"), _canvas),
    "dsprites": _dsprites,
    "hills": _rendered,
    "room": _rendered,
    "own": _own,
    "autoregressive": _autoregressive,
}


def sprites(config: DomainSettings, data: DataOptions, split: Split) -> Sprites:
    """What a canvas domain places."""
    known = [name for name, make in DOMAINS.items() if make is _canvas]
    if config.domain not in known:
        raise ConfigError(
            f"There are no sprites called '{config.domain}'. Choose {', '.join(known)}."
        )
    found = _family(config, data, split)
    if config.classes:
        found = only(found, config.classes)
    return turned(shrunk(found, config.shrink), config.turn)


def _family(config: DomainSettings, data: DataOptions, split: Split) -> Sprites:
    if config.domain in ("solids", "strokes"):
        family: shapes.Family = "solids" if config.domain == "solids" else "strokes"
        return shapes.sprites(family, config.count, config.side, _SPRITE_SEEDS[split])
    images = sources.load(
        config.domain,
        split,
        data_dir=data.folder,
        offline=data.offline,
        progress=data.progress,
    )
    return Sprites(images.pixels, images.labels.astype("int64"), config.domain)


def own_images(path: Path, overrides: Sequence[str], parts: Sequence[str] = ()) -> Config:
    """The configuration of own images: each domain for `OWN_STEPS` steps, networks that fit.

    path: an .npy or .npz file, a video, a folder of images, or a folder of folders or videos.
    parts: names of parts; their settings replace these, and the overrides replace both.
    """
    domains = own.parts(path)
    colour = {"channels": files.channels(domains.values())} if own.scaled(path) else {}
    values: dict[str, Any] = {
        "description": f"own images: {', '.join(domains)}",
        "stream": {
            "schedule": [[name, OWN_STEPS] for name in domains],
            "domains": {
                name: {
                    "domain": "own",
                    "path": str(part.resolve()),
                    "digest": own.digest(part),
                    **colour,
                }
                for name, part in domains.items()
            },
        },
    }
    values = configuration.with_parts(values, parts)
    if own.scaled(path):
        size = configuration.changed(deepcopy(values), overrides, str(path)).stream.size
        sides = (size, size)
    else:
        sides = own.shape_of(own.array(path))[1:]
    values.setdefault("model", {}).setdefault("space_to_depth", space_to_depth_for(*sides))
    return configuration.changed(values, overrides, str(path))


def architecture(config: Config, image: tuple[int, int, int]) -> Architecture:
    """Return the networks' shapes for images of (channels, height, width)."""
    channels, height, width = image
    settings = config.model.model_dump()
    return Architecture(**settings, channels=channels, height=height, width=width)


def learner(
    config: Config,
    image: tuple[int, int, int],
    *,
    detector: DetectorClass | None = None,
    shared: Devices | None = None,
) -> Learner:
    """Return a fresh learner for images of (channels, height, width), on the configured device.

    On a GPU its steps are captured as CUDA graphs, with several devices its batches are shared.
    detector: the class of the change detector, in place of `detection.rule`. shared: the devices,
    where there are several.
    """
    if shared is None and config.training.devices > 1:
        raise ConfigError(
            f"training.devices is {config.training.devices}, and only `vase train` and `vase "
            "resume` share a run among devices. Leave it out."
        )
    on = shared or Devices(_fabric(config.training))
    shape = architecture(config, image)
    _refuse_unaffordable(config, shape, on.fabric.device)
    kind: type[Learner] = CudaGraphLearner if on.fabric.device.type == "cuda" else Learner
    options: dict[str, Any] = {}
    if on.count > 1:
        kind, options = DataParallelLearner, {"group": on}
    return kind(
        shape,
        config,
        seed=config.training.seed,
        device=on.fabric.device,
        autocast=on.fabric.autocast,
        detector=detector,
        **options,
    )


def _refuse_unaffordable(config: Config, shape: Architecture, device: torch.device) -> None:
    """Raise a `ConfigError` for a model that has no room on its device."""
    present, replay = config.stream.batch_size // config.training.devices, config.replay
    images = present + (replay.count(present) if replay.enabled else 0)
    stored = (config.memory.frames + replay.stored_images) * 4.0 * prod(shape.image)
    here = device.type == "cuda"
    most = torch.cuda.get_device_properties(device).total_memory if here else machine_memory()
    refuse_above(
        training_bytes(shape, images) + stored,
        most,
        f"Training on batches of {present} images of {shape.height} x {shape.width} pixels",
        "Choose a smaller stream.batch_size, stream.size or memory.frames, or smaller networks: "
        "model.hidden, model.encoder_channels, model.decoder_channels.",
        ConfigError,
    )


def devices(config: Config) -> Devices:
    """All devices of a run, not launched yet; a `ConfigError` where a batch can't be shared out."""
    count, images = config.training.devices, config.stream.batch_size
    drawn = images * -(-config.memory.frames_per_step // images)  # by a step, from the memory
    replayed, beside_drawn = (
        config.replay.count(each) if config.replay.enabled else 0 for each in (images, drawn)
    )
    for what, shared in (
        ("stream.batch_size", images),
        ("the replayed images of a batch", replayed),
        ("the replayed images of a step from the working memory", beside_drawn),
        ("the pairs of frames of a batch (memory.pairs)", images / 2 if config.memory.pairs else 0),
    ):
        if shared % count:
            raise ConfigError(
                f"{count} devices cannot share {what} evenly: {shared:g} is no multiple of "
                f"{count}. Change stream.batch_size, replay.ratio or training.devices."
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


def _fabric(training: TrainingSettings, count: int = 1) -> Fabric:
    """Devices and precision by name; "auto" takes the best device there is."""
    try:
        if count == 1:
            return _one_device(training.accelerator, training.precision)
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        return Fabric(
            accelerator=training.accelerator,
            precision=training.precision,
            devices=count,
            strategy="ddp",
            # Whatever cluster this is, the processes are started here.
            plugins=[LightningEnvironment()],
        )
    except Exception as error:
        raise ConfigError(
            f"The accelerator '{training.accelerator}' cannot be used here: {reason(error)}. "
            "Set training.accelerator to auto or cpu, and training.devices to how many there are."
        ) from None


@lru_cache(maxsize=8)  # Lightning looks through all installed packages each time
def _one_device(accelerator: str, precision: Precision) -> Fabric:
    from lightning_fabric import Fabric  # loads the compiler of PyTorch, which takes seconds

    return Fabric(accelerator=accelerator, precision=precision, devices=1)
