"""The form of a record: which values its features may take, and nothing else.

It is what P1's adversary knows of the inputs (Sec. III): how a query looks like.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.store import Dataset
from whatelse.errors import UserError

_ANY = 1 << 24  # values that a feature of float32 is taken to have
_BLOCK = 1 << 22  # values that are looked at together
_ODD = np.uint32(0x9E3779B1)  # 2^32 over the golden ratio: spreads neighbours out

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Domain:
    """The values that each feature may take: `levels` of them, `step` apart.

    Attributes
    ----------
    shape : tuple of int
        Of a record.
    dtype : dtype
        In which it is stored.
    low, step : ndarray of float64, shape (features,)
        The least value, and from one to the next.
    levels : ndarray of uint64, shape (features,)
        How many values: 2 for bits, 1 for a constant.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    low: NDArray[np.float64]
    step: NDArray[np.float64]
    levels: NDArray[np.uint64]

    @property
    def num_features(self) -> int:
        """Features of a record."""
        return len(self.low)

    def values(self, features: NDArray[np.int64], words: Words) -> NDArray[Any]:
        """Return a value of each of some features, uniform over its levels.

        Parameters
        ----------
        features : ndarray of int64, shape (n,)
            Which.
        words : ndarray of uint32, shape (n,)
            Random numbers. Those of one short range do as well as any: a multiplication
            takes the value apart from the number's size.

        Returns
        -------
        ndarray of `dtype`, shape (n,)
        """
        spread = (words * _ODD).astype(np.uint64)
        level = (spread * self.levels[features]) >> np.uint64(32)
        value = self.low[features] + self.step[features] * level
        return value.astype(self.dtype)

    def draw(self, rng: np.random.Generator, records: int) -> NDArray[Any]:
        """Return random records, flat, shape (records, features)."""
        words = random_words(rng, records, self.num_features)
        features = np.tile(np.arange(self.num_features), records)
        return self.values(features, words.ravel()).reshape(words.shape)

    def changed(
        self, inputs: NDArray[Any], counts: NDArray[np.int64], words: Words, *,
        flip: bool = False,
    ) -> NDArray[Any]:  # fmt: skip
        """Return records in which some features have new values.

        Parameters
        ----------
        inputs : ndarray of `dtype`, shape (n, features)
            The records, flat; they stay as they are.
        counts : ndarray of int64, shape (n,)
            How many features of each, 0 to all of them, chosen by lot.
        words : ndarray of uint32, shape (n, features)
            Random numbers: a record's row alone says what becomes of it.
        flip : bool, optional
            Features of two values take the other one; else a random one, which may be
            the old one.

        Returns
        -------
        ndarray of `dtype`, shape (n, features)
        """
        places = np.flatnonzero(_smallest(words, counts))
        features = places % self.num_features
        values = self.values(features, words.ravel()[places])
        changed = inputs.copy()
        flat = changed.ravel()
        if flip:
            two = self.levels[features] == 2
            ends = 2 * self.low[features[two]] + self.step[features[two]]
            values[two] = (ends - flat[places[two]]).astype(self.dtype)
        flat[places] = values
        return changed


def random_words(rng: np.random.Generator, records: int, features: int) -> Words:
    """Return random numbers, shape (records, features): rows do not depend on others.

    The first rows are the same however many are drawn.
    """
    # Two from each of 64 bits: twice as fast as to ask for 32.
    pairs = rng.integers(0, 2**64, size=(records, -(-features // 2)), dtype=np.uint64)
    return pairs.view(np.uint32)[:, :features]


def _smallest(words: Words, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where the `counts` smallest numbers of each row are: a random choice."""
    largest = np.zeros(len(words), dtype=np.uint32)
    for count in np.unique(counts[counts > 0]):  # a few: k is halved
        rows = np.flatnonzero(counts == count)
        own = words if len(rows) == len(words) else words[rows]
        largest[rows] = np.partition(own, count - 1, axis=1)[:, count - 1]
    chosen: NDArray[np.bool_] = words <= largest[:, None]
    chosen[counts == 0] = False
    return chosen


def domain_of(dataset: Dataset) -> Domain:
    """Return the form of a data set's records.

    Stored bytes are whole numbers, or two of them, in one range for all features.
    Other numbers are of any value in their feature's own range, or one of two.

    Raises
    ------
    UserError
        If records are bags or rows of words: a random one is none.
    """
    if dataset.is_sparse or dataset.num_words is not None:
        what = "bags of words" if dataset.is_sparse else "rows of word numbers"
        raise UserError(
            f"shadow_data: records of {dataset.folder} are {what}; allowed: features "
            "that are numbers, each of a range of its own (or shadow_data: real)"
        )
    inputs = dataset.inputs
    features = math.prod(inputs.shape[1:])
    rows = max(1, _BLOCK // features)
    blocks = [
        np.asarray(inputs[start : start + rows]).reshape(-1, features)
        for start in range(0, len(inputs), rows)
    ]
    low = np.min([block.min(0) for block in blocks], axis=0).astype(np.float64)
    high = np.max([block.max(0) for block in blocks], axis=0).astype(np.float64)
    whole = inputs.dtype.kind == "u"
    if whole:
        low, high = np.full(features, low.min()), np.full(features, high.max())
    two = np.all(
        [((block == low) | (block == high)).all(0) for block in blocks], axis=0
    )
    if whole:
        two = np.full(features, two.all())
    span = high - low
    levels = np.where(two, 2, span + 1 if whole else _ANY)
    levels = np.where(span == 0, 1, levels)
    step = span / np.maximum(levels - 1, 1)
    return Domain(
        tuple(inputs.shape[1:]), inputs.dtype, low, step, levels.astype(np.uint64)
    )
