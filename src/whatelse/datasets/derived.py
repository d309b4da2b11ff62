"""``whatelse derive``: make one data set from another.

A step is told nothing but the data set and its own settings, and who trains on the
result is told nothing but its path. Steps are imported by name, only when they run.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.datasets.loaded import Derived
from whatelse.datasets.store import (
    ATTRIBUTES,
    SPLIT,
    Dataset,
    open_dataset,
    write_dataset,
)
from whatelse.sources import closure
from whatelse.tables import kind_in

Derive = Callable[[Mapping[str, Any], Dataset], Derived]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(dict[str, Any]), required=True,
        help="the step's settings, by its kind",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument("--out", type=Path, required=True, help="data set to write")


def run(args: argparse.Namespace) -> None:
    """Run the step and write the data set that it makes."""
    telemetry = records.Telemetry()
    module = kind_in("whatelse.steps:STEPS", args.spec.get("kind"), "--spec: kind")
    derive: Derive = importlib.import_module(module).derive
    dataset = open_dataset(args.data)
    made = derive(args.spec, dataset)
    classes: dict[str, Any] = {}
    labels: Any
    if made.classes:
        classes, labels = {"class_names": list(made.classes)}, made.labels
    else:
        labels = _joined(dataset.labels, made.labels)
    write_dataset(
        args.out,
        inputs=_joined(dataset.inputs, made.inputs),
        labels=labels,
        info={
            **dataset.info,
            **classes,
            "title": made.title,
            "remarks": [*dataset.info["remarks"], *made.remarks],
        },
        settings=args.spec,
        attributes=_attributes(dataset, made),
        inputs_from={"data": args.data},
        code=closure("whatelse.datasets.derived", module),
        origin=args.data,
    )
    telemetry.write(args.out)


def _joined(first: Any, added: Any) -> Any:
    if added is None:
        return first
    if isinstance(first, np.ndarray):
        return np.concatenate([first, added])
    from scipy.sparse import vstack

    return vstack([first, added], format="csr")


def _attributes(dataset: Dataset, made: Derived) -> dict[str, Any]:
    """Return the data set's attributes, missing for records that were added."""
    known: dict[str, Any] = {}
    if ATTRIBUTES in dataset.info["sha256"]:
        added = 0 if made.inputs is None else made.inputs.shape[0]
        for name, column in dataset.attributes.items():
            known[str(name)] = [*column, *[None] * added]
    split = {} if made.split is None else {SPLIT: made.split.tolist()}
    return {**known, **made.attributes, **split}
