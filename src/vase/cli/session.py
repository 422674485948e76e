"""What the commands do: put the rooms together, watch them, and leave nothing half done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from rich.text import Text

from vase import build, config, consent, integrity, process
from vase.cli.options import console, say
from vase.cli.progress import watch
from vase.cli.signals import stop_request
from vase.config import Config
from vase.domains import own
from vase.domains.stream import Stream
from vase.errors import RunError, reason
from vase.lifelong.learner import Learner
from vase.progress import Say
from vase.training import folder as folders
from vase.training import recorder, tracker
from vase.training.checkpoint import write_bytes
from vase.training.devices import Devices, follows
from vase.training.folder import RunFolder
from vase.training.loop import observe

if TYPE_CHECKING:
    from vase.bench import ablation
    from vase.bench import sweep as sweeps
    from vase.bench.detect import HasFile
    from vase.bench.seeds import SeedBenchmark


def is_source(argument: str) -> bool:
    """Whether an argument says what is trained on, and is no setting: what exists is a path."""
    return "=" not in argument or Path(argument).exists()


def configured(name: str, overrides: Sequence[str]) -> Config:
    """The configuration of own images, a TOML file, or a preset, each with parts after a `+`.

    What exists and can be read is a path, whatever presets there are; a folder without images that
    has the name of a preset, as one with its runs may, is not.
    """
    whole, *parts = [name] if Path(name).exists() else name.split("+")
    path = Path(whole)
    images = path.is_file() and (own.scaled(path) or path.suffix in own.ARRAYS)
    if path.is_dir():
        images = whole not in config.presets() or own.holds_something(path)
    return build.own_images(path, overrides, parts) if images else config.load(name, overrides)


def train(settings: Config, out: Path, data: build.DataOptions, report: bool) -> None:
    """Start a run in a new folder, once all that it needs is there."""
    process.prepare_process()
    if follows(settings.training.devices):
        _follow(settings, RunFolder(out), data)
        return
    folders.refuse_existing(out)
    tracker.package(settings.training.tracker)
    stream = build.stream(settings, data)
    if report:
        build.stream(settings, data, "test")
        from vase.metrics import metric

        for name in settings.probes.metrics:
            metric(name)  # a name that leads nowhere is refused before hours of training
    settings = _with_threads(settings)
    on = build.devices(settings)
    learner = build.learner(settings, stream.shape, shared=on)
    folder = folders.create(out, config.to_toml(settings))
    if consent.demands(settings, out):
        consent.remember(folder.config.read_bytes())  # they were chosen here
    with folders.sole_writer(folder):
        _go_on(folder, settings, stream, learner, on)
    if report:
        _look(folder, data)


def resume(path: Path, data: build.DataOptions, report: bool) -> None:
    """Go on with a run from its checkpoint, or from its start if it has none yet."""
    process.prepare_process()
    folder = integrity.open_run(path, trust=data.trust, training=True)
    settings = config.load(str(folder.config))
    if follows(settings.training.devices):
        _follow(settings, folder, data)
        return
    settings = _with_threads(settings)
    stream, on = build.stream(settings, data), build.devices(settings)
    learner = build.learner(settings, stream.shape, shared=on)
    with folders.sole_writer(folder):
        message = recorder.resume(folder, learner)
        if message:
            say(message, "yellow")
        if learner.step >= stream.schedule.steps:
            say(f"{path} has been trained to its end, step {learner.step}.")
        else:
            say(f"Going on with {path} at step {learner.step}.")
            _go_on(folder, settings, stream, learner, on)
    if report:
        _look(folder, data)


@contextmanager
def _told(what: str) -> Iterator[Say]:
    """What tells how far a task is: a line that changes on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield say
        return
    with console.status(what) as status:
        yield lambda text: status.update(Text(text))


def probe(path: Path, data: build.DataOptions) -> None:
    """Measure a run."""
    from vase import probes

    folder = integrity.open_run(path, trust=data.trust)
    say("Probing every milestone on held-out images: a minute or two.")
    with _told("Probing") as progress:
        probes.evaluate_run(folder, data, progress=progress)
    say(f"Probes: {folder.probes}")


def report(path: Path, data: build.DataOptions) -> None:
    """Write a run's report."""
    from vase import report as pages

    folder = integrity.open_run(path, trust=data.trust)
    if not folder.checkpoint.is_file():
        raise RunError(f"'{path}' has no checkpoint yet. Go on with it: vase resume {path}")
    with _told("Drawing") as progress:
        page = pages.write_report(folder, data, progress=progress)
    say(f"Report: {page}")


def check(path: Path) -> bool:
    """Say whether a run is whole, what it wants of this machine, and what looks wrong in it."""
    from vase.report import diagnostics
    from vase.report.run import read_run

    folder = folders.open_run(path)
    findings = integrity.examine(folder)
    for each in findings:
        state = Text("whole", "green") if each.whole else Text("wrong", "red")
        say(state + f"  {each.file:40}  {each.message}")
    if not all(each.whole for each in findings):
        return False
    settings = config.load(str(folder.config))
    for demand in consent.demands(settings, path):
        say(Text("asks", "yellow") + f"    to {demand}")
    if folder.checkpoint.is_file() and not consent.own_code(settings):
        for complaint in diagnostics.diagnose(read_run(folder)):
            say(Text("note", "yellow") + f"   {complaint}")
    return True


def export(path: Path, out: Path, trust: bool) -> None:
    """Write a run's model as ONNX."""
    from vase.export import to_onnx
    from vase.report.run import load_networks

    folder = integrity.open_run(path, trust=trust)
    networks, memory, _ = load_networks(folder.checkpoint, config.load(str(folder.config)).model)
    with console.status("Exporting, and comparing with PyTorch"):
        differences = to_onnx(networks, memory, out)
    for name, value in differences.items():
        say(f"{out / f'{name}.onnx'}  differs from PyTorch by {value:.0e} at most")


def detect(
    bench: ModuleType, page: ModuleType, todo: Sequence[HasFile], workers: int, out: Path
) -> None:
    """Run a detection benchmark, and write and show its tables and figure."""
    bench.prepare(todo)
    bench.run(todo, out, workers, say)
    written = bench.write_page(out)
    for title, table in page.terminal(page.read(out)):
        say(f"\n{title}", "bold")
        _show(table)
    say("\n" + "\n".join(f"Written: {path}" for path in written))


def ablate(
    grid: Sequence[ablation.AblationRun],
    overrides: Sequence[str],
    out: Path,
    data: build.DataOptions,
    *,
    workers: int,
    address: str | None,
    keep: bool,
) -> None:
    """Execute the unfinished runs, and write the tables and the figure of all finished runs."""
    from vase.bench import ablation, ablation_page, provenance
    from vase.report import style

    try:
        ablation.run_all(
            grid, overrides, out, data, say, workers=workers, address=address, keep=keep
        )
    finally:
        records = ablation_page.read_ablations(out, provenance.code())
        if records:
            write_bytes(out / "tables.md", (ablation_page.markdown(records) + "\n").encode())
            write_bytes(out / "forgetting.png", style.png(ablation_page.figure(records)))
            say(f"Tables: {out / 'tables.md'}\nFigure: {out / 'forgetting.png'}")


def sweep(
    wanted: Sequence[sweeps.SweepRun],
    out: Path,
    data: build.DataOptions,
    *,
    workers: int,
    address: str | None,
    keep: bool,
) -> None:
    """Execute the unfinished runs, and write and show the table of all finished runs."""
    from vase.bench import ablation, page, provenance
    from vase.bench import sweep as sweeps

    try:
        ablation.run_all(wanted, (), out, data, say, workers=workers, address=address, keep=keep)
    finally:
        records = sweeps.finished_records(out, wanted, provenance.code())
        if records:
            agreement = sweeps.agreement_of(out, records)
            head, *rows = sweeps.table_rows(records, agreement)
            write_bytes(out / "table.md", (page.table(head, rows) + "\n").encode())
            _show([head, *rows])
            say(f"\nTable: {out / 'table.md'}")


def every_seed(
    bench: SeedBenchmark,
    presets: Sequence[str],
    overrides: Sequence[str],
    seeds: Sequence[int],
    workers: int,
    out: Path,
    data: build.DataOptions,
) -> None:
    """Run a benchmark for each seed of the presets, in parallel, and write its tables.

    All data is loaded before the first run starts.
    """
    from vase.bench import engine
    from vase.bench.seeds import SeedJob

    for preset in presets:
        for split in ("train", "test"):
            build.stream(config.load(preset, overrides), data, split)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [
        SeedJob(preset, seed, tuple(overrides), out.absolute(), data)
        for seed in seeds
        for preset in presets
    ]
    progress = engine.Progress(len(jobs))
    with engine.executor(workers) as pool:
        for job, outcome in engine.completed(bench.run_seed, jobs, pool):
            if isinstance(outcome, Exception):
                raise outcome
            bench.write_record(outcome, out)
            say(progress.step(f"{job.preset}, seed {job.seed}"))
    write_bytes(out / "tables.md", (bench.render_tables(out) + "\n").encode())
    say(f"Tables: {out / 'tables.md'}")


def _show(table: Sequence[Sequence[str]]) -> None:
    """A table, its head first, on the terminal."""
    shown = Table(*table[0], box=None, pad_edge=False)
    for row in table[1:]:
        shown.add_row(*row)
    console.print(shown)


def _look(folder: RunFolder, data: build.DataOptions) -> None:
    """Measure and show a run that this call has trained, and so was allowed to."""
    trusted = replace(data, trust=True)
    probe(folder.path, trusted)
    report(folder.path, trusted)


def _go_on(
    folder: RunFolder,
    settings: Config,
    stream: Stream,
    learner: Learner,
    on: Devices,
) -> None:
    """Train to the end of the stream; a signal ends the step, saves, and says how to go on."""
    steps = stream.schedule.steps
    on.launch()
    say(f"Training on {_computers(learner.device, on.count)}.")
    run_recorder = build.recorder(settings, folder, learner, stream)
    with run_recorder, stop_request() as stop, on.together(folder.path):
        recorded = run_recorder.record(observe(learner, stream.of_rank(on.rank, on.count)))
        begun = learner.step
        shown = watch(recorded, console, start=begun, steps=steps, batch_size=stream.batch_size)
        try:
            for _ in shown:
                if on.any(stop.asked):
                    break
            shown.close()
        except OSError:  # a terminal that has gone: nothing can be shown, and all is to be saved
            if not stop.asked:
                raise
        run_recorder.save()
    if learner.step < steps:
        text = f"Stopped and saved at step {learner.step}. Go on with: vase resume {folder.path}"
        with suppress(OSError):
            say(text)
        sys.exit(stop.status)


def _with_threads(settings: Config) -> Config:
    """The settings with the number of threads that are taken from now on."""
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)
    training = settings.training.model_copy(update={"threads": torch.get_num_threads()})
    return settings.model_copy(update={"training": training})


def _computers(device: torch.device, count: int) -> str:
    """What computes, in words."""
    what = "the CPU" if device.type == "cpu" else f"{device.type}"
    threads = torch.get_num_threads()
    held = f" with {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else ""
    return f"{count} of {what}{held} each" if count > 1 else f"{what}{held}"


def _follow(settings: Config, folder: RunFolder, data: build.DataOptions) -> None:
    """Share the work of the process that leads, which alone writes.

    It prints what ends it. It then ends as if all were well, for otherwise Lightning would
    kill the one that leads before that has said how to go on.
    """
    on = build.devices(settings)
    try:
        stream = build.stream(settings, build.DataOptions(data.folder, data.offline))
        learner = build.learner(settings, stream.shape, shared=on)
        recorder.follow(folder, learner)
        on.launch()
        with stop_request() as stop:
            for _ in observe(learner, stream.of_rank(on.rank, on.count)):
                if on.any(stop.asked):
                    break
    except Exception as error:
        say(f"process {on.rank} of {on.count}: {reason(error)}.")
