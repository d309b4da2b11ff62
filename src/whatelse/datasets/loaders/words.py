"""Texts as bags of words: 20 Newsgroups and IMDB.

Words are what scikit-learn's ``CountVectorizer`` takes for such: lower-case runs of
two or more letters, digits or underscores. The vocabulary and the document
frequencies are those of the training part; a text's values are TF-IDF (raw counts
times ln((1 + n) / (1 + df)) + 1), scaled to length 1.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.settings import Imdb, Newsgroups
from whatelse.datasets.store import SPLIT, TOKENS
from whatelse.errors import UserError

_SPLITS = ("train", "test")
_MESSAGE = re.compile(r"(?:.*/)?20news-bydate-(train|test)/([^/]+)/([^/]+)")
_REVIEW = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+_\d+\.txt)")


def load_newsgroups(settings: Newsgroups, files: Mapping[str, Path]) -> Loaded:
    """Return the messages, headers included; the training part first."""
    path = files["20news-bydate.tar.gz"]
    return _bags(path, _MESSAGE, "latin-1", settings)


def load_imdb(settings: Imdb, files: Mapping[str, Path]) -> Loaded:
    """Return the labelled reviews; the training part first."""
    return _bags(files["aclImdb_v1.tar.gz"], _REVIEW, "utf-8", settings)


def _bags(
    path: Path, pattern: re.Pattern[str], encoding: str, settings: Newsgroups | Imdb
) -> Loaded:
    from scipy import sparse
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    raw = read_members(
        path,
        lambda name: pattern.fullmatch(name) is not None,
        lambda _, file: file.read(),
    )
    texts = {}
    for name, content in raw.items():
        match = pattern.fullmatch(name)
        assert match is not None  # only such were read
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: {name}: not {encoding}: {error}") from None
        texts[_SPLITS.index(match[1]), match[2], match[3]] = text
    # By split, class and name: the order in the archive does not matter.
    keys = sorted(texts)
    ordered = [texts[key] for key in keys]
    num_train = sum(split == 0 for split, _, _ in keys)
    classes = sorted({group for split, group, _ in keys if split == 0})
    for split, part in enumerate(_SPLITS):
        if not any(key[0] == split for key in keys):
            raise UserError(f"{path}: no texts of the {part} part in this archive")
    for _, group, name in keys:
        if group not in classes:
            raise UserError(
                f"{path}: {name}: class {group!r} has no training texts; "
                f"allowed: {', '.join(classes)}"
            )

    counter = CountVectorizer(min_df=settings.min_documents)
    try:
        counter.fit(ordered[:num_train])
    except ValueError:
        raise UserError(
            f"{path}: min_documents: {settings.min_documents}: no word is left; "
            f"allowed: 1 to {num_train}, and fewer for most words"
        ) from None
    counts = counter.transform(ordered)
    weigh = TfidfTransformer().fit(counts[:num_train])
    inputs = sparse.csr_array(weigh.transform(counts).astype(np.float32))

    analyse, number = counter.build_analyzer(), counter.vocabulary_
    tokens = []
    for text in ordered:
        known = [number[word] for word in analyse(text) if word in number]
        tokens.append(np.array(known[: settings.first_tokens], dtype=np.int32))
    return Loaded(
        inputs=inputs,
        labels=np.array([classes.index(group) for _, group, _ in keys]),
        class_names=tuple(classes),
        feature_names=tuple(counter.get_feature_names_out().tolist()),
        attributes={
            SPLIT: [_SPLITS[split] for split, _, _ in keys],
            TOKENS: tokens,
        },
        remarks=(
            f"{inputs.shape[1]:,} words of {num_train:,} training texts, "
            f"each in at least {settings.min_documents} of them; TF-IDF, rows of "
            "length 1",
        ),
    )
