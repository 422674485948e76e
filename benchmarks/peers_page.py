"""Other packages beside this one, from the raw files of `benchmarks/peers.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vase.bench.page import spread, table
from vase.training.folder import read_json

Record = Mapping[str, Any]

SCORES = ("MIG", "SAP", "dci D", "FactorVAE", "beta-VAE", "active")
OURS, BORROWED = "vase", ", our networks"  # a name of a peer, and the end of other names


def section(folder: Path) -> list[str]:
    """Return the section of RESULTS.md: every peer, if there are raw files of it."""
    if not (record := _read(folder / "time.json")):
        return []
    height, width = record["image"][1:]
    rows = [
        [
            name,
            f"{peer['images_per_second']:,.0f}",
            *_times(record, name),
            _identity(peer),
            f"{1e4 * peer['curve'][-1]['position']:.1f}",
            f"{peer['megabytes']:.0f}",
        ]
        for name, peer in record["peers"].items()
    ]
    head = ["", "images/s", *_aims(record), "identity at the end, %", "MSE at the end, 1e-4", "MB"]
    return [
        "## Beside other packages: seconds to a useful model",
        f"Moving Fashion-MNIST, {width}x{height}, the same batches for all, in turn, "
        f"{record['batch_size']} images each, {record['threads']} thread, seed {record['seed']}; "
        "only learning is timed, "
        f"{record['minutes']:.0f} minutes for each. Identity and position are read from the means "
        f"by an MLP, as everywhere. {_versions(record)}. What each is: `benchmarks/peers.py`.",
        "    make bench-peers",
        table(head, rows),
    ]


def summary(folder: Path) -> list[str]:
    """Return the table of README.md: ours, and the best of the others in each way.

    They are those that are the soonest and the best at the end with networks of their own, and the
    best at the end with ours.
    """
    if not (record := _read(folder / "time.json")):
        return []
    found = record["peers"]
    first = _aims(record)[0]
    others = sorted((n for n in found if n != OURS), key=lambda name: _final(found[name]))
    own = [name for name in others if not name.endswith(BORROWED)]
    borrowed = [name for name in others if name.endswith(BORROWED)]
    soonest = min(own, key=lambda name: found[name][first] or math.inf)
    chosen = {
        "VASE": OURS,
        f"soonest with networks of its own ({_short(soonest)})": soonest,
        f"best at the end with networks of its own ({_short(own[-1])})": own[-1],
        f"best at the end with VASE's networks ({_short(borrowed[-1])})": borrowed[-1],
    }
    head = [
        f"moving Fashion-MNIST, {record['threads']} CPU thread, seed {record['seed']}",
        *_aims(record),
        f"identity after {record['minutes']:.0f} minutes, %",
    ]
    rows = [[said, *_times(record, name), _identity(found[name])] for said, name in chosen.items()]
    return [table(head, rows), "The rivals learn with Adam, VASE with the settings of `quick`."]


def factors(folder: Path) -> list[str]:
    """Return the section of RESULTS.md on dSprites: what each peer disentangles."""
    if not (record := _read(folder / "disentangle.json")):
        return []
    height, width = record["image"][1:]
    rows = [
        [name, f"{peer['images']:,}", *(spread([peer.get(each)], 2) for each in SCORES)]
        for name, peer in record["peers"].items()
    ]
    return [
        "## Beside other packages: dSprites",
        f"Independent images, {width}x{height}, the same batches for all, in turn, "
        f"{record['threads']} thread, seed {record['seed']}, {record['minutes']:.0f} minutes of "
        "learning for each. The metrics are those of the section on dSprites above, of held-out "
        "images; the others have the weights of the literature. "
        f"{_versions(record)}. What each is: `benchmarks/peers.py`.",
        "    make .venv/peers.stamp",
        "    .venv/peers/bin/python benchmarks/peers.py disentangle --only "
        + " ".join(f"'{name}'" for name in record["peers"]),
        table(["", "images", *SCORES], rows),
    ]


def _read(file: Path) -> Record | None:
    return read_json(file) if file.is_file() else None


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {number}" for name, number in record["versions"].items())


def _aims(record: Record) -> list[str]:
    """What is to be reached, as the raw file names it."""
    return [name for name in record["peers"][OURS] if name.startswith("seconds to")]


def _times(record: Record, name: str) -> list[str]:
    """The seconds after which a peer has reached each aim, as cells."""
    most, peer = f"> {60 * record['minutes']:.0f}", record["peers"][name]
    return [most if peer[aim] is None else f"{peer[aim]:.0f}" for aim in _aims(record)]


def _final(peer: Record) -> float:
    """The accuracy of identity at the end."""
    return float(peer["curve"][-1]["identity"])


def _identity(peer: Record) -> str:
    return f"{100 * _final(peer):.1f}"


def _short(name: str) -> str:
    """The name of a peer without its networks."""
    return name.partition(",")[0]
