"""UTKFace: aligned faces whose file names say age, gender and race."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.pictures import read_pictures, resized
from whatelse.datasets.settings import Utkface
from whatelse.errors import UserError

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "other")
AGES = ("0-19", "20-34", "35-49", "50-64", "65+")
STARTS = (20, 35, 50, 65)
OLDEST = 150

# age_gender_race_time: some times have a wrong ending, some names lack the race.
_NAME = re.compile(r"(\d+)_(\d+)_(\d+)_\d{8,}.*")


def load(settings: Utkface, files: Mapping[str, Path]) -> Loaded:
    """Return the faces (3, size, size), by file name."""
    path = files["UTKFace_64x64_jpeg90.tar.xz"]
    nameless: list[str] = []

    def wanted(name: str) -> bool:
        if not name.lower().endswith((".jpg", ".jpeg")):
            return False
        if _NAME.fullmatch(name.rpartition("/")[2]):
            return True
        nameless.append(name)
        return False

    size = settings.size
    images = read_pictures(path, wanted, lambda i: resized(i, height=size, width=size))
    fields = np.array([_fields(path, name) for name in images])
    age, gender, race = fields.T
    labels, classes = {
        "gender": (gender, GENDERS),
        "race": (race, RACES),
        "age": (np.searchsorted(STARTS, age, side="right"), AGES),
    }[settings.task]
    remarks: tuple[str, ...] = ()
    if nameless:
        remarks = (
            f"left out: {len(nameless)} image{'s' if len(nameless) > 1 else ''} "
            "whose name lacks a field",
        )
    return Loaded(
        inputs=np.stack(list(images.values())),
        labels=labels,
        class_names=classes,
        scale=1 / 255,
        attributes={
            "gender": [GENDERS[number] for number in gender],
            "race": [RACES[number] for number in race],
            "age": age,
        },
        remarks=remarks,
    )


def _fields(path: Path, name: str) -> tuple[int, ...]:
    match = _NAME.fullmatch(name.rpartition("/")[2])
    assert match is not None  # `wanted` has seen to it
    fields = tuple(map(int, match.groups()))
    largest = {"age": OLDEST, "gender": len(GENDERS) - 1, "race": len(RACES) - 1}
    for (field, most), value in zip(largest.items(), fields, strict=True):
        if value > most:
            raise UserError(f"{path}: {name}: {field}: {value}; allowed: 0 to {most}")
    return fields
