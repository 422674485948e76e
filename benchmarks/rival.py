"""What a step costs beside pythae's, per image: where does a user's time go?

    pip install pythae && python benchmarks/rival.py [--threads 2]

The same networks, batch and images, all in memory: pythae's capacity-controlled beta-VAE
(`DisentangledBetaVAE`, Bernoulli likelihood) by its own trainer, epoch by epoch with its progress
and logging switched off; a plain loop written by hand (`step.plain_step`); and ours, with
detection, moving average and evidence, in the first environment (nothing to dream of) and in the
second. They are timed in turn, and the median of the paired ratios is printed. Pythae does not
detect, mask, dream or average.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import DisentangledBetaVAE, DisentangledBetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from step import BATCH, learning, learnt, lifelong, plain_step, ratio, seconds

from vase.nets import Architecture, Networks

BATCHES = 10  # of which an epoch is made


class Encoder(BaseEncoder):  # type: ignore[misc]
    """Our encoder as pythae wants one."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.inner = networks.encoder

    def forward(self, images: torch.Tensor) -> ModelOutput:
        posterior = self.inner(images)
        return ModelOutput(embedding=posterior.mean, log_covariance=posterior.log_variance)


class Decoder(BaseDecoder):  # type: ignore[misc]
    """Our decoder as pythae wants one."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.inner = networks.decoder

    def forward(self, z: torch.Tensor) -> ModelOutput:
        environment = torch.zeros(len(z), dtype=torch.long)
        return ModelOutput(reconstruction=torch.sigmoid(self.inner(z, environment)))


def trainer(images: torch.Tensor, folder: str) -> BaseTrainer:
    """Pythae's trainer, ready for an epoch."""
    shape = Architecture()
    networks = Networks(shape)
    made = DisentangledBetaVAEConfig(
        input_dim=tuple(images.shape[1:]),
        latent_dim=shape.latents,
        reconstruction_loss="bce",
        beta=10.0,
        C=20.0,
    )
    model = DisentangledBetaVAE(made, encoder=Encoder(networks), decoder=Decoder(networks))
    asked = BaseTrainerConfig(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        num_epochs=1,
        learning_rate=1e-3,
        optimizer_cls="Adam",
        no_cuda=True,
    )
    labels = torch.zeros(len(images))
    ready = BaseTrainer(model, BaseDataset(images, labels), training_config=asked)
    ready.prepare_training()
    ready.callback_handler.callbacks.clear()  # no progress bar
    return ready


def measure(rounds: int) -> dict[str, float]:
    """Time all of them in turn."""
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCHES * BATCH, 1, 64, 64, generator=generator)
    batches = images.split(BATCH)
    networks = Networks(Architecture())
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-3, fused=True)
    first, second = learning(images), lifelong(images)
    with tempfile.TemporaryDirectory() as folder:
        rival = trainer(images, folder)
        ways: dict[str, Callable[[], object]] = {
            "pythae": lambda: rival.train_step(1),
            "by_hand": lambda: [plain_step(networks, optimizer, batch) for batch in batches],
            "learning": lambda: [learnt(first, batch) for batch in batches],
            "lifelong": lambda: [learnt(second, batch) for batch in batches],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(seconds(way))
    return {
        "pythae_ms_per_image": round(1e3 * statistics.median(times["pythae"]) / len(images), 3),
        **{
            f"{name}_over_pythae": ratio(times[name], times["pythae"])
            for name in ways
            if name != "pythae"
        },
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(json.dumps({"threads": asked.threads, **measure(asked.rounds)}, indent=1))


if __name__ == "__main__":
    main()
