"""Blog Authorship Corpus: posts of bloggers who say how old they are.

A blogger's file is named after its properties. It looks like XML and is not: signs are
not escaped, and bytes are Latin-1 (as browsers take it) with stray UTF-8.
"""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.loaders.next_words import as_windows
from whatelse.datasets.loaders.tokens import as_loaded, split_words
from whatelse.datasets.settings import Blogs, BlogsWords
from whatelse.errors import UserError

# The corpus has no other ages, so that the groups are well apart.
AGES = {"10s": (13, 17), "20s": (23, 27), "30s": (33, 48)}
_LAYOUT = "<id>.<gender>.<age>.<industry>.<sign>.xml"
_NAME = re.compile(
    r"(?:.*/)?(\d{1,18})\.(female|male)\.(\d{1,3})\.([A-Za-z-]+)\.([A-Za-z]+)\.xml"
)
# Bytes that are no UTF-8, as `surrogateescape` decodes them.
_STRAY = dict(
    enumerate(bytes(range(0x80, 0x100)).decode("cp1252", "replace"), start=0xDC80)
)


def load(settings: Blogs, files: Mapping[str, Path]) -> Loaded:
    """Return the first posts of each blogger, by the blogger's number."""
    path = files["blogs_subset2000.tar.xz"]
    found, bloggers = _posts(path, settings.posts)
    authors, labels, rows, texts = [], [], [], []
    for name in found:
        author, label, *properties = bloggers[name]
        for text in found[name]:
            authors.append(author)
            labels.append(label)
            rows.append(properties)
            texts.append(text)
    genders, industries, signs = zip(*rows, strict=True)
    # Numbers from 0 say no more than who wrote what; those of the corpus lead to blogs.
    _, numbers = np.unique(authors, return_inverse=True)
    return as_loaded(
        path,
        map(split_words, texts),
        settings,
        labels=labels,
        class_names=tuple(AGES),
        attributes={
            "gender": genders,
            "industry": industries,
            "sign": signs,
            "author": numbers.tolist(),
        },
        least=settings.min_words,
        remarks=(
            f"at most {settings.posts:,} posts of each of {len(found):,} authors, the "
            "first in their files",
        ),
    )


def load_words(settings: BlogsWords, files: Mapping[str, Path]) -> Loaded:
    """Return windows of what each blogger wrote, by the blogger's number."""
    path = files["blogs_subset2000.tar.xz"]
    found, _ = _posts(path)
    posts = (map(split_words, texts) for texts in found.values())
    return as_windows(path, posts, settings)


def _posts(
    path: Path, most: int | None = None
) -> tuple[dict[str, list[str]], dict[str, tuple[int, int, str, str, str]]]:
    """Return the first posts and the properties of each file, by blogger's number."""

    def read(name: str, file: IO[bytes]) -> list[str]:
        text = file.read().decode("utf-8", "surrogateescape").translate(_STRAY)
        # Split: a search for pairs takes the square of marks that have no other.
        before, *posts = text.split("<post>")
        paired = all(post.count("</post>") == 1 for post in posts)
        if not posts or not paired or "</post>" in before:
            raise UserError(
                f"{path}: {name}: {len(posts)} <post> and {text.count('</post>')} "
                "</post>; allowed: in turn, at least one of either"
            )
        return [html.unescape(post.partition("</post>")[0]) for post in posts[:most]]

    found = read_members(path, lambda name: name.endswith(".xml"), read)
    if not found:
        raise UserError(f"{path}: no {_LAYOUT} in this archive")
    bloggers = {name: _blogger(path, name) for name in found}
    order = sorted(found, key=lambda name: (bloggers[name][0], name))
    return {name: found[name] for name in order}, bloggers


def _blogger(path: Path, name: str) -> tuple[int, int, str, str, str]:
    """Return number, age group, gender, industry and sign."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{path}: {name}: allowed: {_LAYOUT}")
    author, gender, age, industry, sign = match.groups()
    for label, (youngest, oldest) in enumerate(AGES.values()):
        if youngest <= int(age) <= oldest:
            return int(author), label, gender, industry, sign
    known = ", ".join(f"{first} to {last}" for first, last in AGES.values())
    raise UserError(f"{path}: {name}: age: {int(age)}; allowed: {known}")
