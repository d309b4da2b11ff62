"""Reed-Solomon codes over many blocks at once; reedsolo mends the damaged ones."""

from functools import cache

import numpy as np
import reedsolo  # type: ignore[import-untyped]
from numpy.typing import NDArray

BLOCK = 255
"""Bytes of a whole block, parity included."""


def message_length(body: int, parity: int) -> int:
    """Return how many bytes of message the blocks of a body hold."""
    whole, rest = divmod(body, BLOCK)
    return whole * (BLOCK - parity) + max(rest - parity, 0)


def body_length(message: int, parity: int) -> int:
    """Return how many bytes the blocks of a message take."""
    return message + -(-message // (BLOCK - parity)) * parity


def with_parity(message: NDArray[np.uint8], parity: int) -> NDArray[np.uint8]:
    """Return a message in blocks, each followed by its Reed-Solomon parity."""
    if not parity or not len(message):
        return message
    blocks = _in_blocks(message, BLOCK - parity)
    words = np.hstack([blocks, _parity_of(blocks, parity)])
    return _joined(words, body_length(len(message), parity))


def corrected(body: NDArray[np.uint8], parity: int) -> NDArray[np.uint8]:
    """Return the message in some blocks, mended where the parity allows.

    Damage is found in all blocks at once; reedsolo, which takes milliseconds a block,
    sees the damaged ones only. What it cannot mend stays as it is.
    """
    if not parity or not len(body):
        return body
    words = _in_blocks(body, BLOCK)
    split = BLOCK - parity
    message = words[:, :split].copy()
    damaged = (_parity_of(message, parity) != words[:, split:]).any(axis=1)
    codec = reedsolo.RSCodec(parity)
    for row in np.flatnonzero(damaged):
        # A short block is coded as it is; the zeros before it were put there above.
        start = BLOCK * len(words) - len(body) if row == len(words) - 1 else 0
        try:
            mended = codec.decode(words[row, start:].tobytes())[0]
        except reedsolo.ReedSolomonError:
            continue
        message[row, start:] = np.frombuffer(mended, np.uint8)
    return _joined(message, message_length(len(body), parity))


def _in_blocks(values: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return rows of `width` bytes; the last one, if short, with zeros before it.

    Zeros in front change nothing of a block's parity.
    """
    num_blocks = -(-len(values) // width)
    blocks = np.zeros((num_blocks, width), np.uint8)
    before = num_blocks * width - len(values)
    whole = (num_blocks - 1) * width
    blocks[:-1] = values[:whole].reshape(-1, width)
    blocks[-1, before:] = values[whole:]
    return blocks


def _joined(blocks: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Undo `_in_blocks`: `length` bytes in all."""
    before = blocks.size - length
    return np.concatenate([blocks[:-1].ravel(), blocks[-1, before:]])


def _parity_of(messages: NDArray[np.uint8], parity: int) -> NDArray[np.uint8]:
    """Return the parity of many blocks: what ``reedsolo.RSCodec(parity)`` appends.

    Parameters
    ----------
    messages : ndarray of uint8, shape (num_blocks, 255 - parity)
        One a block.
    parity : int
        How many bytes.

    Returns
    -------
    ndarray of uint8, shape (num_blocks, parity)
        The remainder of the division by the generator polynomial, whose steps are
        those of a shift register: one a byte, for all blocks at once.
    """
    products = _products()
    generator = reedsolo.rs_generator_poly(parity)
    steps = products[:, list(generator)[1:]]
    rest = np.zeros((len(messages), parity), np.uint8)
    for column in np.ascontiguousarray(messages.T):
        step = steps[column ^ rest[:, 0]]
        step[:, :-1] ^= rest[:, 1:]
        rest = step
    return rest


@cache
def _products() -> NDArray[np.uint8]:
    """Return all products in the field of 256 elements, shape (256, 256)."""
    logarithms, powers, _ = reedsolo.init_tables()
    logs = np.array(list(logarithms), np.int64)
    table = np.array(list(powers), np.uint8)[logs[:, None] + logs]
    table[0], table[:, 0] = 0, 0
    return table
