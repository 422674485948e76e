"""The configuration: validated at the door, saved with the run.

A preset is a TOML file; `key=value` overrides use dotted keys (`replay.ratio=0.25`). An unknown
key is an error that names the nearest known one. The sections are in
`vase.settings`; an old key is an error that names the new one.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ValidationError,
    model_validator,
)

from vase.errors import ConfigError
from vase.settings import (
    REMOVED,
    DomainSettings,
    LearnerSettings,
    ModelSettings,
    ProbeSettings,
    StreamSettings,
    TrainingSettings,
)

MOST_BYTES, MOST_DEPTH = 1_000_000, 32  # of a file of settings
MOST_PROBLEMS = 20  # that are told
# Strings and comments of TOML, whether they end or not: a pattern that never turns back.
ASIDE = re.compile(
    r'''"""(?:\\.|(?!""")[^\\])*+(?:"""|\Z)|"(?:\\.|[^"\\\n])*+"?'''
    r"""|'''(?:(?!''')[\s\S])*+(?:'''|\Z)|'[^'\n]*+'?|#[^\n]*+""",
    re.DOTALL,
)

# Keys of version 0.1, and what became of them; a key that went with its section is not listed.
RENAMED = {
    "dreaming": "replay",
    "stream.worlds": "stream.domains",
    "stream.domains.*.sprites": "stream.domains.*.domain",
    "model.features": "model.encoder_channels",
    "model.cells": "model.decoder_channels",
    "model.fold": "model.space_to_depth",
    "model.nets": "model.encoder and model.decoder",
    "objective.price": "objective.beta",
    "objective.start": "objective.c_start",
    "objective.growth": "objective.c_increment",
    "objective.limit": "objective.c_max",
    "objective.slack": "objective.c_slack",
    "objective.memory": "objective.ema_steps",
    "detection.enabled": 'detection.rule ("none" for false)',
    "detection.run_length": "detection.target_arl",
    "detection.surprise": "detection.hold_p_value",
    "detection.certainty": "detection.z_threshold",
    "detection.batches": "detection.min_batches",
    "detection.patience": "detection.min_images",
    "detection.pool": "detection.max_pooled_images",
    "detection.agree": "detection.max_f_ratio",
    "detection.longest": "detection.max_wait",
    "detection.trial": "detection.min_visit (in effective images)",
    "masks.atypical": "masks.threshold",
    "replay.share": "replay.ratio",
    "replay.encoder": "replay.encoder_weight",
    "replay.decoder": "replay.decoder_weight",
    "replay.refresh": "replay.snapshot_every",
    "replay.stored": "replay.stored_images",
    "training.averaging": "training.ema_decay",
    "training.clip": "training.max_grad_norm",
    "training.belief": "objective.classifier_weight",
}
GONE = ("detection.span", "detection.probation")  # with the rule that read them


class Config(LearnerSettings):
    """Everything that defines a run: the learner's settings, and what is around it."""

    description: str = ""
    cost: str = ""
    stream: StreamSettings
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    probes: ProbeSettings = ProbeSettings()

    @model_validator(mode="after")
    def _the_past_has_a_source(self) -> Self:
        replay, detects = self.replay, self.detection.enabled
        if replay.stored_images and (detects or replay.method != "replay"):
            raise ValueError(
                "replay.stored_images is a baseline that keeps images and knows no environments: "
                "set detection.rule=none and replay.method=replay, or replay.stored_images=0"
            )
        if replay.enabled and not (detects or replay.snapshot_every or replay.stored_images):
            raise ValueError(
                "without detection no switch is known, so there is no snapshot to replay from: set "
                "replay.snapshot_every to a number of steps, or replay.enabled=false"
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
    values = _without_gone(_read(_find(whole, presets(), "preset")))
    return changed(with_parts(values, added), overrides, name)


def with_parts(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The values, with those of each part or TOML file in place of theirs, one after the other."""
    for name in names:
        values = _laid_over(values, _read(_find(name, parts(), "part")))
    return dict(values)


def _without_gone(values: dict[str, Any]) -> dict[str, Any]:
    """Without settings that are gone and that no rule which is left has read: of former runs."""
    detection = values.get("detection")
    if not isinstance(detection, dict) or detection.get("rule") in REMOVED:
        return values
    left = {k: value for k, value in detection.items() if f"detection.{k}" not in GONE}
    return {**values, "detection": left}


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
        problems = "\n".join(f"  {_problem(each)}" for each in error.errors()[:MOST_PROBLEMS])
        if error.error_count() > MOST_PROBLEMS:
            problems += f"\n  and {error.error_count() - MOST_PROBLEMS:,} more."
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
    if Path(name).is_file():
        return Path(name)
    if name in known:
        return known[name]
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
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes; settings are small")
        return _parsed(content.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' cannot be read as TOML: {error}.") from None


def _parsed(text: str) -> dict[str, Any]:
    """TOML as a tree; a `ValueError` before what is nested deep takes memory and time."""
    bare = ASIDE.sub("", text)
    if max(piece.count(".") for piece in re.split(r"[^\w\-. \t]+", bare)) > MOST_DEPTH:
        raise ValueError(f"a key has more than {MOST_DEPTH} parts")
    opened = accumulate(1 if each in "[{" else -1 for each in re.findall(r"[][{}]", bare))
    if max(opened, default=0) > MOST_DEPTH:
        raise ValueError(f"values are nested more than {MOST_DEPTH} deep")
    return tomllib.loads(text)


def assign(values: dict[str, Any], override: str) -> None:
    """Set one dotted key as an override says."""
    _set(values, *assignment(override))


def assignment(override: str) -> tuple[str, Any]:
    """The dotted key and the value of an override: TOML if it parses as such, else a string."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"'{override}' is not an override. Write key=value, such as training.seed=1."
        )
    return key.strip(), _value(text.strip())


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
        old = ".".join(["stream", "domains", "*", *path[3:]] if path[1:2] == ["domains"] else path)
        if old in RENAMED:
            return f"{where}: this key of version 0.1 is now {RENAMED[old]}."
        if where in GONE:
            return f"{where}: this setting was removed, with the rule that read it; leave it out."
        near = difflib.get_close_matches(path[-1], _keys(path[:-1]), n=1, cutoff=0.4)
        return f"{where}: there is no such key." + (
            f" Did you mean '{'.'.join([*path[:-1], near[0]])}'?" if near else ""
        )
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]) + "."
    if detail["type"] == "missing" and where == "stream.domains" and "worlds" in detail["input"]:
        return f"stream.worlds: this key of version 0.1 is now {RENAMED['stream.worlds']}."
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{where}: {message}, not {detail['input']!r:.80}."


def _keys(path: list[str]) -> list[str]:
    """The known keys of the section at `path`."""
    section: type[BaseModel] | None = Config
    for part in path:
        field = section.model_fields.get(part) if section else None
        inner = field.annotation if field else DomainSettings
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


def settings_page() -> str:
    """Return docs/settings.md: every setting with its type, its default and what it means."""
    sections = [
        "# Settings",
        "Every setting, section by section, as in a TOML file or as `key=value` on the command "
        "line (`vase train quick replay.ratio=0.25`). Made from `vase.settings` by "
        "`python benchmarks/settings_page.py`.",
    ]
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            sections += _section_page(name, section)
    return "\n\n".join([*sections, *_section_page("stream.domains.NAME", DomainSettings)]) + "\n"


def _section_page(name: str, section: type[BaseModel]) -> list[str]:
    rows = ["| setting | default | |", "| --- | --- | --- |"]
    for key, field in section.model_fields.items():
        default = "" if field.is_required() else f"`{_toml(_plain(field.default))}`"
        rows.append(f"| `{key}` | {default} | {field.description or ''} |")
    return [f"## {name}", str(section.__doc__).strip().replace("\n    ", "\n"), "\n".join(rows)]


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value
