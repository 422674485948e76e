"""The configuration: defaults, presets, overrides, and errors that help."""

from dataclasses import asdict
from pathlib import Path

import pytest

from vase import build, config
from vase.errors import ConfigError, InputError
from vase.lifelong.kappa import KappaRule
from vase.lifelong.settings import Settings
from vase.nets import Architecture


@pytest.mark.parametrize("name", config.presets())
def test_every_preset_loads_says_its_cost_and_its_command(name: str) -> None:
    preset = config.load(name)
    assert preset.cost
    assert preset.description
    first = config.presets()[name].read_text().splitlines()[0]
    assert first.startswith(f"# vase train {name} ")
    assert {world for world, _ in preset.stream.schedule} <= set(preset.stream.worlds)


@pytest.mark.parametrize("name", config.presets())
def test_a_resolved_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    resolved = config.load(name, ["training.seed=7", "dreaming.share=0.25"])
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(resolved))
    assert config.load(str(path)) == resolved
    assert resolved.training.seed == 7


def test_odd_names_and_texts_read_back_too(tmp_path: Path) -> None:
    values = config.load("toy").model_dump(mode="json")
    world = values["stream"]["worlds"]["strokes"]
    names = ["my world", "a.b", 'the "best"', "welt \u00e4\U0001f30d\x7f"]
    values["stream"]["worlds"] = dict.fromkeys(names, world)
    values["stream"]["schedule"] = [[name, 1] for name in names]
    values["description"] = "emoji \U0001f30d, a tab\t and \\ a backslash"
    resolved = config.parse(values, "test")
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(resolved), encoding="utf-8")
    assert config.load(str(path)) == resolved


def test_the_defaults_of_the_configuration_are_those_of_the_rules() -> None:
    """Two places hold defaults; this holds the two together."""
    toy = config.load("toy")
    plain = config.parse({"stream": toy.stream.model_dump()}, "test")
    assert build.settings(plain) == Settings()
    shape = asdict(build.architecture(plain, (1, 64, 64)))
    assert shape == asdict(Architecture())


def test_values_are_toml_or_strings() -> None:
    loaded = config.load("toy", ["detection.rule=kappa", "masks.enabled=false", "model.latents=8"])
    assert loaded.detection.rule == "kappa"
    assert loaded.masks.enabled is False
    assert loaded.model.latents == 8


def test_the_rules_are_chosen_by_name() -> None:
    kappa = build.settings(config.load("toy", ["detection.rule=kappa", "detection.kappa=2"]))
    assert kappa.kappa == KappaRule(kappa=2, atypical=0.5)
    assert build.settings(config.load("toy")).kappa is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainning.seed=1", r"trainning: there is no such key\. Did you mean 'training'"),
        ("training.sed=1", r"Did you mean 'training\.seed'"),
        ("training.seed=-1", r"training\.seed: .*greater than or equal to 0, not -1"),
        ("model.latents=many", r"model\.latents: .*integer.*'many'"),
        ("dreaming.source=nowhere", r"dreaming\.source: .*'marginal' or 'prior'"),
        ("training", "not an override"),
        ("detection.run_length=inf", r"detection\.run_length: .*finite"),
        ("detection.enabled=false", r"set dreaming\.refresh"),
        ("description.x=1", "is a value, not a section"),
        ("stream.worlds.strokes.moving=maybe", r"strokes\.moving"),
        ("stream.worlds.strokes.movin=true", r"Did you mean 'stream\.worlds\.strokes\.moving'"),
    ],
)
def test_errors_name_the_key_and_the_nearest_one(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load("toy", [override])


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'quick'"):
        config.load("quik")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("stream = [")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        config.load(str(path))


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="7 x 64 pixels are too small"):
        Architecture(height=7, width=64)
