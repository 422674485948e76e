"""The networks' arithmetic against the formula it stands for, and images of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor
from torch.nn.functional import conv2d

from vase import VASE, CheckpointError, ConfigError
from vase.lifelong.weights import grown
from vase.nets import Architecture, Networks, cosines, window
from vase.nets.dense import MAX_LOG_VARIANCE, DenseDecoder, DenseEncoder
from vase.nets.residual import Residual
from vase.records import Posterior

# ---- the networks, written once more ---------------------------------------------------------

SMALL = Architecture(
    channels=2, height=12, width=15, latents=3, environments=4, encoder_channels=5, hidden=7,
    decoder_channels=6, space_to_depth=2,
)  # fmt: skip
SCALED = SMALL.model_copy(
    update={"encoder": "scaled-window", "decoder": "scaled-window", "latents": 6}
)
COMPOSITED = SCALED.model_copy(update={"decoder": "composited-window"})


def drawn(architecture: Architecture) -> tuple[Networks, dict[str, Tensor]]:
    """Networks whose every number is drawn, and those numbers by name."""
    networks = Networks(architecture)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in networks.parameters():
            each.copy_(torch.randn(each.shape, generator=generator) / each.shape[-1] ** 0.5)
    return networks, dict(networks.state_dict())


def line(x: Tensor, of: dict[str, Tensor], name: str) -> Tensor:
    found = x @ of.pop(f"{name}.weight").T
    return found + of.pop(f"{name}.bias") if f"{name}.bias" in of else found


def conv(x: Tensor, of: dict[str, Tensor], name: str, stride: int = 2) -> Tensor:
    return conv2d(x, of.pop(f"{name}.weight"), of.pop(f"{name}.bias"), stride=stride, padding=1)


def enlarged(x: Tensor, of: dict[str, Tensor], name: str) -> Tensor:
    """A transposed convolution: the gradient of a convolution."""
    weight = of.pop(f"{name}.weight")
    sides = [2 * side for side in x.shape[2:]]
    larger = torch.zeros(len(x), weight.shape[1], *sides).requires_grad_()
    (conv2d(larger, weight, stride=2, padding=1) * x).sum().backward()
    assert larger.grad is not None
    return larger.grad + of.pop(f"{name}.bias")[:, None, None]


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def folded(x: Tensor, r: int) -> Tensor:
    """Pixel (r y + i, r x + j) of channel c as channel c r r + i r + j of cell (y, x)."""
    parts = [x[:, c, i::r, j::r] for c in range(x.shape[1]) for i in range(r) for j in range(r)]
    return torch.stack(parts, 1)


def grid(rows: int, columns: int) -> Tensor:
    """Row and column of every cell, from -1 to 1."""
    return torch.tensor([
        [2 * y / (rows - 1) - 1, 2 * x / (columns - 1) - 1]
        for y in range(rows) for x in range(columns)
    ])  # fmt: skip


@pytest.mark.parametrize("architecture", [SMALL, SCALED])
def test_the_encoder_of_images_is_what_it_says(architecture: Architecture) -> None:
    networks, of = drawn(architecture)
    of = {name: each for name, each in of.items() if name.startswith("encoder.")}
    images = torch.rand(3, 2, 12, 15)
    whole = torch.zeros(3, 2, 16, 16)
    whole[:, :, 2:14, :15] = images
    features = conv(folded(whole, 2), of, "encoder.first.1").relu()  # cells of 4 x 4
    attraction = (features * of.pop("encoder.interest.weight")[0]).sum(1).flatten(1)
    centre = attraction.exp() / attraction.exp().sum(1, keepdim=True) @ grid(4, 4)
    where, scale = centre, None
    if architecture is SCALED:
        weighted = attraction.softmax(1)[:, :, None]
        away = (weighted * (grid(4, 4) - centre[:, None]).square()).sum((1, 2))
        where = torch.cat([centre, (away + 1e-6).log()[:, None] / 2 + 0.9], 1)
        scale = line(where[:, 2:], of, "encoder.scale")[:, 0].clamp(-1.6, 1.6).exp()
    closer = folded(window.cut(whole, centre, (8, 8), scale), 2)
    seen = conv(features, of, "encoder.whole.0").relu().flatten(1)
    seen = line(seen, of, "encoder.whole.3").relu()
    closer = conv(closer, of, "encoder.close.1").relu().flatten(1)
    closer = line(closer, of, "encoder.close.4").relu()
    both = line(torch.cat([seen, closer], 1), of, "encoder.both.0").relu()
    found = line(torch.cat([both, 4 * where], 1), of, "encoder.posterior")
    posterior = networks.encoder(images)
    mean, log_variance = found.chunk(2, dim=1)
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.log_variance, log_variance)
    assert not of


@pytest.mark.parametrize("architecture", [SMALL, SCALED, COMPOSITED])
def test_the_decoder_of_images_is_what_it_says(architecture: Architecture) -> None:
    networks, of = drawn(architecture)
    of = {name: each for name, each in of.items() if name.startswith("decoder.")}
    latents, environment = torch.randn(3, architecture.latents), torch.tensor([2, 0, 3])
    share = 2 * torch.distributions.Normal(0, 1).cdf(latents) - 1  # of a normal latent: uniform
    if architecture is not SMALL:
        reach = of.pop("decoder.reach")
        z, centre, scale = latents[:, 3:], (reach * share[:, :3])[:, :2], (reach[2] * share[:, 2])
        scale = scale.clamp(-1.6, 1.6).exp()
    else:
        z, centre, scale = latents, line(share, of, "decoder.centre"), None
    embedded = of.pop("decoder.environment.weight")[environment]
    what = leaky(line(z, of, "decoder.what") + embedded)
    shift, scale_1, shift_1, scale_2, shift_2 = (
        line(what, of, "decoder.condition").reshape(3, 5, 1, 6).unbind(1)
    )
    block = 2 if architecture is SMALL else 4  # the side of a cell of the picture behind
    cells_in_row = 16 // block
    where = line(grid(cells_in_row, cells_in_row), of, "decoder.place")
    cells = leaky(line(z, of, "decoder.latents")[:, None] + where + shift)
    cells = leaky((1 + scale_1) * line(cells, of, "decoder.first") + shift_1)
    cells = leaky((1 + scale_2) * line(cells, of, "decoder.second") + shift_2)
    blocks = line(cells, of, "decoder.paint").transpose(1, 2)
    blocks = blocks.reshape(3, 2 * block**2, cells_in_row, cells_in_row)
    close = line(leaky(line(what, of, "decoder.close.0")), of, "decoder.close.2")
    if architecture is COMPOSITED:
        close = close.reshape(3, 3, 8, 8)
        opacity = 1 / (1 + (-close[:, 2:]).exp())
        hidden = window.put(opacity, centre, (16, 16), scale).expand(3, 2, 16, 16)
        blocks, close = (1 - folded(hidden, block)) * blocks, opacity * close[:, :2]
    picture = window.put(close.reshape(3, 2, 8, 8), centre, (16, 16), scale)
    found = folded(picture, block) + blocks
    logits = networks.decoder(latents, environment)
    whole = torch.zeros(3, 2, 16, 16)
    whole[:, :, 2:14, :15] = logits
    kept = folded(torch.ones(1, 2, 16, 16) * (whole != 0), block)
    torch.testing.assert_close(folded(whole, block), found * kept)
    assert logits.shape == (3, 2, 12, 15)
    assert not of


def test_the_latents_that_place_the_window_paint_nothing_else() -> None:
    networks, _ = drawn(SCALED)
    window_of_nothing = networks.decoder.close[2]
    torch.nn.init.zeros_(window_of_nothing.weight)
    torch.nn.init.zeros_(window_of_nothing.bias)
    z = torch.randn(2, 6)
    elsewhere = torch.cat([torch.randn(2, 3), z[:, 3:]], 1)
    environment = torch.tensor([0, 1])
    picture = networks.decoder(z, environment)
    torch.testing.assert_close(networks.decoder(elsewhere, environment), picture)


def test_what_is_before_it_hides_the_picture_behind_the_window() -> None:
    networks, _ = drawn(COMPOSITED)
    decoder, environment = networks.decoder, torch.tensor([0, 1])
    z = torch.randn(2, 6)
    torch.nn.init.zeros_(decoder.reach)  # in the middle, as large as it is painted: 8 x 8 of 16
    for opacity in (-30.0, 30.0):
        with torch.no_grad():
            decoder.close[2].bias.view(3, 8, 8)[2] = opacity
            decoder.close[2].weight.view(3, 64, 7)[2] = 0
        before = decoder(z, environment)
        with torch.no_grad():
            decoder.paint.bias += 1.0
        moved = decoder(z, environment) - before
        seen = torch.ones(12, 15)
        seen[2:10, 4:12] = float(opacity < 0)  # of 16 rows 2 to 13 are the image, and 8 the window
        torch.testing.assert_close(moved, seen.expand(2, 2, 12, 15))


@pytest.mark.parametrize("decoder", ["scaled-window", "composited-window"])
def test_a_scaled_window_needs_a_latent_that_paints(decoder: str) -> None:
    shape = Architecture(height=8, width=8, latents=3, decoder=decoder)
    with pytest.raises(ConfigError, match=rf"{decoder}.*set model\.latents to 4 or more, not 3"):
        Networks(shape)


def test_the_dense_networks_are_what_they_say() -> None:
    shape = Architecture(channels=9, height=1, width=1, latents=3, environments=2, hidden=7)
    networks, of = drawn(shape)
    vectors, z, environment = torch.rand(4, 9), torch.randn(4, 3), torch.tensor([1, 0, 1, 1])
    hidden = line(line(vectors, of, "encoder.layers.1").relu(), of, "encoder.layers.3").relu()
    found = line(hidden, of, "encoder.layers.5")
    posterior = networks.encoder(vectors[..., None, None])
    torch.testing.assert_close(torch.cat([posterior.mean, posterior.log_variance], 1), found)
    what = leaky(line(z, of, "decoder.what") + of.pop("decoder.environment.weight")[environment])
    logits = line(leaky(line(what, of, "decoder.layers.0")), of, "decoder.layers.2")
    torch.testing.assert_close(networks.decoder(z, environment), logits[..., None, None])
    hidden = line(found, of, "classifier.body.0").relu()
    likely = line(hidden, of, "classifier.body.2").exp()
    for known in (1, 2):
        expected = likely[:, :known] / likely[:, :known].sum(1, keepdim=True)
        torch.testing.assert_close(networks.classifier(posterior, known).exp(), expected)
    assert not of


def test_the_convolutional_networks_are_what_they_say() -> None:
    """Sides are padded to multiples of 16."""
    plain = {"encoder": "convolutional", "decoder": "convolutional"}
    shape = Architecture(channels=2, height=15, width=20, latents=3, hidden=7, **plain)  # type: ignore[arg-type]
    networks, of = drawn(shape)
    images, environment = torch.rand(3, 2, 15, 20), torch.tensor([2, 0, 3])
    seen = torch.zeros(3, 2, 16, 32)
    seen[:, :, :15, 6:26] = images
    for layer in (0, 2, 4, 6):
        seen = conv(seen, of, f"encoder.layers.{layer}").relu()
    hidden = line(seen.flatten(1), of, "encoder.layers.9").relu()
    posterior = networks.encoder(images)
    found = line(hidden, of, "encoder.posterior")
    torch.testing.assert_close(posterior.mean, found[:, :3])
    torch.testing.assert_close(posterior.log_variance, found[:, 3:].clamp(-12, MAX_LOG_VARIANCE))

    z = torch.randn(3, 3)
    what = line(z, of, "decoder.what") + of.pop("decoder.environment.weight")[environment]
    made = line(what.relu(), of, "decoder.layers.0").relu().reshape(3, 64, 1, 2)
    for layer in (3, 5, 7, 9):
        made = enlarged(made, of, f"decoder.layers.{layer}")
        made = made.relu() if layer < 9 else made
    torch.testing.assert_close(networks.decoder(z, environment), made[:, :, :15, 6:26])
    assert [name for name in of if not name.startswith("classifier")] == []


def block(x: Tensor, of: dict[str, Tensor], name: str, condition: Tensor | None = None) -> Tensor:
    """x + W_2 * relu((1 + scale) (W_1 * relu(x)) + shift)."""
    inner = conv(x.relu(), of, f"{name}.first", stride=1)
    if condition is not None:
        width = x.shape[1]
        inner = (1 + condition[:, :width]) * inner + condition[:, width:]
    return x + conv(inner.relu(), of, f"{name}.second", stride=1)


def test_the_residual_networks_are_what_they_say() -> None:
    """Stages of half the sides; every block of the decoder has a scale and shift of its own."""
    residual = {"encoder": "residual", "decoder": "residual"}
    widths = {"encoder_channels": 3, "decoder_channels": 2}
    shape = Architecture(channels=2, height=15, width=20, latents=3, hidden=7, **widths, **residual)  # type: ignore[arg-type]
    networks, of = drawn(shape)
    images, environment = torch.rand(3, 2, 15, 20), torch.tensor([2, 0, 3])
    seen = torch.zeros(3, 2, 16, 32)
    seen[:, :, :15, 6:26] = images
    seen = folded(seen, 2)
    for layer in (1, 4, 7):
        seen = conv(seen, of, f"encoder.layers.{layer}", stride=2)
        for inner in (1, 2):
            seen = block(seen, of, f"encoder.layers.{layer + inner}")
    hidden = line(seen.relu().flatten(1), of, "encoder.layers.12").relu()
    found = line(hidden, of, "encoder.posterior")
    posterior = networks.encoder(images)
    low = line((images.flatten(1) - 0.5) / 600**0.5, of, "encoder.low")
    torch.testing.assert_close(posterior.mean, found[:, :3] + low)
    torch.testing.assert_close(posterior.log_variance, found[:, 3:].clamp(-12, MAX_LOG_VARIANCE))

    z = torch.randn(3, 3)
    low = line(z / 3**0.5, of, "decoder.low.0").reshape(3, 2, 15, 20)
    what = line(z, of, "decoder.what") + of.pop("decoder.environment.weight")[environment]
    what = what.relu()
    made = line(what, of, "decoder.cells.0").reshape(3, 8, 1, 2)
    for stage in range(3):
        for k in (2 * stage, 2 * stage + 1):
            condition = line(what, of, f"decoder.condition.{k}.0")[:, :, None, None]
            made = block(made, of, f"decoder.blocks.{k}", condition)
        made = enlarged(made.relu(), of, f"decoder.larger.{stage}")
    whole = torch.zeros(3, 2, 16, 32)
    for channel in range(8):
        down, across = channel % 4 // 2, channel % 2
        whole[:, channel // 4, down::2, across::2] = made[:, channel]
    torch.testing.assert_close(networks.decoder(z, environment), whole[:, :, :15, 6:26] + low)
    assert [name for name in of if not name.startswith("classifier")] == []


@pytest.mark.parametrize(("channels", "rows", "columns"), [(3, 64, 48), (1, 20, 32), (3, 96, 70)])
def test_the_residual_networks_begin_as_a_cosine_transform(
    channels: int, rows: int, columns: int
) -> None:
    """Of the image by SciPy: its lowest frequencies, on a grid of at most 32 pixels a side."""
    size = {"channels": channels, "height": rows, "width": columns}
    networks = Networks(Architecture(**size, latents=60, encoder="residual", decoder="residual"))
    images = torch.rand(2, channels, rows, columns)
    posterior = networks.encoder(images)
    grid = min(rows, 32), min(columns, 32)
    small = torch.nn.functional.adaptive_avg_pool2d(images, grid) - 0.5
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    colours = colours if channels == 3 else np.eye(1)
    found = np.einsum("kc,bchw->bkhw", colours, dctn(small.numpy(), axes=(2, 3), norm="ortho"))
    frequency = np.hypot(*np.meshgrid(*map(np.arange, grid), indexing="ij"))
    tone = np.sqrt(3) * np.array([1, 0.3, 0.2]) if channels == 3 else np.ones(1)
    varies = 0.12 * np.sqrt(np.prod(grid)) * tone[:, None, None] / (1 + frequency) ** 1.2
    kept = np.argsort(-varies.ravel(), kind="stable")[:60]
    expected = (found / varies).reshape(2, -1)[:, kept]
    np.testing.assert_allclose(posterior.mean.detach(), expected, atol=1e-4)
    assert posterior.log_variance.eq(-3).all()
    only = np.zeros(found.reshape(2, -1).shape)
    only[:, kept] = found.reshape(2, -1)[:, kept]
    painted = np.einsum("kc,bkhw->bchw", colours, only.reshape(found.shape))
    painted = 4 * idctn(painted, axes=(2, 3), norm="ortho")
    whole = torch.nn.functional.interpolate(torch.tensor(painted), (rows, columns), mode="bilinear")
    logits = networks.decoder(posterior.mean, torch.tensor([0, 1]))
    np.testing.assert_allclose(logits.detach(), whole, atol=1e-4)


def test_waves_that_there_are_not_are_nothing() -> None:
    waves, deviations = cosines.lowest(2, 3, 4, 30)
    flat = waves.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.diag((torch.arange(30) < 24).float()))
    assert (deviations[24:] == 1).all()


def test_residual_blocks_begin_as_nothing() -> None:
    """So that depth costs nothing at first, and no normalisation is needed."""
    features = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(Residual(6)(features), features)


@pytest.mark.parametrize(
    "networks", ["window", "scaled-window", "convolutional", "residual", "dense"]
)
def test_the_variance_stays_within_what_can_be_computed(networks: str) -> None:
    """From exp(-12) to the largest that a posterior may have, whatever the weights say."""
    made, _ = drawn(Architecture(height=8, width=8, latents=2, encoder=networks))
    last = made.encoder.layers[-1] if networks == "dense" else made.encoder.posterior
    for bias, limit in ((-1e20, -12.0), (1e20, MAX_LOG_VARIANCE)):
        torch.nn.init.constant_(last.bias, bias)
        found = made.encoder(torch.rand(2, 1, 8, 8)).log_variance
        torch.testing.assert_close(found, torch.full_like(found, limit))


@pytest.mark.parametrize(
    "architecture", [SMALL, SCALED, Architecture(channels=9, height=1, width=1)]
)
def test_a_fresh_decoder_knows_no_environment_and_its_head_sees_no_pixels(
    architecture: Architecture,
) -> None:
    networks = Networks(architecture)
    assert not networks.decoder.environment.weight.any()
    images = torch.rand(2, *architecture.image)
    scores = networks.classifier(networks.encoder(images), 2)
    scores[:, 0].sum().backward()
    assert all(each.grad is None for each in networks.encoder.parameters())
    hint = torch.tensor([0.3, 0.3, 0.35])
    if architecture is SCALED:
        torch.testing.assert_close(networks.decoder.reach.detach(), hint)
    elif not architecture.of_vectors:
        centre = networks.decoder.centre.weight.detach()
        torch.testing.assert_close(centre, torch.eye(2, architecture.latents) * hint[:2, None])
        assert (networks.encoder.interest.weight == 1).all()


@pytest.mark.parametrize(
    "networks", ["window", "scaled-window", "convolutional", "residual", "dense"]
)
def test_a_head_on_the_features_reads_them_and_trains_the_encoder(networks: str) -> None:
    shape = Architecture(height=8, width=8, latents=2, encoder=networks, classifier="features")
    made, of = drawn(shape)
    images = torch.rand(3, 1, 8, 8)
    posterior = made.encoder(images)
    posterior_layer = "encoder.layers.5" if networks == "dense" else "encoder.posterior"
    found = line(posterior.features, of, posterior_layer)
    if networks == "residual":  # its lowest frequencies are read from the pixels beside them
        found[:, :2] += line((images.flatten(1) - 0.5) / 8, of, "encoder.low")
    torch.testing.assert_close(posterior.mean, found[:, :2])
    hidden = line(posterior.features, of, "classifier.body.0").relu()
    scores = made.classifier(posterior, 2)
    expected = line(hidden, of, "classifier.body.2")[:, :2].log_softmax(1)
    torch.testing.assert_close(scores, expected)
    scores[:, 0].sum().backward()
    trained = {name for name, each in made.encoder.named_parameters() if each.grad is not None}
    untrained = {name for name, _ in made.encoder.named_parameters()} - trained
    no_features = [posterior_layer, *(["encoder.low"] if networks == "residual" else [])]
    assert {f"encoder.{name}" for name in untrained} == {
        f"{layer}.{each}" for layer in no_features for each in ("weight", "bias")
    }


def test_a_head_on_features_that_nobody_gives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Featureless has no number `features`"):
        Networks(Architecture(encoder=f"{__name__}:Featureless", classifier="features"))
    model = VASE(4, options={"model.classifier": "features", "model.hidden": 8})
    images = torch.rand(300, 1, 16, 16)
    model.partial_fit(images[:32])
    assert model.predict_proba(images).shape == (300, 1)
    networks = model.learner_.networks
    plain = torch.zeros(1, networks.architecture.latents)
    with pytest.raises(ConfigError, match=r"model\.classifier=posterior"):
        networks.classifier(Posterior(plain, plain), 1)


# --- networks of one's own --------------------------------------------------------------------


NUMBER = 3  # no encoder


class Featureless(torch.nn.Module):
    """An encoder that says nothing of features."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()


class Own(DenseDecoder):
    """A decoder that is told apart from the dense one by its type alone."""


def test_own_networks_are_made_kept_and_grown(tmp_path: Path) -> None:
    options = {
        "model.decoder": f"{__name__}:Own",
        "model.hidden": 8,
        "model.environments": 1,
    }
    model = VASE(latents=3, accelerator="cpu", options=options)
    model.partial_fit(torch.rand(4, 8))
    saved = model.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=rf"names code to run: {__name__}:Own"):
        VASE.load(saved)
    assert isinstance(VASE.load(saved, trust_code=True).learner_.average.decoder, Own)
    assert isinstance(model.learner_.average.encoder, DenseEncoder)  # the default for vectors
    larger = grown(model.learner_.networks, 5)
    assert isinstance(larger.decoder, Own)
    assert len(larger.decoder.environment.weight) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("windoww", r"no encoder called 'windoww'\. Did you mean 'window'"),
        ("no_such_module:Encoder", r"cannot be imported: there is no module 'no_such_module'"),
        (f"{__name__}:Missing", r"does not exist: module '.*' has no 'Missing'"),
        (f"{__name__}:NUMBER", r"is not an encoder: it cannot be called"),
    ],
)
def test_a_name_that_leads_to_no_encoder_is_refused_in_a_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Networks(Architecture(encoder=name))


def test_dense_networks_take_images_too() -> None:
    """An image is the vector of its pixels, channel by channel."""
    dense = {"latents": 2, "encoder": "dense", "decoder": "dense"}
    networks, of = drawn(Architecture(channels=3, height=9, width=8, **dense))  # type: ignore[arg-type]
    vectors = Networks(Architecture(channels=216, height=1, width=1, **dense))  # type: ignore[arg-type]
    vectors.load_state_dict(of)
    images, here = torch.rand(4, 3, 9, 8), torch.zeros(4, dtype=torch.long)
    z = networks.encoder(images).mean
    torch.testing.assert_close(z, vectors.encoder(images.reshape(4, 216, 1, 1)).mean)
    painted = vectors.decoder(z, here).reshape(4, 3, 9, 8)
    torch.testing.assert_close(networks.decoder(z, here), painted)
