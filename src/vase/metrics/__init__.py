"""Disentanglement metrics on plain arrays: `codes` [B, N] and the true `factors` [B, K].

    from vase.metrics import dci, mig
    mig(codes, factors).score
    dci(codes, factors, seed=0).disentanglement

No model, no data set, no images: whatever gave the codes will do. docs/metrics.md says which of
them answers what, and what each gives for codes that are known by hand.
"""

from vase.metrics.agreement import Udr, udr
from vase.metrics.fixed_factor import beta_vae_score, factor_vae_score
from vase.metrics.importance import Dci, dci
from vase.metrics.information import Mig, mig
from vase.metrics.latents import active_units, total_correlation
from vase.metrics.registry import METRICS, metric
from vase.metrics.separation import Sap, sap
from vase.metrics.table import binned

__all__ = [
    "METRICS",
    "Dci",
    "Mig",
    "Sap",
    "Udr",
    "active_units",
    "beta_vae_score",
    "binned",
    "dci",
    "factor_vae_score",
    "metric",
    "mig",
    "sap",
    "total_correlation",
    "udr",
]
