"""What `vase explore` does: agents act, it shows how far they are, and writes what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vase import build, config
from vase.cli.progress import describe
from vase.errors import ConfigError, RunError
from vase.lifelong import state
from vase.training import checkpoint
from vase.training import folder as folders
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder, rounded, write_json

# What is written; the record last, for it says that the rest is whole.
WRITTEN = ("film.gif", "places.png", "worth.png", "checkpoint.safetensors", "exploration.json")


def explore(
    path: Path,
    place: str,
    settings: Sequence[str],
    policy: str,
    steps: int,
    seed: int,
    data: build.DataOptions,
    console: Console,
) -> None:
    """Explore an environment with the model of a run, which stays as it is."""
    refuse_without_gymnasium()
    from vase.agent.expedition import Expedition, Route
    from vase.report import exploration, pictures, style

    folder = folders.open_run(path)
    given: dict[str, Any] = {}
    for each in settings:
        config.assign(given, each)
    out = _folder(folder, f"{pictures.slug(place)}-{policy}")
    with console.status("Fitting readouts, to judge by"):
        expedition = Expedition(folder, data, Route(place, given, policy, steps, seed=seed))
    _watch(expedition, steps, console)
    record = rounded(expedition.record())
    for name in WRITTEN:
        (out / name).unlink(missing_ok=True)
    checkpoint.write(out / "checkpoint.safetensors", *state.state(expedition.learner))
    if expedition.film:
        write_bytes(out / "film.gif", exploration.film(expedition.film))
    if record["coverage"]:
        write_bytes(out / "places.png", style.png(exploration.places([record])))
    if record["zero_shot"]:
        write_bytes(out / "worth.png", style.png(exploration.worth([record])))
    write_json(out / "exploration.json", record)
    for table in (_goals(record), _worth(record)):
        if table.row_count:
            console.print(table)
    for name in WRITTEN:
        if (out / name).is_file():
            console.print(str(out / name), soft_wrap=True, highlight=False)


def _folder(folder: RunFolder, name: str) -> Path:
    """Where it will be written, which is there before anything is explored."""
    out = folder.path / "exploration" / name
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder '{out}' cannot be made: {error.strerror}.") from None
    return out


def refuse_without_gymnasium() -> None:
    """A `ConfigError` where there are no environments to act in."""
    if find_spec("gymnasium") is None:
        raise ConfigError(
            "Environments to act in are Gymnasium's, which is not installed. "
            "Install it with: pip install 'vase-lifelong[explore]'"
        )


def _watch(expedition: Any, steps: int, console: Console) -> None:
    """Go, with a line of progress and a line for everything that the model notices."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("Exploring", total=steps)
        for moment in expedition.moments():
            progress.advance(task)
            for event in moment.observation.events if moment.observation else ():
                if event.kind != "snapshot":
                    told = describe(replace(event, step=moment.step))
                    progress.console.print(told, soft_wrap=True, highlight=False)


def _goals(record: dict[str, Any]) -> Table:
    table = Table("imagined latent", "goals", "reached", "in twice the fewest steps", box=None)
    for row in record["goals"]:
        name = f"{row['latent']}" + (f" ({row['coordinate']})" if "coordinate" in row else "")
        twice = f"{100 * row['reached_in_twice']:.0f} %" if "coordinate" in row else "–"
        table.add_row(name, str(row["goals"]), f"{100 * row['reached']:.0f} %", twice)
    return table


def _worth(record: dict[str, Any]) -> Table:
    from vase.report.facts import percent

    table = Table("never seen", "step", "position MSE", "masked", "identity", "nats", box=None)
    for entry in record["zero_shot"]:
        for world, told in entry["worlds"].items():
            table.add_row(
                world,
                f"{entry['step']:,}",
                f"{told['position_mse']:.1e}",
                f"{told['masked_position_mse']:.1e}",
                percent(told["identity"]),
                f"{told['reconstruction_nats']:.0f}",
            )
    return table
