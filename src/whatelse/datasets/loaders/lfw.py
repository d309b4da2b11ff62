"""Labeled Faces in the Wild, with attributes that public models predicted.

P2 and P3 take the attributes of Kumar et al. (2009), which are scores of classifiers
too, and are read by `lfw_attributes`. Here `facer_*` and `df_*` are two other models'.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.lfw_pictures import NUM_IMAGES, photographs
from whatelse.datasets.settings import Lfw
from whatelse.errors import UserError

RACES = ("asian", "black", "indian", "latino hispanic", "middle eastern", "white")
CLASSES = {
    "gender": ("female", "male"),
    "smiling": ("not smiling", "smiling"),
    "eyeglasses": ("no eyeglasses", "eyeglasses"),
    "race": RACES,
}
SCORES = {
    "gender": "facer_male",
    "eyeglasses": "facer_eyeglasses",
    "smiling": "facer_smiling",
}
_COLUMNS = ("person", "image", "df_race", "df_age", *SCORES.values())


def load(settings: Lfw, files: Mapping[str, Path]) -> Loaded:
    """Return the labelled images (3, 62, 47) or (3, size, size), by file name."""
    path, labels_path = files["lfw-deepfunneled.tgz"], files["lfw_gender_race.csv.gz"]
    rows = _read(labels_path)
    images = photographs(path, rows, labels_path, settings.size)
    names = sorted(rows)
    of = {key: [rows[name][key] for name in names] for key in rows[names[0]]}
    people = {person: number for number, person in enumerate(sorted({*of["person"]}))}
    classes = CLASSES[settings.task]
    return Loaded(
        inputs=np.stack([images[name] for name in names]),
        labels=np.array([classes.index(value) for value in of[settings.task]]),
        class_names=classes,
        scale=1 / 255,
        attributes={**of, "person": [people[person] for person in of["person"]]},
        remarks=(
            f"{settings.task} as predicted by a public face model, not human labels",
            f"the {len(names):,} of {NUM_IMAGES:,} images that have predicted labels",
        ),
    )


def _read(path: Path) -> dict[str, dict[str, str | int]]:
    """Return what is said of each image, by its file name."""
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from None
    table = csv.DictReader(io.StringIO(text))
    if missing := sorted(set(_COLUMNS) - set(table.fieldnames or ())):
        raise UserError(
            f"{path}: no column {missing[0]!r}; it has: "
            f"{', '.join(table.fieldnames or ())}"
        )
    rows = {}
    for row in table:
        where = f"{path}: line {table.line_num}"
        if None in row.values():
            raise UserError(f"{where}: {len(table.fieldnames or ())} fields allowed")
        described: dict[str, str | int] = {"person": row["person"]}
        for name, column in SCORES.items():
            score = _number(where, column, row[column], largest=1)
            described[name] = CLASSES[name][score >= 0.5]
        if row["df_race"] not in RACES:
            raise UserError(
                f"{where}: df_race: {row['df_race']!r}; allowed: {', '.join(RACES)}"
            )
        described["race"] = row["df_race"]
        described["age"] = int(_number(where, "df_age", row["df_age"], largest=150))
        rows[row["image"]] = described
    if not rows:
        raise UserError(f"{path}: no records")
    return rows


def _number(where: str, column: str, text: str, *, largest: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= largest:
        raise UserError(f"{where}: {column}: {text!r}; allowed: 0 to {largest}")
    return number
