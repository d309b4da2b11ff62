"""Texts as sequences of numbers, for models that look words up in an embedding.

Words are numbered from 1 by how often they occur, all texts counted; 0 fills up the
end of a record. A word outside the vocabulary is left out, so that a record has the
first known words of its text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import TokensBase
from whatelse.errors import UserError

# Letters, and apostrophes inside a word.
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@dataclass(frozen=True)
class Sequences:
    """Texts as numbers.

    Attributes
    ----------
    inputs : ndarray of uint16, shape (kept, length)
        Words from 1 on, zeros at the end.
    kept : ndarray of int, shape (kept,)
        Which of the texts have enough known words, in their order.
    vocabulary : tuple of str
        The most frequent word first; words as frequent by name.
    """

    inputs: npt.NDArray[np.uint16]
    kept: npt.NDArray[np.intp]
    vocabulary: tuple[str, ...]


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def encode(
    texts: Iterable[Sequence[str]], *, vocabulary: int, length: int, least: int = 1
) -> Sequences:
    """Count words and replace them by numbers.

    Parameters
    ----------
    texts : iterable of sequence of str
        The words of each text.
    vocabulary : int
        So many of the most frequent words are known, 65,535 at most.
    length : int
        Known words that a record has.
    least : int, optional
        Texts with fewer known words, before they are cut, are dropped.

    Returns
    -------
    Sequences
        With no record at all if every text is dropped.
    """
    seen: dict[str, int] = {}
    coded = [
        np.array([seen.setdefault(word, len(seen)) for word in words], dtype=np.int32)
        for words in texts
    ]
    whole = np.concatenate([np.zeros(0, np.int32), *coded])
    times = np.bincount(whole, minlength=len(seen))
    known = sorted(seen, key=lambda word: (-times[seen[word]], word))[:vocabulary]
    number = np.zeros(len(seen), dtype=np.uint16)
    number[[seen[word] for word in known]] = np.arange(1, len(known) + 1)

    numbers = number[whole]
    row = np.repeat(np.arange(len(coded)), [len(words) for words in coded])
    row, numbers = row[numbers > 0], numbers[numbers > 0]
    sizes = np.bincount(row, minlength=len(coded))
    place = np.arange(len(row)) - (np.cumsum(sizes) - sizes)[row]
    fits = place < length
    inputs = np.zeros((len(coded), length), dtype=np.uint16)
    inputs[row[fits], place[fits]] = numbers[fits]
    kept = np.flatnonzero(sizes >= max(least, 1))
    return Sequences(inputs[kept], kept, tuple(known))


def as_loaded(
    path: Path,
    texts: Iterable[Sequence[str]],
    settings: TokensBase,
    *,
    labels: Sequence[int],
    class_names: tuple[str, ...],
    attributes: Mapping[str, Sequence[Any]],
    least: int = 1,
    remarks: tuple[str, ...] = (),
) -> Loaded:
    """Return texts, each with a label and properties, as a data set.

    Raises
    ------
    UserError
        If no text has as many known words as asked for.
    """
    made = encode(
        texts, vocabulary=settings.vocabulary, length=settings.length, least=least
    )
    kept = made.kept
    if not len(kept):
        raise UserError(
            f"{path}: no text of {len(labels):,} has {least} "
            f"word{'' if least == 1 else 's'} of the vocabulary; allowed: one at least"
        )
    dropped = len(labels) - len(kept)
    remark = (
        f"the first {settings.length:,} words of each text, of the "
        f"{len(made.vocabulary):,} most frequent"
    )
    if dropped:
        remark += f"; left out: {dropped:,} with fewer than {least:,} of them"
    return Loaded(
        inputs=made.inputs,
        labels=np.asarray(labels)[kept],
        class_names=class_names,
        vocabulary=made.vocabulary,
        attributes={
            name: [values[index] for index in kept]
            for name, values in attributes.items()
        },
        remarks=(*remarks, remark),
    )
