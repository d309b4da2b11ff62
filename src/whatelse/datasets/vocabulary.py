"""Records made of words: rows of word numbers from 1, 0 where one is too short."""

from typing import Any

import numpy as np

from whatelse.datasets.store import Dataset
from whatelse.errors import UserError

UNKNOWN = 1
"""The number of the word that stands for all others, where records predict the next
word. It is no answer: `loss: next-word` does not teach it."""


def vocabulary_of(dataset: Dataset) -> list[str]:
    """Return what the word numbers stand for; word i is number i + 1.

    Raises
    ------
    UserError
        If records are not made of words.
    """
    found: list[str] | None = dataset.info.get("vocabulary")
    if not found or dataset.is_sparse or dataset.inputs.ndim != 2:
        raise UserError(
            f"dataset: records of {dataset.info['name']} are no rows of word numbers; "
            "allowed: a source of words, such as blogs"
        )
    return found


def bags_of_words(rows: Any, words: int) -> Any:
    """Return which words each record has.

    Parameters
    ----------
    rows : ndarray of int, shape (R, length)
        Word numbers; 0 is none.
    words : int
        Words of the vocabulary, V.

    Returns
    -------
    scipy.sparse.csr_array of float32, shape (R, V)
        1 where a record has the word.
    """
    # A third of a second to import.
    from scipy.sparse import csr_array

    record, place = np.nonzero(rows)
    numbers = np.asarray(rows[record, place], dtype=np.int64) - 1
    known = np.unique(record * words + numbers)
    ones = np.ones(len(known), dtype=np.float32)
    return csr_array((ones, divmod(known, words)), shape=(len(rows), words))
