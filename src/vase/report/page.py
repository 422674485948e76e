"""The page: one HTML file with everything in it, and the figures beside it as files."""

from __future__ import annotations

import base64
import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from vase import build
from vase.errors import RunError
from vase.progress import Say, silent
from vase.report import diagnostics, page_text, pictures, style
from vase.report.pictures import Album, ReportFigure
from vase.report.run import Record, RunRecords, read_run
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder
from vase.version import __version__


def write_report(
    folder: RunFolder, data: build.DataOptions, *, progress: Say | None = None
) -> Path:
    """Write RUN/figures/*.png, then RUN/report.html, and return the page's path.

    Raises RunError if the run cannot be read or written, DataError if its images cannot be had.
    """
    say = progress or silent
    run = read_run(folder)
    train, test = build.stream(run.config, data), build.stream(run.config, data, "test")
    seen = pictures.held_out_images(run, test)
    record = pictures.latent_record(run, seen)
    album = pictures.draw_figures(run, train, seen, record, say)
    page = render_page(run, record, album)
    _write_figures(folder.figures, album)
    write_bytes(folder.report, page.encode())
    return folder.report


def _write_figures(path: Path, album: Album) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder '{path}' cannot be made: {error.strerror}.") from None
    shown = [each for section, found in album.items() if section != "films" for each in found]
    for name, content in pictures.file_names(shown).items():
        write_bytes(path / name, content)


def render_page(run: RunRecords, record: Record, album: Album) -> str:
    """The page as HTML. record: the latents' part of the probes."""
    probes = run.probes or {}
    return _template().render(
        run=run,
        title=run.path.resolve().name,
        notice=page_text.probe_notice(run),
        complaints=diagnostics.diagnose(run),
        description=page_text.description(run),
        line=page_text.run_line(run),
        cards=page_text.cards(run, record),
        colours=style.domain_colours(run.domains),
        album=album,
        shared=page_text.shared_sentence(record),
        reason=page_text.reason,
        translated=page_text.translation_rows(run.translation),
        chance=page_text.chance_sentence(probes.get("summary", {})),
        summary=page_text.summary_rows(probes.get("summary", {})),
        commands={name: shell_command(name, run.path) for name in ("probe", "report")},
        version=__version__,
    )


def shell_command(name: str, path: Path) -> str:
    """A command for the run. Strips the directory from an absolute path."""
    return f"vase {name} {shlex.quote(path.name if path.is_absolute() else path.as_posix())}"


def data_uri(picture: ReportFigure) -> Markup:
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
