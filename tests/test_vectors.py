"""Vectors in place of images: dense networks, the same algorithm, and scikit-learn's own checks."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from vase import VASE, InputError
from vase.report.decode import Traversal
from vase.report.images import mosaic, plot_traversal, vectors_as_stripes

Floats = NDArray[np.float32]
LENGTH = 12


def vectors(count: int, seed: int, *, turning: bool = True) -> Floats:
    """Points on a surface with two coordinates, of which the second may rest."""
    where = np.random.default_rng(seed).uniform(-1, 1, (count, 2))
    if not turning:
        where[:, 1] = 0
    directions = np.random.default_rng(1).standard_normal((2, LENGTH))
    return (0.5 + 0.5 * np.sin(2 * where @ directions)).astype(np.float32)


def model(**options: object) -> VASE:
    return VASE(latents=4, accelerator="cpu", options={"model.hidden": 64, **options})


@pytest.fixture(scope="module")
def seen() -> VASE:
    """A model that saw a domain, then one in which a factor rests, then the first again."""
    subject = model()
    for step in range(520):
        turning = step < 300 or step >= 460
        subject.partial_fit(vectors(64, 100 + step, turning=turning))
    return subject


def test_a_change_of_vectors_is_noticed_and_what_is_back_is_known(seen: VASE) -> None:
    told = [(event.kind, event.environment, event.step) for event in seen.events_]
    moves = [each for each in told if each[0] in ("new", "returned")]
    assert [each[:2] for each in moves] == [("new", 0), ("new", 1), ("returned", 0)]
    assert 300 <= moves[1][2] <= 310
    assert 460 <= moves[2][2] <= 470


def test_vectors_are_reconstructed_far_better_than_by_their_mean(seen: VASE) -> None:
    held_out = vectors(500, 5)
    error = ((seen.reconstruct(held_out, 0) - held_out) ** 2).mean()
    assert error < 0.25 * held_out.var(axis=0).mean()


def test_what_comes_back_is_vectors(seen: VASE, tmp_path: Path) -> None:
    assert seen.sample(3, environment=1).shape == (3, LENGTH)
    assert seen.translate(vectors(5, 0), to=1).shape == (5, LENGTH)
    assert seen.get_feature_names_out().tolist() == ["vase0", "vase1", "vase2", "vase3"]
    loaded = VASE.load(seen.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.transform(vectors(5, 0)), seen.transform(vectors(5, 0)))
    with pytest.raises(InputError, match=r"vectors of 12 numbers.*vectors of 7 numbers"):
        seen.partial_fit(np.zeros((4, 7)))


def test_the_advice_for_vectors_is_to_scale_them() -> None:
    with pytest.raises(InputError, match=r"vectors must lie in \[0, 1\].*MinMaxScaler"):
        model().partial_fit(np.full((4, 5), 3.0))


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_integers_are_refused_and_not_guessed_at(kind: type) -> None:
    with pytest.raises(InputError, match=r"must be floats in \[0, 1\]"):
        model().partial_fit(np.eye(8, dtype=kind))


@pytest.mark.parametrize("source", [{"train": vectors(4, 0)}, 5])
def test_what_is_no_source_is_refused(source: object) -> None:
    with pytest.raises(InputError, match="is no source of images"):
        model().fit(source)


def test_a_traversal_of_vectors_frames_the_stripes_that_it_shows() -> None:
    values = np.linspace(-2, 2, 9)
    shown = Traversal(
        latents=(0,),
        values=values,
        images=np.zeros((1, 9, 40, 1, 1), dtype=np.float32),
        means=np.zeros(1),
        original=np.zeros((40, 1, 1), dtype=np.float32),
        reconstruction=np.zeros((40, 1, 1), dtype=np.float32),
    )
    figure = plot_traversal(shown, [("shape", "z0")], "vectors", "#0072B2")
    frames = [patch for axes in figure.axes for patch in axes.patches]
    assert [frame.get_width() for frame in frames if frame.get_width() > 1] == [40]


def test_a_vector_is_shown_as_stripes() -> None:
    values = vectors(1, 0)[0]
    striking = vectors_as_stripes(values.reshape(1, 1, LENGTH, 1, 1))
    assert striking.shape == (1, 1, 1, 3, LENGTH)
    np.testing.assert_array_equal(striking[0, 0, 0, 2], values)
    assert mosaic(values.reshape(1, 1, LENGTH, 1, 1)).shape == (3, LENGTH, 3)
    images = np.zeros((2, 1, 8, 8), dtype=np.float32)
    assert vectors_as_stripes(images) is images


def test_scikit_learn_objects_to_nothing_but_its_being_a_pipeline() -> None:
    subject = make_pipeline(MinMaxScaler(clip=True), model(**{"model.hidden": 16}))
    of_pipelines = "a fitted pipeline holds its fitted steps, which is what this check objects to"
    found = check_estimator(
        subject,
        expected_failed_checks={
            "check_estimators_overwrite_params": of_pipelines,
            "check_dont_overwrite_parameters": of_pipelines,
        },
        on_skip=None,
    )
    assert len(found) > 40
    failed = sorted(each["check_name"] for each in found if each["status"] == "xfail")
    assert failed == ["check_dont_overwrite_parameters", "check_estimators_overwrite_params"]
