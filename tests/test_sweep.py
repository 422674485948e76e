"""Sweeps: every combination once, what is fixed apart from what is varied, and a table of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from commands import TINY
from typer.testing import CliRunner

from vase.bench import agreement, engine, provenance, sweep
from vase.cli.app import app
from vase.errors import ConfigError
from vase.lifelong.environments import USED
from vase.metrics import udr
from vase.training.folder import read_json

SHORT = [
    'stream.schedule=[["moving-solids",8],["strokes",4]]',
    *(each for each in TINY if "latents" not in each),
    *("stream.batch_size=16", "training.milestones=1"),
]


def test_every_combination_is_a_point_and_what_is_fixed_is_apart() -> None:
    runs = sweep.sweep_runs(
        ["toy", "toy+entangled", "toy"],
        ["model.latents=4,8", "training.learning_rate=1e-3", "replay.ratio=0.25,0.5"],
        range(2),
    )
    assert {run.fixed for run in runs} == {("training.learning_rate=1e-3",)}
    assert len(runs) == len({run.name for run in runs}) == 2 * 2 * 2 * 2
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8
    config = runs[-1].config()
    assert (config.model.latents, config.replay.ratio, config.training.seed) == (8, 0.5, 1)
    assert config.training.learning_rate == 1e-3
    assert config.objective.kind == "vae"


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("a=1,2", ["a=1", "a=2"]),
        ("a=[1,2]", ["a=[1,2]"]),
        ('a=[["x",1],["y",2]],[["x",3]]', ['a=[["x",1],["y",2]]', 'a=[["x",3]]']),
        ('a="p,q",r', ['a="p,q"', "a=r"]),
        ("a=3,3", ["a=3"]),
    ],
)
def test_commas_divide_values_but_not_what_is_in_brackets(setting: str, values: list[str]) -> None:
    assert sweep.override_choices(setting) == values


def test_what_cannot_be_used_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"model\.latents"):
        sweep.sweep_runs(["toy"], ["model.latents=4,-1"], [0])
    with pytest.raises(ConfigError, match="no preset"):
        sweep.sweep_runs(["toi"], [], [0])
    with pytest.raises(ConfigError, match="key=value,value"):
        sweep.sweep_runs(["toy"], ["latents"], [0])
    with pytest.raises(ConfigError, match="--seeds"):
        sweep.sweep_runs(["toy"], ["training.seed=1,2"], [0])
    with pytest.raises(ConfigError, match="needs a preset"):
        sweep.sweep_runs([], ["model.latents=4"], [0])


def test_a_sweep_is_done_once_and_its_table_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "executor", lambda *_: ThreadPoolExecutor(1))
    command = ["sweep", "toy", *SHORT, "model.latents=3,4", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, command, catch_exceptions=False)
    assert shown.exit_code == 0
    raw = sorted(tmp_path.glob("*.json"))
    assert [read_json(path)["settings"] for path in raw] == [
        ["model.latents=3"],
        ["model.latents=4"],
    ]
    assert [read_json(path)["config"]["model"]["latents"] for path in raw] == [3, 4]
    head, _, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert head.startswith("| preset | settings | seeds | identity max % |")
    assert [line.split(" | ")[1] for line in lines] == ["model.latents=3", "model.latents=4"]
    assert "UDR" not in head  # one seed agrees with nobody
    codes = np.load(tmp_path / "codes" / f"{raw[0].stem}.npz")
    assert {name: codes[name].shape for name in codes} == {
        f"{domain} {part}": shape
        for domain in ("moving-solids", "strokes")
        for part, shape in (("mean", (agreement.CODES, 3)), ("kl", (3,)))
    }
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "2 of 2 runs are already done." in again.stdout

    # Other settings are other runs, and what is done already is not taken for theirs.
    other = sweep.sweep_runs(["toy"], [*SHORT, "model.latents=3,4", "replay.ratio=0.25"], [0])
    assert not sweep.finished_records(tmp_path, other, provenance.code())
    same = sweep.sweep_runs(["toy"], [*SHORT, "model.latents=3,4"], [0])
    assert len(sweep.finished_records(tmp_path, same, provenance.code())) == 2
    assert not sweep.finished_records(tmp_path, same, "code that is not this")


def test_the_seed_that_agrees_with_the_others_is_preferred(tmp_path: Path) -> None:
    """Two models have the same latents in another order, the third has a mixture of them.

    A latent without information does not count.
    """
    truth = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    idle = np.random.default_rng(2).standard_normal((1000, 1)).astype(np.float32)
    models = (truth, -truth[:, ::-1], truth @ turned)
    runs = sweep.sweep_runs(["toy"], ["model.latents=4,8"], range(3))[::2]
    assert {run.settings for run in runs} == {("model.latents=4",)}
    (tmp_path / "codes").mkdir()
    kl = np.array([2.0, 2.0, 2.0, 0.1], dtype=np.float32)
    for run, code in zip(runs, models, strict=True):
        both = {"a mean": np.hstack([code, idle]), "a kl": kl, "b mean": truth, "b kl": kl[:3]}
        np.savez(tmp_path / "codes" / f"{run.name}.npz", **both)
    records = [{**run.labels, "settings": list(run.settings), "fixed": []} for run in runs]
    found = sweep.agreement_of(tmp_path, records)[("toy", "model.latents=4")]
    assert max(found, key=lambda seed: found[seed]) in (0, 1)
    assert found[2] < min(found[0], found[1])
    own = udr([np.hstack([code, idle]) for code in models], [kl] * 3, USED).scores
    other = udr([truth] * 3, [kl[:3]] * 3, USED).scores
    np.testing.assert_allclose([found[seed] for seed in range(3)], (own + other) / 2)
    cell = sweep._preferred(found)
    assert cell.endswith(f"({max(found, key=lambda seed: found[seed])}: {max(found.values()):.2f})")
    assert not sweep.agreement_of(tmp_path, records[:2])  # of two neither is preferred
    (tmp_path / "codes" / f"{runs[0].name}.npz").unlink()
    assert not sweep.agreement_of(tmp_path, records)
