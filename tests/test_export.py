"""ONNX files compute what PyTorch does, and are refused where they do not."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL

from vase import VASE, ConfigError, RunError, export
from vase.lifelong.new_environment import create_environment

onnxruntime = pytest.importorskip("onnxruntime")

OPTIONS = {**SMALL, "model.environments": 4}


@pytest.fixture(scope="module")
def model() -> VASE:
    """A colour model of an odd size that knows two environments."""
    subject = VASE(latents=5, options=OPTIONS)
    subject.partial_fit(np.random.default_rng(0).random((8, 20, 27, 3)))
    learner = subject.learner_
    mask = np.array([True, False, True, True, True])
    images = torch.rand(8, 3, 20, 27)
    other = create_environment(
        learner.average, learner.environments, 1, images, learner.settings, learner.generator
    )
    learner.environments = learner.environments.enter(replace(other, mask=mask))
    with torch.no_grad():
        learner.average.decoder.environment.weight.normal_()
    return subject


@pytest.fixture(scope="module")
def folder(model: VASE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "deep"
    differences = model.to_onnx(path)
    assert set(differences) == {"encoder", "decoder", "belief"}
    assert max(differences.values()) < 1e-5
    return path


def run(path: Path, **given: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = onnxruntime.InferenceSession(path).run(None, given)
    return found


@pytest.mark.parametrize("count", [1, 7])
def test_the_files_say_what_the_model_says(model: VASE, folder: Path, count: int) -> None:
    images = np.random.default_rng(1).random((count, 20, 27, 3), dtype=np.float32)
    mean, log_variance = run(folder / "encoder.onnx", images=np.moveaxis(images, -1, 1))
    np.testing.assert_allclose(mean, model.transform(images), atol=1e-5)
    np.testing.assert_allclose(np.exp(log_variance), model.posterior(images)[1], rtol=1e-4)
    (belief,) = run(folder / "belief.onnx", mean=mean, log_variance=log_variance)
    np.testing.assert_allclose(belief, model.predict_proba(images), atol=1e-5)
    known = json.loads((folder / "model.json").read_text())["environments"]
    for index in (0, 1):
        mask = np.array(known[index]["mask"], dtype=np.float32)
        environment = np.full(count, index)
        (made,) = run(folder / "decoder.onnx", z=mean, mask=mask, environment=environment)
        expected = model.reconstruct(images, index)
        np.testing.assert_allclose(np.moveaxis(made, 1, -1), expected, atol=1e-5)


def test_the_description_is_enough_to_generate(model: VASE, folder: Path) -> None:
    told = json.loads((folder / "model.json").read_text())
    assert told["image"] == {"channels": 3, "height": 20, "width": 27}
    assert [known["mask"] for known in told["environments"]] == model.masks_.astype(int).tolist()
    for known, record in zip(told["environments"], model.learner_.environments, strict=True):
        np.testing.assert_allclose(known["mean"], record.moments.mean[:5])
        np.testing.assert_allclose(known["variance"], record.moments.variance[:5])


def test_a_file_that_computes_something_else_is_not_written(
    model: VASE, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder's file is the one from before its weights changed."""
    stale = (folder / "encoder.onnx").read_bytes()
    monkeypatch.setattr(export, "traced", lambda *_: stale)
    bias = model.learner_.average.encoder.posterior.bias
    before = bias.detach().clone()
    try:
        with torch.no_grad():
            bias.add_(1e-3)
        with pytest.raises(
            RunError, match=r"the encoder differs from PyTorch by .*nothing was written"
        ):
            model.to_onnx(tmp_path / "out")
    finally:
        with torch.no_grad():
            bias.copy_(before)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_the_command(
    model: VASE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ConfigError, match=r"onnxscript, which is not .*pip install 'vase-lifelong\[onnx\]'"
    ):
        model.to_onnx(tmp_path)


def test_a_classifier_of_features_is_exported_with_them(
    model: VASE, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what reads or gives features is traced: the decoder is that of the other model."""
    subject = VASE(latents=5, options={**OPTIONS, "model.classifier": "features"})
    images = np.random.default_rng(0).random((8, 20, 27, 3), dtype=np.float32)
    subject.partial_fit(images)
    decoder = model.learner_.average.decoder
    subject.learner_.average.decoder.load_state_dict(decoder.state_dict())
    traced, known = export.traced, (folder / "decoder.onnx").read_bytes()

    def traced_or_known(module: torch.nn.Module, *rest: Any) -> bytes:
        return known if isinstance(module, export.Decode) else traced(module, *rest)

    monkeypatch.setattr(export, "traced", traced_or_known)
    assert max(subject.to_onnx(tmp_path).values()) < 1e-5
    mean, log_variance, features = run(tmp_path / "encoder.onnx", images=np.moveaxis(images, -1, 1))
    (belief,) = run(
        tmp_path / "belief.onnx", mean=mean, log_variance=log_variance, features=features
    )
    np.testing.assert_allclose(belief, subject.predict_proba(images), atol=1e-5)
