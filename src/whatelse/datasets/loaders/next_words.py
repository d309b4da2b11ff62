"""Texts of some authors as windows of words, each with the word that follows it.

What one author wrote is one sequence: post after post, with a mark at the end of each.
It is cut into windows that follow each other; a window's label is the first word of
the next one. So every word but an author's first is what follows some word of one
window, and of one only. The last window is as long as there are words left.

Words are numbered from 1: the unknown word, the mark, then the others by how often they
occur; 0 fills up the end of a record and is never a label. Unlike in the other data
sets of words, a word outside the vocabulary is not left out: what follows would not.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.tokens import split_words
from whatelse.datasets.settings import NextWordsBase
from whatelse.datasets.vocabulary import UNKNOWN
from whatelse.errors import UserError

NONE, UNKNOWN_WORD, END = "<none>", "<unk>", "<eos>"
"""The filler, the word for all unknown ones, and the end of a post."""

Words = Sequence[str]


def as_windows(
    path: Path, authors: Iterable[Iterable[Words]], settings: NextWordsBase, *,
    remarks: tuple[str, ...] = (),
) -> Loaded:  # fmt: skip
    """Return the windows of all authors' texts as a data set.

    Parameters
    ----------
    path : Path
        What errors name.
    authors : iterable of iterable of sequence of str
        The words of each post of each author. Those with too few are left out; no more
        authors are asked for than are wanted.
    settings : NextWordsBase
        Sizes, and words that must be known.
    remarks : tuple of str, optional
        What reports must repeat.

    Raises
    ------
    UserError
        If no author has enough words, or a word that must be known is none.
    """
    always = _checked(settings)
    seen: dict[str, int] = {}
    texts = [
        np.array([seen.setdefault(word, len(seen)) for word in words], dtype=np.int32)
        for words in islice(_texts(authors, settings), settings.authors)
    ]
    if not texts:
        raise UserError(
            f"{path}: no author has {settings.least:,} words; allowed: one at least"
        )
    known = _known(seen, texts, always, settings.vocabulary)
    number = np.full(len(seen), UNKNOWN, dtype=np.uint16)
    for place, word in enumerate(known, 1):
        if word in seen:
            number[seen[word]] = place
    windows = [windows_of(number[text], settings.length) for text in texts]
    inputs, labels = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    sizes = [len(own) for own, _ in windows]
    remark = (
        f"windows of {settings.length:,} words and the next one, of {len(texts):,} "
        f"authors, at most {settings.words_per_author:,} words of each; the "
        f"{len(known):,} known words include {UNKNOWN_WORD} and {END}"
    )
    return Loaded(
        inputs=inputs,
        labels=labels.astype(np.int64),
        class_names=(NONE, *known),
        vocabulary=known,
        attributes={"author": np.repeat(np.arange(len(texts)), sizes).tolist()},
        remarks=(*remarks, remark),
    )


def windows_of(
    numbers: npt.NDArray[np.uint16], length: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Return the windows of a text of at least two words, and what follows each.

    Returns
    -------
    inputs : ndarray of uint16, shape (windows, length)
        Zeros at the end of the last.
    labels : ndarray of uint16, shape (windows,)
        The next word of each.
    """
    predicting = len(numbers) - 1
    count = -(-predicting // length)
    inputs = np.zeros(count * length, dtype=np.uint16)
    inputs[:predicting] = numbers[:-1]
    follows = np.minimum(np.arange(1, count + 1) * length, predicting)
    return inputs.reshape(count, length), numbers[follows]


def _texts(
    authors: Iterable[Iterable[Words]], settings: NextWordsBase
) -> Iterator[list[str]]:
    """Yield what each author with enough words wrote, cut."""
    for posts in authors:
        marked = ((*words, END) for words in posts if words)
        words = list(islice(chain.from_iterable(marked), settings.words_per_author))
        if len(words) >= settings.least:
            yield words


def _known(
    seen: dict[str, int], texts: Sequence[npt.NDArray[np.int32]], always: Words,
    most: int,
) -> tuple[str, ...]:  # fmt: skip
    """Return the vocabulary: the unknown word, the mark, then the most frequent first.

    Words that must be known have their place among the others.
    """
    times = np.bincount(np.concatenate(texts), minlength=len(seen))

    def order(word: str) -> tuple[int, str]:
        return -int(times[seen[word]]) if word in seen else 0, word

    special = {UNKNOWN_WORD, END}
    others = sorted(seen.keys() - special - set(always), key=order)
    room = most - len(special) - len(always)
    return (UNKNOWN_WORD, END, *sorted([*always, *others[:room]], key=order))


def _checked(settings: NextWordsBase) -> list[str]:
    always = list(dict.fromkeys(settings.words))
    for word in always:
        if split_words(word) != [word]:
            raise UserError(
                f"words: {word!r}; allowed: one word in lower case, of letters and "
                "apostrophes"
            )
    if len(always) + 2 > settings.vocabulary:
        raise UserError(
            f"words: {len(always)} of them; allowed: at most "
            f"{settings.vocabulary - 2}, as the vocabulary has room"
        )
    return always
