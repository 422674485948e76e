"""Translation: what is carried over, who reads it, images from files, and which pairs there are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL
from hand_made import code_of, environment
from PIL import Image

from vase import VASE, InputError, RunError
from vase.domains.canvas import CanvasDomain
from vase.domains.shapes import sprites
from vase.domains.sprites import Sprites, only
from vase.images import files
from vase.lifelong.environments import Environment
from vase.lifelong.translation import translated, translated_latents
from vase.nets import Architecture, Networks
from vase.probes import factor_predictor
from vase.probes import translation as probe

SHAPE = Architecture(
    height=16,
    width=16,
    latents=4,
    encoder_channels=8,
    hidden=16,
    decoder_channels=8,
    space_to_depth=2,
)


ONE = environment(0, masked=(2, 3), latents=4, mean=9.0, kl=[2.0] * 4)
OTHER = environment(1, (1, 3), latents=4, mean=[0.1, 0.2, 0.3, 0.4, 0.0, 0.0], kl=[2.0] * 4)


# --- what is carried over -------------------------------------------------------------------


def test_shared_latents_go_over_own_ones_become_what_they_are_there() -> None:
    mean = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    torch.testing.assert_close(
        translated_latents(mean, ONE, OTHER), torch.tensor([[1.0, 0.0, 0.3, 0.0]])
    )
    torch.testing.assert_close(
        translated_latents(mean, ONE, ONE), torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    )


@pytest.mark.parametrize("idle", [0, 1])
def test_a_latent_that_one_of_them_leaves_idle_is_not_carried_over(idle: int) -> None:
    ends = [ONE, OTHER]
    ends[idle] = replace(ends[idle], kl=np.array([0.4, 2.0, 2.0, 2.0]))
    mean = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    torch.testing.assert_close(
        translated_latents(mean, *ends), torch.tensor([[0.1, 0.0, 0.3, 0.0]])
    )


@pytest.mark.parametrize("strange", [0, 1])
def test_from_or_to_a_domain_out_of_distribution_the_average_becomes_the_average(
    strange: int,
) -> None:
    ends = [replace(end, mask=np.ones(4, bool)) for end in (ONE, OTHER)]
    ends[strange] = replace(ends[strange], out_of_distribution=True)
    usual, other = (torch.from_numpy(each.moments.mean[None, :4]).float() for each in ends)
    torch.testing.assert_close(translated_latents(usual, *ends), other)
    torch.testing.assert_close(translated_latents(usual + 0.5, *ends), other + 0.5)


def test_a_translation_is_the_decoder_of_the_target_on_what_is_carried_over() -> None:
    torch.manual_seed(0)
    networks, images = Networks(SHAPE), torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        networks.decoder.environment.weight.normal_()
        z = translated_latents(networks.encoder(images).mean, ONE, OTHER)
        expected = torch.sigmoid(networks.decoder(z, torch.tensor([1, 1, 1])))
    torch.testing.assert_close(translated(networks, images, ONE, OTHER), expected)
    assert not torch.allclose(translated(networks, images, ONE, ONE), expected, atol=1e-3)


@pytest.fixture(scope="module")
def model() -> VASE:
    """A model of two environments; its classifier takes half of all images for the second."""
    subject = VASE(latents=4, options=SMALL)
    subject.partial_fit(np.random.default_rng(0).random((8, 16, 16)))
    learner = subject.learner_
    mask = np.array([True, False, True, True])
    learner.environments = learner.environments.enter(
        replace(learner.environments.present, index=1, mask=mask)
    )
    with torch.no_grad():
        learner.average.decoder.environment.weight.normal_()
        learner.average.encoder.posterior.weight.normal_()
        learner.average.classifier.body[0].weight.normal_()
        learner.average.classifier.body[2].weight.normal_()
        odds = np.diff(np.log(subject.predict_proba(graded())), axis=1)
        learner.average.classifier.body[2].bias[1] -= float(np.median(odds))
    return subject


def graded() -> Any:
    """Images from black to bright."""
    images = np.random.default_rng(1).random((64, 16, 16)).astype(np.float32)
    return images * np.linspace(0, 1, 64, dtype=np.float32)[:, None, None]


def test_the_estimator_translates_every_image_from_where_it_is(model: VASE) -> None:
    images = graded()
    seen = model.predict(images)
    assert set(seen) == {0, 1}
    made = model.translate(images, to=1)
    for index in (0, 1):
        own = model.translate(images[seen == index], to=1, source=index)
        np.testing.assert_allclose(made[seen == index], own, atol=1e-5)
    np.testing.assert_allclose(
        model.translate(images, to=1, source=1), model.reconstruct(images, 1), atol=1e-6
    )


def test_the_estimator_keeps_the_layout_and_refuses_what_it_does_not_know(model: VASE) -> None:
    images = np.zeros((2, 16, 16, 1), np.uint8)
    assert model.translate(images[..., 0], to=0).shape == (2, 16, 16)
    with pytest.raises(InputError, match="There is no environment 7: this model knows 2"):
        model.translate(images[..., 0], to=7)
    with pytest.raises(InputError, match="There is no environment 5"):
        model.translate(images[..., 0], to=0, source=5)
    with pytest.raises(InputError, match="16, 16"):
        model.translate(np.zeros((2, 24, 24), np.uint8), to=0)


# --- readers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def small_readers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_predictor, "SIDE", 16)
        patch.setattr(factor_predictor, "STEPS", 250)
        yield


def moving(family: Any = "solids", **changes: Any) -> CanvasDomain:
    return CanvasDomain(family, sprites(family, 200, 6, 0), 16, moving=True, **changes)


@pytest.fixture(scope="module")
def expert() -> factor_predictor.FactorPredictor:
    domain = moving(channels=3)
    return factor_predictor.fit_factor_predictor(domain, ["x", "y", "hue"], 0, steps=180)


def test_a_reader_reads_position_and_hue_of_images_it_was_not_fitted_on(
    expert: factor_predictor.FactorPredictor,
) -> None:
    """Hue wraps: read across its seam, it is no worse there."""
    asked = probe.sample_labelled_images(moving(channels=3), 500, 2)
    scores = expert.scores(asked.images, asked.factors)
    assert list(scores) == ["x", "y", "hue"]
    assert min(scores.values()) > 0.95


def test_a_reader_reads_identity_where_it_can_be_seen() -> None:
    domain = CanvasDomain("still", sprites("solids", 200, 16, 0), 16)
    asked = probe.sample_labelled_images(domain, 500, 2)
    scores = factor_predictor.fit_factor_predictor(domain, ["identity"], 0, steps=60).scores(
        asked.images, asked.factors
    )
    assert scores == {"identity": pytest.approx(1, abs=0.05)}


def test_a_reader_scores_a_mirror_image_below_guessing(
    expert: factor_predictor.FactorPredictor,
) -> None:
    """R^2 of x read from mirrored images, whose x is 1 - x: 1 - 4 var / var = -3."""
    asked = probe.sample_labelled_images(moving(channels=3), 500, 2)
    mirrored = np.ascontiguousarray(asked.images[..., ::-1])
    assert expert.scores(mirrored, asked.only(["x"])) == {"x": pytest.approx(-3, abs=0.3)}


def test_readers_of_one_seed_are_the_same_and_leave_the_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = (
        factor_predictor.fit_factor_predictor(moving(), ["x"], 5, steps=3) for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_factors_that_both_domains_have_are_compared() -> None:
    def common(first: CanvasDomain, second: CanvasDomain) -> list[str]:
        scenes = {
            "a": probe.sample_labelled_images(first, 50, 0),
            "b": probe.sample_labelled_images(second, 50, 1),
        }
        return probe.common_factors({"a": first, "b": second}, scenes, "a", "b")

    assert common(moving(), moving("strokes")) == ["x", "y"]
    assert common(moving(), moving()) == ["x", "y", "identity"]
    assert common(moving(), replace(moving(), moving=False)) == ["identity"]
    some = replace(moving(), sprites=only(moving().sprites, [0, 1]))
    assert common(moving(), some) == ["x", "y"]  # of one family, but of other classes
    unknown = replace(moving(), sprites=Sprites(np.full((2, 4, 4), 9, np.uint8), np.arange(2)))
    assert common(unknown, unknown) == ["x", "y"]  # nobody has said what its identities are


# --- a pair of domains ---------------------------------------------------------------------------


def test_what_a_translation_keeps_is_found_and_what_it_loses_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A translator that keeps x and puts everything at one height: R^2 of x 1, of y none."""
    domains = {"solids": moving(), "strokes": moving("strokes")}

    def keeps_x(_: Networks, originals: Any, source: Environment, target: Environment) -> Any:
        made = np.zeros_like(originals)
        columns = originals.sum((1, 2)).argmax(1)
        for image, column in zip(made, columns, strict=True):
            image[0, 5:11, max(0, column - 3) : column + 3] = 0.8
        return made

    monkeypatch.setattr(probe, "translate_images", keeps_x)
    homes = {"solids": ONE, "strokes": OTHER}
    pairs = [("solids", "strokes")]
    (pair,) = probe.score_pairs(Networks(SHAPE), domains, domains, homes, pairs, 400)
    assert (pair["source"], pair["target"]) == ("solids", "strokes")
    assert set(pair["factors"]) == {"x", "y"}
    x, y = (pair["factors"][name] for name in ("x", "y"))
    assert x["translated"] > 0.6
    assert y["translated"] < 0.2
    assert x["real"] > 0.97
    assert x["shuffled"] < 0.1


def test_the_homology_of_a_latent_is_its_share_of_a_factors_entropy() -> None:
    """A latent that is the identity knows all of it, one that is noise nothing, a masked one 0."""
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(5), 400)
    mean = np.stack([identity, identity, generator.standard_normal(2000)], 1)
    code, home = code_of(mean, identity), environment(0, masked=(1,), latents=3)
    known = probe.normalised_information(code, home, [0, 1, 2])["identity"]
    assert known[0] == pytest.approx(1)
    assert known[1] == 0
    assert known[2] < 0.05


def test_where_nothing_varies_there_is_nothing_to_know() -> None:
    home = environment(0, latents=3)
    alike = code_of(np.ones((500, 3)), log_variance=1.0)
    assert probe.normalised_information(alike, home, [0]) == {}
    few = code_of(np.ones((50, 3)), np.arange(50) % 10, log_variance=1.0)
    assert probe.normalised_information(few, home, [0]) == {}


# --- images from files ------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int] = (16, 16), mode: str = "L") -> Path:
    values = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    Image.fromarray(values).convert(mode).save(path)
    return path


def deep(path: Path) -> Path:
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(path)
    return path


def test_files_become_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.png"):
        picture(tmp_path / name, mode="RGB" if name == "a.png" else "L")
    found = files.read(tmp_path, (1, 16, 16), 2)
    expected = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    np.testing.assert_allclose(found, np.stack([expected, expected])[:, None], atol=1e-6)
    assert files.read(tmp_path / "b.png", (3, 16, 16), 9).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: (path / "a.png").write_text("no image"), "cannot be read as an image"),
        (lambda path: deep(path / "a.tiff"), "has 32 bits a pixel"),
        (lambda path: path / "nowhere.png", "There is no file and no folder"),
        (lambda path: path, "holds no images"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(
    tmp_path: Path, prepare: Callable[[Path], Any], sentence: str
) -> None:
    made = prepare(tmp_path)
    path = made if isinstance(made, Path) else tmp_path / "a.png"
    with pytest.raises(InputError, match=sentence):
        files.read(path, (1, 16, 16), 4)


# --- which pairs there are --------------------------------------------------------------------


def test_pairs_are_those_that_the_model_tells_apart() -> None:
    index = {"coats": 0, "digits": 1, "shoes": 0}
    assert probe.pairs_of_environments(index, None, None) == [
        ("coats", "digits"),
        ("digits", "coats"),
        ("digits", "shoes"),
        ("shoes", "digits"),
    ]
    assert probe.pairs_of_environments(index, "coats", None) == [("coats", "digits")]
    assert probe.pairs_of_environments(index, None, "shoes") == [("digits", "shoes")]


@pytest.mark.parametrize(
    ("index", "source", "target", "sentence", "kind"),
    [
        ({"a": 0, "b": 1}, "c", None, "has seen no environment 'c'. It knows: a, b", InputError),
        ({"a": 0, "b": 1}, "a", "a", "'a' is both ends", InputError),
        ({"a": 0}, None, None, "has seen one environment only", RunError),
        ({"a": 0, "b": 0}, "a", "b", "took 'a' and 'b' for one environment", RunError),
        ({"a": 0, "b": 0}, None, None, "took 'a' and 'b' for one environment", RunError),
    ],
)
def test_where_there_is_no_pair_a_sentence_says_why(
    index: dict[str, int],
    source: str | None,
    target: str | None,
    sentence: str,
    kind: type[Exception],
) -> None:
    with pytest.raises(kind, match=sentence):
        probe.pairs_of_environments(index, source, target)
