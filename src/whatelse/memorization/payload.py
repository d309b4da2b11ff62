"""The bytes of a secret as a stream of bits, for any carrier that takes bits.

A carrier is whatever the adversary can set and later read: low bits of weights,
signs of weights, labels of queries (P2, Song et al. 2017). The stream is

====== ================ ==============================================================
part   bits             content
====== ================ ==============================================================
sync   64               a word that follows from the key: tells a wrong key or seed
header 5 x 96           length of the body and of the data in bytes, CRC-32 of the
                        data; five copies, of which the majority of each bit counts
body   8 x its length   the data, compressed, then with Reed-Solomon parity
rest   as many as there zeros
====== ================ ==============================================================

and all but the sync word is encrypted, if at all, bit by bit: one flipped bit of the
carrier is one flipped bit of header or body, and the rest looks like the body.
"""

import struct
import zlib
from functools import cache

import numpy as np
import reedsolo  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from whatelse.errors import UserError
from whatelse.seeding import stream

Bits = NDArray[np.uint8]

_SYNC = 64
_MOST_SYNC_ERRORS = _SYNC // 4
_HEADER = struct.Struct(">III")
_COPIES = 5
_OVERHEAD = _SYNC + 8 * _COPIES * _HEADER.size
_BLOCK = 255
# No zlib stream unpacks to more than this many times its length.
_MOST_EXPANSION = 1032


class Coding(BaseModel):
    """How the bytes of a secret become bits.

    Notes
    -----
    Encryption is AES-256 in counter mode. Cipher key and nonce both follow from
    `key` by HKDF-SHA256, so two secrets with one key share a keystream. That is fit
    for the replay of a published attack (whose code has a fixed key and IV), never
    for protecting real data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    compress: bool = Field(False, description="Compress with zlib first.")
    encrypt: bool = Field(False, description="Encrypt with AES-256-CTR last.")
    parity: int = Field(
        0,
        ge=0,
        le=_BLOCK - 1,
        multiple_of=2,
        description="Reed-Solomon parity bytes in each block of 255; half as many "
        "damaged bytes a block are mended. 0 = none.",
    )
    key: int = Field(
        0, ge=0, lt=2**63, description="The adversary's: names sync word and keystream."
    )


def capacity_bytes(bits: int, coding: Coding) -> int:
    """Return how many bytes surely fit into a carrier.

    Parameters
    ----------
    bits : int
        What the carrier takes.
    coding : Coding
        With compression the bound holds for data that cannot be compressed; others
        may be larger.

    Returns
    -------
    int
        At least 0. 0 also where not even the header fits.
    """
    message = _message_length(max(bits - _OVERHEAD, 0) // 8, coding.parity)
    if not coding.compress:
        return message
    low, high = 0, message
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if _compressed_at_most(middle) <= message
            else (low, middle - 1)
        )
    return low


def encode(data: bytes, coding: Coding, num_bits: int) -> Bits:
    """Return the stream that carries some bytes.

    Parameters
    ----------
    data : bytes
        The secret.
    coding : Coding
        How.
    num_bits : int
        Length of the stream: what the carrier takes.

    Returns
    -------
    ndarray of uint8, shape (num_bits,)
        0 and 1. After the body stand zeros, or the keystream where encrypted.

    Raises
    ------
    UserError
        If the carrier is too small.
    """
    return _encoded(data, coding, num_bits)[0]


def needed_bits(data: bytes, coding: Coding) -> int:
    """Return the bits that carry something: sync word, header and body."""
    return _OVERHEAD + 8 * len(_body(data, coding))


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
    elif len(found) < _OVERHEAD:
        return b""
    header, body = _decrypted(found, coding)
    length, told, checksum = header
    if size is not None and not coding.compress:
        length = _body_length(size, coding.parity)
    elif not _possible(header, len(body), coding):
        if check:
            raise UserError(
                f"payload: its header tells of {told:,} bytes of data in a body of "
                f"{length:,}; allowed: a body of at most {len(body):,}, as long as "
                "this coding makes it (damaged, or encoded otherwise)"
            )
        message = _message_length(len(body), coding.parity)
        length = _body_length(message, coding.parity)
        told = message * (_MOST_EXPANSION if coding.compress else 1)
    message_bytes = _corrected(body[:length], coding.parity).tobytes()
    if not coding.compress:
        return message_bytes
    if not check:
        return _decompressed_part(message_bytes, told)
    return _decompressed(message_bytes, told, checksum)


def is_intact(bits: ArrayLike, coding: Coding) -> bool:
    """Tell, without knowing the secret, whether a stream carries it without error.

    Parameters
    ----------
    bits : array_like of 0 and 1, shape (num_bits,)
        As read from the carrier.
    coding : Coding
        As given to `encode`.

    Returns
    -------
    bool
        True if `decode` refuses nothing and the data has the CRC-32 in the header.
    """
    found = _as_bits(bits)
    try:
        data = decode(found, coding)
    except UserError:
        return False
    return zlib.crc32(data) == _decrypted(found, coding)[0][2]


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
    expected, used = _encoded(data, coding, num_bits)
    return float(np.mean(found[:used] != expected[:used]))


def _body(data: bytes, coding: Coding) -> NDArray[np.uint8]:
    packed = zlib.compress(data, 9) if coding.compress else data
    return _with_parity(np.frombuffer(packed, np.uint8), coding.parity)


def _encoded(data: bytes, coding: Coding, num_bits: int) -> tuple[Bits, int]:
    """Return the stream and how many of its bits carry something."""
    body = _body(data, coding)
    used = _OVERHEAD + 8 * len(body)
    if used > num_bits:
        raise UserError(
            f"secret: {len(data):,} bytes need {used:,} bits; allowed: at most "
            f"{num_bits:,} (fewer records, or fewer bits for each)"
        )
    header = _HEADER.pack(len(body), len(data), zlib.crc32(data)) * _COPIES
    plain = np.zeros(-(-(num_bits - _SYNC) // 8), np.uint8)
    plain[: len(header)] = np.frombuffer(header, np.uint8)
    plain[len(header) : len(header) + len(body)] = body
    bits = np.empty(num_bits, np.uint8)
    bits[:_SYNC] = _sync_word(coding.key)
    bits[_SYNC:] = np.unpackbits(_masked(plain, coding), count=num_bits - _SYNC)
    return bits, used


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
    plain = _masked(np.packbits(found[_SYNC:]), coding)
    size = _COPIES * _HEADER.size
    copies = np.unpackbits(plain[:size]).reshape(_COPIES, -1)
    majority = np.packbits(copies.sum(axis=0) > _COPIES // 2)
    length, data, checksum = _HEADER.unpack(majority.tobytes())
    return (length, data, checksum), plain[size : (len(found) - _SYNC) // 8]


def _possible(header: tuple[int, int, int], room: int, coding: Coding) -> bool:
    """Tell whether such a header could have been written into so many bytes."""
    length, size, _ = header
    message = _message_length(length, coding.parity)
    if length > room or _body_length(message, coding.parity) != length:
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


def _sync_word(key: int) -> Bits:
    return stream(key, "payload", "sync").integers(0, 2, _SYNC, np.uint8)


def _check_sync(found: Bits, coding: Coding) -> None:
    """Refuse a stream that does not start with the key's sync word.

    Raises
    ------
    UserError
        If it is too short, or more than a quarter of the word disagrees.
    """
    if len(found) < _OVERHEAD:
        raise UserError(
            f"payload: {len(found):,} bits; allowed: at least {_OVERHEAD:,}, which "
            "sync word and header take"
        )
    wrong = int((found[:_SYNC] != _sync_word(coding.key)).sum())
    if wrong > _MOST_SYNC_ERRORS:
        raise UserError(
            f"wrong key or seed, or a carrier of nothing: {wrong} of the {_SYNC} sync "
            f"bits disagree; allowed: at most {_MOST_SYNC_ERRORS}"
        )


def _masked(plain: NDArray[np.uint8], coding: Coding) -> NDArray[np.uint8]:
    """Encrypt or, which is the same, decrypt some bytes if the coding says so."""
    if not coding.encrypt:
        return plain
    secret = HKDF(SHA256(), length=48, salt=None, info=b"whatelse payload").derive(
        coding.key.to_bytes(8, "big")
    )
    cipher = Cipher(algorithms.AES256(secret[:32]), modes.CTR(secret[32:]))
    return np.frombuffer(cipher.encryptor().update(plain.tobytes()), np.uint8)


def _compressed_at_most(length: int) -> int:
    """Return zlib's own bound (compressBound) on the compressed length."""
    return length + (length >> 12) + (length >> 14) + (length >> 25) + 13


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


def _message_length(body: int, parity: int) -> int:
    """Return how many bytes of message the blocks of a body hold."""
    whole, rest = divmod(body, _BLOCK)
    return whole * (_BLOCK - parity) + max(rest - parity, 0)


def _body_length(message: int, parity: int) -> int:
    """Return how many bytes the blocks of a message take."""
    return message + -(-message // (_BLOCK - parity)) * parity


def _with_parity(message: NDArray[np.uint8], parity: int) -> NDArray[np.uint8]:
    """Return a message in blocks, each followed by its Reed-Solomon parity."""
    if not parity or not len(message):
        return message
    blocks = _in_blocks(message, _BLOCK - parity)
    words = np.hstack([blocks, _parity_of(blocks, parity)])
    return _joined(words, _body_length(len(message), parity))


def _corrected(body: NDArray[np.uint8], parity: int) -> NDArray[np.uint8]:
    """Return the message in some blocks, mended where the parity allows.

    Damage is found in all blocks at once; reedsolo, which takes milliseconds a block,
    sees the damaged ones only. What it cannot mend stays as it is.
    """
    if not parity or not len(body):
        return body
    words = _in_blocks(body, _BLOCK)
    split = _BLOCK - parity
    message = words[:, :split].copy()
    damaged = (_parity_of(message, parity) != words[:, split:]).any(axis=1)
    codec = reedsolo.RSCodec(parity)
    for row in np.flatnonzero(damaged):
        # A short block is coded as it is; the zeros before it were put there above.
        start = _BLOCK * len(words) - len(body) if row == len(words) - 1 else 0
        try:
            mended = codec.decode(words[row, start:].tobytes())[0]
        except reedsolo.ReedSolomonError:
            continue
        message[row, start:] = np.frombuffer(mended, np.uint8)
    return _joined(message, _message_length(len(body), parity))


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
