"""The configuration: defaults, presets, overrides, and errors that help."""

import re
from pathlib import Path

import pytest

from vase import config
from vase.errors import ConfigError, InputError
from vase.nets import Architecture
from vase.settings import REMOVED


@pytest.mark.parametrize("name", config.presets())
def test_every_preset_loads_says_its_cost_and_its_command(name: str) -> None:
    preset = config.load(name)
    assert preset.cost
    assert preset.description
    first = config.presets()[name].read_text().splitlines()[0]
    assert first.startswith(f"# vase train {name} ")
    assert {domain for domain, _ in preset.stream.schedule} <= set(preset.stream.domains)


@pytest.mark.parametrize("name", config.presets())
def test_a_resolved_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    resolved = config.load(name, ["training.seed=7", "replay.ratio=0.25"])
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(resolved))
    assert config.load(str(path)) == resolved
    assert resolved.training.seed == 7


def test_odd_names_and_texts_read_back_too(tmp_path: Path) -> None:
    values = config.load("toy").model_dump(mode="json")
    domain = values["stream"]["domains"]["strokes"]
    names = ["my domain", "a.b", 'the "best"', "welt \u00e4\U0001f30d\x7f"]
    values["stream"]["domains"] = dict.fromkeys(names, domain)
    values["stream"]["schedule"] = [[name, 1] for name in names]
    values["description"] = "emoji \U0001f30d, a tab\t and \\ a backslash"
    resolved = config.parse(values, "test")
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(resolved), encoding="utf-8")
    assert config.load(str(path)) == resolved


def test_the_page_of_settings_is_generated() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == config.settings_page()


def test_every_setting_says_what_it_means() -> None:
    rows = [line for line in config.settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 70
    assert not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("old", [key for key in config.RENAMED if "*" not in key])
def test_a_key_of_an_earlier_version_names_the_new_one(old: str) -> None:
    new = config.RENAMED[old].split(" ")[0]
    with pytest.raises(ConfigError, match=rf"{re.escape(old)}: this key .* now {re.escape(new)}"):
        config.parse(config.nested({"stream.schedule": [["a", 1]], old: 1}), "test")


def test_a_former_run_is_read_though_it_holds_settings_that_are_gone(tmp_path: Path) -> None:
    """They said nothing to the rules that are left."""
    now = config.load("quick")
    text = config.to_toml(now).replace("[detection]\n", "[detection]\nspan = 1\nprobation = 2\n")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    assert config.load(str(tmp_path / "config.toml")) == now


@pytest.mark.parametrize("key", config.GONE)
def test_a_setting_that_was_removed_is_to_be_left_out(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: .* was removed, .* leave it out"):
        config.load("toy", [f"{key}=64"])


@pytest.mark.parametrize("rule", REMOVED)
def test_a_rule_that_was_removed_names_what_takes_its_place(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"detection\.rule: .* was removed: 'blocks'"):
        config.load("toy", [f"detection.rule={rule}"])


def test_the_key_of_a_domain_names_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r"strokes\.sprites: this key .* is now .*\.domain"):
        config.load("toy", ["stream.domains.strokes.sprites=mnist"])


def test_values_are_toml_or_strings() -> None:
    loaded = config.load(
        "toy", ["detection.rule=published", "masks.enabled=false", "model.latents=8"]
    )
    assert loaded.detection.rule == "published"
    assert loaded.masks.enabled is False
    assert loaded.model.latents == 8


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainning.seed=1", r"trainning: there is no such key\. Did you mean 'training'"),
        ("training.sed=1", r"Did you mean 'training\.seed'"),
        ("training.seed=-1", r"training\.seed: .*greater than or equal to 0, not -1"),
        ("model.latents=many", r"model\.latents: .*integer.*'many'"),
        ("replay.source=nowhere", r"replay\.source: .*'marginal' or 'prior'"),
        ("training", "not an override"),
        ("detection.target_arl=inf", r"detection\.target_arl: .*finite"),
        ("detection.rule=none", r"set replay\.snapshot_every"),
        ("description.x=1", "is a value, not a section"),
        ("stream.domains.strokes.moving=maybe", r"strokes\.moving"),
        ("stream.domains.strokes.movin=true", r"Did you mean 'stream\.domains\.strokes\.moving'"),
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
