"""The low mantissa bits of float32 numbers as a carrier (P2 Sec. 4.1)."""

import numpy as np
from numpy.typing import NDArray


def write_low_bits(
    values: NDArray[np.float32], stream: NDArray[np.uint8], bits: int
) -> NDArray[np.float32]:
    """Return numbers whose low bits carry a stream.

    Parameters
    ----------
    values : ndarray of float32, shape (numbers,)
        Finite.
    stream : ndarray of uint8, shape (numbers * bits,)
        0 and 1; each number takes the next `bits` of them, the highest first.
    bits : int
        1..31. Up to 23 neither sign nor exponent is touched, so finite numbers stay
        finite.

    Returns
    -------
    ndarray of float32, shape (numbers,)
    """
    codes = np.zeros(len(values), dtype=np.uint32)
    for column in stream.reshape(len(values), bits).T:
        codes = (codes << np.uint32(1)) | column
    kept = values.view(np.uint32) & ~np.uint32(2**bits - 1)
    return (kept | codes).view(np.float32)


def read_low_bits(values: NDArray[np.float32], bits: int) -> NDArray[np.uint8]:
    """Return the stream that `write_low_bits` wrote, shape (numbers * bits,)."""
    codes = values.view(np.uint32)
    stream = np.empty((len(values), bits), dtype=np.uint8)
    for place in range(bits):
        stream[:, place] = (codes >> np.uint32(bits - 1 - place)) & np.uint32(1)
    return stream.reshape(-1)
