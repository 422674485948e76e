"""Rule `blocks` does, frame by frame, what the naive detector does: on journeys drawn at random."""

from typing import Any

import naive_detector as naive
import numpy as np
import pytest
import torch
from torch import nn

from vase.bench.frame_detectors import NoModel
from vase.detection import block_detector
from vase.detection import block_identification as identification
from vase.detection.blocks import CHUNK, BlockStatistics, with_chunks
from vase.nets import Architecture
from vase.settings import DetectionSettings

SIZE = 6  # features, which are here the pixels themselves


class Pixels(nn.Module):
    count = SIZE

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@pytest.fixture(autouse=True)
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (block_detector, naive):
        monkeypatch.setattr(module, "random_features", lambda _: Pixels())


def journey(seed: int, length: int = 7000) -> torch.Tensor:
    """Frames of four domains of one correlation, with all that happens to a camera between them."""
    generator = np.random.default_rng(seed)
    phi = generator.choice([0, 0, 0.5, 0.9, 0.95, 0.99])
    apart = generator.choice([0.3, 1, 2, 5], size=(3, 1)) * generator.standard_normal((3, SIZE))
    centres = np.concatenate([np.zeros((1, SIZE)), apart])
    scales = np.array([1.0, *generator.choice([0.5, 1, 2], size=3)])
    found: list[Any] = []
    state, here = generator.standard_normal(SIZE), 0
    while sum(map(len, found)) < length:
        count = int(generator.choice([1600, 800, 300, 100, 64])) if found else 1600
        what = generator.choice(["stay"] * 6 + ["fade", "stuck", "outlier", "mixture", "drift"])
        series = np.empty((count, SIZE))
        for k in range(count):
            state = phi * state + np.sqrt(1 - phi**2) * generator.standard_normal(SIZE)
            series[k] = state * (1 + np.arange(SIZE) / SIZE)
        there = int(generator.integers(4))
        if what == "stay":
            here = there
        frames, other = (series * scales[k] + centres[k] for k in (here, there))
        if what in ("fade", "mixture"):
            share = np.linspace(0, 1, count) if what == "fade" else generator.random(count) < 0.5
            frames, here = frames + share[:, None] * (other - frames), there
        elif what == "stuck":
            frames = np.repeat(frames[:1], count, 0)
        elif what == "outlier":
            frames[count // 2 :][: generator.choice([1, 32])] += 10 * generator.standard_normal(
                SIZE
            )
        elif what == "drift":
            frames = frames + np.linspace(0, 1, count)[:, None]
        found.append(frames)
    return torch.from_numpy(np.concatenate(found)).float()[..., None, None]


def settings(generator: np.random.Generator) -> DetectionSettings:
    return DetectionSettings(
        target_arl=f"{generator.choice([20_000, 1_000_000])} frames",
        max_wait=int(generator.choice([4, 16, 64])),
        min_visit=float(generator.choice([2, 8, 100])),
        max_transition=float(generator.choice([1000, 4096])),
        tolerance=float(generator.choice([0.3, 0.6])),
        max_pooled_images=int(generator.choice([192, 512])),
    )


def equal(one: Any, other: Any, within: float = 1e-9) -> bool:
    """Up to rounding; numbers of the evidence are rounded to thousandths of a nat."""
    if isinstance(other, dict):
        return set(one) == set(other) and all(equal(one[k], other[k], 1.1e-3) for k in other)
    if isinstance(other, float):
        return bool(abs(one - other) <= within + 1e-6 * abs(other))
    return bool(one == other)


@pytest.mark.parametrize("seed", [99, 96, 24, 1, 54, 11, 34, 36])  # all that can happen
def test_the_detector_does_what_the_naive_one_does(seed: int) -> None:
    """Also if it is saved now and then, and another one goes on with what was saved."""
    generator, images = np.random.default_rng(1000 + seed), journey(seed)
    chosen, batch = settings(generator), int(generator.choice([8, 32, 40, 64]))
    shape = Architecture(channels=SIZE, height=1, width=1)
    model: Any = NoModel(shape)
    detector, slow = block_detector.BlockDetector(chosen, model), naive.NaiveDetector(chosen, shape)
    images[20 * batch : 21 * batch] *= float("nan")
    for k, part in enumerate(images[: len(images) // batch * batch].split(batch)):
        if k % 7 == 5:
            saved, detector = detector.state_dict(), block_detector.BlockDetector(chosen, model)
            detector.load_state_dict(saved)
            np.testing.assert_array_equal(detector.last, slow.last)
        found = detector.update(part)
        for name, value in slow.update(part).items():
            assert equal(getattr(found, name), value), (k, name, getattr(found, name), value)


def naively(known: BlockStatistics) -> naive.Environment:
    found, axes = naive.Environment(), known.axes
    assert axes is not None
    found.axes, found.frames = (axes.mean, axes.scaled, axes.noise), known.frames
    found.moments = known.moments[:SIZE], known.moments[SIZE:]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_how_far_a_domain_is_from_a_mixture_of_its_neighbours(seed: int) -> None:
    """Domains of any size, shape and place on the way between two others, and off it."""
    generator, parts = np.random.default_rng(seed), []
    for place in (0.0, generator.uniform(-0.2, 1.2), 1.0):
        mixing = generator.standard_normal((SIZE, SIZE))
        noise = generator.standard_normal((40, CHUNK, SIZE)) @ mixing
        parts.append(noise + 4 * place + 0.2 * generator.standard_normal(SIZE))
    before, present = (with_chunks(BlockStatistics(), each) for each in parts[:2])
    last = list(parts[2][:5])
    found = identification.transition_divergence(before, present, last)
    expected = naive.divergence(naively(before), naively(present), last)
    assert found == pytest.approx(expected, rel=1e-9)
