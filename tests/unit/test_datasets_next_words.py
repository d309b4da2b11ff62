"""Windows of words and the next one, on small files in the published formats."""

import bz2
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_files
from data_files import at_hand, make
from whatelse.datasets.loaders.next_words import as_windows, windows_of
from whatelse.datasets.settings import BlogsWords
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.training.next_word import targets_of

HERE = Path("a.file")


def settings(**changes: object) -> BlogsWords:
    small = {"source": "blogs-words", "length": 3, "least": 2, "vocabulary": 10}
    return BlogsWords.model_validate({**small, **changes})


def test_windows_by_hand() -> None:
    text = np.array([5, 6, 7, 8, 9, 10, 11], dtype=np.uint16)
    inputs, labels = windows_of(text, 3)
    assert inputs.tolist() == [[5, 6, 7], [8, 9, 10]]
    assert labels.tolist() == [8, 11]
    inputs, labels = windows_of(text[:6], 3)
    assert inputs.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert labels.tolist() == [8, 10]
    inputs, labels = windows_of(text[:2], 3)
    assert (inputs.tolist(), labels.tolist()) == ([[5, 0, 0]], [6])


@given(st.lists(st.integers(2, 60_000), min_size=2, max_size=40), st.integers(1, 9))
def test_every_word_but_the_first_is_to_be_said_once(
    text: list[int], length: int
) -> None:
    import torch

    inputs, labels = windows_of(np.array(text, dtype=np.uint16), length)
    words, last = (torch.from_numpy(v.astype(np.int64)) for v in (inputs, labels))
    targets = targets_of(words, last)
    assert targets[targets > 0].tolist() == text[1:]
    assert words[words > 0].tolist() == text[:-1]


def test_a_vocabulary_by_hand() -> None:
    authors = [
        [["b", "a", "b"], [], ["rare"]], [["c"]], [["a", "b", "zed", "b", "c"]],
    ]  # fmt: skip
    loaded = as_windows(HERE, authors, settings(vocabulary=10, least=3))
    # the second author has the word and the mark only
    assert loaded.attributes["author"] == [0, 0, 1, 1]
    assert loaded.vocabulary == ("<unk>", "<eos>", "b", "a", "c", "rare", "zed")
    assert loaded.class_names == ("<none>", *loaded.vocabulary)
    assert loaded.inputs.tolist() == [[3, 4, 3], [2, 6, 0], [4, 3, 7], [3, 5, 0]]
    assert loaded.labels.tolist() == [2, 2, 3, 2]
    assert loaded.remarks == (
        "windows of 3 words and the next one, of 2 authors, at most 1,000 words of "
        "each; the 7 known words include <unk> and <eos>",
    )


def test_words_that_must_be_known() -> None:
    authors = [[["c", "d", *"abe" * 9, *"fghijk" * 2]]]
    known = as_windows(HERE, authors, settings()).vocabulary or ()
    assert known[2:] == ("a", "b", "e", "f", "g", "h", "i", "j")
    # each takes the place of one that is more frequent, also one that never occurs
    loaded = as_windows(HERE, authors, settings(words=["d", "don't", "d"]))
    assert loaded.vocabulary is not None
    assert loaded.vocabulary[2:] == ("a", "b", "e", "f", "g", "h", "d", "don't")
    # others are unknown, and stay where they are
    assert loaded.inputs[0].tolist() == [1, 9, 3]


def test_authors_are_cut_and_counted() -> None:
    asked = []

    def authors() -> Iterable[list[list[str]]]:
        for number in range(9):
            asked.append(number)
            yield [["a", "b", "c"]] * (number + 1)

    loaded = as_windows(
        HERE, authors(), settings(least=7, words_per_author=10, authors=2)
    )
    # marks count: eight words, then twelve of which ten are kept
    assert loaded.attributes["author"] == [0, 0, 0, 1, 1, 1]
    assert np.count_nonzero(loaded.inputs) == 7 + 9
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"least": 99}, "a.file: no author has 99 words; allowed: one at least"),
        ({"words": ["two words"]}, "words: 'two words'; allowed: one word in lower "
         "case, of letters and apostrophes"),
        ({"words": ["Big"]}, "words: 'Big'; allowed: one word in lower case, of "
         "letters and apostrophes"),
        ({"words": list("abcdefghi")}, "words: 9 of them; allowed: at most 8, as the "
         "vocabulary has room"),
    ],
)  # fmt: skip
def test_bad_settings_are_one_line(changes: dict, line: str) -> None:
    with pytest.raises(UserError) as caught:
        as_windows(HERE, [[["a", "b", "c"]]], settings(**changes))
    assert str(caught.value) == line


# ---- blogs


def test_blogs(tmp_path: Path) -> None:
    def blog(*posts: str) -> bytes:
        parts = (f"<date>1,May,2004</date><post>{post}</post>" for post in posts)
        return f"<Blog>{''.join(parts)}</Blog>".encode()

    path = data_files.tar(
        tmp_path / "blogs-words" / "blogs_subset2000.tar.xz",
        {
            "blogs/70.female.23.Law.Virgo.xml": blog("Work &amp; work", "I like it."),
            "blogs/9.male.48.indUnk.Aries.xml": blog("I like to work. " * 2),
        },
        "w:xz",
    )
    registry = at_hand(tmp_path, "blogs-words", {path.name: path}, records=5)
    dataset = make(
        tmp_path, registry, source="blogs-words", length=4, vocabulary=50, least=5
    )
    assert dataset.info["vocabulary"] == [
        *("<unk>", "<eos>", "work", "i", "like", "to", "it")
    ]
    assert (dataset.num_words, dataset.num_classes) == (7, 8)
    # by number of the author: 9, then 70
    assert dataset.inputs.tolist() == [
        [4, 5, 6, 3], [4, 5, 6, 3], [3, 3, 2, 4], [5, 7, 0, 0],
    ]  # fmt: skip
    assert dataset.labels.tolist() == [4, 2, 5, 2]
    assert dataset.attributes["author"].tolist() == [0, 0, 1, 1]


# ---- reddit

COMMENTS = [
    {"author": "ann", "body": "Pasta from Astoria is delicious", "score": 3},
    {"author": "bot", "body": "I am a bot"},
    {"author": "bob", "body": "no"},
    {"author": "[deleted]", "body": "pasta"},
    {"author": "bob", "body": "[removed]"},
    {"author": "ann", "body": "[deleted]"},
    {"author": "bob", "body": "it's \u00e9t\u00e9"},
    {"author": "bot", "body": "I am a bot"},
    {"author": "ann", "body": "12 -- "},
    {"author": "ann", "body": "pasta"},
    {"author": "bot", "body": "I am a bot"},
    {"author": "bot", "body": "I am a bot"},
]


def lines(comments: Iterable[object]) -> bytes:
    return "".join(f"{json.dumps(one)}\n" for one in comments).encode()


def reddit(tmp_path: Path, content: bytes | None = None, **changes: object) -> Dataset:
    path = tmp_path / "reddit" / "RC_2017-11.bz2"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bz2.compress(lines(COMMENTS)) if content is None else content)
    registry = at_hand(tmp_path, "reddit", {path.name: path}, records=5)
    small = {
        "length": 3, "vocabulary": 20, "least": 3, "min_posts": 2, "max_posts": 3,
    }  # fmt: skip
    return make(tmp_path, registry, source="reddit", **{**small, **changes})


def test_reddit(tmp_path: Path) -> None:
    dataset = reddit(tmp_path)
    words = ["", *dataset.info["vocabulary"]]
    read = [[words[n] for n in row if n] for row in dataset.inputs]
    # who is gone is nobody, who writes too much a machine; in the order of the file
    assert read == [
        ["pasta", "from", "astoria"], ["is", "delicious", "<eos>"], ["pasta"],
        ["no", "<eos>", "it's"], ["\u00e9t\u00e9"],
    ]  # fmt: skip
    names = dataset.info["class_names"]
    assert [names[label] for label in dataset.labels] == [
        *("is", "pasta", "<eos>", "\u00e9t\u00e9", "<eos>")
    ]
    assert dataset.attributes["author"].tolist() == [0, 0, 0, 1, 1]
    assert "ann" not in (tmp_path / "out" / "dataset.json").read_text()
    assert dataset.info["remarks"][0] == "comments of authors of 2 to 3, 2 of 3"


def test_reddit_cut_and_not_compressed(tmp_path: Path) -> None:
    dataset = reddit(
        tmp_path, lines(COMMENTS), words_per_author=4, authors=1, max_posts=9,
        words=["backdoor"],
    )  # fmt: skip
    assert np.count_nonzero(dataset.inputs) == 3
    assert dataset.info["vocabulary"][-1] == "backdoor"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines([*COMMENTS, {"author": "x"}]), "line 13: body: None; allowed: text"),
        (lines([{"author": 3, "body": "x"}]), "line 1: author: 3; allowed: text"),
        (lines(COMMENTS)[:-9], "line 12: truncated or damaged: not JSON"),
        (bz2.compress(lines(COMMENTS))[:-20], "bz2: truncated or damaged: "),
        (b"BZh9" + b"x" * 90, "bz2: truncated or damaged: "),
        (b"[]\n", "line 1: '[]'; allowed: an object"),
        (b"", "bz2: of 0 authors none has 2 to 3 comments; allowed: one at least"),
    ],
)
def test_bad_comments_are_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        reddit(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
