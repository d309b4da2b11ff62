"""P1's published files of bits: Location, Purchase-100 and Texas-100."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.settings import Location, Purchase100, Texas100
from whatelse.errors import UserError

_ZERO, _COMMA = b"0,"


def load_location(settings: Location, files: Mapping[str, Path]) -> Loaded:
    """Return the 5,010 x 446 bits; labels "1" to "30" become 0 to 29."""
    return _labelled(files["dataset_location.tgz"], "bangkok", num_classes=30)


def load_purchase100(settings: Purchase100, files: Mapping[str, Path]) -> Loaded:
    """Return the 197,324 x 600 bits; labels 1 to 100 become 0 to 99."""
    return _labelled(files["dataset_purchase.tgz"], "dataset_purchase", num_classes=100)


def load_texas100(settings: Texas100, files: Mapping[str, Path]) -> Loaded:
    """Return the 67,330 x 6,169 bits; labels 1 to 100 become 0 to 99."""
    path = files["dataset_texas.tgz"]
    feats, names = "texas/100/feats", "texas/100/labels"

    def read(name: str, file: IO[bytes]) -> npt.NDArray[Any]:
        where = f"{path}: {name}"
        if name == feats:
            return _stack(where, (_bits(where, n, row) for n, row in _rows(file)))
        return np.array([_label(where, n, row, 100) for n, row in _rows(file)])

    members = read_members(path, (feats, names), read)
    return Loaded(inputs=members[feats], labels=members[names], class_names=_names(100))


def _labelled(path: Path, member: str, *, num_classes: int) -> Loaded:
    """Read rows of a label, in quotes or not, and bits."""
    where = f"{path}: {member}"
    labels: list[int] = []

    def rows(file: IO[bytes]) -> Iterable[npt.NDArray[np.uint8]]:
        for number, row in _rows(file):
            label, _, bits = row.partition(b",")
            labels.append(_label(where, number, label, num_classes))
            yield _bits(where, number, bits)

    members = read_members(path, (member,), lambda _, file: _stack(where, rows(file)))
    return Loaded(
        inputs=members[member],
        labels=np.array(labels),
        class_names=_names(num_classes),
    )


def _names(num_classes: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(1, num_classes + 1))


def _rows(file: IO[bytes]) -> Iterable[tuple[int, bytes]]:
    for number, line in enumerate(file, start=1):
        if row := line.strip():
            yield number, row


def _label(where: str, number: int, text: bytes, num_classes: int) -> int:
    try:
        label = int(float(text.strip(b'"')))
    except ValueError:
        label = 0
    if not 1 <= label <= num_classes:
        raise UserError(
            f"{where}: line {number}: label {text.decode(errors='replace')!r}; "
            f"allowed: 1 to {num_classes}"
        )
    return label - 1


def _bits(where: str, number: int, row: bytes) -> npt.NDArray[np.uint8]:
    text = np.frombuffer(row, dtype=np.uint8)
    bits = text[::2] - _ZERO
    if len(text) % 2 == 0 or bits.max() > 1 or (text[1::2] != _COMMA).any():
        column, value = next(
            (
                (column, value)
                for column, value in enumerate(row.split(b","), start=1)
                if value not in (b"0", b"1")
            ),
            (0, b""),
        )
        raise UserError(
            f"{where}: line {number}: feature {column}: "
            f"{value[:20].decode(errors='replace')!r}; allowed: 0 or 1"
        )
    return bits


def _stack(where: str, rows: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    stacked: list[npt.NDArray[np.uint8]] = []
    for number, row in enumerate(rows, start=1):
        if stacked and len(row) != len(stacked[0]):
            raise UserError(
                f"{where}: record {number}: {len(row)} features; "
                f"allowed: {len(stacked[0])}, as in the first record"
            )
        stacked.append(row)
    if not stacked:
        raise UserError(f"{where}: no records")
    return np.stack(stacked)
