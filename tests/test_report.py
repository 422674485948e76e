"""The report: figures from records with known content, and one whole page from a hand-made run."""

import io
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import (
    EVENTS,
    LATENT_RECORD,
    LATENTS,
    NASTY,
    SEGMENTS,
    SHAPE,
    domain_latents,
    environment,
    event,
    metric,
    probe_record,
    settings,
    write_probes,
    write_run,
)
from PIL import Image
from torch.utils.tensorboard.writer import SummaryWriter

from vase import build, config, report
from vase.domains.stream import Segment
from vase.errors import CheckpointError
from vase.nets import Networks
from vase.report import (
    curves,
    decode,
    diagnostics,
    evidence,
    images,
    latents,
    page,
    page_text,
    pictures,
    readouts,
    style,
    timeline,
)
from vase.report import run as runs
from vase.report.run import BelievedSegment, RunRecords
from vase.training.folder import RunFolder, append_lines, create, write_json


@pytest.fixture(scope="module")
def unprobed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    steps = range(0, 100, 5)
    metrics = [metric(step, int(44 <= step < 73)) for step in steps]
    return write_run(tmp_path_factory.mktemp("runs") / "by hand", settings(), metrics)


@pytest.fixture(scope="module")
def probed(unprobed: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("runs") / "probed"
    shutil.copytree(unprobed.path, path)
    folder = RunFolder(path)
    write_probes(folder)
    return folder


class Links(HTMLParser):
    """Collects what a page would load, where it links to, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = {key: value or "" for key, value in attrs}
        if "src" in values:
            self.images.append(values["src"])
        if "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            assert values.get("alt"), "every image says in words what it shows"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(probed: RunFolder) -> str:
    said: list[str] = []
    path = report.write_report(probed, build.DataOptions(), progress=said.append)
    assert path == probed.report
    assert said
    return path.read_text(encoding="utf-8")


# --- the page -------------------------------------------------------------------------------


def test_page_needs_nothing_but_itself(probed: RunFolder, written: str) -> None:
    found = Links(written)
    assert len(found.images) == 13
    assert all(source.startswith("data:image/png;base64,") for source in found.images)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert "script" not in found.tags
    assert not re.search(r"https?://|@import|url\(", written)
    assert str(probed.path.parent) not in written  # a path of this machine
    for link in found.links:
        assert not link.startswith("#") or f'id="{link[1:]}"' in written


def test_page_tells_the_key_facts(written: str) -> None:
    text = " ".join(Links(written).text.split())
    for fact in (
        "solids → strokes",
        "seed 7 · 100 steps of 8 images",
        "2 / 2",
        "1 of 1 returns recognised",
        "88.6 %",
        "−5.4 points at the end",
        "3.2",
        "+0.3 at the end",
        "3.5",
        "masks z0, z4",
        "Guessing would score 20.0 % of identities and a position error of 833.0 × 10⁻⁴.",
        "vase report probed",
        "[stream.domains.moving]",
        "x, R²0.9570.990−0.900",
        "identity, %95.799.0−90.0",
    ):
        assert fact in text


def test_what_was_measured_at_an_earlier_step_is_not_shown(written: str) -> None:
    assert ">earlier" not in written


def test_text_of_events_is_escaped(written: str) -> None:
    assert NASTY not in written
    assert NASTY in Links(written).text


def test_figures_lie_beside_the_page_and_are_small(probed: RunFolder, written: str) -> None:
    files = list(probed.figures.iterdir())
    assert len(files) == 13  # as many as the page shows
    for path in files:
        content = path.read_bytes()
        assert len(content) <= style.MAX_PNG_BYTES
        with Image.open(io.BytesIO(content)) as image:
            assert 1400 <= image.width <= 1600


def test_page_comes_out_without_probes(unprobed: RunFolder) -> None:
    text = Links(
        report.write_report(unprobed, build.DataOptions()).read_text(encoding="utf-8")
    ).text
    assert "has not been probed" in text
    assert "vase probe 'by hand'" in text
    assert "2 / 2" in text
    assert "What can be read out" not in text


def test_page_comes_out_without_position(unprobed: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(unprobed.path, folder.path)
    probes = probe_record(position=False)
    nowhere = {"source": None, "latents": [], "masked_in": {}, "used_in": {}}
    write_json(folder.probes, {**probes, "latents": {**LATENT_RECORD, "position": nowhere}})
    text = Links(report.write_report(folder, build.DataOptions()).read_text(encoding="utf-8")).text
    assert "Object identity" in text
    assert "Position error" not in text


def test_page_comes_out_before_anything_happened(tmp_path: Path, unpainted: None) -> None:
    schedule = {**settings().stream.model_dump(), "schedule": [["still", 100]]}
    folder = write_run(tmp_path / "run", settings(stream=schedule, replay={"enabled": False}), [])
    folder.events.unlink()
    text = Links(report.write_report(folder, build.DataOptions()).read_text(encoding="utf-8")).text
    assert "did not use them" in " ".join(text.split())


def test_missing_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", config.to_toml(settings()))
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        report.write_report(folder, build.DataOptions())
    assert not folder.report.exists()


def test_command_hides_where_the_run_lies(tmp_path: Path) -> None:
    assert page.shell_command("report", tmp_path / "a b") == "vase report 'a b'"
    assert page.shell_command("report", Path("runs/toy")) == "vase report runs/toy"


# --- reading a run --------------------------------------------------------------------------


def test_bands_follow_the_events() -> None:
    assert runs.believed_segments(EVENTS, 100) == (
        BelievedSegment(0, 44, 0),
        BelievedSegment(44, 73, 1),
        BelievedSegment(73, 100, 0),
    )
    assert runs.believed_segments([], 100) == (BelievedSegment(0, 100, 0),)


def test_domains_and_environments_are_matched_by_time_spent() -> None:
    bands = runs.believed_segments([*EVENTS, event(90, "new", 2)], 100)
    assert runs.match_environments(SEGMENTS, bands) == {"moving": 0, "still": 1}
    assert runs.match_domains(SEGMENTS, bands) == {0: "moving", 1: "still", 2: "moving"}


def test_wall_clock_adds_up_the_sittings(tmp_path: Path) -> None:
    for name, spell in (("first", 30.0), ("second", 5.5)):
        with SummaryWriter(str(tmp_path), filename_suffix=name) as board:
            board.add_scalar("loss", 1.0, 0, walltime=time.time() + spell)
    assert runs.wall_clock(tmp_path) == pytest.approx(35.5, abs=1.0)
    assert runs.wall_clock(tmp_path / "nowhere") is None


# --- figures --------------------------------------------------------------------------------


def test_latents_are_grouped_and_sorted() -> None:
    table = latents.latent_rows(LATENT_RECORD)
    assert [(row.latent, row.group) for row in table] == [
        (4, "position"),
        (0, "position"),
        (2, "shared"),
        (3, "only moving"),
        (1, "only still"),
    ]
    assert [cell.state for cell in table[0].cells] == ["used", "masked"]
    assert table[0].cells[0].meaning == "y position"
    assert latents.spare_count(LATENT_RECORD) == 1


def texts(figure: Any) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [axes.get_title(loc) for loc in ("left", "center", "right")]
    return found


def test_matrix_says_what_each_latent_is() -> None:
    found = texts(latents.plot_latent_matrix(LATENT_RECORD))
    assert [text for text in found if re.fullmatch(r"z\d", text)] == ["z4", "z0", "z2", "z3", "z1"]
    assert found.count("masked") == 2
    assert {"y position", "2.5 nats", "environment 1: 2 used, 2 masked"} <= set(found)
    assert any(text.startswith("+ 1 spare") for text in found)


def test_believed_bands_wear_the_colour_of_their_domain() -> None:
    bands = (BelievedSegment(0, 44, 0), BelievedSegment(44, 73, 1), BelievedSegment(73, 100, 2))
    colours = timeline.environment_colours(SEGMENTS, bands, {"moving": 0, "still": 1})
    blue, orange = style.PALETTE[:2]
    assert colours[0] == style.lighten(blue, 0.9)
    assert colours[1] == style.lighten(orange, 0.9)
    assert colours[2] == style.lighten(blue, 0.4)  # moving lives elsewhere: a second home is pale


def test_masked_latents_are_framed_together() -> None:
    assert timeline.masked_rows([4, 0, 2, 1], [0, 4, 1]) == [(0, 2), (3, 1)]


def test_curve_averages_and_keeps_gaps() -> None:
    metrics = [metric(step, 0, kl=float(step)) for step in range(4)]
    metrics += [{"step": step, "alpha": []} for step in (4, 5)]
    steps, values = curves.average_curve(metrics, "kl", points=3)
    assert steps.tolist() == [0, 2, 4]
    np.testing.assert_allclose(values, [0.5, 2.5, np.nan])


def test_a_loss_term_of_ones_own_is_a_curve_below_zero_too() -> None:
    metrics = [metric(step, 0, kl=1.0, **{"my:term": -2.0 - step}) for step in range(4)]
    figure = curves.plot_curves(metrics, SEGMENTS, 4, terms=["my:term"])
    own = next(axes for axes in figure.axes if "my:term" in axes.get_title("left"))
    assert list(own.lines[0].get_ydata()) == [-2, -3, -4, -5]
    assert own.get_ylim()[0] < -5


# --- what the networks make of images ---------------------------------------------------------


@pytest.fixture(scope="module")
def networks() -> Networks:
    torch.manual_seed(1)
    return Networks(SHAPE).eval().requires_grad_(False)


def test_traversal_sets_one_latent_and_holds_the_others(networks: Networks) -> None:
    generator = np.random.default_rng(0)
    image = generator.random((1, 16, 16), dtype=np.float32)
    here = environment(0, masked=(1,))
    seen = decode.traverse_latents(networks, image, here, [3, 0], np.array([-2.0, 0.0, 2.0]))
    assert seen.images.shape == (2, 3, 1, 16, 16)
    z = decode.encode_means(networks, image[None], here)
    assert z[0, 1] == 0
    expected = z.clone()
    expected[0, 3] = -2.0
    np.testing.assert_allclose(
        seen.images[0, 0], decode.decode_latents(networks, expected, here)[0], atol=1e-6
    )
    np.testing.assert_allclose(seen.means, z[0, [3, 0]].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        seen.reconstruction, decode.decode_latents(networks, z, here)[0], atol=1e-6
    )


def test_traversal_figure_labels_its_rows_and_columns(networks: Networks) -> None:
    seen = decode.traverse_latents(
        networks, np.zeros((1, 16, 16), np.float32), environment(0), [3, 0]
    )
    labels = [
        latents.latent_label(3, "x position", 0.914, 2.13),
        latents.latent_label(0, "", None, 0.5),
    ]
    assert latents.latent_label(1, "shape", 0.0, 1.0) == ("shape", "z1, 1.0 nats")
    found = texts(images.plot_traversal(seen, labels, "moving", "#0072B2"))
    assert {"x position", "z3, 2.1 nats, 91 %", "z0", "0.5 nats", "−2", "0", "+0.5"} <= set(found)
    none = decode.traverse_latents(networks, np.zeros((1, 16, 16), np.float32), environment(0), [])
    assert style.png(images.plot_traversal(none, [], "moving", "#0072B2"))


def test_generated_images_are_repeatable_and_respect_the_mask(networks: Networks) -> None:
    everything = environment(0, masked=tuple(range(LATENTS)))
    made = decode.generated_images(networks, everything, 4, seed=0)
    expected = decode.decode_latents(networks, torch.zeros(4, LATENTS), everything)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    again = decode.generated_images(networks, environment(1), 4, seed=3)
    np.testing.assert_array_equal(
        again, decode.generated_images(networks, environment(1), 4, seed=3)
    )


def test_unprobed_latents_are_measured_through_the_mask(networks: Networks) -> None:
    seen = {"moving": np.random.default_rng(0).random((8, 1, 16, 16), dtype=np.float32)}
    record = decode.measure_latent_record(networks, seen, {"moving": environment(0, masked=(2, 5))})
    (domain,) = record["domains"]
    assert domain["masked"] == [2, 5]
    assert sorted(domain["used"] + domain["spare"] + domain["masked"]) == list(range(LATENTS))
    assert domain["kl"][2] == domain["kl"][5] == 0


# --- images as arrays -------------------------------------------------------------------------


def test_mosaic_puts_images_in_their_places() -> None:
    tiles = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1, 1) / 10
    picture = images.mosaic(np.broadcast_to(tiles, (2, 3, 1, 4, 4)), gap=2)
    assert picture.shape == (10, 16, 3)
    assert picture[0, 0, 0] == 0
    np.testing.assert_allclose(picture[6:, 12:], 0.5)
    np.testing.assert_allclose(picture[4:6], 1)
    red = np.zeros((1, 1, 3, 4, 4), dtype=np.float32)
    red[:, :, 0] = 1
    assert images.mosaic(red)[0, 0].tolist() == [1, 0, 0]


def test_pairs_stand_below_each_other() -> None:
    originals = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)
    rows = images.interleave_rows(originals, originals + 10, 2)
    assert rows[..., 0, 0, 0].tolist() == [[0, 1], [10, 11], [2, 3], [12, 13]]


# --- facts and style ------------------------------------------------------------------------


def test_sharing_of_position_is_put_into_words() -> None:
    both = [
        domain_latents("a", 0, used=[1, 2], encodes={"1": "x position", "2": "y position"}),
        domain_latents("b", 1, masked=[1, 2]),
        domain_latents("c", 2, used=[1, 2], encodes={"1": "x position", "2": "position"}),
    ]
    record = {"count": LATENTS, "domains": both, "position": {"source": "a", "latents": [1, 2]}}
    assert page_text.shared_sentence(record) == (
        "z1 and z2 carry position in a and c alike; they are masked in b."
    )
    three = {"position": {"source": "a", "latents": [1, 2, 3]}}
    assert "most of them are masked in b" in page_text.shared_sentence({**record, **three})
    assert page_text.shared_sentence({**record, "domains": both[:2]}) == ""
    assert page_text.shared_sentence({**record, "position": None}) == ""


def test_summary_has_means_first_and_leaves_out_what_is_missing() -> None:
    summary = probe_record()["summary"]
    table = page_text.summary_rows({**summary, "position_mse": {"mlp": {"min": None}}})
    assert [row.whole for row in table[:3]] == [True] * 3
    assert (table[0].best, table[0].end, table[0].change) == ("88.6", "83.2", "−5.4")
    assert {row.quantity for row in table} == {"identity, %"}
    assert len(table) == 9


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "±0"), (-0.04, "±0"), (0.05, "+0.1"), (-5.41, "−5.4")]
)
def test_signed_numbers(value: float, text: str) -> None:
    assert readouts.signed(value, 1) == text


def test_old_probes_are_noticed(probed: RunFolder) -> None:
    run = runs.read_run(probed)
    assert page_text.probe_notice(run) == ""
    assert "gone on to step 300" in page_text.probe_notice(replace(run, steps=300))


def test_noisy_figure_is_made_small() -> None:
    noise = np.random.default_rng(0).random((4, 6, 3, 64, 64), dtype=np.float32)
    assert len(style.png(images.plot_image_grid(noise, "noise", "#0072B2"))) <= style.MAX_PNG_BYTES


def test_domains_with_like_names_get_files_of_their_own() -> None:
    same = [pictures.ReportFigure("generated-a", content, "") for content in (b"1", b"2")]
    assert pictures.file_names(same) == {"generated-a.png": b"1", "generated-a-2.png": b"2"}


def test_stays_are_cut_at_the_last_step(probed: RunFolder) -> None:
    run = replace(runs.read_run(probed), steps=50)
    assert run.segments == (Segment("moving", 0, 40), Segment("still", 40, 50))
    assert run.domains == ("moving", "still")


# ---- the evidence of decisions -----------------------------------------------------------------


def decision(step: int, kind: str, environment: int, **distances: float) -> dict[str, Any]:
    numbers = {name.removeprefix("e"): distance for name, distance in distances.items()}
    rests_on = {"distance_nats": numbers, "tolerance_nats": 0.6}
    return {"step": step, "kind": kind, "environment": environment, "evidence": rests_on}


def test_only_events_that_rest_on_distances_are_drawn_and_the_latest_of_them() -> None:
    first = {"step": 0, "kind": "new", "environment": 0, "evidence": {}}
    told = evidence.decision_events(
        [first, *(decision(k, "dismissed", 0, e0=0.1) for k in range(1, 60))]
    )
    assert len(told) == 40
    assert told[-1]["step"] == 59


def test_a_decision_is_a_row_with_a_dot_for_every_known_environment_and_a_ring() -> None:
    told = [decision(302, "new", 1, e0=2e4), decision(602, "returned", 0, e0=0.02, e1=3.0)]
    axes = evidence.plot_decision_distances(told, {0: "red", 1: "blue"}).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "step 302: new, 1",
        "step 602: back in 0",
    ]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [1000.0, 0.02, 0.02, 3.0]
    assert sum(dot.get_fillstyle() == "none" for dot in dots) == 1


# --- is it well? ------------------------------------------------------------------------------


def troubled(run: RunRecords, **changes: Any) -> list[str]:
    return diagnostics.diagnose(replace(run, **changes))


def test_a_run_that_is_well_is_not_complained_of(unprobed: RunFolder) -> None:
    assert troubled(runs.read_run(unprobed)) == []


def test_what_looks_wrong_is_said(unprobed: RunFolder) -> None:
    run, many = runs.read_run(unprobed), range(100)
    collapsed = troubled(run, metrics=tuple(metric(step, 0, kl=0.2) for step in many))
    assert ["posterior collapse" in each for each in collapsed] == [True]
    grown = troubled(run, metrics=tuple(metric(step, 0, capacity=60.0) for step in many))
    assert ["limit of 60 nats" in each for each in grown] == [True]
    held = tuple(metric(step, 0, learnt=step % 4 > 0) for step in many)
    assert ["25 were held back" in each for each in troubled(run, metrics=held)] == [True]
    spoilt = troubled(run, events=(event(3, "skipped", 0),))
    assert ["1 batch was left out" in each for each in spoilt] == [True]


@pytest.mark.parametrize(("apart", "said"), [(200, True), (300, False)])
def test_a_storm_is_five_new_environments_within_a_thousand_steps(
    unprobed: RunFolder, apart: int, said: bool
) -> None:
    opened = tuple(event(apart * k, "new", k) for k in range(5))
    found = troubled(runs.read_run(unprobed), events=opened)
    assert ["5 environments were opened" in each for each in found] == [True] * said


def test_a_batch_that_was_left_out_has_no_atypicality_and_the_page_comes_out(
    tmp_path: Path, unpainted: None
) -> None:
    metrics = [metric(step, 0) for step in range(0, 100, 5)]
    metrics[4] = metric(20, 0, alpha=[], kl_per_latent=[], learnt=False)
    np.testing.assert_array_equal(timeline.atypicality_over_time(metrics)[4], np.zeros(LATENTS))
    folder = write_run(tmp_path / "run", settings(), metrics)
    append_lines(folder.events, [event(20, "skipped", 0)])
    assert "1 batch was left out" in report.write_report(folder, build.DataOptions()).read_text()
