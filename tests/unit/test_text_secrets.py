import itertools
import math

import numpy as np
import pytest

from whatelse.errors import UserError
from whatelse.measures.controls import exchange_test
from whatelse.memorization.fidelity import (
    cosine_similarity,
    matched_scores,
    token_precision,
    token_recall,
)
from whatelse.memorization.text import (
    bytes_to_tokens,
    nearest_tokens,
    token_bits,
    token_vectors,
    tokens_to_bytes,
    vocabulary_documents,
)
from whatelse.seeding import stream


def random_documents(vocabulary, shape=(30, 12), name="documents"):
    return stream(0, name).integers(-1, vocabulary, shape, np.int32)


@pytest.mark.parametrize(
    ("vocabulary", "bits"),
    [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (131_071, 17), (131_072, 18)],
)
def test_token_bits(vocabulary, bits):
    assert token_bits(vocabulary) == bits == math.ceil(math.log2(vocabulary + 1))


def test_token_bits_need_a_token():
    with pytest.raises(ValueError, match="vocabulary: must be at least 1, is 0"):
        token_bits(0)


def test_token_codes_by_hand():
    # V = 5: 3 bits a token, 5 is the empty slot: 000 100 101 011 -> 00010010 1011....
    documents = np.array([[0, 4], [-1, 3]], np.int32)
    assert tokens_to_bytes(documents, 5) == bytes([0b00010010, 0b10110000])
    found = bytes_to_tokens(bytes([0b00010010, 0b10110000]), 2, 2, 5)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, documents)
    # 110 and 111 are nobody's.
    assert bytes_to_tokens(bytes([0b11011100, 0b10000000]), 1, 3, 5).tolist() == [
        [-1, -1, 1]
    ]


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 255, 256, 130_000])
def test_token_codes_come_back(vocabulary):
    documents = random_documents(vocabulary)
    data = tokens_to_bytes(documents, vocabulary)
    assert len(data) == -(-documents.size * token_bits(vocabulary) // 8)
    np.testing.assert_array_equal(
        bytes_to_tokens(data + b"more", *documents.shape, vocabulary), documents
    )


def test_missing_bytes_are_empty_slots():
    documents = np.arange(6, dtype=np.int32).reshape(2, 3)
    data = tokens_to_bytes(documents, 200)  # a byte a token
    assert bytes_to_tokens(data[:4], 2, 3, 200).tolist() == [[0, 1, 2], [3, -1, -1]]
    assert bytes_to_tokens(b"", 1, 2, 200).tolist() == [[-1, -1]]
    assert bytes_to_tokens(b"", 0, 2, 200).shape == (0, 2)


@pytest.mark.parametrize("token", [-2, 5])
def test_tokens_outside_the_vocabulary(token):
    with pytest.raises(ValueError, match=r"tokens must be in \[0, 5\) or -1"):
        tokens_to_bytes([[token]], 5)


def test_token_vectors():
    vectors = token_vectors(5000, 3)
    assert vectors.shape == (5001, 20)
    assert vectors.dtype == np.float32
    assert vectors.std() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(vectors, token_vectors(5000, 3))
    assert (vectors != token_vectors(5000, 4)).all()


def test_nearest_tokens_by_hand():
    vectors = np.array([[1, 0], [0, 2], [-1, -1]], np.float32)  # the last one: empty
    values = [[[9, 0], [0.1, 3]], [[-2, -2], [1, 1]], [[0, 0], [np.nan, 1]]]
    found = nearest_tokens(values, vectors)
    assert found.dtype == np.int32
    assert found.tolist() == [[0, 1], [-1, -1], [-1, -1]]  # cosine of (1, 1) is .71
    assert nearest_tokens([[[1.1, 1]]], vectors, threshold=0.7).tolist() == [[0]]


def test_nearest_tokens_in_noise_and_in_chunks(monkeypatch):
    documents = random_documents(400)
    vectors = token_vectors(400, 1)
    draws = stream(1, "noise")
    noise = draws.standard_normal((*documents.shape, 20))
    values = 0.01 * vectors[documents] + 0.001 * noise  # the scale does not matter
    whole = nearest_tokens(values, vectors)
    np.testing.assert_array_equal(whole, documents)
    monkeypatch.setattr("whatelse.memorization.text._MOST_COSINES", 2000)
    np.testing.assert_array_equal(nearest_tokens(values, vectors), whole)
    # Noise alone leaves the slots empty.
    assert (nearest_tokens(noise, vectors) == -1).mean() > 0.98


def test_vocabulary_documents_do_not_depend_on_their_number():
    tokens, values = vocabulary_documents(9000, 3000, key=5)
    assert tokens.dtype == np.int32
    assert values.dtype == np.float32
    assert (values == 1).all()
    assert tokens.shape == values.shape == (9000, 2)
    assert (tokens[:, 0] < tokens[:, 1]).all()
    assert len(np.unique(tokens, axis=0)) == 9000
    assert tokens.min() >= 0
    assert tokens.max() < 3000
    for count in (0, 1, 4095, 4096, 4097, 8999):
        fewer, _ = vocabulary_documents(count, 3000, key=5)
        np.testing.assert_array_equal(fewer, tokens[:count])
    assert (vocabulary_documents(9000, 3000, key=6)[0] != tokens).mean() > 0.9


@pytest.mark.parametrize("words", [1, 2, 3, 6])
def test_every_set_of_words_occurs_once(words):
    count = math.comb(6, words)
    tokens, _ = vocabulary_documents(count, 6, key=0, words=words)
    expected = itertools.combinations(range(6), words)
    assert sorted(map(tuple, tokens.tolist())) == list(expected)
    with pytest.raises(
        UserError, match=f"allowed: 0 to {count} with a vocabulary of 6"
    ):
        vocabulary_documents(count + 1, 6, key=0, words=words)


def test_words_are_equally_likely():
    tokens, _ = vocabulary_documents(100_000, 1000, key=0)
    counts = np.bincount(tokens.ravel(), minlength=1000)
    assert counts.mean() == 200
    assert abs(counts - 200).max() < 6 * math.sqrt(200)


def test_measures_by_hand():
    truth = [[1, 2, 3, -1], [1, 1, 2, 2], [-1, -1, -1, -1], [5, 6, 7, 8]]
    found = [[1, 3, -1, 4], [2, 2, 1, 1], [0, -1, -1, -1], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(token_precision(truth, found), [1 / 3, 0, 0, np.nan])
    np.testing.assert_array_equal(token_recall(truth, found), [1 / 3, 0, np.nan, 0])
    # {1, 2, 3} and {1, 3, 4}: 2 / 3; the second has the right words in a wrong order.
    np.testing.assert_allclose(
        cosine_similarity(truth, found), [2 / 3, 1, np.nan, np.nan]
    )
    # 2 x a + b against a: 2 / sqrt(5), of any length
    np.testing.assert_allclose(cosine_similarity([[0, 0, 1]], [[0]]), [2 / 5**0.5])


def test_measures_refuse_other_shapes():
    with pytest.raises(
        ValueError, match=r"truth: has shape \(1, 2\), decoded: \(1, 3\)"
    ):
        token_precision([[1, 2]], [[1, 2, 3]])
    with pytest.raises(ValueError, match="truth: 1 documents, decoded: 2"):
        cosine_similarity([[1]], [[1], [2]])


def test_documents_are_told_from_one_another():
    truth = random_documents(50, (20, 40))
    damaged = np.where(stream(2, "damage").random(truth.shape) < 0.3, truth, -1)

    def distance(truth, decoded):
        return -cosine_similarity(truth, decoded)

    scores, matched = matched_scores(damaged, truth, distance)
    assert exchange_test(scores, matched) < 1e-6
    other = random_documents(50, (20, 40), name="other")
    scores, matched = matched_scores(other, truth, distance)
    assert exchange_test(scores, matched) > 0.01
