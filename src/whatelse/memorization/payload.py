"""The bytes of a secret as a stream of bits, for any carrier that takes bits.

A carrier is whatever the adversary can set and later read: low bits of weights,
signs of weights, labels of queries (P2, Song et al. 2017). The stream is

====== ================ ==============================================================
part   bits             content
====== ================ ==============================================================
sync   64               a word that follows from the key: tells a wrong key
header 5 x 96           length of the body and of the data in bytes, CRC-32 of the
                        data; five copies, of which the majority of each bit counts
body   8 x its length   the data, compressed, then with Reed-Solomon parity
rest   as many as there the body again and again: a carrier is always full
====== ================ ==============================================================

and all but the sync word is encrypted, if at all, bit by bit: one flipped bit of the
carrier is one flipped bit of header or body. ``payload_read`` reads it back.
"""

import struct
import zlib

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from whatelse.errors import UserError
from whatelse.memorization.reed_solomon import BLOCK, message_length, with_parity
from whatelse.seeding import stream

Bits = NDArray[np.uint8]

SYNC = 64
HEADER = struct.Struct(">III")
COPIES = 5
OVERHEAD = SYNC + 8 * COPIES * HEADER.size


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
        le=BLOCK - 1,
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
    message = message_length(max(bits - OVERHEAD, 0) // 8, coding.parity)
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
        0 and 1. After the body it begins again, as often as there is room.

    Raises
    ------
    UserError
        If the carrier is too small.
    """
    return encoded(data, coding, num_bits)[0]


def needed_bits(data: bytes, coding: Coding) -> int:
    """Return the bits that carry something: sync word, header and body."""
    return OVERHEAD + 8 * len(_body(data, coding))


def _body(data: bytes, coding: Coding) -> NDArray[np.uint8]:
    packed = zlib.compress(data, 9) if coding.compress else data
    return with_parity(np.frombuffer(packed, np.uint8), coding.parity)


def encoded(data: bytes, coding: Coding, num_bits: int) -> tuple[Bits, int]:
    """Return the stream and how many of its bits carry something."""
    body = _body(data, coding)
    used = OVERHEAD + 8 * len(body)
    if used > num_bits:
        raise UserError(
            f"secret: {len(data):,} bytes need {used:,} bits; allowed: at most "
            f"{num_bits:,} (fewer records, or fewer bits for each)"
        )
    header = HEADER.pack(len(body), len(data), zlib.crc32(data)) * COPIES
    plain = np.zeros(-(-(num_bits - SYNC) // 8), np.uint8)
    plain[: len(header)] = np.frombuffer(header, np.uint8)
    if len(body):
        plain[len(header) :] = np.resize(body, len(plain) - len(header))
    bits = np.empty(num_bits, np.uint8)
    bits[:SYNC] = sync_word(coding.key)
    bits[SYNC:] = np.unpackbits(masked(plain, coding), count=num_bits - SYNC)
    return bits, used


def sync_word(key: int) -> Bits:
    """Return the word that a stream of this key begins with."""
    return stream(key, "payload", "sync").integers(0, 2, SYNC, np.uint8)


def masked(plain: NDArray[np.uint8], coding: Coding) -> NDArray[np.uint8]:
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
