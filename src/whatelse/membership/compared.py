"""What an attack on reference models compares: one signal of many models."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
_VALUES = 2**22  # of a chunk: 32 MB in float64


@dataclass(frozen=True)
class Compared:
    """One signal of the model under attack and of the reference models.

    Attributes
    ----------
    observed : ndarray of float, shape (rows, queries)
        The model under attack, about the records in question.
    references : ndarray of float, shape (models, rows, queries)
        The reference models about the same records.
    inside : ndarray of bool, shape (models, rows)
        Whether a reference model was trained on a record.
    others : ndarray of float, shape (others, queries)
        The model under attack about the population: records that no model here was
        trained on.
    references_on_others : ndarray of float, shape (models, others, queries)
        The reference models about the population.
    """

    observed: Floats
    references: Floats
    inside: NDArray[np.bool_]
    others: Floats
    references_on_others: Floats


def chunks(references: Floats) -> Iterator[slice]:
    """Yield slices of rows, few enough for all models' to be worked on as float64."""
    models, rows, queries = references.shape
    size = max(1, _VALUES // max(1, models * queries))
    for start in range(0, rows, size):
        yield slice(start, start + size)


def above_most(
    scores: NDArray[np.float64], theirs: Floats, level: float
) -> NDArray[np.bool_]:
    """Return who is above all but a share `level` of others, shape (rows,)."""
    limit: NDArray[np.bool_] = scores > np.quantile(theirs, 1 - level, method="higher")
    return limit
