"""CLiPS Stylometry Investigation: Dutch reviews by students.

Its authors send it on request, as a folder; no copy was at hand. Taken is a tar archive
of that folder with

- a table of reviews, ``List.CSI.Reviews*.csv``: FileName, AuthorID, Sentiment
  (positive, negative), Veracity (truthful, deceptive);
- a table of authors, ``List.CSI.Authors*.csv``: AuthorID, Gender (female, male),
  Region;
- the reviews, each a text file of the name that the table gives, in whatever folder.

Tables are UTF-8, with commas, semicolons or tabs. Case, spaces and signs in their first
line do not matter, further columns and files are not read.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.loaders.tokens import as_loaded, split_words
from whatelse.datasets.settings import Csi
from whatelse.errors import UserError

SENTIMENTS = ("negative", "positive")
_VALUES = {
    "sentiment": {"negative": "negative", "positive": "positive"},
    "veracity": {
        "truthful": "truthful",
        "true": "truthful",
        "deceptive": "deceptive",
        "false": "deceptive",
    },
    "gender": {"female": "female", "f": "female", "male": "male", "m": "male"},
}
_TABLE = re.compile(r"(?:.*/)?List\.CSI\.(Authors|Reviews)[^/]*\.csv")
_COLUMNS = {
    "Authors": ("authorid", "gender", "region"),
    "Reviews": ("filename", "authorid", "sentiment", "veracity"),
}


def load(settings: Csi, files: Mapping[str, Path]) -> Loaded:
    """Return the reviews, by file name."""
    path = files["csi.tar"]

    def wanted(name: str) -> bool:
        return name.endswith(".txt") or _TABLE.fullmatch(name) is not None

    def read(name: str, file: IO[bytes]) -> str:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: {name}: not utf-8: {error}") from None

    members = read_members(path, wanted, read)
    tables = {kind: _table(path, members, kind) for kind in _COLUMNS}
    authors = {row["authorid"]: (where, row) for where, row in tables["Authors"]}
    texts = {name.rpartition("/")[2]: text for name, text in members.items()}
    reviews = {}
    for where, row in tables["Reviews"]:
        name = row["filename"].removesuffix(".txt") + ".txt"
        if name not in texts:
            raise UserError(
                f"{where}: filename: {row['filename']!r}; allowed: a text in the "
                "archive"
            )
        if row["authorid"] not in authors:
            raise UserError(
                f"{where}: authorid: {row['authorid']!r}; allowed: one in the table of "
                "authors"
            )
        of, author = authors[row["authorid"]]
        if not author["region"]:
            raise UserError(f"{of}: region: ''; allowed: a name")
        reviews[name] = {
            "sentiment": _known(where, "sentiment", row),
            "veracity": _known(where, "veracity", row),
            "gender": _known(of, "gender", author),
            "region": author["region"],
            "author": row["authorid"],
        }
    names = sorted(reviews)
    columns = {key: [reviews[name][key] for name in names] for key in reviews[names[0]]}
    number = {
        author: index for index, author in enumerate(sorted({*columns["author"]}))
    }
    labels = [SENTIMENTS.index(value) for value in columns.pop("sentiment")]
    return as_loaded(
        path,
        [split_words(texts[name]) for name in names],
        settings,
        labels=labels,
        class_names=SENTIMENTS,
        attributes={
            **columns,
            "author": [number[author] for author in columns["author"]],
        },
    )


def _table(
    path: Path, members: Mapping[str, str], kind: str
) -> list[tuple[str, dict[str, str]]]:
    """Return a table's rows by column, and what errors call each."""
    tables = []
    for name in members:
        match = _TABLE.fullmatch(name)
        if match is not None and match[1] == kind:
            tables.append(name)
    if len(tables) != 1:
        raise UserError(
            f"{path}: {len(tables)} tables List.CSI.{kind}*.csv in this archive; "
            "allowed: 1"
        )
    where, text = f"{path}: {tables[0]}", members[tables[0]]
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        names = [re.sub("[^a-z]", "", name.lower()) for name in next(table, [])]
        for column in _COLUMNS[kind]:
            if names.count(column) != 1:
                raise UserError(
                    f"{where}: no column {column!r}; it has: {', '.join(names)}"
                )
        for fields in table:
            line = f"{where}: line {table.line_num}"
            if len(fields) != len(names):
                raise UserError(f"{line}: {len(fields)} fields; allowed: {len(names)}")
            stripped = (field.strip() for field in fields)
            rows.append((line, dict(zip(names, stripped, strict=True))))
    except csv.Error as error:
        raise UserError(f"{where}: truncated or damaged: {error}") from None
    if not rows:
        raise UserError(f"{where}: no records")
    return rows


def _known(where: str, field: str, row: Mapping[str, str]) -> str:
    values = _VALUES[field]
    if row[field].lower() not in values:
        raise UserError(
            f"{where}: {field}: {row[field]!r}; allowed: {', '.join(values)}"
        )
    return values[row[field].lower()]
