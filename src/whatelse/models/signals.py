"""Signals of some models: of every answer only what tells how sure it is.

Where outputs keep the whole answer about the records that a model is tested on, these
keep a few numbers about every record of the data set, for attacks that compare many
models record by record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from whatelse import records
from whatelse.errors import UserError
from whatelse.models.outputs import ABOUT, OUTPUTS

Signal = Literal["margin", "log_probability", "right", "gradient_norm"]
_OF_MODELS = ("model", "train", "correct")
_OF_RECORDS = ("pool", "label")


@dataclass(frozen=True)
class Signals:
    """One signal of some models about every record.

    Attributes
    ----------
    model : ndarray of int64, shape (models,)
        Numbers of the models; 0 is a target.
    train, correct : ndarray of bool, shape (models, records)
        Whether a model was trained on a record, and whether the most probable class
        of its answer is the true one.
    values : ndarray of float32, shape (models, records, queries)
        ``margin``: log-probability of the true class minus that of all others
        together, LiRA's logit-scaled confidence. ``log_probability``: of the true
        class. ``right``: 1 where the most probable class is the true one, else 0.
        ``gradient_norm``: minus the log of the length of the loss's gradient by the
        weights, of the first query alone. The first query is the record itself, others
        are augmented.
    pool : ndarray of bool, shape (records,)
        The records that take part; no model was trained on any other. Of coins, the
        canaries; other records are in all models' training or in nobody's.
    label : ndarray of int64, shape (records,)
        True classes.
    about : dict
        The data set in short, as in outputs.
    """

    model: NDArray[np.int64]
    train: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    values: NDArray[np.float32]
    pool: NDArray[np.bool_]
    label: NDArray[np.int64]
    about: dict[str, Any]

    def of(self, which: slice) -> "Signals":
        """Return some of the models; arrays are views."""
        return replace(
            self, model=self.model[which], train=self.train[which],
            correct=self.correct[which], values=self.values[which],
        )  # fmt: skip


def save_signals(
    folder: Path, whole: Signals, signals: Mapping[str, NDArray[Any]]
) -> list[str]:  # fmt: skip
    """Write the files of a signals artefact but its record; return their names.

    All signals are written; `whole` holds any.

    Raises
    ------
    UserError
        If a number is not finite.
    """
    for name, values in signals.items():
        if not np.isfinite(values).all():
            model = whole.model[np.argwhere(~np.isfinite(values))[0][0]]
            raise UserError(
                f"{folder}: {name}: that of model {model} is not finite; allowed: "
                "numbers (weights that diverged give none)"
            )
    arrays = {name: getattr(whole, name) for name in (*_OF_MODELS, *_OF_RECORDS)}
    arrays = {k: np.ascontiguousarray(v) for k, v in {**arrays, **signals}.items()}
    try:
        records.write_with(folder / OUTPUTS, lambda path: save_file(arrays, path))
    except SafetensorError as error:
        raise UserError(f"{folder / OUTPUTS}: cannot write here: {error}") from error
    records.write_json(folder / ABOUT, whole.about)
    return [OUTPUTS, ABOUT]


def load_signals(folders: Sequence[Path], signal: Signal) -> Signals:
    """Read one signal of some blocks as one.

    Parameters
    ----------
    folders : sequence of Path
        At least one.
    signal : {"margin", "log_probability", "right", "gradient_norm"}
        Which; others are not read.

    Raises
    ------
    UserError
        If a file is missing or broken, or blocks are of other records.
    """
    parts = [_load(folder, signal) for folder in folders]
    first = parts[0]
    for folder, part in zip(folders, parts, strict=True):
        if any(not np.array_equal(part[name], first[name]) for name in _OF_RECORDS):
            raise UserError(
                f"{folder}: signals about other records than {folders[0]}; allowed: "
                "those of one family"
            )
    try:
        joined = {
            name: np.concatenate([part[name] for part in parts])
            for name in (*_OF_MODELS, "values")
        }
    except ValueError as error:
        raise UserError(
            f"{folders[0].parent}: not signals of one model family: {error}"
        ) from None
    shared = {name: first[name] for name in _OF_RECORDS}
    about = records.read_json(folders[0] / ABOUT)
    return Signals(**joined, **shared, about=about)


def _load(folder: Path, signal: Signal) -> dict[str, NDArray[Any]]:
    path = folder / OUTPUTS
    try:
        with safe_open(path, framework="numpy") as file:
            names = (*_OF_MODELS, *_OF_RECORDS)
            found = {name: file.get_tensor(name) for name in names}
            found["values"] = file.get_tensor(signal).astype(np.float32, copy=False)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return found
