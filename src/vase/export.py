"""A model as ONNX: three files that run wherever onnxruntime does, and what goes with them in JSON.

    encoder.onnx   images [B, C, H, W] in [0, 1]           -> mean, log_variance [B, N]
    decoder.onnx   z [B, N], mask [N], environment [B]     -> images [B, C, H, W]
    belief.onnx    mean, log_variance [B, N]               -> belief [B, E]
    model.json     sizes, and of every environment its mask and the moments it is replayed from

Before anything is written, onnxruntime runs the files and must agree with PyTorch.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vase.errors import RunError, optional_package
from vase.lifelong.environments import Environment, Environments
from vase.nets import Networks
from vase.records import Posterior
from vase.training.checkpoint import write_bytes
from vase.version import __version__

FORMAT, VERSION = "vase-onnx", 1
TOLERANCE = 1e-4  # of the largest difference between onnxruntime and PyTorch
CHECKED = 5  # images, a number that no file was traced with

Arrays = dict[str, Tensor]


class Encode(nn.Module):
    """encoder.onnx."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.encoder = networks.encoder
        self.with_features = networks.classifier.of_features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        posterior = self.encoder(images)
        found = (posterior.mean, posterior.log_variance)
        return (*found, posterior.features) if self.with_features else found


class Decode(nn.Module):
    """decoder.onnx."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.decoder = networks.decoder

    def forward(self, z: Tensor, mask: Tensor, environment: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(z * mask, environment))


class Believe(nn.Module):
    """belief.onnx."""

    def __init__(self, networks: Networks, known: int) -> None:
        super().__init__()
        self.classifier, self.known = networks.classifier, known

    def forward(self, mean: Tensor, log_variance: Tensor, features: Tensor | None = None) -> Tensor:
        posterior = Posterior(mean, log_variance, features)
        belief: Tensor = self.classifier(posterior, self.known).exp()
        return belief


def to_onnx(networks: Networks, environments: Environments, folder: Path) -> dict[str, float]:
    """Write a model into a folder; the largest difference to PyTorch of each file.

    networks: the averaged ones, on the CPU. A `ConfigError` where the packages are missing, a
    `RunError` where a file does not compute what PyTorch does: then nothing is written.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        optional_package(package, f"ONNX files are made with {package}", "onnx")
    parts = {
        "encoder": (Encode(networks), posterior_parts(networks)),
        "decoder": (Decode(networks), ("images",)),
        "belief": (Believe(networks, len(environments)), ("belief",)),
    }
    files, differences = {}, {}
    for name, (module, outputs) in parts.items():
        module.eval()
        files[f"{name}.onnx"] = traced(module, inputs(name, networks, 2), outputs)
        differences[name] = difference(
            files[f"{name}.onnx"], module, inputs(name, networks, CHECKED)
        )
        if not differences[name] <= TOLERANCE:
            raise RunError(
                f"As ONNX the {name} differs from PyTorch by {differences[name]:.1e}, more than "
                f"{TOLERANCE:.0e}: nothing was written. Report this with your versions of torch, "
                "onnx, onnxscript and onnxruntime."
            )
    files["model.json"] = json.dumps(described(networks, environments), indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder '{folder}' cannot be made: {error.strerror}.") from None
    for file, content in files.items():
        write_bytes(folder / file, content)
    return differences


def described(networks: Networks, environments: Environments) -> dict[str, Any]:
    """What model.json holds."""
    shape = networks.architecture
    return {
        "format": FORMAT,
        "version": VERSION,
        "vase_version": __version__,
        "image": {"channels": shape.channels, "height": shape.height, "width": shape.width},
        "latents": shape.latents,
        "present": environments.current,
        "environments": [_environment(known, shape.latents) for known in environments],
    }


def _environment(known: Environment, latents: int) -> dict[str, Any]:
    return {
        "index": known.index,
        "mask": known.mask.astype(int).tolist(),
        "used": np.flatnonzero(known.used).tolist(),
        "mean": known.moments.mean[:latents].tolist(),
        "variance": known.moments.variance[:latents].tolist(),
    }


def posterior_parts(networks: Networks) -> tuple[str, ...]:
    """What the encoder gives, and the classifier reads."""
    found = ("mean", "log_variance")
    return (*found, "features") if networks.classifier.of_features else found


def inputs(name: str, networks: Networks, count: int) -> Arrays:
    """Inputs of a file, by name, of so many images; the same every time."""
    shape, generator = networks.architecture, torch.Generator().manual_seed(count)
    noise = torch.randn(count, shape.latents, generator=generator)
    if name == "encoder":
        sides = (count, shape.channels, shape.height, shape.width)
        return {"images": torch.rand(sides, generator=generator)}
    if name == "belief":
        width = networks.classifier.inputs
        features = torch.randn(count, width, generator=generator)
        whole = (noise, -noise.abs(), features)
        return dict(zip(posterior_parts(networks), whole, strict=False))
    mask = (torch.arange(shape.latents) % 3 > 0).float()
    environment = torch.arange(count) % shape.environments
    return {"z": noise, "mask": mask, "environment": environment}


def traced(module: nn.Module, example: Arrays, outputs: tuple[str, ...]) -> bytes:
    """A module as ONNX, for any number of images."""
    batch = torch.export.Dim("batch")
    free: dict[str, Any] = {name: {} if name == "mask" else {0: batch} for name in example}
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes=free,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


@torch.no_grad()
def difference(content: bytes, module: nn.Module, given: Arrays) -> float:
    """The largest difference between what onnxruntime and PyTorch compute."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in given.items()})
    expected = module(*given.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own report of its progress, and its warnings about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()) as said:
            warnings.simplefilter("ignore")
            with redirect_stderr(said):
                yield
    finally:
        logging.disable(before)
