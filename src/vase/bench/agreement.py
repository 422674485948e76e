"""How far the models of several seeds agree on their latents: UDR, of codes kept beside the runs.

No label is used, so that it can choose among seeds (`vase.metrics.udr`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vase import build
from vase.lifelong.environments import USED
from vase.metrics import udr
from vase.probes.encode import encode
from vase.probes.evaluate import TEST_SEED, domains_until, matched_environment, open_run
from vase.probes.translation import load_last_model
from vase.training.folder import RunFolder

CODES = 1000  # test images of each domain of which the codes are kept

Codes = Mapping[str, NDArray[np.float32]]


def codes_of(folder: RunFolder, data: build.DataOptions) -> Codes:
    """Means [B, N] and KL [N] of each domain's test images, as `DOMAIN mean` and `DOMAIN kl`.

    The images are the same for every run, the weights those at its end, and the KL is 0 where the
    domain's environment masks a latent.
    """
    run = open_run(folder, data)
    model = load_last_model(run, folder)
    found = {}
    for name in domains_until(run.schedule, model.step):
        mask = matched_environment(run, model, name).mask
        code = encode(model.networks, run.test[name], CODES, TEST_SEED)
        found[f"{name} mean"] = code.mean
        found[f"{name} kl"] = (code.kl * mask).astype(np.float32)
    return found


def path(out: Path, name: str) -> Path:
    """Where the codes of a run lie, in the folder of its raw file."""
    return out / "codes" / f"{name}.npz"


def write(out: Path, name: str, codes: Codes) -> None:
    """Keep a run's codes beside its raw file."""
    file = path(out, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **dict(codes), allow_pickle=False)


def agreement(out: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """UDR by domain, a score for each run, which is how far it is like the others.

    Nothing where the codes of a run are not there.
    """
    files = [path(out, name) for name in names]
    if not all(file.is_file() for file in files):
        return {}
    codes = [dict(np.load(file, allow_pickle=False)) for file in files]
    domains = sorted(key.removesuffix(" mean") for key in codes[0] if key.endswith(" mean"))
    return {
        domain: udr(
            [each[f"{domain} mean"] for each in codes],
            [each[f"{domain} kl"] for each in codes],
            USED,
        ).scores.tolist()
        for domain in domains
    }
