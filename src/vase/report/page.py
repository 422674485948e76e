"""The page: one HTML file with everything in it, and the figures beside it as files."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from vase import __version__, build
from vase.errors import RunError
from vase.report import facts, health, pictures, style
from vase.report.pictures import Album, Picture
from vase.report.run import Record, Run, read
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder

Progress = Callable[[str], None]


def write(folder: RunFolder, data: build.DataOptions, *, progress: Progress | None = None) -> Path:
    """Write RUN/figures/*.png, then RUN/report.html, and return the page's path.

    Raises RunError if the run cannot be read or written, DataError if its images cannot be had.
    """
    say = progress or _silent
    run = read(folder)
    train, test = build.stream(run.config, data), build.stream(run.config, data, "test")
    seen = pictures.examples(run, test)
    record = pictures.latent_record(run, seen)
    album = pictures.album(run, train, seen, record, say)
    page = render(run, record, album)
    _write_figures(folder.figures, album)
    write_bytes(folder.report, page.encode())
    return folder.report


def _write_figures(path: Path, album: Album) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder '{path}' cannot be made: {error.strerror}.") from None
    for name, content in pictures.file_names(album.all()).items():
        write_bytes(path / name, content)


def _silent(_: str) -> None:
    """Tell nobody."""


def render(run: Run, record: Record, album: Album) -> str:
    """The page as HTML. record: the latents' part of the probes."""
    probes = run.probes or {}
    return _template().render(
        run=run,
        title=run.path.resolve().name,
        notice=facts.notice(run),
        complaints=health.complaints(run),
        description=facts.description(run),
        line=facts.run_line(run),
        cards=facts.cards(run, record),
        colours=style.domain_colours(run.domains),
        album=album,
        shared=facts.shared_sentence(record),
        events=facts.event_rows(run.events),
        translated=facts.translation_rows(run.translation),
        chance=facts.chance_sentence(probes.get("summary", {})),
        summary=facts.summary_rows(probes.get("summary", {})),
        commands={name: command(name, run.path) for name in ("probe", "report")},
        version=__version__,
    )


def command(name: str, path: Path) -> str:
    """A command on the run. Of an absolute path, which is nobody else's business, only the name."""
    return f"vase {name} {shlex.quote(path.name if path.is_absolute() else path.as_posix())}"


def data_uri(picture: Picture) -> Markup:
    """The picture as the value of `src`."""
    kind = "gif" if picture.png.startswith(b"GIF") else "png"
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(picture.png).decode()


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("vase.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template("report.html.jinja")
