"""What a latent does, by name: images changed in a known way, and a model that draws them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import environment

from vase import VASE
from vase.lifelong.effects import (
    MOVES,
    REST,
    Effect,
    described,
    measure_effects,
    name_effect,
)

SIDE = 32
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5


def drawn(
    x: float = 14, y: float = 17, long: float = 8, wide: float = 4, turn: float = 0.0,
    slant: float = 0.0, light: float = 0.8, ground: float = 0.0, hook: float = 0.0,
    hue: float | None = None,
) -> Any:  # fmt: skip
    """A bar with a hook at one end, drawn anew and not warped: [C, H, W].

    x, y, long, wide in pixels; turn in radians; the edge is a pixel wide.
    """
    across, down = COLUMNS - x, ROWS - y
    across = across - slant * down
    one = math.cos(turn) * across + math.sin(turn) * down
    other = -math.sin(turn) * across + math.cos(turn) * down
    bar = np.clip(wide / 2 - abs(one) + 0.5, 0, 1) * np.clip(long - abs(other) + 0.5, 0, 1)
    end = np.clip(1.5 - np.hypot(one - wide * hook, other + long) + 0.5, 0, 1) * (hook != 0)
    shown = np.maximum(bar, end)
    grey = ground + (light - ground) * shown
    if hue is None:
        return grey[None].astype(np.float32)
    colours = 0.5 + 0.5 * np.cos(hue + 2 * np.pi * np.arange(3) / 3)
    return (shown * colours[:, None, None] * light).astype(np.float32)


def effect_of(how: Any, start: float, step: float, **rest: float) -> Effect:
    """The name of a change: `how` maps a value to what is drawn; two images, four steps each."""
    others: list[dict[str, float]] = [{"x": 12, "y": 15}, {"x": 17, "y": 18}]
    references = np.stack([drawn(**{**rest, **each, **how(start)}) for each in others])
    moved = np.stack([
        [drawn(**{**rest, **each, **how(start + move * step)}) for move in MOVES]
        for each in others
    ])  # fmt: skip
    return name_effect(references, moved)


@pytest.mark.parametrize(
    ("name", "how", "start", "step"),
    [
        ("x position", lambda p: {"x": p}, 16, 3),
        ("y position", lambda p: {"y": p}, 16, 3),
        ("size", lambda p: {"long": 7 * math.exp(p), "wide": 4 * math.exp(p)}, 0, 0.2),
        ("width", lambda p: {"wide": p}, 6, 1.5),
        ("height", lambda p: {"long": p}, 7, 1.5),
        ("turn", lambda p: {"turn": p}, 0.1, 0.3),
        ("aspect ratio", lambda p: {"long": 7 * math.exp(-p), "wide": 6 * math.exp(p)}, 0, 0.25),
        ("slant", lambda p: {"slant": p, "long": 9}, 0.0, 0.3),
        ("brightness", lambda p: {"light": p}, 0.6, 0.15),
        ("hue", lambda p: {"hue": p}, 0.0, 0.6),
    ],
)
@pytest.mark.parametrize("ground", [0.0, 0.95])
def test_a_change_of_one_kind_gets_its_name(
    name: str, how: Any, start: float, step: float, ground: float
) -> None:
    """Falling as well as rising, and dark on light as well."""
    light = {} if name == "brightness" else {"light": 0.8 if ground < 0.5 else 0.1}
    fixed = {"ground": ground, **light} if name != "hue" else {}
    for sign in (1, -1):
        found = effect_of(how, start, sign * step, **fixed)
        assert found.names[0] == name
        assert 0.75 < found.share <= 1


def test_a_thicker_stroke_is_no_larger_size() -> None:
    """A ring whose radius stays: its line alone grows."""

    def ring(width: float) -> Any:
        away = abs(np.hypot(COLUMNS - 16, ROWS - 15) - 8)
        return np.clip(width / 2 - away + 0.5, 0, 1)[None].astype(np.float32)

    moved = np.stack([[ring(3 + move) for move in MOVES]])
    found = name_effect(ring(3)[None], moved)
    assert found.names[0] == "stroke width"
    assert found.share > 0.8


def test_two_changes_at_once_get_two_names_and_a_larger_share() -> None:
    both = effect_of(lambda p: {"y": 16 + 3 * p, "light": 0.6 - 0.15 * p}, 0, 1)
    assert set(both.names) == {"y position", "brightness"}
    assert both.share > 0.9
    assert both.name == ", ".join(both.names)


def test_what_no_name_explains_is_shape() -> None:
    """A bar fades into a ring around it; and where nothing changes, nothing is explained."""
    ring = np.clip(1.5 - abs(np.hypot(COLUMNS - 14, ROWS - 17) - 10), 0, 0.8)[None]
    references = (0.5 * drawn() + 0.5 * ring).astype(np.float32)[None]
    moved = np.stack([[(0.5 - move / 4) * drawn() + (0.5 + move / 4) * ring for move in MOVES]])
    assert name_effect(references, moved.astype(np.float32)).names == (REST,)
    still = np.repeat(references[:, None], len(MOVES), axis=1)
    assert name_effect(references, still) == Effect((REST,), 0.0)


def test_a_number_that_does_not_follow_the_latent_names_nothing() -> None:
    """The same shifts, but to either side in turn."""
    reference = drawn()
    there = [drawn(x=14 + dx) for dx in (3, -3, -3, 3)]
    assert "x position" not in name_effect(reference[None], np.stack([there])).names


def test_effects_are_those_of_the_decoder_in_an_environment() -> None:
    """A decoder that moves a bar with the first latent, lights it with the second; a third is idle.

    The moments say how far a latent goes: the first from 10 to 22 pixels.
    """

    class Bars(torch.nn.Module):
        def forward(self, z: torch.Tensor, environment: torch.Tensor) -> torch.Tensor:
            assert (environment == 3).all()
            assert not z[:, 3].any()  # masked
            images = np.stack([
                drawn(x=16 + float(row[0]), light=float(0.5 + row[1].clamp(-0.4, 0.4)))
                for row in z
            ])  # fmt: skip
            return torch.from_numpy(images).clamp(1e-4, 1 - 1e-4).logit()

    decoder = Bars()
    networks: Any = SimpleNamespace(
        decoder=decoder,
        parameters=lambda: iter([torch.zeros(1)]),
        architecture=SimpleNamespace(latents=4, of_vectors=False),
    )
    known = environment(3, masked=(3,), latents=4, variance=[9.0, 0.02, 1.0, 1.0, 1.0, 1.0])
    found = measure_effects(networks, known, [0, 1, 2])
    assert [found[n].name for n in range(3)] == ["x position", "brightness", REST]
    assert min(found[0].share, found[1].share) > 0.8
    assert found[2].share == 0
    networks.architecture.of_vectors = True
    assert measure_effects(networks, known, [0]) == {}


def test_a_record_says_what_a_latent_does_or_encodes() -> None:
    domain = {
        "encodes": {"1": "hue", "2": "x position"},
        "effects": {"2": Effect(("size", "slant"), 0.5).to_json()},
    }
    assert described(domain, 2) == ("size, slant", 0.5)
    assert described(domain, 1) == ("hue", None)
    assert described(domain, 0) == ("", None)


def test_a_model_describes_the_latents_in_use_dearest_first() -> None:
    model = VASE(4, options={"model.hidden": 16, "model.encoder_channels": 8,
                             "model.decoder_channels": 8})  # fmt: skip
    model.partial_fit(np.random.default_rng(0).random((16, 16, 16), dtype=np.float32))
    learner = model.learner_
    known = learner.environments.present
    object.__setattr__(known, "kl", np.array([0.7, 0.1, 3.0, 0.6]))
    found = model.describe()
    assert [each["latent"] for each in found] == [2, 0, 3]
    assert [each["nats"] for each in found] == [3.0, 0.7, 0.6]
    assert all(isinstance(each["effect"], str) and 0 <= each["share"] <= 1 for each in found)


@pytest.mark.parametrize(("high", "wide"), [(32, 64), (64, 32), (128, 128)])
def test_a_turn_is_a_turn_on_a_canvas_of_any_sides(high: int, wide: int) -> None:
    """A bar of 4 by 18 pixels, or larger on the canvas that is reduced first."""
    scale = max(high, wide) / 64 if min(high, wide) > 32 else 1
    rows, columns = np.mgrid[:high, :wide] + 0.5

    def turned(angle: float) -> Any:
        across, down = columns - wide / 2, rows - high / 2
        one = math.cos(angle) * across + math.sin(angle) * down
        other = -math.sin(angle) * across + math.cos(angle) * down
        bar = np.clip(2 * scale - abs(one) + 0.5, 0, 1) * np.clip(
            9 * scale - abs(other) + 0.5, 0, 1
        )
        return bar[None].astype(np.float32)

    found = name_effect(turned(0.3)[None], np.stack([[turned(0.3 + 0.25 * m) for m in MOVES]]))
    assert found.names[0] == "turn"
    assert found.share > 0.9
