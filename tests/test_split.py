"""Split-MNIST: scores with known answers, and a small model scored whole."""

import math

import numpy as np
import pytest
import torch
from hand_made import code_of, environment

from vase.bench import split
from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.lifelong.environments import Environments
from vase.nets import Architecture, Networks
from vase.probes.encode import encode
from vase.probes.evaluate import TEST_SEED
from vase.settings import ProbeSettings


def test_neighbours_vote() -> None:
    """Ten training codes at 0 and ten at 1: a test code goes with the nearer ones."""
    train = code_of([[0.0]] * 10 + [[1.0]] * 10, [3] * 10 + [7] * 10)
    test = code_of([[0.1], [0.2], [0.9], [0.8]], [3, 3, 7, 3])
    assert split.neighbour_error(train, test) == 0.25


def test_purity_counts_the_commonest_of_every_cluster() -> None:
    identity = np.array([0, 0, 0, 1, 1, 2])
    assert split.purity(np.array([5, 5, 5, 6, 6, 7]), identity) == 1
    assert split.purity(np.zeros(6, dtype=np.int64), identity) == 0.5
    assert split.purity(np.array([0, 0, 1, 1, 1, 1]), identity) == pytest.approx(4 / 6)


def test_bits_per_dimension_pay_for_naming_the_environment() -> None:
    """Two fair coins of which either could have been: 784 bits, and one bit for the choice."""
    nats = np.array([[784 * math.log(2), 5e3], [9e3, 784 * math.log(2)]])
    assert split.bits_per_dimension(nats) == pytest.approx(1 + 1 / 784)
    assert split.bits_per_dimension(nats[:, :1] * 0) == 0


def test_the_scores_of_a_model_are_those_of_its_cheapest_environments() -> None:
    torch.manual_seed(0)
    shape = Architecture(
        channels=1,
        height=32,
        width=32,
        latents=3,
        encoder_channels=8,
        hidden=8,
        decoder_channels=8,
        space_to_depth=2,
    )
    networks = Networks(shape)
    with torch.no_grad():
        networks.decoder.environment.weight.normal_(0, 3)
    environments = Environments.of([environment(k, latents=3) for k in (0, 1)], 1)
    domain = CanvasDomain("all", sprites("solids", 60, 14, 0), 32)
    found = split.scores(networks, environments, domain, domain, ProbeSettings(train=100, test=100))

    views = [encode(networks, domain, 100, TEST_SEED, home) for home in environments]
    costs = [view.distortion.astype(float) + view.rate for view in views]
    expected = (np.minimum(*costs) + math.log(2)).mean() / (784 * math.log(2))
    assert found["bits_per_dimension"] == pytest.approx(expected, rel=1e-6)
    assert found["purity"] == split.purity((costs[1] < costs[0]).astype(int), views[0].labels)
    assert 0 <= found["neighbour_error"] <= 1


def test_the_page_sets_published_figures_beside_ours() -> None:
    record = {
        "seed": 0, "environments": 10, "missed": 0, "false": 0, "mean_delay": None,
        "neighbour_error": 0.05, "purity": 0.9, "adjusted_rand": 0.8, "bits_per_dimension": 0.2,
    }  # fmt: skip
    text = split.markdown([record])
    assert "| 0 | 10 | 0 | 0 | – | 5.0 | 90.0 | 0.80 | 0.2000 |" in text
    assert "| CN-DPM | 0.211 |" in text
