"""`vase explore`: run the agents, show their progress, and write the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vase import build, config, integrity, process
from vase.cli.options import console, say
from vase.cli.progress import describe
from vase.errors import RunError, optional_package
from vase.lifelong import state
from vase.training import checkpoint
from vase.training.checkpoint import write_bytes
from vase.training.folder import RunFolder, rounded, write_json

# Output files. The record comes last: it marks the others as complete.
OUTPUT_FILES = ("film.gif", "places.png", "worth.png", "checkpoint.safetensors", "exploration.json")


def explore(
    path: Path,
    place: str,
    settings: Sequence[str],
    policy: str,
    steps: int,
    seed: int,
    data: build.DataOptions,
) -> None:
    """Explore an environment with the model of a run; the run itself does not change."""
    refuse_without_gymnasium()
    process.prepare_process()
    from vase.agent.exploration_run import ExplorationConfig, ExplorationRun
    from vase.report import exploration, pictures, style

    folder = integrity.open_run(path, trust=data.trust)
    given: dict[str, Any] = {}
    for each in settings:
        config.assign(given, each)
    out = _folder(folder, f"{pictures.slug(place)}-{policy}")
    with console.status("Fitting readouts for the zero-shot evaluation"):
        run = ExplorationRun(
            folder, data, ExplorationConfig(place, given, policy, steps, seed=seed)
        )
    _watch(run, steps)
    record = rounded(run.record())
    for name in OUTPUT_FILES:
        (out / name).unlink(missing_ok=True)
    checkpoint.write(out / "checkpoint.safetensors", *state.state(run.learner))
    if run.film:
        write_bytes(out / "film.gif", exploration.animated_gif(run.film))
    if record["coverage"]:
        write_bytes(out / "places.png", style.png(exploration.plot_coverage([record])))
    if record["zero_shot"]:
        write_bytes(out / "worth.png", style.png(exploration.plot_zero_shot([record])))
    write_json(out / "exploration.json", record)
    for table in (_goals(record), _zero_shot(record)):
        if table.row_count:
            console.print(table)
    for name in OUTPUT_FILES:
        if (out / name).is_file():
            say(str(out / name))


def _folder(folder: RunFolder, name: str) -> Path:
    """Create the output folder before the exploration starts."""
    out = folder.path / "exploration" / name
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot create the folder '{out}': {error.strerror}.") from None
    return out


def refuse_without_gymnasium() -> None:
    """Raise a `ConfigError` if Gymnasium is not installed."""
    optional_package("gymnasium", "Exploring needs Gymnasium", "explore")


def _watch(run: Any, steps: int) -> None:
    """Explore, with a progress bar and a line for every event of the model."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("Exploring", total=steps)
        for step in run.steps():
            progress.advance(task)
            for event in step.observation.events if step.observation else ():
                if event.kind != "snapshot":
                    say(describe(replace(event, step=step.step)))


def _goals(record: dict[str, Any]) -> Table:
    table = Table("imagined latent", "goals", "reached", "within twice the minimum steps", box=None)
    for row in record["goals"]:
        name = f"{row['latent']}" + (f" ({row['coordinate']})" if "coordinate" in row else "")
        twice = f"{100 * row['reached_in_twice']:.0f} %" if "coordinate" in row else "–"
        table.add_row(name, str(row["goals"]), f"{100 * row['reached']:.0f} %", twice)
    return table


def _zero_shot(record: dict[str, Any]) -> Table:
    from vase.report.page_text import percent

    table = Table("unseen domain", "step", "position MSE", "masked", "identity", "nats", box=None)
    for entry in record["zero_shot"]:
        for domain, scores in entry["domains"].items():
            table.add_row(
                domain,
                f"{entry['step']:,}",
                f"{scores['position_mse']:.1e}",
                f"{scores['masked_position_mse']:.1e}",
                percent(scores["identity"]),
                f"{scores['reconstruction_nats']:.0f}",
            )
    return table
