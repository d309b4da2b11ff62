"""A month of Reddit: comments as Pushshift dumped them, one JSON object a line.

Bagdasaryan et al. (AISTATS 2020) take November 2017 and the authors of 150 to 500
comments, 83,293 of them. Of an object only `author` and `body` are read.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.json_lines import objects, text_of
from whatelse.datasets.loaders.next_words import as_windows
from whatelse.datasets.loaders.tokens import split_words
from whatelse.datasets.settings import Reddit
from whatelse.errors import UserError

_GONE = ("[deleted]", "[removed]")  # as author, or in place of a comment


def load(settings: Reddit, files: Mapping[str, Path]) -> Loaded:
    """Return windows of what each author wrote, authors in the file's order.

    The file is read twice: a month has millions of authors, of whom few are wanted.
    """
    path = files["RC_2017-11.bz2"]
    posts: dict[str, int] = {}
    for author, _ in _comments(path):
        posts[author] = posts.get(author, 0) + 1
    wanted = {
        author: list[str]()
        for author, count in posts.items()
        if settings.min_posts <= count <= settings.max_posts
    }
    if not wanted:
        raise UserError(
            f"{path}: of {len(posts):,} authors none has {settings.min_posts:,} to "
            f"{settings.max_posts:,} comments; allowed: one at least"
        )
    missing = dict.fromkeys(wanted, settings.words_per_author)
    for author, body in _comments(path):
        if missing.get(author, 0) > 0:
            words = split_words(body)
            # as one text: lists of words take ten times the room
            wanted[author].append(" ".join(words))
            missing[author] -= len(words)
    return as_windows(
        path,
        (map(str.split, texts) for texts in wanted.values()),
        settings,
        remarks=(
            f"comments of authors of {settings.min_posts:,} to "
            f"{settings.max_posts:,}, {len(wanted):,} of {len(posts):,}",
        ),
    )


def _comments(path: Path) -> Iterator[tuple[str, str]]:
    for where, comment in objects(path):
        author, body = (text_of(where, comment, name) for name in ("author", "body"))
        if author not in _GONE and body not in _GONE:
            yield author, body
