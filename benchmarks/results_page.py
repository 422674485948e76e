"""RESULTS.md, from the raw files in results/ and nothing else."""

from __future__ import annotations

from pathlib import Path

from preset_page import results, section, spread

from vase.bench import ablation_page, disentanglement, exploration, sharing, split, sweep
from vase.bench import page as detect
from vase.bench.ablation import SCALES
from vase.bench.page import table
from vase.training.folder import read_json

PARTS = ("training", "probes")  # minutes of a cell


def page(folder: Path) -> str:
    """RESULTS.md."""
    presets = [path for path in sorted(folder.iterdir()) if list(path.glob("seed-*/"))]
    notes = (folder / "notes.md").read_text(encoding="utf-8").strip()
    return "\n\n".join(
        [
            "# Results",
            "Generated from the raw files in [results/](results) by "
            "`python benchmarks/results.py page`; never edited by hand. Moving Fashion-MNIST, then "
            "MNIST, then moving MNIST, 64 x 64, without labels. Identity in percent and percentage "
            "points; MSE of position in [0, 1] over the range of travel, in units of 1e-4. The "
            "source is the row *VASE (SDA)* of its table, disentangled; it states neither its "
            "readout nor the unit of its MSE.",
            notes,
            *(section(path.name, results(path)) for path in presets),
            *(part for scale in SCALES for part in ablations(folder / "ablate" / scale)),
            *disentangled(folder / "disentangle"),
            *(part for name in SHARED for part in shared(folder / name)),
            *(part for name in EXPLORED for part in explored(folder / name)),
            *networks(folder / "networks"),
            *gpu(folder / "gpu"),
            *digits(folder / "split"),
            *detection(folder / "detect"),
        ]
    )


def ablations(folder: Path) -> list[str]:
    """The source's table at one scale, if there are raw files of two rows or more."""
    records = ablation_page.read(folder)
    if len({record["row"] for record in records}) < 2:  # there is nothing to compare yet
        return []
    seeds = sorted({record["seed"] for record in records})
    minutes = sum(sum(record["minutes"][part] for part in PARTS) for record in records)
    threads = max(record["minutes"]["threads"] for record in records)
    return [
        f"## The source's table, row by row: scale `{folder.name}`",
        f"{len(records)} cells, seeds {', '.join(map(str, seeds))}, {records[0]['steps']:,} steps "
        f"each; {minutes / 60:.1f} hours in all at {threads} thread(s) a cell, code "
        f"{records[0]['code']}. MLP readout, fitted anew at every milestone, in the first table of "
        "each half; mean and standard deviation over seeds. The source states neither its readout "
        "nor the unit of its MSE. [What each row is](docs/ablations.md).",
        f"    vase ablate --scale {folder.name} --seeds {len(seeds)}",
        f"![Forgetting of every row](results/ablate/{folder.name}/forgetting.png)",
        ablation_page.markdown(records),
    ]


def disentangled(folder: Path) -> list[str]:
    """The disentanglement metrics on dSprites, if there are raw files of them."""
    records, udr = disentanglement.read(folder)
    if not records:
        return []
    minutes = spread(record["minutes"] for record in records)
    return [
        "## What latents mean, then and now: dSprites",
        "dSprites, then moving Fashion-MNIST, then MNIST, on a canvas of 32 x 32, "
        f"{records[0]['steps']:,} steps in all; {minutes} minutes a seed on one CPU thread. *Then* "
        "is the end of a world's own stay, *now* the end of the stream. Metrics of the posterior "
        "means of held-out images; TC is the total correlation of the latents in use; UDR is the "
        "agreement between the seeds' models. Mean and standard deviation over seeds. "
        "[What each metric asks](docs/metrics.md).",
        f"    vase bench disentangle --seeds {len(records)}",
        disentanglement.markdown(records, udr),
    ]


SHARED = {
    "sharing": ("clothes and digits", "Moving Fashion-MNIST, then moving MNIST, 64 x 64"),
    "rooms": ("two places", "Hills, then a room, in first person, 64 x 64 in colour"),
}


def shared(folder: Path) -> list[str]:
    """Translation and ambiguity between two worlds, if there are raw files of them."""
    records = sharing.read(folder)
    if not records:
        return []
    title, stream = SHARED[folder.name]
    minutes = spread(record["minutes"]["all"] for record in records)
    seeds = len({record["seed"] for record in records})
    return [
        f"## What sharing is good for: {title}",
        f"{stream}, {records[0]['steps']:,} steps; "
        f"{minutes} minutes a run on one CPU thread. *Read*: R2 of what a network fitted on real "
        "images of the target world says of translated images, against the truth of the images "
        "that were translated (of identity the share that is right); beside it what it says of "
        "real images, and of shuffled truths. "
        "*Equality* is the level of a morph at which belief is even, *width* the stretch of it "
        "from 10 % to 90 % belief, per pair of images; the last columns give equality among 64 "
        "images of either world. Variances are of the latents that both worlds use, in sum. Mean "
        "and standard deviation over seeds. [How it is measured](docs/sharing.md).",
        f"    vase bench share --worlds {folder.name} --seeds {seeds}",
        f"![Each world as the other](results/{folder.name}/disentangled-translations.png)",
        f"![Images between the two](results/{folder.name}/disentangled-morphs.png)",
        f"![What is believed of them](results/{folder.name}/disentangled-belief.png)",
        sharing.markdown(records),
    ]


EXPLORED = {
    "explore": (
        "clothes and digits",
        "A model has seen clothes move and digits at rest, 64 x 64. Agents can move, turn and "
        "rescale the digits before them.",
        "",
    ),
    "explore-tinted": (
        "tinted clothes, white digits",
        "The same in colour: clothes that move are tinted, digits at rest are white. Agents can "
        "recolour these, too.",
        " stream.worlds.moving-fashion.channels=3 stream.worlds.mnist.channels=3 "
        "stream.worlds.mnist.hue=none --out runs/explore-tinted",
    ),
    "explore-rooms": (
        "hills and a room",
        "A model has seen hills in which everything varies, and a room at rest, in first person. "
        "Agents can walk, turn, look up and down, push the object and change its hue. Position is "
        "where the object stands in the picture: its bearing, and the pitch of the view.",
        " --worlds explore-rooms",
    ),
}


def explored(folder: Path) -> list[str]:
    """What exploring by imagination is worth, if there are raw files of it."""
    records = exploration.read(folder)
    if not records:
        return []
    title, story, options = EXPLORED[folder.name]
    minutes = spread(record["minutes"]["all"] - record["minutes"]["training"] for record in records)
    return [
        f"## Exploring by imagination: {title}",
        f"{story} 64 of them act for {records[0]['policies'][0]['steps']:,} steps. Then that "
        "world in motion, which no model has seen, is read by readouts that were fitted and frozen "
        "before. *Masked*: without the latents that are masked where the model believes an image "
        f"to be from. {minutes} minutes a seed for all policies on one CPU "
        "thread beside other work, without training. Mean and standard deviation over seeds; "
        "ratios are geometric means with 95 % intervals, paired by seed. "
        "[How it is done](docs/exploration.md).",
        f"    vase bench explore{options} --seeds {len(records)}",
        f"![Where agents were](results/{folder.name}/places.png)",
        f"![What it was worth](results/{folder.name}/worth.png)",
        exploration.markdown(records),
    ]


def networks(folder: Path) -> list[str]:
    """What folding and precision cost and are worth, if there are raw files of them."""
    records = [read_json(path) for path in folder.glob("*.json")]
    if not records:
        return []
    records.sort(key=lambda record: (record["preset"], record["settings"], record["seed"]))
    seeds = len({record["seed"] for record in records})
    head, *rows = sweep.rows(records)
    return [
        "## Networks: accuracy beside cost",
        "`small` (32 x 32) with space folded into channels by 2, 4 (as it is) and 8, in either "
        "precision. Identity in percent and points, MSE in 1e-4, MLP readouts; *minutes* of "
        "training on one CPU thread beside another run, so that they are to be compared and not to "
        "be counted on. Mean and standard deviation over seeds.",
        "    vase sweep small small+fold-2 small+fold-8 training.precision=32-true,bf16-mixed "
        f"--seeds {seeds}",
        table(head, rows),
    ]


def gpu(folder: Path) -> list[str]:
    """What a step costs on a GPU, if there are raw files of it."""
    files = [folder / "step.json", folder / "poster.json"]
    if not all(file.is_file() for file in files):
        return []
    step, poster = map(read_json, files)
    opened = ", ".join(str(event["step"]) for event in poster["events"] if event["kind"] == "new")
    batches, together = step["images_per_second"], step["ensemble_ms_per_member"]
    precisions = step["kernels_ms_by_precision"]
    rows = [
        ("a plain VAE's step, launched kernel by kernel", f"{step['plain_ms']:.1f} ms"),
        ("a lifelong step, launched kernel by kernel", f"{step['written_ms']:.1f} ms"),
        ("a lifelong step as a run takes it (CUDA graphs)", f"{step['captured_ms']:.2f} ms"),
        (
            "deciding and remembering by themselves, in part done while the GPU works",
            f"{step['begin_and_finish_ms']:.2f} ms",
        ),
        ("one replay of its graph, waited for: its floor", f"{step['replay_ms']:.2f} ms"),
        ("its kernels, replayed in a row", f"{step['kernels_ms']:.2f} ms"),
        (
            f"its {step['gflop_per_step']} GFLOP at {step['matrix_tflops']:.0f} TFLOP/s",
            f"{step['arithmetic_ms']:.3f} ms",
        ),
        (
            f"kernels in {', '.join(precisions)}, one precision after the other",
            f"{', '.join(f'{each:.2f}' for each in precisions.values())} ms",
        ),
        *(
            (f"batches of {size}, by themselves", f"{each:,} images/s")
            for size, each in batches.items()
        ),
        *(
            (f"ensemble of {count}, `small`, each member's step", f"{each:.1f} ms")
            for count, each in together.items()
        ),
    ]
    return [
        "## On a GPU",
        f"One {step['device']}, PyTorch {step['torch']}; batches of 64 images of 64 x 64 with "
        f"dreams and detection. A step takes {step['captured_over_replay']} times its floor. "
        f"`poster`, seed {poster['seed']}: {poster['steps']:,} steps in "
        f"{poster['seconds'] / 60:.1f} minutes, the program's start included and the probes, which "
        f"a CPU does, not ({poster['measured']}); environments opened at steps {opened}. "
        "float32 is PyTorch's default, in which convolutions may round to TF32.",
        "    python benchmarks/gpu.py --out results/gpu/step.json\n"
        f"    vase train poster training.accelerator=cuda training.seed={poster['seed']}",
        table(("", "time"), rows),
    ]


def digits(folder: Path) -> list[str]:
    """Split-MNIST, if there are raw files of it."""
    records = split.read(folder)
    if not records:
        return []
    return [
        "## Split-MNIST without labels",
        f"Ten digits arrive one by one, {records[0]['steps']:,} steps in all, and nobody says so. "
        "At the end, on test images of all digits: 10 nearest neighbours among the codes of "
        "training images; clusters, an image's being the environment that describes it in the "
        "fewest nats; bits per dimension of that description with its environment's name. The "
        "published figures are those of CN-DPM's README, of models of other sizes.",
        f"    vase bench split --seeds {len(records)}",
        split.markdown(records),
    ]


def detection(folder: Path) -> list[str]:
    """The detection benchmark, if there are raw files of it."""
    jobs, nulls = detect.read(folder)
    if not jobs and not nulls:
        return []
    seeds = max((record["seed"] for record in jobs), default=0) + 1
    return [
        "## Where am I: streams made to be hard",
        "Real images on a canvas of 32 x 32, small networks, one thread each. A delay counts the "
        "batches of the new world before the one at which it was noticed. `missed + false`: "
        "switches that were not noticed, and alarms that no switch explains. The published rule is "
        "stopped when it has opened more than 20 environments, and what follows counts as missed; "
        "river's detectors run with their default parameters on the loss or the latents of a plain "
        "model; a dash where they did not watch. Run length 100,000, in the null run the default. "
        "[What it does and how](docs/detection.md).",
        f"    vase bench detect suite --seeds {seeds}\n"
        "    vase bench detect --detectors all --seeds 2\n"
        "    vase bench detect --null 100000",
        "![Truth and belief on every stream](results/detect/timeline.png)",
        detect.markdown(jobs, nulls),
        *beside(folder / "beside"),
    ]


def beside(folder: Path) -> list[str]:
    """The long suite again, with every other detector on its streams."""
    jobs, _ = detect.read(folder)
    if not jobs:
        return []
    return [
        "### Every detector on the long suite",
        f"    vase bench detect suite --seeds {len(jobs)} --detectors all --out runs/beside",
        detect.detector_table(jobs),
    ]
