"""Text as a secret: token codes, token vectors, synthetic documents.

A document is the first tokens of a text, as numbers below the vocabulary size V. A
batch of documents is one int32 array, shape (num_documents, length), in which -1 is an
empty slot: the text was shorter, or nothing was decoded there. P2, Song et al. 2017.
"""

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatelse.errors import UserError
from whatelse.seeding import stream

Documents = NDArray[np.int32]

EMPTY = -1

# Cosines at once in `nearest_tokens`: 128 MiB.
_MOST_COSINES = 2**25
# Documents that one generator draws: part of what a key means.
_DRAWN = 4096


def token_bits(vocabulary: int) -> int:
    """Return the bits of a token code, of which there are `vocabulary` + 1.

    Parameters
    ----------
    vocabulary : int
        Number of tokens, at least 1. The code after the last is the empty slot.
    """
    if vocabulary < 1:
        raise ValueError(f"vocabulary: must be at least 1, is {vocabulary}")
    return vocabulary.bit_length()


def tokens_to_bytes(documents: ArrayLike, vocabulary: int) -> bytes:
    """Return documents as token codes, packed without gaps.

    Parameters
    ----------
    documents : array_like of int, shape (num_documents, length)
        -1 is an empty slot.
    vocabulary : int
        Number of tokens.

    Returns
    -------
    bytes
        `token_bits` a token, the highest first; zeros fill the last byte.

    Raises
    ------
    ValueError
        If a token is outside the vocabulary.
    """
    tokens = np.asarray(documents)
    if ((tokens < EMPTY) | (tokens >= vocabulary)).any():
        raise ValueError(f"documents: tokens must be in [0, {vocabulary}) or {EMPTY}")
    codes = np.where(tokens == EMPTY, vocabulary, tokens).ravel()
    bits = np.empty((len(codes), token_bits(vocabulary)), np.uint8)
    for place, column in enumerate(bits.T[::-1]):
        column[:] = codes >> place & 1
    return np.packbits(bits).tobytes()


def bytes_to_tokens(
    data: bytes, num_documents: int, length: int, vocabulary: int
) -> Documents:
    """Return the documents that some bytes stand for.

    Parameters
    ----------
    data : bytes
        As from `tokens_to_bytes`, perhaps with errors, cut short or too long.
    num_documents, length : int
        Shape of the result.
    vocabulary : int
        Number of tokens.

    Returns
    -------
    ndarray of int32, shape (num_documents, length)
        -1 where the code is the empty slot's or nobody's, and where data is missing.
    """
    width = token_bits(vocabulary)
    num_slots = num_documents * length
    there = min(len(data) * 8 // width, num_slots)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=there * width)
    codes = np.zeros(there, np.int64)
    for column in bits.reshape(there, width).T:
        codes = codes << 1 | column
    tokens = np.full(num_slots, EMPTY, np.int32)
    tokens[:there] = np.where(codes < vocabulary, codes, EMPTY)
    return tokens.reshape(num_documents, length)


def token_vectors(vocabulary: int, key: int, size: int = 20) -> NDArray[np.float32]:
    """Return a pseudorandom vector for each token: the correlation attack's code.

    Parameters
    ----------
    vocabulary : int
        Number of tokens.
    key : int
        The adversary's.
    size : int, optional
        Numbers a token: that many parameters carry it.

    Returns
    -------
    ndarray of float32, shape (vocabulary + 1, size)
        Standard normal. The last one is the empty slot's, so that
        ``token_vectors(...)[documents]`` is what the parameters are to correlate with,
        -1 included.
    """
    draws = stream(key, "token-vectors")
    return draws.standard_normal((vocabulary + 1, size), np.float32)


def nearest_tokens(
    values: ArrayLike, vectors: NDArray[np.float32], threshold: float = 0.85
) -> Documents:
    """Return the tokens whose vectors have the largest cosine with some values.

    Parameters
    ----------
    values : array_like of float, shape (num_documents, length, size)
        What the parameters say.
    vectors : ndarray of float32, shape (vocabulary + 1, size)
        From `token_vectors`.
    threshold : float, optional
        Below this cosine the slot is left empty.

    Returns
    -------
    ndarray of int32, shape (num_documents, length)
        -1 where the slot is empty; also where the values are all 0 or not finite.
    """
    directions = _of_length_1(vectors)
    found = np.asarray(values, np.float32)
    rows = _of_length_1(found.reshape(-1, found.shape[-1]))
    tokens = np.full(len(rows), EMPTY, np.int32)
    chunk = max(_MOST_COSINES // len(vectors), 1)
    for start in range(0, len(rows), chunk):
        cosines = rows[start : start + chunk] @ directions.T
        best = cosines.argmax(axis=1)
        # False for NaN, which argmax prefers to any number
        near = cosines[np.arange(len(best)), best] >= threshold
        known = near & (best < len(vectors) - 1)
        tokens[start : start + chunk] = np.where(known, best, EMPTY)
    return tokens.reshape(found.shape[:-1])


def vocabulary_documents(
    count: int, vocabulary: int, key: int, words: int = 2
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return synthetic documents whose labels carry the secret: capacity abuse.

    Parameters
    ----------
    count : int
        How many.
    vocabulary : int
        Number of tokens.
    key : int
        The adversary's: names documents and order. Document i does not depend on
        `count`.
    words : int, optional
        Different words in a document; P2 has pairs.

    Returns
    -------
    tokens : ndarray of int32, shape (count, words)
        Rising in each row; no two rows are equal.
    values : ndarray of float32, shape (count, words)
        Occurrences: 1 each.

    Raises
    ------
    UserError
        If there are not so many different documents.
    """
    possible = comb(vocabulary, words) if words > 0 else 0
    if not 0 <= count <= possible:
        raise UserError(
            f"count: {count:,} documents of {words} words; allowed: 0 to {possible:,} "
            f"with a vocabulary of {vocabulary:,}"
        )
    documents = np.empty((0, words), np.int32)
    num_draws = 0
    # Repeats are left out wherever they come, so the first documents stay the first.
    while len(documents) < count:
        more = -(-(count - len(documents)) // _DRAWN)
        numbers = range(num_draws, num_draws + more)
        drawn = [_word_sets(vocabulary, words, key, number) for number in numbers]
        documents = np.concatenate([documents, *drawn])
        first = np.unique(documents, axis=0, return_index=True)[1]
        documents = documents[np.sort(first)]
        num_draws += more
    return documents[:count], np.ones((count, words), np.float32)


def _word_sets(vocabulary: int, words: int, key: int, number: int) -> NDArray[np.int32]:
    """Draw sets of different words, each as likely as any other (Floyd's method)."""
    draws = stream(key, "vocabulary-documents", vocabulary, words, number)
    chosen = np.empty((_DRAWN, words), np.int32)
    for place, last in enumerate(range(vocabulary - words, vocabulary)):
        word = draws.integers(0, last + 1, _DRAWN, np.int32)
        taken = (chosen[:, :place] == word[:, None]).any(axis=1)
        chosen[:, place] = np.where(taken, last, word)
    return np.sort(chosen, axis=1)


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors scaled to length 1; NaN where they have none."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
