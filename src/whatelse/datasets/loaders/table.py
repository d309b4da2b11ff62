"""Your own table in a .csv or .parquet file."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.encode import encode, plain
from whatelse.datasets.settings import Table
from whatelse.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 10_000


def load(settings: Table) -> Loaded:
    """Return the columns as features and the values of the label column as classes."""
    path = Path(settings.path)
    frame = _read(path)
    for name in (settings.label, *settings.drop, *settings.attributes):
        if name not in frame.columns:
            raise UserError(
                f"{path}: no column {name!r}; it has: "
                f"{', '.join(map(str, frame.columns))}"
            )
    label = frame[settings.label]
    missing = np.flatnonzero(label.isna())
    if missing.size:
        raise UserError(
            f"{path}: column {settings.label!r}, record {missing[0]}: no label; "
            "allowed: a label in every record"
        )
    values = label.to_numpy()
    if values.dtype == object and len(set(map(type, values))) > 1:
        values = label.map(str).to_numpy()
    classes, labels = np.unique(values, return_inverse=True)
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"{path}: column {settings.label!r}: {len(classes)} different labels; "
            f"allowed: 2 to {MAX_CLASSES}"
        )
    features = frame.drop(columns=[settings.label, *settings.drop])
    inputs, names = encode(str(path), features)
    return Loaded(
        inputs=inputs,
        labels=labels,
        class_names=tuple(map(str, classes)),
        feature_names=names,
        attributes={name: plain(frame[name]) for name in settings.attributes},
        title=settings.title or None,
        files={"table": path},
    )


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: ending {path.suffix!r}; allowed: .csv or .parquet")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path}: truncated or damaged: {line}") from None
