"""Every door reads the same image: whatever holds it, and whichever way it comes in.

The expected pixels are worked out here by other means than in the program. Run this file to write
the table in docs/own-data.md anew: python tests/test_doors.py
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import datasets
import numpy as np
import pytest
import torch
from commands import SMALL
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch.utils.data import DataLoader

from vase import VASE, estimator
from vase.domains import own
from vase.images import files

SIDE = 16
PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"
BEGIN, END = "<!-- doors: begin -->", "<!-- doors: end -->"
Pixels = NDArray[np.uint8]

RANDOM = np.random.default_rng(0)
GREY: Pixels = RANDOM.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
COLOUR: Pixels = RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
ALPHA: Pixels = RANDOM.choice(np.array([0, 128, 255], np.uint8), (SIDE, SIDE))
DEEP: NDArray[np.uint16] = RANDOM.integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)


@dataclass(frozen=True)
class Sample:
    """An image: as Pillow holds it, or as a file, and what it is to be in pixels, page by page.

    tolerance: of 255, where a format or a profile rounds.
    """

    name: str
    expected: list[Pixels]
    image: Image.Image | None = None
    content: bytes | None = None
    ending: str = ".png"
    tolerance: int = 1


def on_white(colour: NDArray[Any], alpha: Pixels) -> Pixels:
    """What is seen of a colour under a share of white."""
    share = alpha.astype(float) / 255
    share = share[..., None] if colour.ndim == 3 else share
    return np.round(colour * share + 255 * (1 - share)).astype(np.uint8)


def neutral(lightness: NDArray[np.float64]) -> Pixels:
    """The grey of a CIE L* in [0, 100] as sRGB has it, in three channels."""
    linear = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    encoded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.repeat(np.round(255 * encoded).astype(np.uint8)[..., None], 3, axis=2)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def cmyk_profile() -> bytes:
    """A profile by which black alone counts, evenly as it is seen: L* = 100 - 100 K."""
    corners = [
        (255 * (1 - k), 128, 128) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    ]
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0))
    table += struct.pack(">9i", *(65536 * (k in (0, 4, 8)) for k in range(9)))
    table += ramp * 4 + bytes(value for corner in corners for value in corner) + ramp * 3
    text = b"text" + bytes(4) + b"none\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    parts = {b"desc": name, b"cprt": text, b"wtpt": white, b"A2B0": table}
    tags, content, start = b"", b"", 128 + 4 + 12 * len(parts)
    for key, part in parts.items():
        padded = part + bytes(-len(part) % 4)
        tags += key + struct.pack(">II", start + len(content), len(part))
        content += padded
    header = struct.pack(
        ">I4sI4s4s4s", start + len(content), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(parts)) + tags + content


def png_of_16_bits(colour: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits in colour, which Pillow cannot write."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    size = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def samples() -> Iterator[Sample]:
    grey, colour, alpha = (Image.fromarray(each) for each in (GREY, COLOUR, ALPHA))
    bits = GREY > 127
    black_and_white = np.where(bits, 255, 0).astype(np.uint8)
    yield Sample("1 bit", [black_and_white], Image.fromarray(black_and_white).convert("1"))
    yield Sample("grey", [GREY], grey)
    yield Sample("grey, 16 bits", [(DEEP // 256).astype(np.uint8)], Image.fromarray(DEEP))
    yield Sample(
        "grey, 16 bits, PGM",
        [(DEEP // 256).astype(np.uint8)],
        content=b"P5 16 16 65535\n" + DEEP.astype(">u2").tobytes(),
        ending=".pgm",
    )
    both = Image.merge("LA", (grey, alpha))
    yield Sample("grey with alpha", [on_white(GREY, ALPHA)], both)
    yield Sample("grey, premultiplied", [on_white(GREY, ALPHA)], both.convert("La"), tolerance=2)
    steps = Image.fromarray(GREY % 4).convert("P")
    palette = np.array([[250, 10, 10], [0, 200, 30], [90, 90, 255], [5, 5, 5]], np.uint8)
    steps.putpalette(palette.tobytes())
    yield Sample("palette", [palette[GREY % 4]], steps)
    clear = steps.copy()
    clear.info["transparency"] = 2
    shown = np.where((GREY % 4 == 2)[..., None], 255, palette[GREY % 4]).astype(np.uint8)
    yield Sample(
        "palette with a transparent colour",
        [shown],
        clear,
        content=saved(steps, "PNG", transparency=2),
    )
    mixed = Image.new("PA", (SIDE, SIDE))
    mixed.putpalette(palette.tobytes())
    mixed.putdata(list(zip((GREY % 4).ravel().tolist(), ALPHA.ravel().tolist(), strict=True)))
    yield Sample("palette with alpha", [on_white(palette[GREY % 4], ALPHA)], mixed)
    yield Sample("colour", [COLOUR], colour)
    wide = RANDOM.integers(0, 65536, (SIDE, SIDE, 3), dtype=np.uint16)
    yield Sample("colour, 16 bits", [(wide // 256).astype(np.uint8)], content=png_of_16_bits(wide))
    hidden = COLOUR.copy()
    hidden[ALPHA == 0] = (250, 10, 10)
    veiled = Image.merge("RGBA", (*Image.fromarray(hidden).split(), alpha))
    yield Sample("colour hidden by alpha", [on_white(hidden, ALPHA)], veiled)
    yield Sample(
        "colour, premultiplied", [on_white(hidden, ALPHA)], veiled.convert("RGBa"), tolerance=2
    )
    yield Sample("colour with a fourth, empty channel", [COLOUR], colour.convert("RGBX"))
    inks = Image.merge("CMYK", [Image.fromarray(COLOUR[..., k]) for k in range(3)] + [grey])
    plain = (1 - COLOUR / 255) * (1 - GREY[..., None] / 255)
    yield Sample(
        "CMYK",
        [np.round(255 * plain).astype(np.uint8)],
        inks,
        content=saved(inks, "TIFF"),
        ending=".tif",
    )
    profile = cmyk_profile()
    profiled = inks.copy()
    profiled.info["icc_profile"] = profile
    yield Sample(
        "CMYK with a profile",
        [neutral(100 - GREY / 2.55)],
        profiled,
        tolerance=3,
        ending=".tif",
        content=saved(inks, "TIFF", icc_profile=profile),
    )
    wrong = inks.copy()
    wrong.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Sample(
        "CMYK with a profile of something else", [np.round(255 * plain).astype(np.uint8)], wrong
    )
    yield Sample("YCbCr", [COLOUR], colour.convert("YCbCr"), tolerance=3)
    one = COLOUR[:1, :1].repeat(SIDE, 0).repeat(SIDE, 1)
    yield Sample("HSV", [one], Image.fromarray(one).convert("HSV"), tolerance=4)
    lab = np.zeros((SIDE, SIDE, 3), np.uint8)
    lab[..., 0] = GREY
    yield Sample("LAB", [neutral(GREY / 2.55)], Image.fromarray(lab, "LAB"), tolerance=2)
    turned: list[Callable[[Pixels], Pixels]] = [
        lambda a: a,
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.flipud,
        lambda a: np.swapaxes(a, 0, 1),
        lambda a: np.rot90(a, 1),
        lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        lambda a: np.rot90(a, -1),
    ]
    for number, turn in enumerate(turned, 1):
        exif = Image.Exif()
        exif[0x0112] = number  # the stored pixels are those seen, turned as the number says
        lying = Image.fromarray(np.ascontiguousarray(turn(COLOUR)))
        content = saved(lying, "PNG", exif=exif)
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
        yield Sample(f"EXIF orientation {number}", [COLOUR], opened, content)
    pages = [np.roll(COLOUR, k, axis=0) for k in range(3)]
    several = [Image.fromarray(page) for page in pages]
    for kind, ending, options in (
        ("TIFF", ".tiff", {}),
        ("PNG", ".png", {}),
        ("WEBP", ".webp", {"lossless": True}),
    ):
        content = saved(several[0], kind, save_all=True, append_images=several[1:], **options)
        yield Sample(f"{kind} of three pages", pages, None, content, ending)
    drawn = [Image.fromarray(page).quantize(255) for page in pages]
    film = saved(drawn[0], "GIF", save_all=True, append_images=drawn[1:], optimize=False)
    reduced = [np.asarray(each.convert("RGB")) for each in drawn]
    yield Sample("animated GIF", reduced, None, film, ".gif")


# ---- doors ---------------------------------------------------------------------------------------


def as_pixels(images: torch.Tensor | NDArray[np.float32]) -> NDArray[np.uint8]:
    array = np.moveaxis(np.asarray(images), 1, -1)
    return np.round(255 * array).astype(np.uint8)


@contextmanager
def shown(model: VASE, method: str) -> Iterator[list[torch.Tensor]]:
    """What a model's learner, or its encoder, is shown by a method."""
    seen: list[torch.Tensor] = []
    if method == "partial_fit":
        owner: Any = model.learner_
        name = "observe"
    else:
        owner, name = model.learner_.average.encoder, "forward"
    real = getattr(owner, name)

    def watched(images: torch.Tensor) -> Any:
        seen.append(images)
        return real(images)

    with mock.patch.object(owner, name, watched):
        yield seen


class Pictures:
    """A dataset with an item per index."""

    def __init__(self, images: list[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], 7


Door = Callable[[Any, Path, int], NDArray[np.uint8]]


def through_fit(source: Callable[[Any], Any]) -> Door:
    def door(image: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
        seen: list[torch.Tensor] = []
        with mock.patch.object(VASE, "_learn", lambda _, batch: seen.append(batch.images)):
            VASE().fit(source(image), size=SIDE)
        return as_pixels(torch.cat(seen))

    return door


def through_model(method: str) -> Door:
    def door(image: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
        model = MODELS[channels]
        with shown(model, method) as seen:
            getattr(model, method)(image)
        return as_pixels(torch.cat(seen))

    return door


def through_translate(image: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
    model, seen = MODELS[channels], []

    def watched(networks: Any, images: torch.Tensor, *_: Any) -> torch.Tensor:
        seen.append(images)
        return images

    with mock.patch.object(estimator, "translated", watched):
        model.translate(image, to=0, source=0)
    return as_pixels(torch.cat(seen))


def through_folder(path: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
    found = own.load(Path(path).parent, SIDE, 3 if channels == 3 else 1)
    return np.asarray(found)


def through_upload(path: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
    content = io.BytesIO(Path(path).read_bytes())
    return as_pixels(files.fitted(content, path.name, (channels, SIDE, SIDE))[None])


def through_command(path: Any, folder: Path, channels: int) -> NDArray[np.uint8]:
    return as_pixels(files.read(Path(path), (channels, SIDE, SIDE), 99))


def hub_dataset(image: Any) -> Any:
    made = datasets.Dataset.from_dict({"image": [str(image)], "label": [1]})
    return made.cast_column("image", datasets.Image())


OF_PILLOW: dict[str, Door] = {
    "fit(list)": through_fit(lambda image: [image]),
    "fit(generator)": through_fit(lambda image: (each for each in [image])),
    "fit(dataset)": through_fit(lambda image: Pictures([image])),
    "fit(dicts)": through_fit(lambda image: [{"image": image, "label": 1}]),
    "fit(loader)": through_fit(
        lambda image: DataLoader(Pictures([image]), batch_size=1, collate_fn=list)  # type: ignore[arg-type]
    ),
    "partial_fit": through_model("partial_fit"),
    "transform": through_model("transform"),
    "posterior": through_model("posterior"),
    "predict": through_model("predict"),
    "reconstruct": through_model("reconstruct"),
    "translate": through_translate,
}
OF_FILES: dict[str, Door] = {
    "fit(path)": through_fit(lambda path: path),
    "fit(list of paths)": through_fit(lambda path: [path]),
    "fit(folder)": through_fit(lambda path: path.parent),
    "fit(Hub data set)": through_fit(hub_dataset),
    "partial_fit(path)": through_model("partial_fit"),
    "transform(path)": through_model("transform"),
    "vase train FOLDER": through_folder,
    "vase translate": through_command,
    "explorer": through_upload,
}
ONE_PAGE = {"fit(Hub data set)", "explorer"}  # a picture is one there; the explorer says so
MODELS: dict[int, VASE] = {}
SAMPLES = {sample.name: sample for sample in samples()}


@pytest.fixture(autouse=True, scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    make_models()
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr(own, "cache_folder", lambda: cache)
        yield


def make_models() -> None:
    for channels in (1, 3):
        model = VASE(latents=2, options=SMALL)
        images = RANDOM.integers(0, 256, (4, SIDE, SIDE, channels), dtype=np.uint8)
        MODELS[channels] = model.fit(images)


def same(found: NDArray[np.uint8], sample: Sample, door: str) -> bool:
    """Whether pixels are those expected; of several pages the first, where a door takes one."""
    expected = np.stack(sample.expected[: 1 if door in ONE_PAGE else None])
    expected = expected[..., None] if expected.ndim == 3 else expected
    if found.shape != expected.shape:
        return False
    return bool(np.abs(found.astype(int) - expected).max() <= sample.tolerance)


def channels_of(sample: Sample) -> int:
    return 1 if sample.expected[0].ndim == 2 else 3


def filed(sample: Sample, folder: Path) -> Path | None:
    """The sample as the only file of a folder, if there is a format that holds it."""
    content = sample.content
    if content is None:
        try:
            assert sample.image is not None
            content = saved(sample.image, "PNG")
        except OSError:
            return None
    folder.mkdir()
    path = folder / f"a{sample.ending}"
    path.write_bytes(content)
    return path


def crossing(sample: Sample, door: str, folder: Path) -> str:
    """What comes of a sample at a door: "same", "refused", "" (cannot come in) or "other"."""
    given: Any = sample.image if door in OF_PILLOW else filed(sample, folder)
    if given is None:
        return ""
    try:
        found = {**OF_PILLOW, **OF_FILES}[door](given, folder, channels_of(sample))
    except ValueError as error:
        return f"refused: {error}"
    return "same" if same(found, sample, door) else "other"


def crossings(folder: Path) -> dict[tuple[str, str], str]:
    """What comes of every sample at every door."""
    pairs = [(door, name) for door in (*OF_PILLOW, *OF_FILES) for name in SAMPLES]
    return {
        (door, name): crossing(SAMPLES[name], door, folder / str(number))
        for number, (door, name) in enumerate(pairs)
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    return crossings(tmp_path_factory.mktemp("doors"))


# The Hub's library leaves files of several pages open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("door", [*OF_PILLOW, *OF_FILES])
def test_every_door_reads_the_same_image(door: str, outcomes: dict[tuple[str, str], str]) -> None:
    found = {name: outcomes[door, name] for name in SAMPLES}
    for name, outcome in found.items():
        if door == "explorer" and len(SAMPLES[name].expected) > 1:
            assert "holds several images" in outcome, name
        else:
            assert outcome in ("same", ""), (name, outcome)
    assert list(found.values()).count("same") >= 15


def table(outcomes: dict[tuple[str, str], str]) -> str:
    """The images and the doors, as Markdown."""
    lines = ["| image | as a Pillow image | as a file |", "| --- | --- | --- |"]
    for name in SAMPLES:
        cells = []
        for group in (OF_PILLOW, OF_FILES):
            came = [outcomes[door, name] for door in group if outcomes[door, name]]
            refused = sum(outcome.startswith("refused") for outcome in came)
            told = f"the same at {came.count('same')} of {len(came)} doors"
            told += f", refused at {refused}" if refused else ""
            cells.append(told if came else "cannot be one")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_of_doors_is_up_to_date(outcomes: dict[tuple[str, str], str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert written == table(outcomes), "write it anew: python tests/test_doors.py"


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_models()
    before = PAGE.read_text(encoding="utf-8")
    head, tail = before[: before.index(BEGIN) + len(BEGIN)], before[before.index(END) :]
    with TemporaryDirectory() as name:
        kept = Path(name)
        with mock.patch.object(own, "cache_folder", return_value=kept):
            PAGE.write_text(f"{head}\n{table(crossings(kept))}\n{tail}", encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
