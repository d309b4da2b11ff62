"""Columns of a table as features: numbers standardised, categories one-hot."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whatelse.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 1000
MISSING = "(missing)"


def encode(
    where: str, frame: "pd.DataFrame"
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Turn columns into features.

    Parameters
    ----------
    where : str
        The file, for errors.
    frame : DataFrame
        Numeric and boolean columns are standardised over all records (a constant one
        becomes 0). Any other column gets a bit per category, a missing one included.

    Returns
    -------
    inputs : ndarray of float32, shape (records, features)
        In the columns' order; categories sorted by name.
    names : tuple of str
        One a feature: ``column`` or ``column=category``.

    Raises
    ------
    UserError
        If a number is missing or infinite, or a column has more than 1,000
        categories.
    """
    blocks: list[npt.NDArray[np.float32]] = []
    names: list[str] = []
    for column in frame.columns:
        values = frame[column]
        if values.dtype.kind in "biuf":
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            blocks.append(_standardised(where, str(column), numbers))
            names.append(str(column))
        else:
            block, categories = _one_hot(where, str(column), values)
            blocks.append(block)
            names += [f"{column}={category}" for category in categories]
    if not blocks:
        raise UserError(f"{where}: no column is left to learn from")
    return np.concatenate(blocks, axis=1), tuple(names)


def plain(values: Iterable[Any]) -> list[Any]:
    """Return a column as Python objects, missing values as None."""
    return [None if value != value or value is None else value for value in values]


def _standardised(
    where: str, column: str, numbers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise UserError(
            f"{where}: column {column!r}, record {bad[0]}: {numbers[bad[0]]}; "
            "allowed: finite numbers"
        )
    spread = numbers.std()
    centred = (numbers - numbers.mean()) / (spread if spread > 0 else 1.0)
    return centred[:, None].astype(np.float32)


def _one_hot(
    where: str, column: str, values: "pd.Series[Any]"
) -> tuple[npt.NDArray[np.float32], list[str]]:
    text = values.astype(object).where(values.notna(), MISSING).map(str)
    categories, codes = np.unique(text.to_numpy(dtype=str), return_inverse=True)
    if len(categories) > MAX_CATEGORIES:
        raise UserError(
            f"{where}: column {column!r}: {len(categories)} categories; "
            f"allowed: at most {MAX_CATEGORIES} (drop it, if it is a name or a date)"
        )
    return np.eye(len(categories), dtype=np.float32)[codes], categories.tolist()
