"""What two columns have to do with each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cramers_v(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Return Cramer's V of two columns: 0 unrelated, 1 each tells the other.

    None if one of them has one value alone.
    """
    from scipy.stats.contingency import association, crosstab

    table = crosstab(first, second).count
    return float(association(table, method="cramer")) if min(table.shape) > 1 else None


def pearson(task: NDArray[Any], has: NDArray[np.bool_]) -> float | None:
    """Return Pearson's r of a task of two classes, the later 1, and a property.

    None of a task with more classes, whose numbers have no order, and if all records
    have the property or none has.
    """
    classes = np.unique(task)
    if len(classes) != 2 or len(np.unique(has)) != 2:
        return None
    return float(np.corrcoef(task == classes[1], has)[0, 1])
