"""Properties of records by name, as words."""

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.store import Dataset, known_attributes
from whatelse.errors import UserError

LABEL = "label"
"""What the classes are called where an attribute is asked for."""


def numbers_of(
    dataset: Dataset, attribute: str, field: str
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return an attribute's values in order, and which one every record has.

    Raises
    ------
    UserError
        As `words_of`.
    """
    values, places = np.unique(words_of(dataset, attribute, field), return_inverse=True)
    return values, places.astype(np.int64)


def words_of(dataset: Dataset, attribute: str, field: str) -> NDArray[np.str_]:
    """Return an attribute, or the names of the classes, of every record, as text.

    Parameters
    ----------
    dataset : Dataset
        The records.
    attribute : str
        Its name, or `LABEL`.
    field : str
        What an error names as the place of a bad value.

    Raises
    ------
    UserError
        If the data set has no such attribute.
    """
    if attribute == LABEL:
        names = np.array(dataset.info["class_names"], dtype=object)
        column = names[np.asarray(dataset.labels)]
    else:
        known = known_attributes(dataset)
        if attribute not in known:
            raise UserError(
                f"{field}: {attribute!r}: no attribute of {dataset.info['name']}; "
                f"allowed: {', '.join([LABEL, *known])}"
            )
        column = dataset.attributes[attribute].to_numpy()
    return np.array([str(value) for value in column])
