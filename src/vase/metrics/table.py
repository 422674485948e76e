"""The table that every metric reads: codes and factors, one row per image, checked first.

A factor that has one value in the whole table tells nothing: what a metric says of it is undefined.
It is given as nan, and means run over the factors that vary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vase.arguments import whole_number
from vase.errors import InputError

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

MAX_MAGNITUDE = 1e150  # sums of squares of larger numbers overflow


@dataclass(frozen=True, eq=False)
class Table:
    """Codes [B, N] and factors [B, K] of the same B images; `varying` [K'] are factors' columns."""

    codes: Array
    factors: Array
    varying: NDArray[np.intp]

    @staticmethod
    def of(codes: ArrayLike, factors: ArrayLike, least_factors: int = 1) -> Table:
        """Check the two arrays; at least `least_factors` factors must vary.

        Raises:
            InputError: shapes that do not fit, NaN, fewer than two rows, too few factors that vary.
        """
        checked = checked_columns(codes, "codes")
        truth = checked_columns(factors, "factors")
        if len(checked) != len(truth):
            raise InputError(
                f"codes has {len(checked)} rows and factors has {len(truth)}. Row i of both must "
                "be of the same image."
            )
        varying = np.flatnonzero(varies(truth))
        if len(varying) < least_factors:
            raise InputError(
                f"{len(varying)} of {truth.shape[1]} factors take more than one value, and this "
                f"metric needs {least_factors}. Give rows in which more of the factors vary."
            )
        return Table(checked, truth, varying)

    def labels(self, factor: int) -> Labels:
        """One factor's values, numbered 0 .. V-1 in ascending order, [B].

        Raises:
            InputError: the values are not whole numbers, so nobody has said what one value is.
        """
        column = self.factors[:, factor]
        fractional = np.flatnonzero(column != np.round(column))
        if len(fractional):
            raise InputError(
                f"factors[{fractional[0]}, {factor}] is {column[fractional[0]]:g}, and a discrete "
                "factor has whole numbers. Bin the column first, for instance with "
                "vase.metrics.binned(factors, bins=10)."
            )
        _, numbered = np.unique(column, return_inverse=True)
        return numbered.astype(np.intp)

    def per_factor(self, values: Array) -> Array:
        """Values [..., K'] of the factors that vary, with nan at the others, [..., K]."""
        every = np.full((*values.shape[:-1], self.factors.shape[1]), np.nan)
        every[..., self.varying] = values
        return every


def checked_columns(values: ArrayLike, name: str, least_rows: int = 2) -> Array:
    """An array [B, N] of finite numbers in float64, B at least `least_rows`, N at least 1.

    Raises:
        InputError: it is not; the message names `name` and the place.
    """
    if callable(getattr(values, "detach", None)):  # a tensor, wherever it is
        values = values.detach().cpu()  # type: ignore[union-attr]
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} has the shape {list(array.shape)}; it must be a table [rows, columns] with a "
            f"row per image. A single column is {name}[:, None]."
        )
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype}; it must hold real numbers.")
    if len(array) < least_rows:
        raise InputError(f"{name} has {len(array)} rows; give at least {least_rows}.")
    exact = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(exact))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{name}[{row}, {column}] is {exact[row, column]}, one of {len(bad)} values that are "
            "not finite. Leave those rows out of every array, or mend what made them."
        )
    huge = np.abs(exact).max()
    if huge > MAX_MAGNITUDE:
        raise InputError(
            f"{name} holds numbers as large as {huge:g}, whose squares overflow. Divide its "
            "columns by their size."
        )
    return exact


def varies(values: Array) -> NDArray[np.bool_]:
    """Which columns of [B, N] take more than one value, [N]."""
    different: NDArray[np.bool_] = values.max(axis=0) > values.min(axis=0)
    return different


def standardised(values: Array, like: Array | None = None) -> Array:
    """Columns less their mean over their deviation (those of `like`); a constant one becomes 0."""
    source = values if like is None else like
    moving = varies(source)
    low = source[:, moving].min(axis=0)
    span = source[:, moving].max(axis=0) - low
    unit = (source[:, moving] - low) / span  # so that a tiny column's variance is not lost to 0
    place = (values[:, moving] - low) / span
    scaled = np.zeros(values.shape)
    scaled[:, moving] = (place - unit.mean(axis=0)) / unit.std(axis=0)
    return scaled


def binned(values: ArrayLike, bins: int = 20) -> Labels:
    """Every column of [B, N] in `bins` bins of equal width from its minimum to its maximum.

    Bin i holds min + i w <= x < min + (i + 1) w with w = (max - min) / bins, the last one its
    upper edge as well, as a histogram does. Numbers 0 .. bins - 1; a constant column is all 0.

    Raises:
        InputError: not a table of finite numbers, or fewer than two bins.
    """
    whole_number(bins, "bins", least=2)
    columns = checked_columns(values, "values")
    numbered = np.zeros(columns.shape, np.intp)
    for n in np.flatnonzero(varies(columns)):
        column = columns[:, n]
        edges = np.linspace(column.min(), column.max(), bins + 1)
        numbered[:, n] = np.digitize(column, edges[1:-1])
    return numbered


def split(rows: int, test_share: float, seed: int) -> tuple[Labels, Labels]:
    """Row numbers to train on and to test on, at random; the latter are `test_share` of them.

    Raises:
        InputError: a share outside (0, 1), or so few rows that one side would be empty.
    """
    if not 0 < test_share < 1:
        raise InputError(f"test_share is {test_share}; it must lie between 0 and 1, say 0.25.")
    held_out = round(rows * test_share)
    if not 0 < held_out < rows:
        raise InputError(
            f"{rows} rows with test_share={test_share} leave nothing to train or to test on. Give "
            "more rows."
        )
    order = np.random.default_rng(whole_number(seed, "seed")).permutation(rows)
    return order[held_out:], order[:held_out]
