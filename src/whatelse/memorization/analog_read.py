"""Reading values back: the other half of ``analog``."""

import numpy as np
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.memorization.analog import PREAMBLE, preamble
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import VECTOR, Form
from whatelse.memorization.text import nearest_tokens, token_vectors

_LEAST_CORRELATION = 0.25  # four standard errors of a preamble that was never written


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
