"""FaceScrub: faces of actors and actresses.

Published are lists of addresses; everyone downloads the photographs for themselves,
so there is no archive with a digest. It is laid out as the lists name the faces.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.pictures import read_pictures, resized
from whatelse.datasets.settings import Facescrub
from whatelse.errors import UserError

GENDERS = ("female", "male")
_LISTS = {"actresses": "female", "actors": "male"}
_LAYOUT = "{actors,actresses}/<name>/<name>_<image>_<face>.jpeg"
_FACE = re.compile(r"(?:.*/)?(actors|actresses)/([^/]+)/\2_\d+_\d+\.(?:jpe?g|png)")


def load(settings: Facescrub, files: Mapping[str, Path]) -> Loaded:
    """Return the faces (3, size, size), actors first, by name."""
    path = files["facescrub.tar"]

    def wanted(name: str) -> bool:
        if not name.lower().endswith((".jpeg", ".jpg", ".png")):
            return False
        if not _FACE.fullmatch(name):
            raise UserError(f"{path}: {name}: allowed: {_LAYOUT}")
        return True

    size = settings.size
    images = read_pictures(path, wanted, lambda i: resized(i, height=size, width=size))
    faces = {}
    for name in images:
        match = _FACE.fullmatch(name)
        assert match is not None  # `wanted` has seen to it
        faces[name] = (match[1], match[2])
    counts = Counter(faces.values())
    if settings.people is not None and settings.people > len(counts):
        raise UserError(
            f"{path}: people: {settings.people}; allowed: 2 to {len(counts)}, as many "
            "as there are"
        )
    chosen = sorted(counts, key=lambda person: (-counts[person], person))
    number = {
        person: index for index, person in enumerate(sorted(chosen[: settings.people]))
    }
    kept = [name for name in images if faces[name] in number]
    gender = [_LISTS[faces[name][0]] for name in kept]
    person = np.array([number[faces[name]] for name in kept])
    if settings.task == "gender":
        labels = np.array(list(map(GENDERS.index, gender)))
        classes: tuple[str, ...] = GENDERS
    else:
        # Names stay out of reports.
        labels = person
        classes = tuple(f"person {index}" for index in range(len(number)))
    return Loaded(
        inputs=np.stack([images[name] for name in kept]),
        labels=labels,
        class_names=classes,
        scale=1 / 255,
        attributes={"gender": gender, "person": person},
        remarks=(f"{len(kept):,} faces of {len(number)} people",),
    )
