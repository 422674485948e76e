"""The estimator: images in any layout, events out; save, load, go on; bad input changes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import TINY, status
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from vase import VASE, CheckpointError, ConfigError, InputError, build, config
from vase.estimator import CHUNK
from vase.nets import space_to_depth_for
from vase.training import recorder
from vase.training.folder import RunFolder

Images = NDArray[np.uint8]
OPTIONS = {
    "model.encoder_channels": 16,
    "model.hidden": 32,
    "model.decoder_channels": 16,
    "training.accelerator": "cpu",
}


def images(count: int = 16, shape: tuple[int, ...] = (16, 16), seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def model(**changes: object) -> VASE:
    return VASE(latents=4, options={**OPTIONS, **changes})


@pytest.fixture(scope="module")
def fitted() -> VASE:
    subject = model()
    for seed in range(5):
        subject.partial_fit(images(seed=seed))
    return subject


class OnDisk:
    """An array that is never taken whole, as a memory map of more images than memory."""

    def __init__(self, images: Images) -> None:
        self.images, self.most = images, 0
        self.dtype, self.ndim, self.shape = images.dtype, images.ndim, images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Images:
        self.most = max(self.most, len(self.images[rows]))
        return self.images[rows]


def test_what_is_larger_than_memory_is_encoded_some_at_a_time(fitted: VASE) -> None:
    many = np.tile(images(), (CHUNK // len(images()) + 2, 1, 1))
    disk = OnDisk(many)
    codes = fitted.transform(disk)
    np.testing.assert_array_equal(codes, fitted.transform(many))
    np.testing.assert_allclose(codes[:16], fitted.posterior(images())[0], atol=1e-5)
    np.testing.assert_array_equal(
        fitted.predict(images()), fitted.predict_proba(images()).argmax(1)
    )
    assert disk.most <= CHUNK < len(disk)


def test_doubt_over_environments_is_at_the_prior_where_a_likely_one_masks_a_latent() -> None:
    subject = model()
    subject.partial_fit(images())
    learner = subject.learner_
    known = learner.environments.present
    masked = np.array([True, False, True, False])
    learner.environments = learner.environments.enter(replace(known, index=1, mask=masked))
    mean, variance = subject.posterior(images())
    likely = subject.predict_proba(images())[:, 0]
    mixed_mean, mixed_variance = subject.posterior(images(), over_environments=True)
    np.testing.assert_allclose(mixed_mean, np.where(masked, 1, likely[:, None]) * mean, atol=1e-6)
    np.testing.assert_allclose(mixed_variance[:, masked], variance[:, masked], rtol=1e-5)
    p, free = likely[:, None], ~masked
    spread = p * variance[:, free] + (1 - p) + p * (1 - p) * mean[:, free] ** 2
    np.testing.assert_allclose(mixed_variance[:, free], spread, rtol=1e-5)


def test_the_first_batch_opens_an_environment_and_the_next_is_the_same() -> None:
    subject = model()
    decision = subject.partial_fit(images())
    assert (decision.kind, decision.environment) == ("new", 0)
    assert subject.partial_fit(images(seed=1)).kind == "same"
    assert [(event.kind, event.environment) for event in subject.events_] == [("new", 0)]
    assert subject.environment_ == 0
    assert subject.masks_.shape == (1, 4)


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (3, 16, 16)])
def test_images_come_back_in_the_layout_they_came_in(shape: tuple[int, ...]) -> None:
    subject = model()
    subject.partial_fit(images(shape=shape))
    for back in (
        subject.inverse_transform(np.zeros((2, 4))),
        subject.sample(2),
        subject.reconstruct(images(2, shape)),
    ):
        assert back.shape == (2, *shape)
        assert 0 <= back.min() <= back.max() <= 1


def test_samples_are_drawn_anew_for_another_seed(fitted: VASE) -> None:
    np.testing.assert_array_equal(fitted.sample(3, seed=1), fitted.sample(3, seed=1))
    assert not np.array_equal(fitted.sample(3, seed=1), fitted.sample(3, seed=2))


def test_a_loaded_model_goes_on_as_the_saved_one_would(tmp_path: Path) -> None:
    saved = model(**{"model.encoder_channels": np.int64(16)})
    saved.partial_fit(images())
    path = saved.save(tmp_path / "deep" / "model")
    loaded = VASE.load(tmp_path / "deep" / "model", accelerator="cpu")
    assert path.name == "model.safetensors"
    for subject in (saved, loaded):
        for seed in range(3):
            subject.partial_fit(images(seed=seed))
    np.testing.assert_array_equal(saved.transform(images()), loaded.transform(images()))
    assert loaded.options == saved.options
    assert [event.kind for event in loaded.events_] == ["new"]


def test_what_vase_train_has_trained_is_a_model_that_learns_on(tmp_path: Path) -> None:
    run, steps = tmp_path / "run", 'stream.schedule=[["moving-solids", 8]]'
    other = ["objective.gamma=7", "masks.threshold=0.2", "training.precision=bf16-mixed"]
    assert status("train", "toy", *TINY, steps, *other, "--out", str(run), "--no-report") == 0
    loaded, settings = VASE.load(run, accelerator="cpu"), config.load(str(run / "config.toml"))
    stream = build.stream(settings, build.DataOptions(offline=True))
    learner = build.learner(settings, stream.shape)
    recorder.resume(RunFolder(run), learner)
    for section in ("objective", "detection", "memory", "masks", "replay"):
        assert getattr(loaded.learner_.settings, section) == getattr(settings, section)
    batch = stream.batch(0)[0]
    learner.observe(torch.from_numpy(batch))
    loaded.partial_fit(batch)
    saved = VASE.load(loaded.save(tmp_path / "model"))
    for subject in (loaded, saved):
        expected = dict(learner.average.state_dict())
        torch.testing.assert_close(dict(subject.learner_.average.state_dict()), expected)
    assert saved.reconstruct(batch[:3, 0]).shape == batch[:3, 0].shape
    (run / "config.toml").unlink()
    with pytest.raises(CheckpointError, match="toml is not beside it"):
        VASE.load(run / "checkpoint.safetensors")


def test_it_behaves_like_a_scikit_learn_estimator() -> None:
    subject = model()
    assert clone(subject).get_params() == subject.get_params()
    with pytest.raises(NotFittedError):
        subject.transform(images())
    codes = subject.fit(images(40), batch_size=16).transform(images(40))
    assert subject.learner_.step == 3
    np.testing.assert_array_equal(codes, clone(subject).fit_transform(images(40), batch_size=16))


def test_fit_takes_batches_too_and_begins_anew() -> None:
    subject = model().fit([images(seed=seed) for seed in range(4)])
    assert subject.learner_.step == 4
    subject.fit(images(16))
    assert subject.learner_.step == 1


def test_unknown_options_and_environments_are_refused(fitted: VASE) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'replay\.ratio'"):
        model(**{"replay.rati": 0.5}).partial_fit(images())
    with pytest.raises(InputError, match="knows 1"):
        fitted.sample(1, environment=3)
    with pytest.raises(InputError, match="count must be a whole number of at least 1"):
        fitted.sample(0)
    with pytest.raises(InputError, match=r"\[B, 4\]"):
        fitted.inverse_transform(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("size", "block"), [((64, 64), 4), ((32, 32), 2), ((28, 28), 1), ((128, 128), 8), ((16, 20), 1)]
)
def test_the_blocks_fit_the_image(size: tuple[int, int], block: int) -> None:
    assert space_to_depth_for(*size) == block
