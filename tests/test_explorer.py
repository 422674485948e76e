"""The explorer: what it shows, from a run made by hand, and the page in a real browser."""

import base64
import io
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_made import LATENTS, environment, metric, settings, write_probes, write_run
from PIL import Image
from playwright.sync_api import Page, expect
from serving import browser, free_port, served

from vase import build
from vase.errors import ConfigError, DataError, RunError
from vase.explorer import page as explorer_page
from vase.explorer import run_data
from vase.explorer.run_data import ExplorerData
from vase.explorer.server import MAX_UPLOAD_BYTES, serve
from vase.images import files
from vase.lifelong.effects import measure_effects
from vase.lifelong.environments import Environments
from vase.report import decode
from vase.training.folder import RunFolder

DATA = build.DataOptions(offline=True)

# Latent 2 is used in both, 1 and 3 in one each; 0 and 4 are masked in the second; 5 is spare.
KNOWN = (
    replace(environment(0), kl=np.array([1.5, 0.0, 0.6, 3.0, 2.5, 0.1])),
    replace(environment(1, masked=(0, 4)), kl=np.array([0.0, 2.0, 0.7, 0.0, 0.0, 0.1])),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    metrics = [metric(step, int(44 <= step < 73)) for step in range(0, 100, 5)]
    made = write_run(tmp_path_factory.mktemp("runs") / "by hand", settings(), metrics, KNOWN)
    write_probes(made)
    shutil.copy(made.checkpoint, made.milestone(40))
    return made


@pytest.fixture(scope="module")
def explored(folder: RunFolder) -> ExplorerData:
    return run_data.load_explorer_data(folder, DATA)


def test_latents_stand_in_one_order_with_their_states(explored: ExplorerData) -> None:
    here, there = (run_data.latent_controls(explored, index) for index in (0, 1))
    assert [each.latent for each in here] == [each.latent for each in there] == [3, 4, 1, 0, 2, 5]
    assert [each.state for each in here] == ["used", "used", "spare", "used", "used", "spare"]
    assert [each.state for each in there] == ["spare", "masked", "used", "masked", "used", "spare"]
    assert {each.latent for each in filter(run_data.used_anywhere, there)} == {0, 1, 2, 3, 4}
    shared = {each.latent: each.shared for each in there}
    assert (shared[2], shared[3], shared[5]) == ((0,), (0,), ())


def test_latents_are_named_by_what_they_encode(explored: ExplorerData) -> None:
    named = {each.latent: each.meaning for each in run_data.latent_controls(explored, 0)}
    assert (named[0], named[4], named[2], named[5]) == ("x position", "y position", "shape", "")
    share = {each.latent: each.share for each in run_data.latent_controls(explored, 0)}
    assert (share[0], share[4]) == (0.93, None)
    assert "explains 93 %" in explorer_page._latent_status(run_data.latent_controls(explored, 0)[3])


def test_without_probes_what_latents_do_is_measured(explored: ExplorerData) -> None:
    unprobed = replace(explored, run=replace(explored.run, probes=None))
    here = unprobed.environments[0].environment
    used = [int(latent) for latent in np.flatnonzero(here.used)]
    found = measure_effects(unprobed.run.networks, here, used)
    told = {each.latent: each for each in run_data.latent_controls(unprobed, 0)}
    assert {n: (told[n].meaning, told[n].share) for n in used} == {
        n: (effect.name, effect.share) for n, effect in found.items()
    }
    assert all(told[n].meaning == "" for n in told if n not in used)


def test_a_masked_latent_says_nothing(explored: ExplorerData) -> None:
    z = np.linspace(-1, 1, LATENTS).astype(np.float32)
    moved = z.copy()
    moved[4] = 3.0
    np.testing.assert_array_equal(
        run_data.decode_latents(explored, z, 1), run_data.decode_latents(explored, moved, 1)
    )
    assert not np.array_equal(
        run_data.decode_latents(explored, z, 0), run_data.decode_latents(explored, moved, 0)
    )


def test_what_is_seen_in_an_image(explored: ExplorerData) -> None:
    image = explored.examples["moving"][0]
    found = run_data.infer_image(explored, image)
    place = explored.environments[found.most_probable].environment
    assert found.belief.sum() == pytest.approx(1, abs=1e-5)
    assert found.translations.shape == (2, *image.shape)
    expected = decode.reconstruct_images(explored.run.networks, image[None], place)[0]
    np.testing.assert_allclose(found.translations[found.most_probable], expected, atol=1e-6)
    np.testing.assert_allclose(
        run_data.decode_latents(explored, found.mean, found.most_probable), expected, atol=1e-6
    )
    assert (found.deviation > 0).all()


def test_generated_images_stand_in_for_images_that_cannot_be_had(
    folder: RunFolder, explored: ExplorerData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise DataError("There is no file and no folder 'gone'.")

    assert explored.real
    monkeypatch.setattr(build, "stream", gone)
    moved = run_data.load_explorer_data(folder, DATA)
    assert not moved.real
    assert set(moved.examples) == {"moving", "still"}
    assert all(len(images) == run_data.EXAMPLES for images in moved.examples.values())


def test_the_way_back(explored: ExplorerData) -> None:
    assert explored.milestones == [40, 100]
    nearest = [run_data.nearest_milestone(explored, step) for step in (0, 69, 71, 100)]
    assert nearest == [40, 40, 100, 100]
    for segments in run_data.segment_bars(explored).values():
        assert sum(width for width, _, _ in segments) == pytest.approx(1)
    said = "Step 60: the stream showed still, taken for environment 1."
    assert run_data.describe_step(explored, 60) == said
    assert run_data.describe_step(explored, 0) == "Nothing had been seen yet."
    now = decode.reconstruct_images(explored.run.networks, explored.examples["still"], KNOWN[1])
    then = run_data.reconstruct_examples(explored, 100, "still")
    assert then is not None
    np.testing.assert_array_equal(then, now)


def test_an_environment_that_was_dissolved_has_a_band_and_no_colour(explored: ExplorerData) -> None:
    opened = [{"step": step, "kind": "new", "environment": 7 * (step > 0)} for step in (0, 50)]
    run = replace(explored.run, events=tuple(opened))
    found = run_data.segment_bars(replace(explored, run=run))["believed"]
    shares = [(share, name) for share, _, name in found]
    assert shares == [(0.5, "environment 0"), (0.5, "environment 7")]


def test_what_was_not_known_yet_is_not_shown(
    explored: ExplorerData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = run_data.model_at(explored, 40)
    known = Environments.of(KNOWN[:1], model.environments.current)
    first = replace(model, environments=known)
    monkeypatch.setattr(run_data, "model_at", lambda *_: first)
    assert run_data.reconstruct_examples(explored, 40, "still") is None
    assert run_data.reconstruct_examples(explored, 40, "moving") is not None


def test_a_run_without_a_checkpoint_and_a_taken_port(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no checkpoint yet"):
        run_data.load_explorer_data(RunFolder(tmp_path), DATA)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*Choose another"):
            serve(folder, DATA, port=port)


def test_the_package_that_is_missing_is_named(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(ConfigError, match=r"pip install 'vase-lifelong\[serve\]'"):
        serve(folder, DATA)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_any_size_is_made_to_fit(channels: int) -> None:
    wide = np.zeros((30, 60, 3), dtype=np.uint8)
    wide[:, 15:45] = 255  # the square in the middle
    file = io.BytesIO()
    Image.fromarray(wide).save(file, format="PNG")
    file.seek(0)
    fitted = files.fitted(file, "wide.png", (channels, 10, 10))
    np.testing.assert_array_equal(fitted[:, :, 1:-1], np.ones((channels, 10, 8)))


# --- in a browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(folder: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, said = free_port(), tmp_path_factory.mktemp("log") / "serve.txt"
    command = [sys.executable, "-m", "vase", "serve", str(folder.path), "--port", str(port)]
    with served([*command, "--offline"], "127.0.0.1", port, said):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with browser() as shown:
        opened = shown.new_page(viewport={"width": 1200, "height": 1000})
        complaints: list[str] = []
        opened.on("console", lambda told: told.type == "error" and complaints.append(told.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda asked: complaints.extend(_abroad(asked.url, address)))
        opened.goto(address)
        expect(opened.get_by_alt_text("the image of the latents")).to_be_visible()
        opened.wait_for_function("window.did_handshake")  # before it, nothing is heard
        yield opened
        assert complaints == []


def _abroad(url: str, address: str) -> list[str]:
    """The address of a request that leaves this machine."""
    home = address.partition("://")[2]
    return [] if home in url or url.startswith(("data:", "blob:")) else [url]


def source(page: Page) -> str:
    return page.get_by_alt_text("the image of the latents").get_attribute("src") or ""


def test_dragging_a_latent_changes_the_image_at_once(page: Page) -> None:
    before = source(page)
    slider = page.get_by_label("latent 3", exact=True)
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(page.get_by_alt_text("the image of the latents")).not_to_have_attribute("src", before)
    pixels = Image.open(io.BytesIO(base64.b64decode(source(page).partition(",")[2])))
    assert pixels.size == (16, 16)


def test_a_masked_latent_cannot_be_dragged_where_it_is_masked(page: Page) -> None:
    expect(page.get_by_label("latent 4", exact=True)).to_be_enabled()
    page.get_by_label("environment").click()
    page.get_by_role("option", name="1: still").click()
    expect(page.get_by_text("z4, masked here")).to_be_visible()
    expect(page.get_by_label("latent 4", exact=True)).to_be_disabled()
    expect(page.get_by_text("shared with 0")).to_have_count(1)
    expect(page.get_by_text("used in 0")).to_have_count(3)


def test_an_image_that_is_dropped_is_looked_at(page: Page, tmp_path: Path) -> None:
    def drop(name: str) -> None:
        page.locator("input[type=file]").set_input_files(tmp_path / name)

    answer = page.get_by_alt_text("the image that is looked at")
    before = answer.get_attribute("src") or ""
    Image.fromarray(np.full((40, 50, 3), 200, dtype=np.uint8)).save(tmp_path / "own.png")
    drop("own.png")
    expect(answer).not_to_have_attribute("src", before)
    (tmp_path / "large.png").write_bytes(b"0" * (MAX_UPLOAD_BYTES + 1))
    drop("large.png")
    expect(page.get_by_text("one of more than 20 MB")).to_be_visible()
    (tmp_path / "bad.png").write_bytes(b"nothing")
    drop("bad.png")
    expect(page.get_by_text("'bad.png' is no image")).to_be_visible()


def test_the_training_is_scrubbed(page: Page) -> None:
    expect(page.get_by_text("Step 100: the stream showed moving")).to_be_visible()
    page.get_by_label("training").click(position={"x": 5, "y": 10})
    expect(page.get_by_text("Step 40: the stream showed moving")).to_be_visible()


def test_a_narrow_dark_window_has_nothing_beside_it(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
