"""A call leaves the caller's process as it was, and what is set there changes nothing here."""

import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL
from torch import nn

from vase import VASE, InputError, metrics
from vase.isolation import isolated, private_weights

SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, SIDE, SIDE), dtype=np.uint8)


def model(seed: int = 0) -> VASE:
    return VASE(latents=4, seed=seed, accelerator="cpu", options=SMALL)


def taught(subject: VASE | None = None) -> VASE:
    subject = subject or model()
    for batch in IMAGES:
        subject.partial_fit(batch)
    return subject


def everything(folder: Path) -> dict[str, Any]:
    """What every public call gives, as arrays and plain values."""
    subject = taught()
    found = {
        "transform": subject.transform(IMAGES[0]),
        "posterior": subject.posterior(IMAGES[0]),
        "predict": subject.predict(IMAGES[0]),
        "predict_proba": subject.predict_proba(IMAGES[0], context=IMAGES[1]),
        "inverse_transform": subject.inverse_transform(np.zeros((2, 4))),
        "reconstruct": subject.reconstruct(IMAGES[0]),
        "translate": subject.translate(IMAGES[0], to=0),
        "sample": subject.sample(3),
        "masks": subject.masks_,
        "environment": subject.environment_,
        "fit": model().fit(IMAGES[0], batch_size=4).transform(IMAGES[0]),
        "fit_transform": model().fit_transform(IMAGES[0]),
    }
    again = VASE.load(subject.save(folder / "m"))
    again.partial_fit(IMAGES[0])  # a loaded model learns
    return {**found, "loaded": again.transform(IMAGES[0])}


@contextmanager
def flat() -> Iterator[None]:
    """Denormal numbers as Python leaves them, which the tests' own set-up does not."""
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(True)


def fingerprint() -> dict[str, Any]:
    """All that a library could change behind its caller's back."""
    return {
        "denormals": sys.float_info.min / 2 > 0,
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "precision": torch.get_float32_matmul_precision(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "errors": np.geterr(),
        "printing": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.disabled),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "excepthook": (sys.excepthook, threading.excepthook),
    }


CALLS: dict[str, Callable[[VASE, Path], Any]] = {
    "partial_fit": lambda subject, _: subject.partial_fit(IMAGES[0]),
    "a first partial_fit": lambda *_: model().partial_fit(IMAGES[0]),
    "fit": lambda *_: model().fit(IMAGES[0]),
    "transform": lambda subject, _: subject.transform(IMAGES[0]),
    "posterior": lambda subject, _: subject.posterior(IMAGES[0]),
    "predict": lambda subject, _: subject.predict(IMAGES[0], context=IMAGES[1]),
    "inverse_transform": lambda subject, _: subject.inverse_transform(np.zeros((2, 4))),
    "reconstruct": lambda subject, _: subject.reconstruct(IMAGES[0]),
    "translate": lambda subject, _: subject.translate(IMAGES[0], to=0),
    "sample": lambda subject, _: subject.sample(3),
    "save and load": lambda subject, folder: VASE.load(subject.save(folder / "m")),
    "metrics": lambda *_: scored(),
    "a refusal": lambda subject, _: refused(subject),
}


def scored() -> None:
    generator = np.random.default_rng(0)
    factors = generator.integers(0, 3, (300, 2))
    codes = factors + 0.1 * generator.standard_normal((300, 2))
    metrics.mig(codes, factors)
    metrics.sap(codes, factors)
    metrics.dci(codes, factors)
    metrics.factor_vae_score(codes, factors, train_votes=100, test_votes=100)
    metrics.beta_vae_score(codes, factors, train_points=100, test_points=100)
    metrics.total_correlation(codes)


def refused(subject: VASE) -> None:
    with pytest.raises(InputError):
        subject.partial_fit(np.full((4, SIDE, SIDE), np.nan))


@pytest.fixture(scope="module")
def subject() -> VASE:
    return taught()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_leaves_the_process_as_it_was(call: str, subject: VASE, tmp_path: Path) -> None:
    CALLS[call](subject, tmp_path)  # what is imported late is imported by now
    with flat():
        before = fingerprint()
        CALLS[call](subject, tmp_path)
        after = fingerprint()
    assert before == after
    assert before["denormals"]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


WORLDS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "device meta by default": lambda: default_device("meta"),
    "within a device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "anomalies are looked for": lambda: torch.autograd.set_detect_anomaly(mode=True),
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return everything(tmp_path_factory.mktemp("usual"))


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("world", WORLDS)
def test_what_the_caller_has_set_changes_nothing(
    world: str, usual: dict[str, Any], tmp_path: Path
) -> None:
    with WORLDS[world]():
        found = everything(tmp_path)
    for name, value in usual.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype, name


def test_a_model_made_under_inference_mode_goes_on_outside(tmp_path: Path) -> None:
    expected = taught(taught()).transform(IMAGES[0])
    with torch.inference_mode():
        begun = taught()
        loaded = VASE.load(begun.save(tmp_path / "m"))
    for each in (begun, loaded):
        np.testing.assert_array_equal(taught(each).transform(IMAGES[0]), expected)


def test_models_of_one_seed_are_equal_in_whatever_thread() -> None:
    """Made and taught at once, beside a thread that draws from the global generators."""
    expected = {seed: taught(model(seed)).transform(IMAGES[0]) for seed in (0, 1)}
    found: list[tuple[int, Any]] = []
    done = threading.Event()

    def teach(seed: int) -> None:
        found.append((seed, taught(model(seed)).transform(IMAGES[0])))

    def draw() -> None:
        while not done.is_set():
            torch.rand(10)
            np.random.rand(10)

    others = threading.Thread(target=draw)
    others.start()
    threads = [threading.Thread(target=teach, args=(k % 2,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    others.join()
    assert len(found) == 4
    for seed, codes in found:
        np.testing.assert_array_equal(codes, expected[seed])


# ---- weights -------------------------------------------------------------------------------------


def layers() -> nn.Module:
    """Layers of many kinds, and draws of a network of the user's."""
    made = nn.ModuleList(
        (nn.Linear(3, 2), nn.Conv2d(2, 3, 3), nn.Embedding(4, 3), nn.GRU(2, 3), nn.LayerNorm(3))
    )
    own = nn.Linear(2, 2)
    nn.init.orthogonal_(own.weight)
    nn.init.xavier_normal_(made[0].weight)  # type: ignore[arg-type]
    own.register_buffer("noise", torch.randn(3) + torch.rand(3))
    own.register_buffer("order", torch.randperm(5))
    own.register_buffer("grid", torch.linspace(-1, 1, 4) + torch.tensor([0.5, 1, 2, 3]))
    return made.append(own)


@pytest.mark.parametrize("world", ["float64 by default", "device meta by default", "no_grad"])
def test_private_weights_are_those_of_the_seed(world: str) -> None:
    torch.manual_seed(3)
    expected = layers().state_dict()
    before = torch.get_rng_state()
    with WORLDS[world](), isolated(), private_weights(3):
        found = layers().state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_shapes_alone_take_no_memory() -> None:
    with private_weights(None, "meta"):
        assert {value.device.type for value in layers().parameters()} == {"meta"}
