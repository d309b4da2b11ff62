"""Samples of what attacks write, with numbers chosen by the test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whatelse.claims.results import Instance, load
from whatelse.measures.spread import spread
from whatelse.records import write_json, write_record

Values = Sequence[float | None]


def make_result(
    folder: Path,
    *,
    name: str = "shadow",
    grid: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    positive: Sequence[float] | None = None,
    negative: Sequence[float] | None = None,
    **metrics: Values,
) -> Path:
    """Write the folder of one attack, and return it.

    `metrics` holds a value for each seed; `positive` the lower ends of the AUCs of
    the positive controls, `negative` the p-values of the negative ones.
    """
    metrics = metrics or {"precision": [0.6, 0.7]}
    count = len(next(iter(metrics.values())))
    replicates = []
    for number in range(count):
        low = positive[number] if positive else 0.9
        p_value = negative[number] if negative else 0.4
        controls = {
            "positive": {
                "auc": {"value": (low + 1) / 2, "low": low, "high": 1.0},
                "p_value": 0.0,
            },
            "negative": {
                "auc": {"value": 0.5, "low": 0.45, "high": 0.55},
                "p_value": p_value,
            },
        }
        replicates.append({"replicate": number, "controls": controls})
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "metrics.json",
        {
            "kind": "membership.shadow",
            "name": name,
            "grid": dict(grid or {}),
            "dataset": {
                "name": "location",
                "title": "Location",
                "records": 5010,
                "classes": 30,
                "stand_in_for": None,
                "remarks": [],
                **(dataset or {}),
            },
            "replicates": replicates,
            "summary": {key: spread(values) for key, values in metrics.items()},
        },
    )
    write_record(
        folder, kind="attack", spec={}, inputs={}, code=[], outputs=["metrics.json"]
    )
    return folder


def instance(folder: Path, **settings: Any) -> Instance:
    """Write one attack and read it back."""
    return load([make_result(folder, **settings)])[0]
