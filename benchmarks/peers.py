"""Time to a useful model beside other packages: `make bench-peers`.

    python benchmarks/peers.py time [--minutes 6] [--out results/peers/time.json]
    python benchmarks/peers.py disentangle [--minutes 10] [--seed 0] [--out FILE]

All learn in turn, chunk by chunk, from the same batches of one stream, in memory, on the same
threads; only learning is timed. As often as `EVERY` says, each is asked for the means of the same
images, from which the same readouts read identity and position, or all metrics are computed.

- `vase`: `vase.lifelong.learner.Learner`, with detection, averaged weights and all.
- `by hand`: a plain loop over plain convolutional networks, as anyone would write it; on dSprites
  the KL has the weight of the beta-VAE.
- `pythae`: beta-VAE and beta-TCVAE by its own trainer, with its default networks (dense ones) and
  with ours.
- `disent`, where it works: beta-VAE and beta-TCVAE with the convolutional networks that it ships,
  which are those of the literature; they take images of 64x64 alone.

Each has the weights that its package chooses, or on dSprites those of the paper of beta-TCVAE
(beta 4 and 6), a Bernoulli likelihood, as many latents. `vase` has all settings of its preset; the
peers have Adam with a rate of 1e-3, detect no changes, mask nothing, replay nothing.
"""

from __future__ import annotations

import argparse
import operator
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from step import plain_step
from torch import Tensor

from vase import build, config
from vase.bench import disentanglement, provenance
from vase.domains.canvas import Domain
from vase.nets import Architecture, Networks
from vase.probes import readout
from vase.probes.encode import Code, sample_images
from vase.records import Posterior
from vase.training.folder import rounded, write_json

CHUNK = 50  # batches that each learns before the next one's turn
EVERY = 1.25  # an evaluation whenever the time learnt has grown by this factor
FIRST = 5.0  # seconds of learning before the first evaluation
IMAGES = 5_000  # that a readout is fitted on, and as many that it is scored on
TARGETS = {"identity 60 %": ("identity", 0.6), "identity 70 %": ("identity", 0.7),
           "position 5e-4": ("position", 5e-4)}  # fmt: skip
IMAGES_OF_STREAM = 60_000  # as which beta-TCVAE counts it in its weights
IMAGES_OF_DSPRITES = 737_280


class Peer(Protocol):
    """What is compared."""

    def learn(self, batches: Sequence[Tensor]) -> None:
        """A step on each of the batches [B, C, H, W]."""

    def posterior(self, images: Tensor) -> Posterior:
        """What it makes of images, [B, N]."""


class Vase:
    """This package."""

    def __init__(self, made: config.Config, shape: tuple[int, int, int]) -> None:
        self.learner = build.learner(made, shape)

    def learn(self, batches: Sequence[Tensor]) -> None:
        for batch in batches:
            self.learner.observe(batch)

    def posterior(self, images: Tensor) -> Posterior:
        found: Posterior = self.learner.average.encoder(images)
        return found


class ByHand:
    """A plain loop over plain convolutional networks."""

    def __init__(self, architecture: Architecture, beta: float) -> None:
        self.networks, self.beta = Networks(architecture), beta
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=1e-3, fused=True)

    def learn(self, batches: Sequence[Tensor]) -> None:
        for batch in batches:
            plain_step(self.networks, self.optimizer, batch, self.beta)

    def posterior(self, images: Tensor) -> Posterior:
        found: Posterior = self.networks.encoder(images)
        return found


class Loader(list[dict[str, Tensor]]):
    """Batches as pythae's trainer asks for them, out of so many images."""

    def __init__(self, batches: Sequence[Tensor], count: int) -> None:
        super().__init__({"data": batch} for batch in batches)
        self.dataset = range(count)


def for_pythae(networks: Networks) -> dict[str, torch.nn.Module]:
    """Our encoder and decoder as a model of pythae takes them."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        """The encoder, by pythae's names."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.encoder

        def forward(self, images: Tensor) -> ModelOutput:
            posterior = self.inner(images)
            return ModelOutput(embedding=posterior.mean, log_covariance=posterior.log_variance)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        """The decoder, in the one environment 0."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = networks.decoder

        def forward(self, z: Tensor) -> ModelOutput:
            environment = torch.zeros(len(z), dtype=torch.long)
            return ModelOutput(reconstruction=torch.sigmoid(self.inner(z, environment)))

    return {"encoder": Encoder(), "decoder": Decoder()}


class Pythae:
    """A model of pythae, by its own trainer, its progress and logging switched off."""

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        ours: bool,
        weights: Mapping[str, float],
        count: int,
    ) -> None:
        from pythae import models
        from pythae.data.datasets import BaseDataset
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        self.count = count
        settings = getattr(models, f"{name}Config")(
            input_dim=architecture.image,
            latent_dim=architecture.latents,
            reconstruction_loss="bce",
            **weights,
        )
        inner = for_pythae(Networks(architecture)) if ours else {}
        self.model = getattr(models, name)(settings, **inner)
        self.folder = tempfile.TemporaryDirectory()
        nothing = BaseDataset(torch.zeros(2, *architecture.image), torch.zeros(2))
        asked = BaseTrainerConfig(
            output_dir=self.folder.name, num_epochs=1, learning_rate=1e-3, no_cuda=True
        )
        self.trainer = BaseTrainer(self.model, nothing, training_config=asked)
        self.trainer.prepare_training()
        self.trainer.callback_handler.callbacks.clear()

    def learn(self, batches: Sequence[Tensor]) -> None:
        self.trainer.train_loader = Loader(batches, self.count)
        self.trainer.train_step(1)

    def posterior(self, images: Tensor) -> Posterior:
        found = self.model.encoder(images)
        return Posterior(found.embedding, found.log_covariance)


class Disent:
    """A framework of disent with the convolutional networks that it ships."""

    def __init__(self, name: str, architecture: Architecture, weights: Mapping[str, float]) -> None:
        from disent.frameworks import vae
        from disent.model import AutoEncoder
        from disent.model.ae import DecoderConv64, EncoderConv64

        kind, latents = getattr(vae, name), architecture.latents
        networks = AutoEncoder(
            EncoderConv64(x_shape=architecture.image, z_size=latents, z_multiplier=2),
            DecoderConv64(x_shape=architecture.image, z_size=latents),
        )
        self.framework = kind(
            networks, kind.cfg(recon_loss="bce", loss_reduction="mean_sum", **weights)
        )
        self.optimizer = torch.optim.Adam(self.framework.parameters(), lr=1e-3)

    def learn(self, batches: Sequence[Tensor]) -> None:
        for number, batch in enumerate(batches):
            loss = self.framework.do_training_step({"x_targ": (batch,)}, number)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def posterior(self, images: Tensor) -> Posterior:
        found, _ = self.framework.encode_dists(images)
        return Posterior(found.mean, 2 * found.stddev.log())


# ---- the contest -------------------------------------------------------------------------------


@dataclass
class Turn:
    """A peer, the seconds in which it learnt, and what it then knew."""

    make: Callable[[], Peer]
    peer: Peer | None = None
    seconds: float = 0.0
    images: int = 0
    rates: list[float] = field(default_factory=list)
    due: float = FIRST
    found: list[dict[str, float]] = field(default_factory=list)

    def learn(self, batches: Sequence[Tensor]) -> None:
        self.peer = self.peer or self.make()
        began = time.perf_counter()
        self.peer.learn(batches)
        taken = time.perf_counter() - began
        count = sum(map(len, batches))
        self.rates.append(count / taken)
        self.seconds, self.images = self.seconds + taken, self.images + count

    def evaluated(self, measure: Callable[[Peer], dict[str, float]]) -> None:
        assert self.peer is not None
        self.found.append({"seconds": self.seconds, "images": self.images, **measure(self.peer)})
        self.due = self.seconds * EVERY


def contest(
    turns: Mapping[str, Turn],
    batches: Iterator[Sequence[Tensor]],
    measure: Callable[[Peer], dict[str, float]],
    seconds: float,
) -> None:
    """Let all learn in turn until each has learnt for so long."""
    while unfinished := {name: turn for name, turn in turns.items() if turn.seconds < seconds}:
        chunk = next(batches)
        for name, turn in unfinished.items():
            turn.learn(chunk)
            if turn.seconds >= min(turn.due, seconds):
                turn.evaluated(measure)
                print(name, rounded(turn.found[-1]), flush=True)


def chunks(domain: Domain, batch_size: int, seed: int) -> Iterator[list[Tensor]]:
    """`CHUNK` batches after another, the same ones for the same seed."""
    generator = np.random.default_rng([seed, 0])
    while True:
        yield [torch.from_numpy(domain.sample(generator, batch_size)[0]) for _ in range(CHUNK)]


@torch.no_grad()
def code_of(peer: Peer, domain: Domain, count: int, seed: int) -> Code:
    """The posteriors of `count` images, and the truth."""
    nothing = np.empty(0, np.float32)
    found, truths = [], []
    for images, truth in sample_images(domain, count, seed):
        found.append(peer.posterior(torch.from_numpy(images)))
        truths.append(truth)
    return Code(
        torch.cat([each.mean for each in found]).numpy(),
        torch.cat([each.log_variance for each in found]).numpy(),
        np.concatenate([truth.labels for truth in truths]),
        {name: np.concatenate([each.factors[name] for each in truths])
         for name in truths[0].factors},
        nothing,
        nothing,
    )  # fmt: skip


def readouts(train: Domain, test: Domain) -> Callable[[Peer], dict[str, float]]:
    """Identity and position as the probes read them: an MLP on the means."""

    def examples(peer: Peer, domain: Domain, seed: int) -> readout.Examples:
        code = code_of(peer, domain, IMAGES, seed)
        position = np.stack([code.factors[name] for name in ("x", "y")], axis=1)
        return readout.Examples(code.mean, code.labels, position)

    def measure(peer: Peer) -> dict[str, float]:
        score = readout.fit_mlp(examples(peer, train, 1)).score(examples(peer, test, 2))
        assert score.identity is not None
        assert score.position_mse is not None
        return {"identity": score.identity, "position": score.position_mse}

    return measure


def seconds_to(found: Sequence[Mapping[str, float]], measure: str, target: float) -> float | None:
    """Seconds of learning until an evaluation is as good as asked; None if none is."""
    better = operator.ge if measure == "identity" else operator.le
    return next((each["seconds"] for each in found if better(each[measure], target)), None)


def disent_works() -> bool:
    """Whether disent can be imported: its torchvision must be of the same build as PyTorch."""
    try:
        import disent.frameworks  # noqa: F401
    except (ImportError, RuntimeError) as error:
        print(f"disent is left out, since it cannot be imported: {error}", file=sys.stderr)
        return False
    return True


def peers(made: config.Config, shape: tuple[int, int, int], literature: bool) -> dict[str, Turn]:
    """All of them, by name. literature: with the weights of the paper of beta-TCVAE."""
    ours = build.architecture(made, shape)
    plain = ours.model_copy(update={"encoder": "convolutional", "decoder": "convolutional"})
    beta, tc = ({"beta": 4.0}, {"beta": 6.0}) if literature else ({}, {})
    count = IMAGES_OF_DSPRITES if literature else IMAGES_OF_STREAM
    nats = {"beta": 4.0}, {"beta": 6.0}  # disent's own are of another reduction of its loss
    turns = {
        "vase": Turn(lambda: Vase(made, shape)),
        "by hand: VAE": Turn(lambda: ByHand(plain, beta.get("beta", 1.0))),
    }
    for name, weights in (("BetaVAE", beta), ("BetaTCVAE", tc)):
        for networks, own in (("its networks", False), ("our networks", True)):
            turns[f"pythae: {name}, {networks}"] = Turn(
                partial(Pythae, name, ours, own, weights, count)
            )
    if shape[1:] == (64, 64) and disent_works():  # the only size that its networks take
        for name, weights in zip(("BetaVae", "BetaTcVae"), nats, strict=True):
            turns[f"disent: {name}"] = Turn(partial(Disent, name, ours, weights))
    return turns


# ---- commands ----------------------------------------------------------------------------------


def run_time(asked: argparse.Namespace) -> None:
    """Seconds to targets of identity and position on moving Fashion-MNIST, and memory."""
    made = config.load("quick")
    train, test = (
        build.stream(made, build.DataOptions(), split).domains["moving-fashion"]
        for split in ("train", "test")
    )
    shape = train.shape
    turns = chosen(peers(made, shape, literature=False), asked.only)
    batches = chunks(train, made.stream.batch_size, asked.seed)
    contest(turns, batches, readouts(train, test), 60 * asked.minutes)
    found = {
        name: {
            "images_per_second": statistics.median(turn.rates),
            **{f"seconds to {target}": seconds_to(turn.found, *aim)
               for target, aim in TARGETS.items()},
            "megabytes": megabytes(name),
            "curve": turn.found,
        }
        for name, turn in turns.items()
    }  # fmt: skip
    write(asked.out, {"threads": asked.threads, "seed": asked.seed, "minutes": asked.minutes,
                      "image": shape, "batch_size": made.stream.batch_size,
                      "peers": found})  # fmt: skip


def run_disentangle(asked: argparse.Namespace) -> None:
    """Every metric on dSprites after the same time of learning."""
    made = config.load(asked.preset, [f"training.seed={asked.seed}"])
    train, test = (
        build.stream(made, build.DataOptions(), split).domains["dsprites"]
        for split in ("train", "test")
    )
    turns = chosen(peers(made, train.shape, literature=True), asked.only)

    def measure(peer: Peer) -> dict[str, float]:
        code = code_of(peer, test, 2 * IMAGES, 2)
        values = disentanglement.metric_values(code)
        return {name: value for name, value in values.items() if value is not None}

    for turn in turns.values():
        turn.due = 60 * asked.minutes  # once, at the end: the metrics take minutes
    contest(turns, chunks(train, made.stream.batch_size, asked.seed), measure, 60 * asked.minutes)
    found = {name: turn.found[-1] for name, turn in turns.items()}
    write(asked.out, {"threads": asked.threads, "seed": asked.seed, "minutes": asked.minutes,
                      "image": train.shape, "peers": found})  # fmt: skip


def chosen(turns: dict[str, Turn], only: Sequence[str]) -> dict[str, Turn]:
    """The peers that are asked for by the beginnings of their names; all by default."""
    return {name: turn for name, turn in turns.items()
            if not only or name.startswith(tuple(only))}  # fmt: skip


def megabytes(name: str) -> float:
    """The most memory that a process takes in which this peer alone learns for a chunk."""
    command = [sys.executable, __file__, "memory", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def run_memory(asked: argparse.Namespace) -> None:
    """Print the most memory that was taken, in MB, as Linux counts it.

    `resource` counts what the process that began this one had taken, too.
    """
    made = config.load("quick")
    images = [torch.rand(made.stream.batch_size, 1, 64, 64) for _ in range(CHUNK)]
    peers(made, (1, 64, 64), literature=False)[asked.name].learn(images)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(int(kilobytes) / 1024)


def write(out: Path, record: Mapping[str, Any]) -> None:
    """Write a raw file, with the code and the versions of the peers."""
    named = (
        "pythae",
        "torch",
        *(["disent"] if any("disent" in p for p in record["peers"]) else []),
    )
    packages = {name: version(name) for name in named}
    write_json(out, rounded({**record, "versions": packages, "code": provenance.code()}))


def main() -> None:
    """Run a contest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run, minutes in (("time", run_time, 6.0), ("disentangle", run_disentangle, 10.0)):
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("--minutes", type=float, default=minutes, help="of learning, each")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--only", nargs="*", default=[], help="beginnings of names")
        command.add_argument("--out", type=Path, default=Path(f"results/peers/{name}.json"))
        command.set_defaults(run=run)
    commands.choices["disentangle"].add_argument("--preset", default="dsprites")
    memory = commands.add_parser("memory", help=run_memory.__doc__)
    memory.add_argument("name")
    memory.set_defaults(run=run_memory, threads=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    asked.run(asked)


if __name__ == "__main__":
    main()
