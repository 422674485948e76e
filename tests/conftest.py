"""What every test runs with: few threads, no denormal numbers, repeatable examples in CI."""

import gc
import os
from pathlib import Path

# Set before torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
from commands import leave_unpainted
from hypothesis import settings
from tiny_datasets import mirror, program, setting  # noqa: F401, fixtures

from vase.domains import own

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# Denormal numbers, common in saturated or dead units, slow a CPU down many times over.
torch.set_flush_denormal(True)

# The first call of a compiled kernel is slow, so no example has a deadline.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: to look through it for garbage takes a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _repeatable_draws() -> None:
    """What a test draws without a generator of its own hangs on no test that ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where own images are kept once they are decoded: a folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(own, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at the pixels of figures."""
    leave_unpainted(monkeypatch)
