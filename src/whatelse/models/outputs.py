"""Released outputs of some models: one row for each model and tested record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import entr

from whatelse import records
from whatelse.errors import UserError

OUTPUTS, ABOUT = "outputs.safetensors", "outputs.json"
_ROWS = ("model", "record", "label", "member", "probabilities")
_OF_USERS = ("asked", "right")
TARGET, CONTROL = 0, -1  # numbers of models; those above are shadows
_SMALLEST = 1e-12  # where a released probability is zero


@dataclass(frozen=True)
class Outputs:
    """Rows of released answers.

    Attributes
    ----------
    model : ndarray of int64, shape (rows,)
        Whose answer: TARGET, a shadow (1, 2, ...), or CONTROL: a model that saw none
        of the target's records, asked about them, with the target's membership.
    record : ndarray of int64, shape (rows,)
        To which record of the data set.
    label : ndarray of int64, shape (rows,)
        Its true class.
    member : ndarray of bool, shape (rows,)
        Whether that model (the target, for CONTROL) was trained on it.
    probabilities : ndarray of float32, shape (rows, classes)
        What was released.
    about : dict
        The data set in short: name, title, records, classes, class_names,
        stand_in_for, remarks; and `privacy`, what the model's training promised of
        its records, where it promised anything.
    asked, right : ndarray of int64, shape (rows,), or None
        Where a row stands for a user: the words that the model was asked about, and how
        many of them it says first.
    """

    model: NDArray[np.int64]
    record: NDArray[np.int64]
    label: NDArray[np.int64]
    member: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    about: dict[str, Any]
    asked: NDArray[np.int64] | None = None
    right: NDArray[np.int64] | None = None

    def of(self, chosen: NDArray[np.bool_]) -> "Outputs":
        """Return some of the rows."""
        return Outputs(
            self.model[chosen],
            self.record[chosen],
            self.label[chosen],
            self.member[chosen],
            self.probabilities[chosen],
            self.about,
            None if self.asked is None else self.asked[chosen],
            None if self.right is None else self.right[chosen],
        )

    @property
    def correct(self) -> NDArray[np.bool_] | NDArray[np.int64]:
        """Whether the most probable class is the true one, shape (rows,).

        Of users, how many words are said first.
        """
        if self.right is not None:
            return self.right
        return self.probabilities.argmax(1) == self.label

    @property
    def entropy(self) -> NDArray[np.float32]:
        """Entropy of the answers over that of a uniform one, in [0, 1], (rows,)."""
        return np.asarray(
            entr(self.probabilities).sum(1) / np.log(self.probabilities.shape[1]),
            dtype=np.float32,
        )

    @property
    def log_probability(self) -> NDArray[np.float32]:
        """Log-probability of the true class, shape (rows,)."""
        true = self.probabilities[np.arange(len(self.label)), self.label]
        return np.log(np.maximum(true.astype(np.float64), _SMALLEST)).astype(np.float32)


def save_outputs(folder: Path, outputs: Outputs) -> list[str]:
    """Write the files of an outputs artefact but its record; return their names.

    Raises
    ------
    UserError
        If a row is no probability vector or a label is beyond the classes.
    """
    _check(folder, outputs)
    names = [*_ROWS, *(_OF_USERS if outputs.asked is not None else ())]
    arrays = {name: np.ascontiguousarray(getattr(outputs, name)) for name in names}
    try:
        records.write_with(folder / OUTPUTS, lambda path: save_file(arrays, path))
    except SafetensorError as error:
        raise UserError(f"{folder / OUTPUTS}: cannot write here: {error}") from error
    records.write_json(folder / ABOUT, outputs.about)
    return [OUTPUTS, ABOUT]


def _check(folder: Path, outputs: Outputs) -> None:
    rows, classes = outputs.probabilities.shape
    lengths = {len(outputs.model), len(outputs.label), len(outputs.member), rows}
    if len(lengths) > 1:
        raise UserError(f"{folder}: arrays of different lengths: {sorted(lengths)}")
    bad = np.flatnonzero(
        ~(np.isfinite(outputs.probabilities) & (outputs.probabilities >= 0)).all(1)
    )
    if len(bad):
        raise UserError(
            f"{folder}: probabilities: row {bad[0]} has a value that is negative or "
            "not finite; allowed: 0..1"
        )
    if rows and (outputs.label.min() < 0 or outputs.label.max() >= classes):
        wrong = outputs.label[(outputs.label < 0) | (outputs.label >= classes)][0]
        raise UserError(f"{folder}: labels: {wrong}; allowed: 0..{classes - 1}")


def load_outputs(folders: Sequence[Path]) -> Outputs:
    """Read the outputs of some blocks as one.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    for folder in folders:
        try:
            parts.append(load_file(folder / OUTPUTS))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{folder / OUTPUTS}: cannot be read: {error}") from None
    about = records.read_json(folders[0] / ABOUT)
    try:
        joined = {
            name: np.concatenate([part[name] for part in parts])
            for name in (*_ROWS, *(n for n in _OF_USERS if n in parts[0]))
        }
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{folders[0].parent}: not outputs of one model family: {error}"
        ) from None
    return Outputs(**joined, about=about)


def about_dataset(name: str, info: dict[str, Any]) -> dict[str, Any]:
    """Return what outputs say of their data set, from its ``dataset.json``."""
    kept = ("title", "records", "classes", "class_names", "stand_in_for", "remarks")
    return {"name": name, **{key: info[key] for key in kept}}
