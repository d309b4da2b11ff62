"""Reading a payload back: the other half of ``payload``."""

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatelse.errors import UserError
from whatelse.memorization.payload import (
    COPIES,
    HEADER,
    OVERHEAD,
    SYNC,
    Bits,
    Coding,
    encoded,
    masked,
    sync_word,
)
from whatelse.memorization.reed_solomon import body_length, corrected, message_length

_MOST_SYNC_ERRORS = SYNC // 4
_MOST_SUM_ERRORS = 4  # of 32; two checksums are as close as that once in 100,000 times
# No zlib stream unpacks to more than this many times its length.
_MOST_EXPANSION = 1032


def decode(
    bits: ArrayLike, coding: Coding, *, check: bool = True, size: int | None = None
) -> bytes:
    """Return the bytes that a stream carries.

    Parameters
    ----------
    bits : array_like of 0 and 1, shape (num_bits,)
        As read from the carrier.
    coding : Coding
        As given to `encode`.
    check : bool, optional
        False reads any bits as if they were a payload: never refused, best effort.
        It is the negative control, on carriers into which nothing was written.
    size : int, optional
        Bytes of the data, where the reader knows it: a damaged header then does no
        harm, unless the data is compressed.

    Returns
    -------
    bytes
        Without compression a damaged body becomes bytes with errors; so do the
        blocks with more damage than their parity mends. With `check` false their
        number is arbitrary if the header is damaged.

    Raises
    ------
    UserError
        If `check` is true and more than a quarter of the sync word disagrees, the
        header is impossible or the body cannot be decompressed.
    """
    found = _as_bits(bits)
    if check:
        _check_sync(found, coding)
    elif len(found) < OVERHEAD:
        return b""
    header, body = _decrypted(found, coding)
    length, told, checksum = header
    if size is not None and not coding.compress:
        length = body_length(size, coding.parity)
    elif not _possible(header, len(body), coding):
        if check:
            raise UserError(
                f"payload: its header tells of {told:,} bytes of data in a body of "
                f"{length:,}; allowed: a body of at most {len(body):,}, as long as "
                "this coding makes it (damaged, or encoded otherwise)"
            )
        message = message_length(len(body), coding.parity)
        length = body_length(message, coding.parity)
        told = message * (_MOST_EXPANSION if coding.compress else 1)
    message_bytes = corrected(body[:length], coding.parity).tobytes()
    if not coding.compress:
        return message_bytes
    if not check:
        return _decompressed_part(message_bytes, told)
    return _decompressed(message_bytes, told, checksum)


def channel_errors(
    found_bits: ArrayLike, data: bytes, coding: Coding, num_bits: int
) -> float:
    """Return the bit error rate of a carrier, before any correction.

    Parameters
    ----------
    found_bits : array_like of 0 and 1, shape (num_bits,)
        As read from the carrier.
    data : bytes
        The secret that was written.
    coding : Coding
        As given to `encode`.
    num_bits : int
        As given to `encode`.

    Returns
    -------
    float
        Share of wrong bits in sync word, header and body; what follows them carries
        nothing and does not count.

    Raises
    ------
    UserError
        If the secret does not fit.
    ValueError
        If `found_bits` has another length.
    """
    found = _as_bits(found_bits)
    if len(found) != num_bits:
        raise ValueError(f"found_bits: must be {num_bits}, are {len(found)}")
    expected, used = encoded(data, coding, num_bits)
    return float(np.mean(found[:used] != expected[:used]))


def check_data(found_bits: ArrayLike, data: bytes, coding: Coding) -> None:
    """Refuse a stream that carries other data than these, by its header's checksum.

    Errors in what carries it are no reason: five copies of the checksum vote, and a few
    bits of it may be wrong all the same.

    Parameters
    ----------
    found_bits : array_like of 0 and 1, shape (num_bits,)
        That `decode` does not refuse.
    data : bytes
        The secret that should be there.
    coding : Coding
        As given to `encode`.

    Raises
    ------
    UserError
        If it carries another secret: it was drawn with another seed.
    """
    (_, _, checksum), _ = _decrypted(_as_bits(found_bits), coding)
    wrong = (checksum ^ zlib.crc32(data)).bit_count()
    if wrong > _MOST_SUM_ERRORS:
        raise UserError(
            f"wrong seed: the key's payload is of other records than this seed draws: "
            f"{wrong} of the 32 bits of its checksum disagree; allowed: at most "
            f"{_MOST_SUM_ERRORS}"
        )


def _decrypted(
    found: Bits, coding: Coding
) -> tuple[tuple[int, int, int], NDArray[np.uint8]]:
    """Return what the header says, and all whole bytes after it.

    Returns
    -------
    header : tuple of int
        Length of the body, length of the data, CRC-32.
    body : ndarray of uint8
        With what follows it.
    """
    plain = masked(np.packbits(found[SYNC:]), coding)
    size = COPIES * HEADER.size
    copies = np.unpackbits(plain[:size]).reshape(COPIES, -1)
    majority = np.packbits(copies.sum(axis=0) > COPIES // 2)
    length, data, checksum = HEADER.unpack(majority.tobytes())
    return (length, data, checksum), plain[size : (len(found) - SYNC) // 8]


def _possible(header: tuple[int, int, int], room: int, coding: Coding) -> bool:
    """Tell whether such a header could have been written into so many bytes."""
    length, size, _ = header
    message = message_length(length, coding.parity)
    if length > room or body_length(message, coding.parity) != length:
        return False
    if coding.compress:
        return size <= message * _MOST_EXPANSION
    return size == message


def _as_bits(bits: ArrayLike) -> Bits:
    """Return a vector of 0 and 1.

    Raises
    ------
    ValueError
        If it is no vector or holds anything else.
    """
    vector = np.asarray(bits)
    if vector.ndim != 1:
        raise ValueError(f"bits: must be a vector, has shape {vector.shape}")
    if vector.dtype != np.bool_ and not ((vector == 0) | (vector == 1)).all():
        raise ValueError("bits: must be 0 or 1")
    return vector.astype(np.uint8, copy=False)


def _check_sync(found: Bits, coding: Coding) -> None:
    """Refuse a stream that does not start with the key's sync word.

    Raises
    ------
    UserError
        If it is too short, or more than a quarter of the word disagrees.
    """
    if len(found) < OVERHEAD:
        raise UserError(
            f"payload: {len(found):,} bits; allowed: at least {OVERHEAD:,}, which "
            "sync word and header take"
        )
    wrong = int((found[:SYNC] != sync_word(coding.key)).sum())
    if wrong > _MOST_SYNC_ERRORS:
        raise UserError(
            f"wrong key or seed, or a carrier of nothing: {wrong} of the {SYNC} sync "
            f"bits disagree; allowed: at most {_MOST_SYNC_ERRORS}"
        )


def _decompressed(message: bytes, size: int, checksum: int) -> bytes:
    """Return what was compressed.

    Raises
    ------
    UserError
        If the message is damaged.
    """
    reader = zlib.decompressobj()
    try:
        # One byte more than there should be, so that longer data is noticed.
        data = reader.decompress(message, size + 1)
    except zlib.error as error:
        reason = str(error)
    else:
        if reader.eof and len(data) == size and zlib.crc32(data) == checksum:
            return data
        reason = f"length or checksum of its {len(data):,} bytes is wrong"
    raise UserError(
        f"payload: damaged beyond repair: {' '.join(reason.split())}; allowed with "
        "compression: no error that parity does not mend (more parity, or no "
        "compression)"
    )


def _decompressed_part(message: bytes, size: int) -> bytes:
    """Return what can be decompressed before the first damage."""
    reader = zlib.decompressobj()
    parts: list[bytes] = []
    left = size
    try:
        for start in range(0, len(message), 64):
            # 0 would mean without limit
            if left <= 0:
                break
            # in small steps: a step that fails gives nothing
            step = reader.unconsumed_tail + message[start : start + 64]
            parts.append(reader.decompress(step, left))
            left -= len(parts[-1])
    except zlib.error:
        pass
    return b"".join(parts)
