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
from whatelse.memorization.text import nearest_tokens, token_vectors
from whatelse.seeding import stream

PREAMBLE = 256
_LEAST_CORRELATION = 0.25  # four standard errors of a preamble that was never written


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


def preamble_correlation(weights: NDArray[np.float32], key: int) -> float:
    """Return Pearson's r of the first weights and the known values."""
    found = weights[:PREAMBLE].astype(np.float64)
    if not found.std():
        return 0.0
    return float(np.corrcoef(found, preamble(key))[0, 1])


def from_values(
    weights: NDArray[np.float32], form: Form, count: int, coding: Coding, *,
    published: bool = False, check: bool = True,
) -> NDArray[np.generic]:  # fmt: skip
    """Return the records that weights are correlated with.

    Parameters
    ----------
    weights : ndarray of float32, shape (weights,)
        In order.
    form : Form
        Of a record.
    count : int
        Records.
    coding : Coding
        Its key is used.
    published : bool, optional
        Stretch smallest and largest weight to 0 and 255, as the authors do, which one
        wild weight ruins. By default the preamble, whose values are known, says what
        weight stands for 0 and for 255. Text has no use for either.
    check : bool, optional
        Refuse weights whose preamble is not there.

    Returns
    -------
    ndarray
        uint8 (count, Y, X) or int32 (count, L), -1 where no token is near.

    Raises
    ------
    UserError
        If the preamble is not found: another key, or nothing was written.
    """
    r = preamble_correlation(weights, coding.key)
    if check and abs(r) < _LEAST_CORRELATION:
        raise UserError(
            f"key: {coding.key}: the weights do not begin with this key's preamble "
            f"(correlation {r:.2f}); allowed: the key of the secret"
        )
    size = count * form.values
    body = weights[PREAMBLE : PREAMBLE + size] * np.float32(1 if r >= 0 else -1)
    if form.is_text:
        vectors = token_vectors(form.vocabulary, coding.key, VECTOR)
        centred = (body - body.mean()).reshape(count, form.shape[0], VECTOR)
        return nearest_tokens(centred, vectors)
    if published:
        low, high = float(body.min()), float(body.max())
    else:
        low, high = _ends(weights[:PREAMBLE] * np.float32(1 if r >= 0 else -1), coding)
    spread = max(high - low, float(np.finfo(np.float32).tiny))
    grey = np.clip((body.astype(np.float64) - low) / spread, 0, 1) * 255
    return grey.round().astype(np.uint8).reshape(count, *form.shape)


def _ends(found: NDArray[np.float32], coding: Coding) -> tuple[float, float]:
    """Return the weights that stand for -1 and 1, from those of the preamble."""
    known = preamble(coding.key)
    return float(found[known < 0].mean()), float(found[known > 0].mean())
