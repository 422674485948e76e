"""The mutual information gap: is each factor known to one latent, and to no other?

Chen, Li, Grosse, Duvenaud: Isolating Sources of Disentanglement in VAEs (NeurIPS 2018), eq. 6:

    MIG = 1/K sum_k ( I(z_a; v_k) - I(z_b; v_k) ) / H(v_k)

with a the latent that knows most of factor v_k and b the one that knows second most. There I is
taken under q(z | x); here, as in disentanglement_lib and disent, it is that of the codes themselves
in bins of equal width, so that scores from there can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from vase.errors import InputError
from vase.metrics.table import Array, Table, binned


@dataclass(frozen=True, eq=False)
class Mig:
    """The gap of every factor [K] in [0, 1], and `score`, their mean.

    information: I(z_n; v_k) in nats, [N, K]. entropy: H(v_k) in nats, [K]. A factor that is
    constant in the table has nan in all three, and the score leaves it out.
    """

    score: float
    gaps: Array
    information: Array
    entropy: Array


def mig(codes: ArrayLike, factors: ArrayLike, bins: int = 20) -> Mig:
    """The mutual information gap of codes [B, N] for discrete factors [B, K].

    Latents are put into `bins` bins of equal width (`binned`), so that V equally likely values of
    a factor give at most log(bins) / log(V) where V is larger: 0.81 for 40 values and 20 bins. The
    second best latent of a code that has only one knows 0 nats.

    The information is the plug-in estimate, which is too large by about
    (bins - 1)(V - 1) / (2 B) nats for a latent that knows nothing.

    Raises:
        InputError: arrays that do not fit; a factor that is not discrete; fewer rows than cells,
            bins times values, where the estimate is mostly bias; no factor that varies.
    """
    table = Table.of(codes, factors)
    latents = binned(table.codes, bins)
    information = np.zeros((latents.shape[1], len(table.varying)))
    nats = np.zeros(len(table.varying))
    for k, factor in enumerate(table.varying):
        values = table.labels(factor)
        _check_cells(len(values), bins, int(values.max()) + 1, int(factor))
        nats[k] = entropy(np.bincount(values))
        information[:, k] = [mutual_info_score(values, latent) for latent in latents.T]
    ranked = np.sort(np.vstack([np.zeros_like(nats), information]), axis=0)
    gaps = (ranked[-1] - ranked[-2]) / nats
    return Mig(
        float(gaps.mean()),
        table.per_factor(gaps),
        table.per_factor(information),
        table.per_factor(nats),
    )


def _check_cells(rows: int, bins: int, values: int, factor: int) -> None:
    if rows < bins * values:
        raise InputError(
            f"factors[:, {factor}] has {values} values: with {bins} bins that is {bins * values} "
            f"cells for {rows} rows, too few to estimate information from. Give more rows or fewer "
            "bins, or bin the factor."
        )
