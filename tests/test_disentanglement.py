"""Metrics then and now: codes with known answers, and the whole way from a run to a table."""

import functools
from pathlib import Path

import numpy as np
import pytest
from commands import TINY
from hand_made import code_of
from sklearn.ensemble import GradientBoostingClassifier

from vase import ConfigError, build
from vase.bench import disentanglement as bench
from vase.metrics import importance
from vase.training.folder import read_json

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MAX_DCI_IMAGES", 300)
    few = functools.partial(GradientBoostingClassifier, n_estimators=20)
    monkeypatch.setattr(importance, "GradientBoostingClassifier", few)


# Codes so sharp that every latent is in use.
code = functools.partial(code_of, log_variance=-6.0)


def test_the_factors_themselves_are_disentangled_and_their_sums_are_not() -> None:
    x, y = RNG.random(2000), RNG.random(2000)
    one = np.zeros(2000, np.int64)
    apart = bench.metric_values(code(np.stack([x, y], 1), one, {"x": x, "y": y}))
    mixed = bench.metric_values(code(np.stack([x + y, x - y], 1), one, {"x": x, "y": y}))
    for name in ("MIG", "SAP", "dci D"):
        assert (apart[name] or 0) > 0.7, name
        assert (mixed[name] or 0) < 0.2, name
    assert apart["FactorVAE"] == apart["beta-VAE"] == 1
    assert apart["active"] == 2
    assert apart["TC, nats"] == pytest.approx(0, abs=1e-3)


def test_what_compares_factors_is_undefined_for_one() -> None:
    identity = RNG.integers(0, 10, 4000)
    found = bench.metric_values(code(RNG.normal(size=(4000, 3)), identity, {}))
    assert found["dci D"] is found["FactorVAE"] is found["beta-VAE"] is None
    assert found["MIG"] == pytest.approx(0, abs=0.02)


def test_too_few_held_out_images_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    brief = (*TINY, "probes.test=300", 'stream.schedule=[["moving-solids", 8]]')
    job = bench.SeedJob("toy", 0, brief, tmp_path, build.DataOptions(offline=True))
    with pytest.raises(ConfigError, match=r"300 held-out images of 'moving-solids' .* of identity"):
        bench.run_seed(job)
    assert not list(tmp_path.iterdir())


def test_from_a_run_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of procedural domains: the last domain of the stream has not changed since."""
    quick = dict.fromkeys(bench.TWO_FACTORS, lambda *_: 0.5)  # the true ones are asked above
    monkeypatch.setattr(bench, "TWO_FACTORS", quick)
    brief = (*TINY, "probes.test=1000", 'stream.schedule=[["moving-solids", 8], ["strokes", 8]]')
    (tmp_path / "runs").mkdir()
    for seed in (0, 1):
        record = bench.run_seed(
            bench.SeedJob("toy", seed, brief, tmp_path, build.DataOptions(offline=True))
        )
        bench.write_record(record, tmp_path)
    solids, strokes = (record["domains"][name] for name in ("moving-solids", "strokes"))
    assert solids["factors"] == ["identity", "x", "y"]
    assert solids["then"] != solids["now"]
    assert strokes["then"] == strokes["now"]
    udr = read_json(tmp_path / "udr.json")
    assert udr["seeds"] == [0, 1]
    assert udr["domains"]["strokes"][0] == udr["domains"]["strokes"][1]
    table = bench.markdown(*bench.read_records(tmp_path)).splitlines()
    assert len(table) == 2 + 2 * 2
    assert table[2].startswith("| moving-solids (identity, x, y) | then |")
