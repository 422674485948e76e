"""Muon against singular value decompositions, a naive loop, and Adam alone."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_transaction import photograph, same

from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.lifelong import muon
from vase.lifelong.learner import Learner
from vase.lifelong.state import restore, state
from vase.nets import Architecture, Networks
from vase.settings import LearnerSettings, OptimizerSettings

Array = NDArray[np.float64]
SHAPE = Architecture(
    channels=1, height=16, width=16, latents=4, encoder_channels=4, hidden=8,
    decoder_channels=4, space_to_depth=2, environments=2,
)  # fmt: skip
SETTINGS = LearnerSettings(training=OptimizerSettings(optimizer="muon"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with few hidden units have hidden matrices, of two blocks each."""
    monkeypatch.setattr(muon, "BLOCK", 4)
    monkeypatch.setattr(muon, "SMALLEST", 8)


def naive(matrix: Array, block: int) -> Array:
    """U p(p(p(p(p(S / |S|))))) V^T of each block of rows, or of columns if these are fewer."""
    if matrix.shape[0] > matrix.shape[1]:
        return naive(matrix.T, block).T
    a, b, c = 3.4445, -4.7750, 2.0315
    parts = []
    for first in range(0, len(matrix), block):
        left, values, right = np.linalg.svd(matrix[first : first + block], full_matrices=False)
        values = values / np.sqrt((values**2).sum())
        for _ in range(5):
            values = a * values + b * values**3 + c * values**5
        parts.append(left @ np.diag(values) @ right)
    return np.concatenate(parts)


@pytest.mark.parametrize("shape", [(128, 300), (300, 128), (130, 200), (64, 64), (20, 90)])
def test_singular_values_of_each_block_go_through_the_quintic(shape: tuple[int, int]) -> None:
    """Rows that fill no block, too; a tall matrix in blocks of its columns."""
    matrix = np.random.default_rng(0).normal(size=shape)
    beside = torch.ones(40, 30, dtype=torch.float64)
    _, found = muon.orthogonalised([beside, torch.from_numpy(matrix)])
    np.testing.assert_allclose(found.numpy(), naive(matrix, muon.BLOCK), atol=1e-7)


def test_in_single_precision_directions_are_as_long_as_one_another() -> None:
    """Down to a hundredth of the largest; a gradient of whatever size, and one that is 0."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 32, generator=generator)).Q for n in (32, 256))
    matrix = left * torch.logspace(0, -2, 32) @ right.T
    for size in (1e-6, 1.0, 1e6):
        values = torch.linalg.svdvals(muon.orthogonalised([size * matrix])[0])
        assert values.min() > 0.6
        assert values.max() < 1.3
    assert not muon.orthogonalised([torch.zeros(64, 256)])[0].any()


def test_hidden_weights_move_as_written_down_and_the_others_as_under_adam() -> None:
    """Three steps, a tall matrix and a wide one; the last gradients are large."""
    generator = np.random.default_rng(0)
    start = {"wide": (8, 12), "tall": (16, 8), "bias": (12,)}
    weights = {name: generator.normal(size=shape) for name, shape in start.items()}
    ours = {name: torch.nn.Parameter(torch.from_numpy(w.copy())) for name, w in weights.items()}
    alone = copy.deepcopy(ours["bias"])
    subject = muon.Muon(ours.values(), [ours["wide"], ours["tall"]], lr=0.1, rate=0.01)
    adam = torch.optim.Adam([alone], lr=0.1, fused=True)
    momentum = {name: np.zeros(start[name]) for name in ("wide", "tall")}
    for size in (1.0, 1.0, 100.0):
        gradients = {name: size * generator.normal(size=shape) for name, shape in start.items()}
        for name, parameter in ours.items():
            parameter.grad = torch.from_numpy(gradients[name])
        alone.grad = torch.from_numpy(gradients["bias"])
        subject.step()
        adam.step()
        for name, before in momentum.items():
            momentum[name] = 0.95 * before + 0.05 * gradients[name]
            ahead = 0.95 * momentum[name] + 0.05 * gradients[name]
            longer = {"wide": 1.0, "tall": 2**0.5}[name]
            weights[name] -= 0.01 * longer * naive(ahead, muon.BLOCK)
    for name in momentum:
        np.testing.assert_allclose(ours[name].detach().numpy(), weights[name], atol=1e-8)
    assert torch.equal(ours["bias"], alone)
    assert all(parameter.grad is not None for parameter in ours.values())


@pytest.mark.parametrize("synchronous", [("cpu",), ()])
def test_a_gradient_that_is_not_finite_moves_nothing(
    synchronous: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that is read, or decided where the weights are."""
    monkeypatch.setattr(muon, "SYNCHRONOUS", synchronous)
    weight, bias = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((8, 8), (8,)))
    subject = muon.Muon([weight, bias], [weight], lr=0.1, rate=0.1)

    def step(value: float, found: float) -> None:
        weight.grad, bias.grad = torch.full((8, 8), value), torch.full((8,), value)
        subject.found_inf = torch.tensor(found)  # type: ignore[attr-defined]
        subject.step()

    step(1.0, 0.0)
    before = weight.clone(), bias.clone(), subject.state[weight]["momentum"].clone()
    step(float("nan"), 1.0)
    after = weight, bias, subject.state[weight]["momentum"]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    step(1.0, 0.0)
    momentum = 0.95 * before[2] + 0.05
    moved = before[0] - 0.1 * muon.orthogonalised([0.95 * momentum + 0.05])[0]
    torch.testing.assert_close(weight.detach(), moved.detach())


def test_tables_of_environments_and_small_weights_stay_with_adam() -> None:
    networks = Networks(Architecture(hidden=128, environments=256))
    names = {id(weight): name for name, weight in networks.named_parameters()}
    found = {names[id(weight)] for weight in muon.hidden_matrices(networks)}
    assert {"encoder.both.0.weight", "decoder.close.0.weight"} <= found
    assert not found & set(Networks.TABLES)
    assert not any("posterior" in name or "latents" in name for name in found)


@pytest.mark.usefixtures("small_blocks")
def test_a_learner_goes_on_from_its_file_as_if_it_had_not_stopped() -> None:
    """Momenta are saved, and the tables grow with them."""
    domain = CanvasDomain("w", sprites("solids", 50, 8, 0), 16, moving=True)
    generator = np.random.default_rng(0)
    images = [torch.from_numpy(domain.sample(generator, 8)[0]) for _ in range(6)]

    def fresh() -> Learner:
        return Learner(SHAPE, SETTINGS, seed=0, device=torch.device("cpu"))

    whole = fresh()
    assert isinstance(whole.optimizer, muon.Muon)
    assert whole.optimizer.matrices
    for batch in images[:3]:
        whole.observe(batch)
    whole.grow(4)
    assert whole.optimizer.state[whole.optimizer.matrices[0]]["momentum"].any()
    tensors, record = state(whole)
    other = fresh()
    restore(other, tensors, record)
    for batch in images[3:]:
        whole.observe(batch)
        other.observe(batch)
    assert same(photograph(whole), photograph(other))


def test_the_momentum_of_what_has_died_is_no_denormal_number() -> None:
    """Without a gradient it decays to 0: products of denormal numbers take many times as long."""
    weight = torch.nn.Parameter(torch.ones(muon.SMALLEST, muon.SMALLEST))
    moving = muon.Muon([weight], [weight], lr=0.1, rate=0.1)
    weight.grad = torch.full_like(weight, 1e-28)
    moving.step()
    momentum = moving.state[weight]["momentum"]
    assert momentum.count_nonzero() == momentum.numel()
    weight.grad = torch.zeros_like(weight)
    for _ in range(50):
        moving.step()
    assert not momentum.view(torch.int32).count_nonzero()
