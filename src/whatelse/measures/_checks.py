"""Checks that every measure makes of what it is handed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatelse.errors import UserError


def flags(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return `values` as a boolean vector.

    Raises
    ------
    ValueError
        If it is no vector or holds anything but True/False or 0/1. Other codings
        (-1/1, words) are refused, since a cast would call all of them True.
    """
    vector = np.asarray(values)
    if vector.ndim != 1:
        raise ValueError(f"{name}: must be a vector, has shape {vector.shape}")
    if vector.dtype != np.bool_ and not np.isin(vector, (0, 1)).all():
        raise ValueError(f"{name}: must be boolean or 0/1, is {vector.dtype}")
    return vector.astype(np.bool_)


def membership(values: ArrayLike) -> NDArray[np.bool_]:
    """Return the membership column as a boolean vector with both kinds in it.

    Raises
    ------
    UserError
        If there are no members or no non-members.
    ValueError
        If it is no vector of booleans or 0/1.
    """
    member = flags(values, "member")
    num_members = int(member.sum())
    if num_members in (0, len(member)):
        raise UserError(
            "member: needs at least one member and one non-member, has "
            f"{num_members} and {len(member) - num_members}"
        )
    return member


def same_length(named: Sequence[tuple[str, int]]) -> None:
    """Refuse columns of different lengths.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    if len({length for _, length in named}) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in named)
        raise ValueError(f"columns of different lengths: {told}")


def scored(
    scores: ArrayLike, member: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and membership as vectors fit to be ranked.

    Raises
    ------
    UserError
        If a score is NaN, or there are no members or no non-members.
    ValueError
        If the lengths differ or a column has the wrong shape or type.
    """
    # Exact for float32, so scores that tie there still tie here.
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores: must be a vector, has shape {values.shape}")
    same_length([("scores", len(values)), ("member", len(np.atleast_1d(member)))])
    kinds = membership(member)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise UserError(
            f"scores: {len(missing)} of {len(values)} are NaN (the first in row "
            f"{missing[0]}); allowed: numbers, inf and -inf"
        )
    return values, kinds


def error_probability(confidence: float) -> float:
    """Return the error probability of a confidence level.

    Raises
    ------
    ValueError
        If the level is not strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: must be in (0, 1), is {confidence}")
    return 1 - confidence
