"""How disentangled the code of a domain is: metrics of `vase.metrics` on its posterior means.

Factors are the identity and, where they vary, x, y and the like, each in ten bins over [0, 1]. Only
metrics that take no fitting are asked at every milestone; docs/metrics.md says what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vase.errors import InputError
from vase.lifelong.environments import USED
from vase.metrics import active_units, metric, mig, total_correlation
from vase.probes.encode import Code
from vase.records import GroundTruth

CODE_BINS, FACTOR_BINS = 20, 10


def varying_factors(code: Code | GroundTruth) -> dict[str, NDArray[np.int64]]:
    """The factors that vary, by name, [B] each, as small integers."""
    factors = {"identity": code.labels} | {
        name: np.minimum((FACTOR_BINS * values).astype(np.int64), FACTOR_BINS - 1)
        for name, values in code.factors.items()
    }
    return {name: values for name, values in factors.items() if len(np.unique(values)) > 1}


def enough_images(factors: Mapping[str, NDArray[np.int64]], rows: int) -> bool:
    """Whether so many images are enough to estimate information on these factors from."""
    cells = CODE_BINS * max((1 + int(np.ptp(values)) for values in factors.values()), default=0)
    return bool(factors) and rows >= cells


def disentanglement_scores(code: Code) -> dict[str, Any] | None:
    """MIG (mean, and by factor), total correlation in nats, and how many latents are active.

    The total correlation is that of the latents in use (`latents.USED`): the others' means are
    small but far from independent, and would drown it. None where too few images were encoded to
    estimate information from, or no factor varies.
    """
    factors = varying_factors(code)
    if not enough_images(factors, len(code.mean)):
        return None
    used = code.mean[:, code.kl >= USED]
    found = mig(code.mean, np.stack(list(factors.values()), axis=1), bins=CODE_BINS)
    return {
        "mig": found.score,
        "mig_by_factor": dict(zip(factors, found.gaps.tolist(), strict=True)),
        "total_correlation_nats": total_correlation(used) if used.shape[1] else 0.0,
        "active_units": int(active_units(code.mean).sum()),
    }


def named_metrics(code: Code, names: Sequence[str]) -> dict[str, float | None]:
    """Return metrics by the names of `probes.metrics`.

    None where no factor varies, or a metric says that the images are too few for it.
    """
    factors = varying_factors(code)
    if not factors:
        return dict.fromkeys(names)
    table = np.stack(list(factors.values()), axis=1)
    found: dict[str, float | None] = {}
    for name in names:
        try:
            found[name] = float(metric(name)(code.mean, table))
        except InputError:
            found[name] = None
    return found
