"""Models on the Hugging Face Hub: one safetensors file, and a card that says what is in it.

The file is what `VASE.save` writes, so that a model that was pulled goes on learning as the one
that was pushed would have. Nothing is pickled. ModelHubMixin is not used: it keeps arguments and
weights, and a model here is also its memory of environments, its snapshot and its optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from vase.errors import InputError, optional_package, reason
from vase.lifelong.environments import Environment
from vase.nets import Architecture
from vase.records import Event
from vase.version import __version__

WEIGHTS = "model.safetensors"
CARD = "README.md"


def push(model: Any, repo_id: str, *, private: bool | None, message: str, token: str | None) -> str:
    """Upload a fitted estimator and its card; the commit's address."""
    hub = _package()
    with TemporaryDirectory() as folder:
        model.save(Path(folder) / WEIGHTS)
        learner = model.learner_
        text = card(
            repo_id, learner.architecture, learner.step, learner.environments, model.events_
        )
        (Path(folder) / CARD).write_text(text, encoding="utf-8")
        api = hub.HfApi(token=token)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        except Exception as error:  # of the network, of the Hub, of an answer that is none
            raise InputError(_failed("written to", repo_id, error)) from None
    return str(commit.commit_url)


def pull(repo_id: str, *, revision: str | None, token: str | None) -> Path:
    """Where a model's file lies: in a folder of that name, or downloaded into the Hub's cache."""
    local = Path(repo_id)
    if local.is_dir():
        return local / WEIGHTS
    hub = _package()
    try:
        return Path(hub.hf_hub_download(repo_id, WEIGHTS, revision=revision, token=token))
    except Exception as error:
        raise InputError(_failed("read from", repo_id, error)) from None


def card(
    repo_id: str,
    shape: Architecture,
    step: int,
    environments: Sequence[Environment],
    events: Sequence[Event],
) -> str:
    """The model card, Markdown with the Hub's header."""
    rows = [
        f"| {known.index} | {known.batches:,} | {_listed(known.used)} | {_listed(~known.mask)} |"
        for known in environments
    ]
    tape = [f"- step {event.step:,}: {event.kind}, {event.reason}" for event in events[-20:]]
    return "\n".join(
        [
            "---",
            "library_name: vase",
            "tags: [vase, disentanglement, continual-learning, representation-learning]",
            "---",
            f"# {repo_id.rsplit('/', maxsplit=1)[-1]}",
            "",
            f"A VASE model ({__version__}): a lifelong, disentangled representation of an "
            f"unlabelled stream of {_learnt(shape)}, in {shape.latents} latents, after {step:,} "
            "batches.",
            "",
            "```python",
            "from vase import VASE",
            "",
            f'model = VASE.from_pretrained("{repo_id}")',
            "codes = model.transform(images)  # posterior means",
            "decision = model.partial_fit(images)  # it goes on learning where it stopped",
            "```",
            "",
            "| environment | batches | latents in use | latents masked |",
            "|---|---|---|---|",
            *rows,
            "",
            "What it noticed (the latest twenty):",
            "",
            *tape,
            "",
        ]
    )


def _learnt(shape: Architecture) -> str:
    if shape.of_vectors:
        return f"vectors of {shape.channels} numbers"
    return f"images, {shape.height} x {shape.width} with {shape.channels} channel(s)"


def _listed(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    return ", ".join(map(str, np.flatnonzero(mask))) or "none"


def _failed(what: str, repo_id: str, error: Exception) -> str:
    return (
        f"'{repo_id}' cannot be {what} on the Hugging Face Hub: {reason(error)}. Check the "
        "name, the network, and that you are logged in (hf auth login)."
    )


def _package() -> ModuleType:
    needed = "Models go to and come from the Hub through huggingface_hub"
    return optional_package("huggingface_hub", needed, "hub")
