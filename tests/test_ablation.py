"""Ablations: unfinished runs, code hashes, statistics, executors, tables."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from scipy import stats
from serving import until

from vase import build, config
from vase.bench import ablation, ablation_page, agreement, engine, provenance
from vase.bench.ablation import BASELINES, CONDITIONS, OBJECTIVES, AblationRun
from vase.errors import ConfigError, RunError
from vase.objective import gaussian
from vase.probes.encode import sample_images
from vase.probes.evaluate import TEST_SEED
from vase.training import folder as folders
from vase.training.folder import read_json
from vase.training.loop import observe

BRIEF = (
    'stream.schedule=[["moving-fashion",6],["moving-mnist",6]]',
    "training.milestones=1",
    "probes.train=100",
    "probes.test=100",
    "stream.size=16",
    "model.encoder_channels=8",
    "model.decoder_channels=8",
    "model.hidden=16",
    "model.latents=4",
    *(  # drawn by the program in place of data sets
        f"stream.domains.{domain}.{setting}"
        for domain in ("moving-fashion", "mnist", "moving-mnist")
        for setting in (
            f"domain={'solids' if 'fashion' in domain else 'strokes'}",
            "shrink=1",
            "count=200",
            "side=8",
        )
    ),
)
DATA = build.DataOptions(offline=True)

# ---- the grid ----------------------------------------------------------------------------------


def test_the_paper_s_table_has_seventeen_runs() -> None:
    """Nine conditions, two objectives, but one for deep generative replay; and six baselines."""
    grid = ablation.ablation_runs("small", [], OBJECTIVES, [0])
    assert sum(run.condition in CONDITIONS for run in grid) == 17
    assert sum(run.condition in BASELINES for run in grid) == 6
    assert {(run.condition, run.objective) for run in grid if run.condition in CONDITIONS} == {
        (row, half) for half, rows in ablation_page.PAPER_TABLE.items() for row in rows
    }


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("scale", ablation.SCALES)
def test_every_run_is_a_preset_with_its_seed(scale: str, published: bool) -> None:
    for run in ablation.ablation_runs(scale, [], OBJECTIVES, [3], published=published):
        settings = run.config()
        ours = ablation.AblationRun(scale, run.condition, run.objective, 3).config()
        for switched in ("detection", "probes", "memory"):
            assert getattr(settings, switched) == getattr(ours, switched)
        assert settings.replay.enabled == ours.replay.enabled
        assert settings.masks.enabled == ours.masks.enabled
        assert (settings.model.encoder == "convolutional") == published
        assert settings.training.seed == 3
        assert settings.stream == config.load(scale).stream.model_copy(
            update={"joint": run.condition == "joint"}
        )
        assert (settings.objective.kind == "vae") == (run.objective == "entangled")


@pytest.mark.parametrize(
    ("scale", "conditions", "objectives", "words"),
    [
        ("small", ["sdaa"], OBJECTIVES, "no condition sdaa. There are: cci, s"),
        ("small", [], ["tangled"], "no objective tangled"),
        ("huge", [], OBJECTIVES, "no scale huge. There are: small, poster"),
    ],
)
def test_what_is_not_there_is_refused(
    scale: str, conditions: list[str], objectives: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        ablation.ablation_runs(scale, conditions, objectives, [0])


# ---- hashes ------------------------------------------------------------------------------------


def package(folder: Path, text: str) -> str:
    """The hash of a package whose `build` imports `nets.encoder`, which is `text`."""
    (folder / "nets").mkdir(parents=True, exist_ok=True)
    (folder / "build.py").write_text("from vase.nets import encoder")
    (folder / "nets" / "encoder.py").write_text(text)
    return provenance.code_in(folder)


def test_a_hash_sees_what_is_computed_and_not_how_it_is_described(tmp_path: Path) -> None:
    said = package(tmp_path, '"""Nets."""\ndef f(x):\n    """Double."""\n    return 2 * x\n')
    other = package(tmp_path, '"""New words."""\n# why\ndef f(x):\n    return 2 *  x\n')
    changed = package(tmp_path, '"""Nets."""\ndef f(x):\n    """Double."""\n    return 3 * x\n')
    assert said == other != changed
    (tmp_path / "nets" / "unrelated.py").write_text("x = 1")
    assert provenance.code_in(tmp_path) == changed


def test_what_is_hashed_is_what_trains_and_probes() -> None:
    found = set(provenance.modules(Path(config.__file__).parent))
    assert found >= set(provenance.ROOTS)
    assert found >= {"vase.lifelong.learner", "vase.objective.gaussian", "vase.metrics.table"}
    assert not {name for name in found if name.split(".")[1] in ("report", "bench", "cli")}


def test_a_key_follows_code_and_configuration_but_not_the_description() -> None:
    settings = config.load("toy")
    key = provenance.key(settings, "a")
    assert provenance.key(settings.model_copy(update={"description": "x"}), "a") == key
    assert provenance.key(config.load("toy", ["training.seed=1"]), "a") != key
    assert provenance.key(settings, "b") != key


# ---- statistics --------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_t_test() -> None:
    values = np.random.default_rng(0).normal(1, 2, 7)
    found = ablation_page.interval(values.tolist())
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval() -> None:
    found = ablation_page.interval([2.0])
    assert found.mean == 2
    assert np.isnan([found.low, found.high]).all()


def record(
    condition: str, objective: str, seed: int, identity: float, code: str = "c"
) -> dict[str, Any]:
    """A record whose identity accuracy changed by `identity` points; the rest is constant."""
    figures = {"max": 0.8, "min": 2e-4, "end": 0.8, "change": identity / 100}
    position = {"max": 0.8, "min": 2e-4, "end": 2e-4, "change": 1e-4}
    domains = {"first": {"reconstruction_nats": 100.0, "disentanglement": {"mig": 0.5}}}
    return {
        "condition": condition, "objective": objective, "seed": seed, "code": code, "key": "k",
        "summary": {
            "identity": dict.fromkeys(("mlp", "linear", "frozen"), figures),
            "position_mse": dict.fromkeys(("mlp", "linear", "frozen"), position),
        },
        "timeline": [
            {"step": 1, "domains": domains},
            {
                "step": 2,
                "domains": {
                    "first": {"reconstruction_nats": 103.0, "disentanglement": {"mig": 0.25}},
                    "second": {"reconstruction_nats": 50.0, "disentanglement": None},
                },
            },
        ],
        "config": {"stream": {"schedule": [["first", 1], ["second", 1]]}},
        "detection": {"environments": 2, "missed": 0, "false": 0, "mean_delay": 2.0},
    }  # fmt: skip


def test_differences_are_paired_by_seed() -> None:
    """Effects of the seed cancel; a seed that only one condition has is left out."""
    shifts = [0.0, -20.0, 7.0]
    records = [
        record("sda", "entangled", k, -1 + shift + 0.1 * k) for k, shift in enumerate(shifts)
    ]
    records += [record("cci", "entangled", k, -5 + shift) for k, shift in enumerate(shifts)]
    records.append(record("cci", "entangled", 9, 50.0))
    measure = ablation_page.HEADLINE_MEASURES["change"]
    found = ablation_page.paired(records, ("sda", "entangled"), ("cci", "entangled"), measure)
    assert found is not None
    assert found.mean == pytest.approx(4.1)
    assert 3.7 < found.low < found.high < 4.5
    assert ablation_page.paired(records, ("sda", "entangled"), ("s", "entangled"), measure) is None


def test_old_domains_lose_what_they_cost_above_their_best() -> None:
    assert ablation_page.reconstruction_change(record("sda", "entangled", 0, 0)) == 3


def test_the_claims_name_who_forgot_least_and_most() -> None:
    records = [
        record(row, half, seed, change)
        for row, change in (("sda", -1.0), ("s", -3.0), ("sa", -9.0))
        for half in OBJECTIVES
        for seed in (0, 1)
    ]
    text = ablation_page.markdown(records)
    least = "- entangled, identity: `VASE (SDA)` forgets least (-1.0), `SA` most (-9.0)"
    assert least in text
    assert "| VASE (SDA) | 80.0 ± 0.0 | -1.0 ± 0.0 | 2.0 ± 0.0 |" in text
    assert "| disentangled | S | +2.0 [+2.0, +2.0] |" in text
    assert "in 0 of 3 conditions" in text
    assert "| VASE (SDA) | 0.50 ± 0.00, 0.25 ± 0.00 | – |" in text
    picture = ablation_page.figure(records)
    assert len(picture.axes) == 4


def test_figures_of_different_code_are_never_mixed(tmp_path: Path) -> None:
    for seed, code in enumerate("ab"):
        path = tmp_path / f"s-entangled-seed-{seed}.json"
        path.write_text(json.dumps(record("s", "entangled", seed, 0, code)))
    with pytest.raises(RunError, match=r"different code \(a, b\)"):
        ablation_page.read_ablations(tmp_path)
    assert [r["seed"] for r in ablation_page.read_ablations(tmp_path, "b")] == [1]


# ---- engines -----------------------------------------------------------------------------------


def halved(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def broken(job: ablation.RunJob) -> dict[str, Any]:
    raise ValueError(f"{job.run.name} is broken")


def test_a_failure_spoils_no_other() -> None:
    with ThreadPoolExecutor(2) as pool:
        found = dict(engine.completed(halved, [2, 3, 4], pool))
    assert (found[2], found[4]) == (1, 2)
    assert str(found[3]) == "3 is odd"


CALLER = """
import os, pathlib, sys, time
from vase.bench import engine

def linger(path):
    pathlib.Path(path).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    with engine.executor(1) as pool:
        list(engine.completed(linger, [sys.argv[1]], pool))
"""


def test_a_worker_is_a_process_that_does_not_outlive_a_caller_that_was_killed(
    tmp_path: Path,
) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    note = tmp_path / "worker"
    caller = subprocess.Popen([sys.executable, str(tmp_path / "caller.py"), str(note)])
    until(lambda: note.is_file() and bool(note.read_text()))
    assert int(note.read_text()) != caller.pid
    caller.kill()
    caller.wait()
    until(lambda: not alive(int(note.read_text())))


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and waits for nobody to ask does not."""
    try:
        return "zombie" not in psutil.Process(process).status()
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler with one worker."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_is_an_executor_like_any_other(scheduler: str) -> None:
    with engine.executor(2, scheduler) as pool:
        found = dict(engine.completed(halved, [2, 3, 4], pool))
    assert (found[2], found[4]) == (1, 2)
    assert str(found[3]) == "3 is odd"


def test_a_cluster_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SCHEDULER_TIMEOUT", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match=r"no Dask scheduler at 'tcp.*Start one with"):
        engine.executor(1, address).__enter__()


# ---- a grid, executed and resumed --------------------------------------------------------------


def test_a_grid_is_done_once_and_resumes_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ablation.ablation_runs("small", ["sda", "joint"], ["entangled"], [0])
    said: list[str] = []
    monkeypatch.setattr(engine, "executor", lambda *_: ThreadPoolExecutor(1))

    def run() -> None:
        ablation.run_all(grid, BRIEF, tmp_path, DATA, said.append, workers=1)

    run()
    assert [line.split(",")[0] for line in said] == [
        "1/2  small+sda+entangled",
        "2/2  small+joint+entangled",
    ]
    first = read_json(tmp_path / "sda-entangled-seed-0.json")
    assert first["steps"] == 12
    assert first["key"] == provenance.key(grid[0].config(BRIEF), provenance.code())
    assert config.parse(first["config"], "record") == grid[0].config(BRIEF)
    assert not any((tmp_path / "runs").iterdir())

    said.clear()
    run()
    assert said == ["2 of 2 runs are already done."]

    # A run folder with a checkpoint half way, as a killed process leaves it.
    (tmp_path / "sda-entangled-seed-0.json").unlink()
    half_way(tmp_path, grid[0])
    run()
    again = read_json(tmp_path / "sda-entangled-seed-0.json")
    assert again["timeline"] == first["timeline"]

    # With other settings every run is unfinished again.
    others = (*BRIEF, "training.max_grad_norm=1.0")
    assert len(ablation.unfinished_runs(grid, others, tmp_path, provenance.code())) == 2


def half_way(out: Path, run: AblationRun) -> None:
    """Begin a run and stop after eight steps with a checkpoint."""
    settings = run.config(BRIEF)
    key = provenance.key(settings, provenance.code())
    stream = build.stream(settings, DATA)
    learner = build.learner(settings, (1, 16, 16))
    folder = folders.create(out / "runs" / f"{run.name}-{key}", config.to_toml(settings))
    with build.recorder(settings, folder, learner, stream) as run_recorder:
        for observation in run_recorder.record(observe(learner, stream)):
            if observation.step == 7:
                break
        run_recorder.save()


def test_a_run_that_fails_is_named_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "executor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(ablation, "train_and_probe", broken)
    grid = ablation.ablation_runs("small", ["sda"], ["entangled"], [0])
    with pytest.raises(RunError, match=r"1 of 1 runs failed.*Run the command again"):
        ablation.run_all(grid, BRIEF, tmp_path, DATA, lambda _: None)


def test_the_codes_are_of_the_last_weights_on_the_same_images_and_masked_latents_carry_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = AblationRun("small", "sda", "disentangled", 0)
    folder = folders.RunFolder(tmp_path / "run")
    learner = ablation.train(folder, planned.config(BRIEF), DATA)
    mask = np.array([True, False, True, True])
    known = replace(learner.environments.present, mask=mask)
    monkeypatch.setattr(agreement, "matched_environment", lambda *_: known)
    found = agreement.codes_of(folder, DATA)
    assert sorted({name.rsplit(" ", 1)[0] for name in found}) == ["moving-fashion", "moving-mnist"]
    stream = build.stream(planned.config(BRIEF), DATA, "test")
    drawn = sample_images(stream.domains["moving-fashion"], agreement.CODES, TEST_SEED)
    images = torch.from_numpy(np.concatenate([each for each, _ in drawn]))
    with torch.no_grad():
        seen = learner.average.encoder(images)
    np.testing.assert_allclose(found["moving-fashion mean"], seen.mean.numpy(), atol=1e-5)
    nats = gaussian.kl_to_prior(seen).mean(0).numpy()
    np.testing.assert_allclose(found["moving-fashion kl"], np.where(mask, nats, 0), rtol=1e-4)
