"""Live progress: where the learner believes to be, how it is doing, and events as they happen."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vase.records import Event, Observation

COLOURS = {
    "new": "bold green",
    "returned": "bold cyan",
    "dismissed": "yellow",
    "reopened": "green",
    "undetermined": "bold yellow",
    "skipped": "bold red",
    "snapshot": "dim",
}
QUIET_SECONDS = 20.0  # between lines where there is no terminal
REFRESH_SECONDS = 0.25


def watch(
    observations: Iterable[Observation],
    console: Console,
    *,
    start: int,
    steps: int,
    batch_size: int,
) -> Generator[Observation, None, None]:
    """Pass observations on while showing them: a live bar on a terminal, lines elsewhere."""
    bar = Progress(
        TextColumn("[bold]environment {task.fields[environment]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} images/s"),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = bar.add_task("", total=steps, completed=start, environment=0, rate=0.0, numbers="")
    began = shown = time.monotonic()
    numbers = ""
    with bar:
        for observation in observations:
            for event in observation.events:
                console.print(describe(event), soft_wrap=not console.is_terminal, highlight=False)
            numbers = summarise(observation) or numbers
            now, done = time.monotonic(), observation.step + 1
            rate = (done - start) * batch_size / max(now - began, 1e-9)
            if now - shown >= (REFRESH_SECONDS if console.is_terminal else QUIET_SECONDS):
                shown = now
                where = observation.decision.environment
                bar.update(task, completed=done, environment=where, rate=rate, numbers=numbers)
                if not console.is_terminal:
                    line = plain(done, steps, where, rate, batch_size, numbers)
                    console.print(line, soft_wrap=True, highlight=False)
            yield observation


def describe(event: Event) -> Text:
    """An event as one line for people."""
    what = {
        "new": f"new environment {event.environment}",
        "returned": f"environment {event.environment} has returned",
        "dismissed": f"still environment {event.environment}",
        "reopened": f"environment {event.environment} begins again",
        "undetermined": "undetermined",
        "skipped": "skipped",
        "snapshot": "snapshot",
    }[event.kind]
    masked = event.evidence.get("masked")
    tail = f"; masked latents: {', '.join(map(str, masked))}" if masked else ""
    return Text(f"step {event.step:>6}  {what}", COLOURS[event.kind]) + f"  {event.reason}{tail}"


def summarise(observation: Observation) -> str:
    """The step's numbers; empty for a batch that was not learnt."""
    terms = observation.terms
    if not terms:
        return ""
    return f"loss {terms['loss']:.1f}  KL {terms['kl']:.1f} of {observation.capacity:.1f} nats"


def plain(
    done: int, steps: int, environment: int, rate: float, batch_size: int, numbers: str
) -> str:
    """One line of progress for a log file."""
    left = (steps - done) * batch_size / max(rate, 1e-9)
    return (
        f"step {done}/{steps}  environment {environment}  {rate:.0f} images/s  "
        f"ETA {left / 60:.1f} min  {numbers}"
    )
