"""The fixed feature extractors: their arithmetic, their weights, and that nothing moves them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vase.detection.features import RandomFeatures, RandomVectorFeatures, random_features
from vase.nets import Architecture


def filters(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    """Weights of unit norm, and biases of deviation 0.2, as they are drawn."""
    weight = torch.randn(shape, generator=generator)
    for each in weight:
        each.div_(each.square().sum().sqrt())
    return weight, 0.2 * torch.randn(shape[0], generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 9), (31, 40), (64, 65), (200, 256)])
def test_features_of_images_are_texture_everywhere_and_edges_by_quarters(
    channels: int, size: tuple[int, int]
) -> None:
    images, generator = torch.rand(3, channels, *size), torch.Generator().manual_seed(0)
    one, two = filters(generator, 16, channels, 5, 5), filters(generator, 32, 16, 5, 5)
    coarse = functional.avg_pool2d(images, {8: 1, 31: 1, 64: 2, 200: 6}[size[0]])
    first = functional.conv2d(coarse, *one, stride=2, padding=2).relu()
    second = functional.conv2d(first, *two, stride=2, padding=2).relu()
    middle = [-(-side // 2) for side in first.shape[2:]]  # of an odd side both halves have it
    quarters = [
        first[:, :, rows][:, :, :, columns].mean((2, 3))
        for rows in (slice(middle[0]), slice(first.shape[2] // 2, None))
        for columns in (slice(middle[1]), slice(first.shape[3] // 2, None))
    ]
    where = torch.stack(quarters, 2).flatten(1)
    expected = torch.cat([second.mean((2, 3)), where], 1)
    torch.testing.assert_close(RandomFeatures(channels)(images), expected)
    assert expected.shape == (3, RandomFeatures.count)


def test_features_of_vectors_are_the_outputs_of_two_layers() -> None:
    vectors, generator = torch.rand(4, 7, 1, 1), torch.Generator().manual_seed(0)
    one, two = filters(generator, 64, 7), filters(generator, 32, 64)
    first = functional.linear(vectors.flatten(1), *one).relu()
    expected = torch.cat([functional.linear(first, *two).relu(), first], 1)
    torch.testing.assert_close(RandomVectorFeatures(7)(vectors), expected)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ({"channels": 3, "height": 8, "width": 9}, RandomFeatures),
        ({"channels": 3, "height": 1, "width": 1}, RandomVectorFeatures),
    ],
)
def test_they_are_the_same_whenever_they_are_made_and_draw_nothing_from_others(
    shape: Any, kind: type
) -> None:
    torch.manual_seed(1)
    architecture, before = Architecture(**shape), torch.random.get_rng_state()
    one, other = random_features(architecture), random_features(architecture)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert type(one) is kind
    images = torch.rand(2, *architecture.image, requires_grad=True)
    torch.testing.assert_close(one(images), other(images), rtol=0, atol=0)
    assert not one(images).requires_grad
    assert not any(parameter.requires_grad for parameter in one.parameters())
