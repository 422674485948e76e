"""The configuration: validated at the door, saved with the run.

A preset is a TOML file; `key=value` overrides use dotted keys (`dreaming.share=0.25`). An unknown
key is an error that names the nearest known one. Defaults here equal those of the rules in
`vase.lifelong` and `vase.objective`; a test holds them together.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from vase.errors import ConfigError

Precision = Literal["32-true", "bf16-mixed"]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: fixed once read, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WorldConfig(Section):
    """One canvas world; see `vase.worlds.canvas.CanvasWorld`.

    classes: the only ones shown; all, where none is named. shrink: by how much the sprites are made
    smaller. turn: quarter turns to the left. `count` and `side` only matter for the procedural
    sprites. "dsprites", "hills", "room" and "own" are worlds of whole images: `shrink` applies to
    the first, `at_rest` to the next two (`vase.worlds.rendered`), and to the last `path`, images in
    an array or, with `channels`, a folder, and `digest`, of what a run began with (`worlds.own`).
    """

    sprites: Literal[
        "mnist", "fashion-mnist", "solids", "strokes", "dsprites", "hills", "room", "own"
    ]
    path: str = ""
    digest: str = ""
    classes: tuple[NonNegativeInt, ...] = ()
    shrink: PositiveInt = 1
    turn: Annotated[int, Field(ge=0, le=3)] = 0
    moving: bool = False
    at_rest: bool = False
    inverted: bool = False
    columns: tuple[Share, Share] = (0.0, 1.0)
    brightness: Annotated[float, Field(gt=0, le=1)] = 1.0
    channels: Literal[1, 3] = 1
    hue: Share | Literal["random", "none"] = "random"
    count: PositiveInt = 4000
    side: PositiveInt = 14

    @model_validator(mode="after")
    def _whole_images_are_not_placed(self) -> Self:
        others = {name: known.default for name, known in type(self).model_fields.items()}
        changed = [name for name in others if getattr(self, name) != others[name]]
        place, own = {"at_rest"}, {"path", "digest", "channels"}
        applies = {"dsprites": {"shrink"}, "hills": place, "room": place, "own": own}
        if (self.sprites == "own") != bool(self.path):
            raise ValueError('sprites="own" and `path` go together: give both, or neither')
        if self.sprites in applies:
            idle = sorted(set(changed) - {"sprites"} - applies[self.sprites])
            if idle:
                raise ValueError(f"{self.sprites} has whole images: leave out {', '.join(idle)}")
        elif self.at_rest:
            raise ValueError(f"at_rest is for hills and room; {self.sprites} rest unless `moving`")
        return self


class StreamConfig(Section):
    """WHEN and WHAT: a schedule of (world, steps), and the worlds by name.

    joint: every batch holds images of all worlds, whatever the schedule says; it then only tells
    when figures are taken.
    """

    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    size: Annotated[int, Field(ge=8, le=256, description="side of the canvas, in pixels")] = 64
    schedule: tuple[tuple[str, PositiveInt], ...] = Field(min_length=1)
    joint: bool = False
    worlds: dict[str, WorldConfig]


class ModelConfig(Section):
    """The networks; see `vase.nets.Architecture`."""

    latents: Annotated[int, Field(ge=1, le=1024)] = 24
    features: PositiveInt = 64
    hidden: PositiveInt = 256
    cells: PositiveInt = 64
    fold: Literal[1, 2, 4, 8] = 4
    environments: Annotated[int, Field(ge=1, le=4096)] = 16
    nets: str = "window"


class ObjectiveConfig(Section):
    """kind: "capacity" is controlled capacity, "vae" a plain VAE (beta = 1), called entangled.

    The rest belongs to the first; see `vase.objective.capacity.CapacityRule`.
    """

    kind: Literal["capacity", "vae"] = "capacity"
    gamma: PositiveFloat = 10.0
    start: NonNegativeFloat = 12.0
    growth: NonNegativeFloat = 0.02
    limit: PositiveFloat = 60.0
    price: NonNegativeFloat = 0.3
    slack: PositiveFloat = 1.0
    memory: PositiveFloat = 50.0
    two_sided: bool = False


class DetectionConfig(Section):
    """When has the world changed, and into what?

    rule: "signature" is detection with a chosen `run_length` (see `vase.lifelong.detector`) and
    identification by signatures (see `vase.lifelong.identify`); "kappa" the published rule, asked
    at every batch, to which only `kappa` belongs.
    """

    enabled: bool = True
    rule: Literal["signature", "kappa"] = "signature"
    run_length: Annotated[float, Field(ge=10)] = 190_000.0
    window: Annotated[int, Field(ge=16)] = 256
    span: PositiveInt = 8192
    surprise: Annotated[float, Field(gt=0, lt=1)] = 0.01
    tolerance: PositiveFloat = 0.6
    certainty: NonNegativeFloat = 3.0
    batches: PositiveInt = 3
    patience: PositiveInt = 192
    pool: PositiveInt = 512
    agree: PositiveFloat = 3.0
    longest: PositiveInt = 64
    trial: NonNegativeInt = 64
    kappa: PositiveFloat = 1.5


class MaskConfig(Section):
    """Latents with alpha at or above `atypical` nats are masked in a new environment."""

    enabled: bool = True
    atypical: PositiveFloat = 0.5


class DreamConfig(Section):
    """Imagination feedback; see `vase.lifelong.dream.DreamRule`."""

    enabled: bool = True
    method: Literal["proximity", "replay"] = "proximity"
    share: Annotated[float, Field(gt=0, le=4)] = 0.5
    source: Literal["marginal", "prior"] = "marginal"
    encoder: NonNegativeFloat = 1.0
    decoder: NonNegativeFloat = 1.0
    distance: Literal["kl", "wasserstein"] = "kl"
    refresh: NonNegativeInt = 0
    stored: NonNegativeInt = 0


class TrainingConfig(Section):
    """The optimizer, the device, and what is written when, in steps."""

    seed: NonNegativeInt = 0
    learning_rate: PositiveFloat = 1e-3
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.99
    clip: PositiveFloat = 200.0
    belief: NonNegativeFloat = 1.0
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Annotated[PositiveInt, Field(description="that share every batch evenly")] = 1
    precision: Precision = "32-true"
    tracker: Annotated[
        Literal["none", "wandb", "trackio", "mlflow"], Field(description="beside TensorBoard")
    ] = "none"
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 500
    milestones: Annotated[PositiveInt, Field(description="per stay; about 100 in all at most")] = 4


class ProbeConfig(Section):
    """Images per environment on which readouts are fitted and scored."""

    train: Annotated[int, Field(ge=100)] = 5000
    test: Annotated[int, Field(ge=100)] = 5000


class Config(Section):
    """Everything that defines a run."""

    description: str = ""
    cost: str = ""
    stream: StreamConfig
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    detection: DetectionConfig = DetectionConfig()
    masks: MaskConfig = MaskConfig()
    dreaming: DreamConfig = DreamConfig()
    training: TrainingConfig = TrainingConfig()
    probes: ProbeConfig = ProbeConfig()

    @model_validator(mode="after")
    def _the_past_has_a_source(self) -> Self:
        dreaming = self.dreaming
        if dreaming.stored and (self.detection.enabled or dreaming.method != "replay"):
            raise ValueError(
                "dreaming.stored is a baseline that keeps images and knows no environments: set "
                "detection.enabled=false and dreaming.method=replay, or dreaming.stored=0"
            )
        known = self.detection.enabled or dreaming.refresh or dreaming.stored
        if dreaming.enabled and not known:
            raise ValueError(
                "without detection no switch is known, so there is no snapshot to dream from: set "
                "dreaming.refresh to a number of steps, or dreaming.enabled=false"
            )
        return self


def presets() -> dict[str, Path]:
    """The presets that come with the package, by name: each is a whole configuration."""
    return _shipped("*.toml")


def parts() -> dict[str, Path]:
    """The parts that come with the package, by name: what is added to a preset with a `+`."""
    return _shipped("parts/*.toml")


def described(part: Path) -> str:
    """What a part says of itself."""
    return str(_read(part).get("description", ""))


def load(name: str, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a preset or TOML file, with parts and `key=value` overrides applied.

    name: "quick", "run.toml", or with parts that are laid over it in turn, "quick+sd+entangled".
    """
    whole, *added = [name] if Path(name).is_file() else name.split("+")
    values = _read(_find(whole, presets(), "preset"))
    for part in added:
        values = _laid_over(values, _read(_find(part, parts(), "part")))
    return changed(values, overrides, name)


def changed(values: dict[str, Any], overrides: Iterable[str], source: str) -> Config:
    """The configuration of a tree of values, with `key=value` overrides applied."""
    for override in overrides:
        assign(values, override)
    return parse(values, source)


def parse(values: Mapping[str, Any], source: str) -> Config:
    """Validate; a `ConfigError` names every key that is wrong and what it should be."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(detail)}" for detail in error.errors())
        raise ConfigError(f"The configuration '{source}' cannot be used:\n{problems}") from None


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree: {"a.b": 1} becomes {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        _set(tree, key, value)
    return tree


def to_toml(config: Config) -> str:
    """The resolved configuration as TOML, which `load` reads back to an equal one."""
    lines: list[str] = []
    _write_table(config.model_dump(mode="json"), (), lines)
    return "\n".join(lines).strip() + "\n"


def _shipped(pattern: str) -> dict[str, Path]:
    folder = Path(str(resources.files("vase"))) / "presets"
    return {path.stem: path for path in sorted(folder.glob(pattern))}


def _find(name: str, known: Mapping[str, Path], what: str) -> Path:
    if name in known:
        return known[name]
    if Path(name).is_file():
        return Path(name)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ConfigError(
        f"There is no {what} and no file named '{name}'.{hint} There is: {', '.join(known)}."
    )


def _laid_over(values: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """`part` over `values`, tables merged; descriptions are put one after the other."""
    merged = dict(values)
    for key, value in part.items():
        below = values.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _laid_over(below, value)
        elif key == "description" and below:
            merged[key] = f"{below}; {value}"
        else:
            merged[key] = value
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' cannot be read as TOML: {error}.") from None


def assign(values: dict[str, Any], override: str) -> None:
    """Set one dotted key. The value is TOML if it parses as such, otherwise a string."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"'{override}' is not an override. Write key=value, such as training.seed=1."
        )
    _set(values, key.strip(), _value(text.strip()))


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    table = values
    for part in path:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{key}' cannot be set: '{part}' is a value, not a section.")
        table = inner
    table[last] = value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    where = ".".join(path)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys(path[:-1]), n=1, cutoff=0.4)
        return f"{where}: there is no such key." + (
            f" Did you mean '{'.'.join([*path[:-1], near[0]])}'?" if near else ""
        )
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]) + "."
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{where}: {message}, not {detail['input']!r:.80}."


def _keys(path: list[str]) -> list[str]:
    """The known keys of the section at `path`."""
    section: type[BaseModel] | None = Config
    for part in path:
        field = section.model_fields.get(part) if section else None
        inner = field.annotation if field else WorldConfig
        section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return list(section.model_fields) if section else []


def _write_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    """Values first, then the tables below: TOML wants it so."""
    if path:
        lines += ["", f"[{'.'.join(path)}]"]
    for key, value in table.items():
        if not isinstance(value, Mapping):
            lines.append(f"{_quoted(key)} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, (*path, _quoted(key)), lines)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    """JSON is TOML for strings, numbers, booleans and lists of them, but for one control code."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
