"""Labeled Faces in the Wild, with the attributes that P2 and P3 have.

Kumar et al. (ICCV 2009) published scores of their classifiers, `lfw_attributes.txt`. As
in P3's code, what is yes or no goes by a score's sign, what has several values by the
largest one, unless all are below a floor.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.lfw_pictures import NUM_IMAGES, photographs
from whatelse.datasets.settings import LfwAttributes
from whatelse.errors import UserError

UNKNOWN = "unknown"
FLOOR = -0.1
BINARY = {
    "gender": ("Male", ("female", "male")),
    "smiling": ("Smiling", ("not smiling", "smiling")),
}
SEVERAL = {
    "race": ("Asian", "White", "Black"),
    "eyewear": ("Eyeglasses", "Sunglasses", "No Eyewear"),
    "age": ("Baby", "Child", "Youth", "Middle Aged", "Senior"),
    "hair": ("Black Hair", "Blond Hair", "Brown Hair", "Bald"),
}
_PERSON, _NUMBER = "person", "imagenum"
COLUMNS = (
    *(column for column, _ in BINARY.values()),
    *(column for columns in SEVERAL.values() for column in columns),
)


def load(settings: LfwAttributes, files: Mapping[str, Path]) -> Loaded:
    """Return the images (3, 62, 47) or (3, size, size) of known class, by file name."""
    path, table = files["lfw-deepfunneled.tgz"], files["lfw_attributes.txt"]
    rows = _read(table)
    names = sorted(name for name in rows if rows[name][settings.task] != UNKNOWN)
    if not names:
        raise UserError(f"{table}: no image whose {settings.task} is known")
    images = photographs(path, set(names), table, settings.size)
    people = {
        person: number
        for number, person in enumerate(sorted({row[_PERSON] for row in rows.values()}))
    }
    of = {key: [rows[name][key] for name in names] for key in rows[names[0]]}
    classes = classes_of(settings.task)
    return Loaded(
        inputs=np.stack([images[name] for name in names]),
        labels=np.array([classes.index(value) for value in of[settings.task]]),
        class_names=classes,
        scale=1 / 255,
        # names stay out of reports
        attributes={**of, _PERSON: [people[person] for person in of[_PERSON]]},
        remarks=(
            f"{settings.task} by the scores of Kumar et al., not human labels",
            f"the {len(names):,} of {NUM_IMAGES:,} images with such scores whose "
            f"{settings.task} they tell",
        ),
    )


def classes_of(task: str) -> tuple[str, ...]:
    """Return the values of an attribute, in the order of P3's code."""
    if task in BINARY:
        return BINARY[task][1]
    return tuple(column.lower() for column in SEVERAL[task])


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Return what the scores say of each image, by its file name."""
    try:
        lines = list(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from None
    # the published file begins with its name, as a comment
    lines = [(n, line) for n, line in lines if "\t" in line]
    if not lines:
        raise UserError(f"{path}: no records")
    header = lines[0][1].lstrip("#").strip("\t").split("\t")
    wanted = (_PERSON, _NUMBER, *COLUMNS)
    if missing := [column for column in wanted if column not in header]:
        raise UserError(
            f"{path}: no column {missing[0]!r}; it has: {', '.join(header)}"
        )
    rows = {}
    for number, line in lines[1:]:
        where = f"{path}: line {number}"
        fields = line.split("\t")
        if len(fields) != len(header):
            raise UserError(
                f"{where}: {len(fields)} fields; allowed: {len(header)}, as the header"
            )
        row = dict(zip(header, fields, strict=True))
        if not row[_NUMBER].isdecimal():
            raise UserError(
                f"{where}: {_NUMBER}: {row[_NUMBER]!r}; allowed: a whole number"
            )
        person = row[_PERSON].replace(" ", "_")
        name = f"{person}_{int(row[_NUMBER]):04d}.jpg"
        scores = {column: _score(where, column, row[column]) for column in COLUMNS}
        rows[name] = {_PERSON: person, **_said(scores)}
    if not rows:
        raise UserError(f"{path}: no records")
    return rows


def _said(scores: Mapping[str, float]) -> dict[str, str]:
    """Return the value of each attribute."""
    said = {
        name: values[scores[column] > 0] for name, (column, values) in BINARY.items()
    }
    for name, columns in SEVERAL.items():
        best = max(columns, key=scores.__getitem__)
        said[name] = best.lower() if scores[best] >= FLOOR else UNKNOWN
    return said


def _score(where: str, column: str, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{where}: {column}: {text!r}; allowed: a number")
    return score
