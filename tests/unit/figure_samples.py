"""Samples of what attacks write, made from known distributions, for figure tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_curve

from whatelse.records import write_json, write_record
from whatelse.seeding import stream


def make_attack(
    folder: Path,
    *,
    name: str = "shadow",
    grid: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    num_seeds: int = 3,
    num_classes: int = 10,
    gap: float = 1.0,
    per_class: int = 20,
    target: bool = True,
) -> Path:
    """Write the folder of one attack, and return it.

    Members' scores are normal around `gap`, those of non-members around 0; a score
    above gap / 2 calls its record a member. With `gap` = 0 classes 0 and 1 call
    nobody a member.
    """
    replicates, curves, scores = [], [], []
    for seed in range(num_seeds):
        random = stream(seed, "sample", str(grid), name)
        member = np.tile(np.repeat([True, False], per_class), num_classes)
        label = np.repeat(np.arange(num_classes), 2 * per_class)
        shift = gap * random.uniform(0.5, 1.5, num_classes)[label]
        score = random.normal(size=len(member)) + member * shift
        decision = score > gap / 2
        if gap == 0:
            decision &= label > 1
        fpr, tpr, threshold = roc_curve(member, score)
        curves.append(
            pd.DataFrame(
                {"replicate": seed, "fpr": fpr, "tpr": tpr, "threshold": threshold}
            )
        )
        scores.append(
            pd.DataFrame(
                {
                    "replicate": seed,
                    "record": np.arange(len(member)),
                    "label": label,
                    "member": member,
                    "score": score.astype(np.float32),
                    "decision": decision,
                }
            )
        )
        rows = []
        for number in range(num_classes):
            here = label == number
            rows.append(
                {
                    "class": number,
                    "name": str(number),
                    "members": int(member[here].sum()),
                    "non_members": int((~member[here]).sum()),
                    **_measures(member[here], decision[here]),
                }
            )
        accuracy = 0.6 + 0.05 * random.uniform()
        auc = float(np.trapezoid(tpr, fpr))
        replicates.append(
            {
                "replicate": seed,
                "target": {
                    "train_accuracy": _rate(0.999, 1000),
                    "test_accuracy": _rate(accuracy, 1000),
                }
                if target
                else {},
                "attack": {
                    **_measures(member, decision),
                    "auc": _rate(auc, len(member)),
                    "tpr_at_fpr": {},
                },
                "per_class": rows,
                "controls": {},
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "metrics.json",
        {
            "kind": "membership.shadow",
            "name": name,
            "grid": grid or {},
            "dataset": {
                "name": "location",
                "title": "Location (Foursquare check-ins in Bangkok)",
                "records": 5010,
                "classes": num_classes,
                "stand_in_for": None,
                "remarks": [],
                **(dataset or {}),
            },
            "replicates": replicates,
            "summary": _summary(replicates),
        },
    )
    pd.concat(curves).to_csv(folder / "curves.csv", index=False)
    pd.concat(scores).to_parquet(folder / "scores.parquet")
    write_record(
        folder,
        kind="attack",
        spec={},
        inputs={},
        code=[],
        outputs=["metrics.json", "curves.csv", "scores.parquet"],
    )
    return folder


def _rate(value: float, trials: int) -> dict[str, float]:
    margin = 1.96 * np.sqrt(max(value * (1 - value), 1e-6) / trials)
    return {
        "value": float(value),
        "low": float(max(value - margin, 0)),
        "high": float(min(value + margin, 1)),
    }


def _measures(member: np.ndarray, decision: np.ndarray) -> dict[str, Any]:
    called = int(decision.sum())
    hits = int((decision & member).sum())
    return {
        "precision": _rate(hits / called, called) if called else None,
        "recall": _rate(hits / member.sum(), int(member.sum())),
        "accuracy": _rate(float((decision == member).mean()), len(member)),
    }


def _summary(replicates: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    for replicate in replicates:
        rates = {**replicate["target"], **replicate["attack"]}
        for name, rate in rates.items():
            if name != "tpr_at_fpr":
                found.setdefault(name, []).append(rate["value"])
        for measure, how in (
            ("precision", "mean"),
            ("precision", "median"),
            ("recall", "median"),
        ):
            values = [row[measure] for row in replicate["per_class"]]
            known = [value["value"] for value in values if value]
            found.setdefault(f"class_{measure}_{how}", []).append(
                float(getattr(np, how)(known))
            )
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: list[float]) -> dict[str, Any]:
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        std = low = high = None
    else:
        std = float(np.std(values, ddof=1))
        margin = float(stats.t.ppf(0.975, count - 1)) * std / np.sqrt(count)
        low, high = mean - margin, mean + margin
    return {
        "mean": mean,
        "std": std,
        "count": count,
        "low": low,
        "high": high,
        "values": values,
    }
