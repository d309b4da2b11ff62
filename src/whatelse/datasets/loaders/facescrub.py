"""FaceScrub: faces of actors and actresses.

Published are lists of addresses; everyone downloads the photographs for themselves,
so there is no archive with a digest. It holds faces that are cut out already, named as
the lists name them, or photographs and the lists, whose boxes say where the faces are.
"""

import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.loaders.pictures import Box, read_parts, resized
from whatelse.datasets.settings import Facescrub
from whatelse.errors import UserError

GENDERS = ("female", "male")
_LISTS = {"actresses": "female", "actors": "male"}
_LAYOUT = (
    "{actors,actresses}/<name>/<name>_<image>_<face>.jpeg or, with the published "
    "lists, <name>_<image>.jpeg"
)
_FACE = re.compile(
    r"(?:.*/)?(actors|actresses)/([^/]+)/\2_(\d+)_(\d+)\.(?:jpe?g|png)", re.IGNORECASE
)
_PHOTOGRAPH = re.compile(r"(?:.*/)?([^/]+)_(\d+)\.(?:jpe?g|png)", re.IGNORECASE)
_LIST = re.compile(r"(?:.*/)?facescrub_(actors|actresses)\.txt")
_COLUMNS = {"name", "image_id", "face_id", "bbox", "sha256"}

_Listed = dict[tuple[str, str], dict[str, tuple[Box, str]]]


def load(settings: Facescrub, files: Mapping[str, Path]) -> Loaded:
    """Return the faces (3, size, size), actors first, by name."""
    path = files["facescrub.tar"]
    listed = _listed(path)
    changed = []

    def wanted(name: str) -> bool:
        if not name.lower().endswith((".jpeg", ".jpg", ".png")):
            return False
        if not _FACE.fullmatch(name) and _photograph(name) not in listed:
            raise UserError(f"{path}: {name}: allowed: {_LAYOUT}")
        return True

    def parts(name: str, content: bytes) -> dict[str, Box | None]:
        if match := _FACE.fullmatch(name):
            return {_face(*match.groups()): None}
        digest = hashlib.sha256(content).hexdigest()
        found: dict[str, Box | None] = {
            face: box
            for face, (box, sha256) in listed[_photograph(name)].items()
            if sha256 == digest
        }
        if not found:
            changed.append(name)
        return found

    size = settings.size
    images = read_parts(
        path, wanted, parts, lambda i: resized(i, height=size, width=size)
    )
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
    remarks = [f"{len(kept):,} faces of {len(number)} people"]
    if changed:
        remarks.append(
            f"left out: {len(changed):,} photograph{'s' if len(changed) > 1 else ''} "
            "with another digest than the lists have"
        )
    return Loaded(
        inputs=np.stack([images[name] for name in kept]),
        labels=labels,
        class_names=classes,
        scale=1 / 255,
        attributes={"gender": gender, "person": person},
        remarks=tuple(remarks),
    )


def _face(which: str, name: str, image: str, face: str) -> str:
    name = name.replace("_", " ")
    return f"{which.lower()}/{name}/{name}_{image}_{face}.jpeg"


def _photograph(path: str) -> tuple[str, str]:
    """Return who is in a photograph, and its number; two empty words of other files."""
    match = _PHOTOGRAPH.fullmatch(path)
    return (match[1].replace("_", " "), match[2]) if match else ("", "")


def _listed(path: Path) -> _Listed:
    """Return boxes of faces, and digests of files, by name and number of a photograph.

    Nothing where the archive holds no list.
    """
    lists = read_members(
        path, lambda name: bool(_LIST.fullmatch(name)), lambda _, file: file.read()
    )
    found: _Listed = defaultdict(dict)
    for list_name, content in lists.items():
        match = _LIST.fullmatch(list_name)
        assert match is not None
        text = io.StringIO(content.decode("utf-8", errors="replace"))
        table = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := sorted(_COLUMNS - {*(table.fieldnames or ())}):
            raise UserError(f"{path}: {list_name}: no column {missing[0]!r}")
        for row in table:
            edges = (row["bbox"] or "").split(",")
            if len(edges) != 4 or not all(edge.isdecimal() for edge in edges):
                raise UserError(
                    f"{path}: {list_name}: line {table.line_num}: bbox: "
                    f"{row['bbox']!r}; allowed: left,upper,right,lower in pixels"
                )
            left, upper, right, lower = map(int, edges)
            name = row["name"].replace("_", " ")
            face = _face(match[1], name, row["image_id"], row["face_id"])
            box = (left, upper, right, lower)
            found[name, row["image_id"]][face] = (box, row["sha256"])
    return dict(found)
