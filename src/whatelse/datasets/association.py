"""What attributes of records have to do with a task: ``whatelse datasets show``."""

from typing import NamedTuple

from whatelse.datasets.attributes import LABEL, numbers_of
from whatelse.datasets.store import Dataset, known_attributes
from whatelse.measures.association import cramers_v, pearson

_MOST = 20  # values that are listed one by one


class Associated(NamedTuple):
    """A value of an attribute beside the task; None where a number makes no sense.

    ``cramers_v`` is that of the task and having the value, 0 is unrelated; ``pearson``
    is signed, of tasks of two classes, the later of which counts as 1. An attribute of
    many values is one row, with neither `share` nor `pearson`.
    """

    attribute: str
    value: str
    share: float | None
    cramers_v: float | None
    pearson: float | None


def associated(dataset: Dataset, task: str) -> list[Associated]:
    """Return a row for every value of every attribute but the task.

    Parameters
    ----------
    dataset : Dataset
        Whose records are looked at, all of them.
    task : str
        An attribute, or `LABEL`: the classes.

    Raises
    ------
    UserError
        If there is no such attribute.
    """
    _, told = numbers_of(dataset, task, "--task")
    rows = []
    for name in (LABEL, *known_attributes(dataset)):
        if name == task:
            continue
        values, own = numbers_of(dataset, name, "attribute")
        if len(values) > _MOST:
            words = f"({len(values):,} values)"
            rows.append(Associated(name, words, None, cramers_v(told, own), None))
            continue
        for number, value in enumerate(values):
            has_it = own == number
            v, r = cramers_v(told, has_it), pearson(told, has_it)
            rows.append(Associated(name, str(value), float(has_it.mean()), v, r))
    return rows
