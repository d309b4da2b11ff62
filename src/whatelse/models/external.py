"""``whatelse import``: take in the outputs of a model that was trained elsewhere.

The file is an ``.npz`` with arrays, or a ``.parquet`` table with columns:

=======================  =======================================================
``probabilities``        released class probabilities, (rows, classes); in a table
                         one column a class: ``probability_0``, ``probability_1``, ...
``labels``               true classes 0, 1, ..., (rows,); in a table ``label``
``member``               whether the record was trained on: true/false or 1/0, (rows,)
``model``                optional: 0 the target, 1, 2, ... its shadows; 0 if left out
=======================  =======================================================

The rows of shadows say for each shadow which records it was itself trained on.
"""

import argparse
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.errors import UserError
from whatelse.models.outputs import TARGET, Outputs, save_outputs
from whatelse.sources import closure

_TABLE = {"label": "labels", "member": "member", "model": "model"}


class ImportSpec(BaseModel):
    """A user's file of outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    title: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--spec", type=json_argument(ImportSpec), required=True)
    parser.add_argument("--out", type=Path, required=True, help="outputs to write")


def run(args: argparse.Namespace) -> None:
    """Check the file and write it in the form that attacks read."""
    telemetry = records.Telemetry()
    spec: ImportSpec = args.spec
    path = Path(spec.path)
    outputs = read_external(path, spec.title or path.stem)
    written = save_outputs(args.out, outputs)
    telemetry.write(args.out)
    records.write_record(
        args.out,
        kind="import",
        spec=spec.model_dump(mode="json"),
        inputs={"file": path},
        code=closure("whatelse.models.external"),
        outputs=written,
    )


def read_external(path: Path, title: str) -> Outputs:
    """Read a user's outputs.

    Parameters
    ----------
    path : Path
        ``.npz`` or ``.parquet``; nothing in it is unpickled.
    title : str
        Name in figures.

    Returns
    -------
    Outputs

    Raises
    ------
    UserError
        If it cannot be read, an array is missing, lengths differ, a value is not
        allowed, or the target lacks members or non-members.
    """
    arrays = _read_table(path) if path.suffix == ".parquet" else _read_npz(path)
    for name in ("probabilities", "labels", "member"):
        if name not in arrays:
            raise UserError(
                f"{path}: {name} is missing, there are: {', '.join(sorted(arrays))}"
            )
    probabilities = arrays["probabilities"]
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise UserError(
            f"{path}: probabilities: shape {probabilities.shape}; allowed: (rows, "
            "classes), at least 2 classes"
        )
    rows, classes = probabilities.shape
    arrays.setdefault("model", np.full(rows, TARGET))
    for name in ("labels", "member", "model"):
        if arrays[name].shape != (rows,):
            raise UserError(
                f"{path}: {name}: shape {arrays[name].shape}; allowed: ({rows},), "
                "one a row of probabilities"
            )
    label = _integers(path, "labels", arrays["labels"], classes - 1)
    member = _integers(path, "member", arrays["member"], 1).astype(bool)
    model = _integers(path, "model", arrays["model"], 10**9)
    checked = _rows_of_one(path, probabilities)
    inside = member[model == TARGET]
    if not 0 < inside.sum() < len(inside):
        raise UserError(
            f"{path}: member: the target (model 0) has {int(inside.sum())} members "
            f"among {len(inside)} rows; allowed: at least one member and one non-member"
        )
    about = {
        "name": "external", "title": title, "records": int(len(inside)),
        "classes": classes, "class_names": [str(c) for c in range(classes)],
        "stand_in_for": None, "remarks": ["outputs brought by the user"],
    }  # fmt: skip
    return Outputs(model, np.arange(rows), label, member, checked, about)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: one array; allowed: an .npz file with names")
        with stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not an .npz of plain arrays: {error}") from None


def _read_table(path: Path) -> dict[str, NDArray[Any]]:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a parquet table: {error}") from None
    arrays: dict[str, NDArray[Any]] = {
        ours: table[theirs].to_numpy()
        for theirs, ours in _TABLE.items()
        if theirs in table
    }
    count = sum(str(name).startswith("probability_") for name in table.columns)
    names = [f"probability_{label}" for label in range(count)]
    if count and set(names) <= set(table.columns):
        arrays["probabilities"] = table[names].to_numpy()
    return arrays


def _integers(
    path: Path, name: str, values: NDArray[Any], highest: int
) -> NDArray[np.int64]:
    try:
        with np.errstate(invalid="ignore"):  # NaN is found as no whole number
            whole = values.astype(np.int64)
        bad = np.flatnonzero((whole != values) | (whole < 0) | (whole > highest))
    except (ValueError, TypeError):
        raise UserError(f"{path}: {name}: not numbers; allowed: 0..{highest}") from None
    if len(bad):
        raise UserError(
            f"{path}: {name}: {values[bad[0]]} in row {bad[0]}; allowed: whole numbers "
            f"0..{highest}"
        )
    return whole


def _rows_of_one(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return probabilities as float32 after a check of every row."""
    try:
        numbers = values.astype(np.float64)
    except (ValueError, TypeError):
        raise UserError(f"{path}: probabilities: not numbers; allowed: 0..1") from None
    good = np.isfinite(numbers) & (numbers >= 0) & (numbers <= 1 + 1e-6)
    bad = np.flatnonzero(~good.all(1) | (np.where(good, numbers, 0).sum(1) > 1 + 1e-3))
    if len(bad):
        raise UserError(
            f"{path}: probabilities: row {bad[0]} is "
            f"{numbers[bad[0]][:4].tolist()}...; allowed: numbers "
            "0..1 with a sum of at most 1 (logits are no probabilities)"
        )
    return numbers.astype(np.float32)
