"""Bags of words, on small archives in the published layouts."""

import math
from pathlib import Path

import numpy as np
import pytest

import data_files
from data_files import at_hand, make
from whatelse.datasets.store import SPLIT, Dataset
from whatelse.errors import UserError

MESSAGES = {
    "20news-bydate-test/sci.med/10": b"Cat zebra zebra",
    "20news-bydate-test/alt.x/3": b"",
    "20news-bydate-train/sci.med/2": b"dog DOG cat a, owl",
    "20news-bydate-train/sci.med/1": b"From: owl\n\ncat's owl",
    "20news-bydate-train/alt.x/9": b"b\xfc\xdfe dog",
    "20news-bydate-train/alt.x/10": b"dog",
}


def newsgroups(
    tmp_path: Path, messages: dict[str, bytes] = MESSAGES, **settings: object
) -> Dataset:
    path = tmp_path / "newsgroups" / "20news-bydate.tar.gz"
    data_files.tar(path, messages)
    registry = at_hand(tmp_path, "newsgroups", {path.name: path}, records=len(messages))
    return make(tmp_path, registry, source="newsgroups", **settings)


def test_newsgroups(tmp_path: Path) -> None:
    dataset = newsgroups(tmp_path)
    assert dataset.is_sparse
    # one letter is no word; words of the test part alone are not known
    assert dataset.info["feature_names"] == ["büße", "cat", "dog", "from", "owl"]
    assert dataset.info["class_names"] == ["alt.x", "sci.med"]
    # training part first, then by group and file name: alt.x/10, alt.x/9, ...
    assert dataset.labels.tolist() == [0, 0, 1, 1, 0, 1]
    attributes = dataset.attributes
    assert attributes[SPLIT].tolist() == ["train"] * 4 + ["test"] * 2
    assert [list(tokens) for tokens in attributes["tokens"]] == [
        [2],
        [0, 2],
        [3, 4, 1, 4],
        [2, 2, 1, 4],
        [],
        [1],
    ]
    assert attributes["tokens"][0].dtype == np.int32
    # alt.x/9: büße in 1 of 4 training messages, dog in 3
    rare, common = math.log(5 / 2) + 1, math.log(5 / 4) + 1
    length = math.hypot(rare, common)
    np.testing.assert_allclose(
        dataset.floats(slice(1, 2)),
        [[rare / length, 0, common / length, 0, 0]],
        rtol=1e-6,
    )
    # sci.med/10: of its words only cat is known
    assert dataset.floats(slice(5, 6)).tolist() == [[0, 1, 0, 0, 0]]
    assert dataset.floats(slice(4, 5)).tolist() == [[0] * 5]
    assert dataset.info["remarks"] == [
        "5 words of 4 training texts, each in at least 1 of them; TF-IDF, rows of "
        "length 1"
    ]


def test_rare_words_and_late_tokens_are_dropped(tmp_path: Path) -> None:
    dataset = newsgroups(tmp_path, min_documents=2, first_tokens=2)
    assert dataset.info["feature_names"] == ["cat", "dog", "owl"]
    assert [list(tokens) for tokens in dataset.attributes["tokens"]] == [
        [1],
        [1],
        [2, 0],
        [1, 1],
        [],
        [0],
    ]


def test_the_order_in_the_archive_does_not_matter(tmp_path: Path) -> None:
    newsgroups(tmp_path)
    files = ["inputs_values.npy", "inputs_indices.npy", "attributes.parquet"]
    first = [(tmp_path / "out" / name).read_bytes() for name in files]
    newsgroups(tmp_path, dict(reversed(MESSAGES.items())))
    assert [(tmp_path / "out" / name).read_bytes() for name in files] == first


@pytest.mark.parametrize(
    ("messages", "more", "message"),
    [
        (
            {**MESSAGES, "20news-bydate-test/new/1": b"dog"},
            {},
            "1: class 'new' has no training texts; allowed: alt.x, sci.med",
        ),
        (
            {name: text for name, text in MESSAGES.items() if "test" not in name},
            {},
            "no texts of the test part in this archive",
        ),
        ({"readme": b""}, {}, "no texts of the train part in this archive"),
        (
            MESSAGES,
            {"min_documents": 4},
            "min_documents: 4: no word is left; allowed: 1 to 4, and fewer for most "
            "words",
        ),
        (
            MESSAGES,
            {"min_documents": 5},
            "min_documents: 5: no word is left; allowed: 1 to 4, and fewer for most "
            "words",
        ),
    ],
)
def test_bad_newsgroups_are_refused(
    tmp_path: Path, messages: dict[str, bytes], more: dict, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        newsgroups(tmp_path, messages, **more)
    path = tmp_path / "newsgroups" / "20news-bydate.tar.gz"
    assert str(caught.value) == f"{path}: {message}"
    assert not (tmp_path / "out").exists()


REVIEWS = {
    "aclImdb/imdb.vocab": b"good\n",
    "aclImdb/test/neg/0_2.txt": b"bad b\xc3\xbcse",
    "aclImdb/test/pos/0_10.txt": b"good, good",
    "aclImdb/train/labeledBow.feat": b"9 0:9",
    "aclImdb/train/neg/0_3.txt": b"Bad film.<br />bad",
    "aclImdb/train/neg/1_1.txt": b"bad",
    "aclImdb/train/pos/0_9.txt": b"good film",
    "aclImdb/train/unsup/0_0.txt": b"unseen",
}


def imdb(tmp_path: Path, reviews: dict[str, bytes], **settings: object) -> Dataset:
    path = data_files.tar(tmp_path / "imdb" / "aclImdb_v1.tar.gz", reviews)
    registry = at_hand(tmp_path, "imdb", {path.name: path}, records=5)
    return make(tmp_path, registry, source="imdb", **settings)


def test_imdb(tmp_path: Path) -> None:
    dataset = imdb(tmp_path, REVIEWS, min_documents=2)
    assert dataset.info["feature_names"] == ["bad", "film"]
    assert dataset.info["class_names"] == ["neg", "pos"]
    assert dataset.labels.tolist() == [0, 0, 1, 0, 1]
    assert dataset.attributes[SPLIT].tolist() == ["train"] * 3 + ["test"] * 2
    assert [list(tokens) for tokens in dataset.attributes["tokens"]] == [
        [0, 1, 0],
        [0],
        [1],
        [0],
        [],
    ]
    # bad twice, film once, both in 2 of 3 training reviews
    np.testing.assert_allclose(
        dataset.floats(slice(0, 1)), [[2 / math.sqrt(5), 1 / math.sqrt(5)]], rtol=1e-6
    )
    assert dataset.info["remarks"][0].startswith("2 words of 3 training texts, each in")


def test_damaged_reviews_are_refused(tmp_path: Path) -> None:
    broken = {**REVIEWS, "aclImdb/train/pos/0_9.txt": b"b\xfc\xdfe film"}
    with pytest.raises(UserError, match=r"aclImdb/train/pos/0_9\.txt: not utf-8"):
        imdb(tmp_path, broken, min_documents=1)
    with pytest.raises(UserError, match="no word is left"):
        imdb(tmp_path, REVIEWS)
    imdb(tmp_path, REVIEWS, min_documents=1)
    path = tmp_path / "imdb" / "aclImdb_v1.tar.gz"
    path.write_bytes(path.read_bytes()[:200])
    registry = at_hand(tmp_path, "imdb", {path.name: path}, records=5)
    with pytest.raises(UserError, match="truncated or damaged archive"):
        make(tmp_path, registry, source="imdb")
