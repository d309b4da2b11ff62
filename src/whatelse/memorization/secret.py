"""The secret: which training records, as bytes or values, and back (P2 Sec. 3).

Pictures are 8-bit grey levels, documents the first tokens of each. Writers and
readers share this form; who writes knows the records, who reads only their shape.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.store import ATTRIBUTES, TOKENS, Dataset
from whatelse.errors import UserError
from whatelse.memorization import pictures, text
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.payload import capacity_bytes
from whatelse.seeding import stream

VECTOR = 20  # values of the pseudorandom vector that stands for a token


@dataclass(frozen=True)
class Form:
    """What a record of the secret looks like.

    Attributes
    ----------
    shape : tuple of int
        (Y, X) of a picture, (L,) of a document.
    vocabulary : int
        Words that tokens number; 0 for pictures.
    """

    shape: tuple[int, ...]
    vocabulary: int = 0

    @property
    def is_text(self) -> bool:
        """Whether records are documents."""
        return self.vocabulary > 0

    def bits(self, pixel_bits: int = 8) -> int:
        """Return the bits of a record, before coding."""
        size = text.token_bits(self.vocabulary) if self.is_text else pixel_bits
        return math.prod(self.shape) * size

    @property
    def values(self) -> int:
        """Values of a record, where it is hidden as numbers."""
        return math.prod(self.shape) * (VECTOR if self.is_text else 1)

    def to_bytes(self, records: NDArray[Any], pixel_bits: int = 8) -> bytes:
        """Return records as bytes."""
        if self.is_text:
            return text.tokens_to_bytes(records, self.vocabulary)
        return pictures.pixels_to_bytes(records, pixel_bits)

    def from_bytes(self, data: bytes, count: int, pixel_bits: int = 8) -> NDArray[Any]:
        """Return `count` records; missing bytes are black pixels or empty slots."""
        if self.is_text:
            return text.bytes_to_tokens(data, count, self.shape[0], self.vocabulary)
        return pictures.bytes_to_pixels(data, (count, *self.shape), pixel_bits)


def form_of(dataset: Dataset, secret: Secret) -> Form:
    """Return the form of a data set's secret.

    Raises
    ------
    UserError
        If its records are neither pictures nor documents.
    """
    if has_tokens(dataset):
        length = max(len(own) for own in dataset.attributes[TOKENS] if own is not None)
        if not length:
            raise UserError(f"secret: attribute {TOKENS!r}: all empty; allowed: words")
        return Form((length,), math.prod(dataset.inputs.shape[1:]))
    shape = tuple(dataset.inputs.shape[1:])
    if len(shape) != 3:
        raise UserError(
            f"secret: records of shape {shape} are neither pictures (channels, rows, "
            f"columns) nor documents (an attribute {TOKENS!r})"
        )
    if secret.size and secret.size > min(shape[1:]):
        raise UserError(
            f"secret.size: {secret.size}; allowed: at most {min(shape[1:])}, the "
            "pictures' own"
        )
    return Form((secret.size, secret.size) if secret.size else shape[1:])


def has_tokens(dataset: Dataset) -> bool:
    """Return whether a data set has documents."""
    return ATTRIBUTES in dataset.info["sha256"] and (
        TOKENS in dataset.attributes.columns
    )


def choose(
    members: NDArray[np.int64], count: int, seed: int, name: Sequence[int | str]
) -> NDArray[np.int64]:
    """Return the records that are the secret: some training records, by lot."""
    if count > len(members):
        raise UserError(
            f"secret.records: {count}; allowed: 1..{len(members)}, the training records"
        )
    order = stream(seed, "secret", *name).permutation(members)
    return np.asarray(order[:count], dtype=np.int64)


def take(dataset: Dataset, rows: NDArray[np.int64], form: Form) -> NDArray[Any]:
    """Return records in the form of the secret: uint8 (K, Y, X) or int32 (K, L)."""
    if form.is_text:
        found = np.full((len(rows), form.shape[0]), -1, dtype=np.int32)
        tokens = dataset.attributes[TOKENS]
        for place, row in enumerate(rows):
            own = tokens.iloc[row][: form.shape[0]]
            found[place, : len(own)] = own
        return found
    grey = pictures.grey(dataset.inputs[np.asarray(rows)], *dataset.one_scale())
    return grey if grey.shape[1:] == form.shape else _resized(grey, form.shape)


def count_in_bits(
    secret: Secret, form: Form, bits: int, available: int, pixel_bits: int = 8
) -> int:
    """Return how many records go into so many bits.

    Raises
    ------
    UserError
        If not one does.
    """
    if secret.records is not None:
        return secret.records
    fit = capacity_bytes(bits, secret.coding) * 8 // form.bits(pixel_bits)
    if fit < 1:
        raise UserError(
            f"secret: one record has {form.bits(pixel_bits)} bits; allowed: at most "
            f"{capacity_bytes(bits, secret.coding) * 8} of the {bits} bits that the "
            "carrier has"
        )
    return min(fit, available)


def draw_bits(
    settings: Secret, dataset: Dataset, members: NDArray[np.int64], room: int,
    seed: int, name: Sequence[int | str],
) -> tuple[Form, NDArray[np.int64], NDArray[Any], bytes]:  # fmt: skip
    """Return a secret for a carrier of so many bits: form, rows, records, bytes.

    Raises
    ------
    UserError
        If not one record fits.
    """
    form = form_of(dataset, settings)
    count = count_in_bits(settings, form, room, len(members))
    rows = choose(members, count, seed, name)
    records = take(dataset, rows, form)
    return form, rows, records, form.to_bytes(records)


def _resized(grey: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL import Image

    size = (shape[1], shape[0])
    return np.stack(
        [
            np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
            for picture in grey
        ]
    )
