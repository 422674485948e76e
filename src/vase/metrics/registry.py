"""Metrics by name: functions of codes [B, N] and factors [B, K], small integers, to a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from vase import registry
from vase.metrics.fixed_factor import beta_vae_score, factor_vae_score
from vase.metrics.importance import dci
from vase.metrics.information import mig
from vase.metrics.separation import sap

Metric = Callable[[NDArray[Any], NDArray[Any]], float]

METRICS: dict[str, Metric] = {
    "mig": lambda codes, factors: mig(codes, factors).score,
    "sap": lambda codes, factors: sap(codes, factors, by="thresholds").score,
    "dci": lambda codes, factors: dci(codes, factors, seed=0).disentanglement,
    "factor-vae": factor_vae_score,
    "beta-vae": beta_vae_score,
}


def metric(name: str) -> Metric:
    """Return the metric that an entry of `probes.metrics` names."""
    return registry.resolve(name, METRICS, "metric", registry.lacks_call)
