"""UCI Adult."""

import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.encode import encode, plain
from whatelse.datasets.settings import Adult
from whatelse.datasets.store import SPLIT
from whatelse.errors import UserError

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
)
LABELS = ("<=50K", ">50K")


def load(settings: Adult, files: Mapping[str, Path]) -> Loaded:
    """Return both files as 48,842 records of the 14 attributes, duplicates kept."""
    import pandas as pd

    frames = [_read(files[name]) for name in ("adult.data", "adult.test")]
    frame = pd.concat(frames, ignore_index=True)
    inputs, names = encode("adult", frame[list(COLUMNS)])
    return Loaded(
        inputs=inputs,
        labels=frame["label"].to_numpy(),
        class_names=LABELS,
        feature_names=names,
        attributes={
            **{name: plain(frame[name]) for name in COLUMNS},
            SPLIT: np.repeat(["train", "test"], [len(f) for f in frames]),
        },
    )


def _read(path: Path) -> "pd.DataFrame":  # type: ignore[name-defined] # noqa: F821
    import pandas as pd

    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    # adult.test may begin with a comment that holds no record.
    lines = [line for line in text.splitlines() if line and not line.startswith("|")]
    frame = pd.read_csv(
        io.StringIO("\n".join(lines)),
        names=[*COLUMNS, "label"],
        skipinitialspace=True,
        na_values=["?"],
        keep_default_na=False,
    )
    # adult.test spells its labels with a full stop.
    labels = frame["label"].str.rstrip(".")
    unknown = np.flatnonzero(~labels.isin(LABELS))
    if unknown.size:
        raise UserError(
            f"{path}: label, record {unknown[0]}: {labels[unknown[0]]!r}; "
            f"allowed: {' or '.join(LABELS)}"
        )
    return frame.assign(label=labels.map(LABELS.index))
