"""Which records have a property."""

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.attributes import words_of
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.properties.adversary_settings import Property


def has_property(
    dataset: Dataset, wanted: Property, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which records have a property, shape (records,).

    Parameters
    ----------
    dataset : Dataset
        The records.
    wanted : Property
        Which.
    rng : Generator
        Draws a property that is had by lot.

    Raises
    ------
    UserError
        If the data set has no such attribute or value, or all records have it.
    """
    if wanted.attribute is None or wanted.values is None:
        count = round((wanted.share or 0) * dataset.num_records)
        if not 1 <= count < dataset.num_records:
            raise UserError(
                f"property.share: {wanted.share} of {dataset.num_records} records; "
                "allowed: at least one of them, and not all"
            )
        return rng.permutation(dataset.num_records) < count
    words = words_of(dataset, wanted.attribute, "property.attribute")
    found = np.isin(words, [str(value) for value in wanted.values])
    if found.all() or not found.any():
        values = sorted(set(words.tolist()))
        shown = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
        raise UserError(
            f"property.values: {list(wanted.values)}: "
            f"{'all' if found.all() else 'no'} records have one of them; allowed: some "
            f"of {shown}"
        )
    return found
