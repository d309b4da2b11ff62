"""CLiPS Stylometry Investigation: Dutch reviews by students.

Its authors send it on request, as a folder; no copy was at hand, so that the layout is
assumed. Taken is a tar archive of that folder with

- a table of reviews, ``List.CSI.Reviews*.csv``: FileName, AuthorID, Sentiment
  (positive, negative), Veracity (truthful, deceptive);
- a table of authors, ``List.CSI.Authors*.csv``: AuthorID, Gender (female, male),
  Region;
- the reviews, each a text file of the name that the table gives, in whatever folder.

Tables and reviews are UTF-8. Tables have commas, semicolons or tabs; case, spaces and
signs in their first line do not matter, further columns and files are not read.
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

    # Of the texts only reviews need be UTF-8.
    def read(name: str, file: IO[bytes]) -> bytes:
        return file.read()

    members = read_members(path, wanted, read)
    tables = {kind: _table(path, members, kind) for kind in _COLUMNS}
    authors: dict[str, tuple[str, dict[str, str]]] = {}
    for where, row in tables["Authors"]:
        if row["authorid"] in authors:
            raise UserError(
                f"{where}: authorid: {row['authorid']!r}; allowed: once in this table"
            )
        authors[row["authorid"]] = where, row
    places: dict[str, list[str]] = {}
    for member in members:
        places.setdefault(member.rpartition("/")[2], []).append(member)
    reviews = {}
    for where, row in tables["Reviews"]:
        name = row["filename"].removesuffix(".txt") + ".txt"
        if name in reviews:
            raise UserError(
                f"{where}: filename: {row['filename']!r}; allowed: once in this table"
            )
        if len(found := places.get(name, [])) != 1:
            raise UserError(
                f"{where}: filename: {row['filename']!r}; allowed: a text in the "
                f"archive{', not several: ' if found else ''}{', '.join(found)}"
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
        [split_words(_decoded(path, members, *places[name])) for name in names],
        settings,
        labels=labels,
        class_names=SENTIMENTS,
        attributes={
            **columns,
            "author": [number[author] for author in columns["author"]],
        },
    )


def _decoded(path: Path, members: Mapping[str, bytes], name: str) -> str:
    try:
        return members[name].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {name}: not utf-8: {error}") from None


def _table(
    path: Path, members: Mapping[str, bytes], kind: str
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
    where, text = f"{path}: {tables[0]}", _decoded(path, members, tables[0])
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
