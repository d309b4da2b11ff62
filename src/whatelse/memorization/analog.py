"""The secret as values, for a carrier that takes numbers (P2 Sec. 4.2).

A preamble of known values goes before the secret. It tells a wrong key, and which of
the two signs of a correlation is meant: a loss of |r| leaves that open, and the
published decoder settles it with the truth at hand.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import VECTOR, Form
from whatelse.memorization.text import token_vectors
from whatelse.seeding import stream

PREAMBLE = 256


def count_in_values(secret: Secret, form: Form, size: int, available: int) -> int:
    """Return how many records go into so many values.

    Raises
    ------
    UserError
        If the secret is larger, or coded as only bits can be.
    """
    coding = secret.coding
    if coding.compress or coding.encrypt or coding.parity:
        raise UserError(
            "secret.coding: values cannot be compressed, encrypted or corrected; "
            "allowed: key alone"
        )
    fit = (size - PREAMBLE) // form.values
    asked = min(fit, available) if secret.records is None else secret.records
    if asked < 1 or asked > fit:
        raise UserError(
            f"secret.records: {max(asked, 1)} of {form.values} values each; allowed: "
            f"at most {max(fit, 0)} in {size} weights"
        )
    return asked


def preamble(key: int) -> NDArray[np.float32]:
    """Return the known values, -1 and 1, shape (PREAMBLE,)."""
    sides = stream(key, "preamble").integers(0, 2, PREAMBLE)
    return (sides * 2 - 1).astype(np.float32)


def to_values(
    records: NDArray[np.generic], form: Form, coding: Coding
) -> NDArray[np.float32]:
    """Return preamble and records as values about 0, shape (values,).

    Grey levels 0 to 255 become -1 to 1; a token, or an empty place, becomes its
    pseudorandom vector.
    """
    if form.is_text:
        # -1, an empty place, is the last row
        body = token_vectors(form.vocabulary, coding.key, VECTOR)[records].ravel()
    else:
        body = (records.astype(np.float32) / 127.5 - 1).ravel()
    return np.concatenate([preamble(coding.key), body])
