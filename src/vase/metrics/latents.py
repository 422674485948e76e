"""What latents look like without any factors: which are in use, and how dependent they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vase.errors import InputError
from vase.metrics.table import checked_columns, standardised, varies


def active_units(means: ArrayLike, threshold: float = 0.01) -> NDArray[np.bool_]:
    """Which latents are in use: Var_x( E[z_n | x] ) > threshold, [N].

    Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders (ICLR 2016), whose threshold of
    0.01 is meant for a prior of variance 1. means: the posterior means [B, N] of B images; samples
    would add the posterior's own variance, and every latent would be active.

    Raises:
        InputError: not a table of finite numbers with two rows or more.
    """
    active: NDArray[np.bool_] = checked_columns(means, "means").var(axis=0) > threshold
    return active


def total_correlation(codes: ArrayLike) -> float:
    """The total correlation, in nats, of the Gaussian with the codes' [B, N] mean and covariance.

        TC = KL( N(m, C) || prod_n N(m_n, C_nn) ) = -1/2 log det of the correlation matrix

    0 where no two latents correlate, -1/2 log(1 - rho^2) for two that do by rho, and infinite where
    one is a linear function of others (to within rounding). A constant latent depends on nothing
    and adds 0. It sees only what is linear: latents can depend on each other and have 0 here. For
    independent latents the estimate from B rows is about N (N - 1) / (4 B), not 0.

    Raises:
        InputError: not a table of finite numbers, or no more rows than latents that vary, when the
            correlation matrix is singular whatever the codes are.
    """
    checked = checked_columns(codes, "codes")
    moving = standardised(checked[:, varies(checked)])
    rows, latents = moving.shape
    if latents < 2:
        return 0.0
    if rows <= latents:
        raise InputError(
            f"codes has {rows} rows and {latents} latents that vary. Give more rows than latents, "
            "better many more."
        )
    spectrum = np.linalg.eigvalsh(moving.T @ moving / rows)
    if spectrum[0] <= latents * np.finfo(np.float64).eps * spectrum[-1]:
        return math.inf
    return max(0.0, float(-np.log(spectrum).sum() / 2))
