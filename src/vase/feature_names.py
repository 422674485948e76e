"""The names of a table's columns, as scikit-learn's estimators keep them: `feature_names_in_`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vase.errors import InputError


def keep(estimator: Any, table: Any) -> None:
    """Keep the names of the first table that a model has learnt from, if its columns have any."""
    names = _names(table)
    if names and not hasattr(estimator, "feature_names_in_"):
        estimator.feature_names_in_ = np.array(names, dtype=object)


def refuse_others(estimator: Any, table: Any) -> None:
    """An `InputError` for a table whose columns have other names, or another order."""
    learnt, given = getattr(estimator, "feature_names_in_", None), _names(table)
    if learnt is not None and given and list(learnt) != given:
        raise InputError(
            "The feature names should match those that were passed during fit. They were "
            f"{', '.join(learnt[:8])}, and are {', '.join(given[:8])}. Put the columns in order."
        )


def _names(table: Any) -> list[str]:
    columns = getattr(table, "columns", None)
    names = list(columns) if columns is not None and hasattr(table, "__array__") else []
    return names if all(isinstance(name, str) for name in names) else []
