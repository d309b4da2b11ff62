"""What membership attacks report of a target, whatever they read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.findings import Findings
from whatelse.measures.controls import Control
from whatelse.measures.rates import Rate, decision_measures, rate
from whatelse.measures.roc import auc, class_rocs, roc_curve, tpr_at_fpr
from whatelse.measures.spread import spread
from whatelse.seeding import stream


@dataclass(frozen=True)
class Target:
    """The records that a target is tested on, shape (rows,) each.

    Attributes
    ----------
    record, label : ndarray of int64
        Numbers in the data set, and true classes.
    member, correct : ndarray of bool
        Whether it was trained on them, and answers with the true class. Of users,
        `correct` counts the words that it says first.
    asked : ndarray of int64, optional
        Of users: the words that it was asked about.
    true_probability, entropy : ndarray of float32, optional
        Of its answers: what the true class gets, and how uncertain they are, in [0, 1].
    """

    record: NDArray[np.int64]
    label: NDArray[np.int64]
    member: NDArray[np.bool_]
    correct: NDArray[np.bool_] | NDArray[np.int64]
    asked: NDArray[np.int64] | None = None
    true_probability: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None

    def accuracy(self, chosen: NDArray[np.bool_]) -> Rate | None:
        """Return how often it is right about some of the rows."""
        asked = np.ones_like(self.record) if self.asked is None else self.asked
        return rate(int(self.correct[chosen].sum()), int(asked[chosen].sum()))

    def __post_init__(self) -> None:
        """Refuse a target without either kind.

        Raises
        ------
        UserError
            If the controls could not be run.
        """
        inside = int(self.member.sum())
        outside = len(self.member) - inside
        if inside < 1 or outside < 2:
            raise UserError(
                f"outputs: the target has {inside} members and {outside} non-members; "
                "allowed: at least 1 and 2 (the controls halve the non-members)"
            )


def report(
    number: int, target: Target, score: NDArray[Any], decision: NDArray[np.bool_], *,
    class_names: Sequence[str], false_positive_rates: Sequence[float],
    controls: Mapping[str, Control], privacy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what ``metrics.json`` says of a replicate.

    Parameters
    ----------
    number : int
        The replicate.
    target : Target
        Its records.
    score : ndarray of float, shape (rows,)
        Higher for members.
    decision : ndarray of bool, shape (rows,)
        Who is called one.
    class_names : sequence of str
        One a class.
    false_positive_rates : sequence of float
        Where the true-positive rate is given, or refused.
    controls : mapping
        Positive and negative.
    privacy : mapping, optional
        What the target's training promised of its records.
    """
    overall, per_class = decision_measures(
        decision, target.member, target.label, class_names
    )
    resolution = {
        f"{fpr:g}": tpr_at_fpr(score, target.member, fpr)
        for fpr in false_positive_rates
    }
    of_classes = class_rocs(score, target.member, target.label, false_positive_rates)
    return {
        "replicate": number,
        "target": {
            "train_accuracy": target.accuracy(target.member),
            "test_accuracy": target.accuracy(~target.member),
        },
        "attack": {
            **overall,
            "auc": auc(score, target.member),
            "tpr_at_fpr": resolution,
        },
        "per_class": [
            {**decided, **told, **_class_accuracy(target, decided["class"])}
            for decided, told in zip(per_class, of_classes, strict=True)
        ],
        "controls": dict(controls),
        **({"privacy": dict(privacy)} if privacy else {}),
    }


def _class_accuracy(target: Target, number: int) -> dict[str, Rate | None]:
    """Return how often the target is right about a class's members, and others."""
    own = target.label == number
    return {
        "train_accuracy": target.accuracy(own & target.member),
        "test_accuracy": target.accuracy(own & ~target.member),
    }


def findings(
    about: dict[str, Any], reports: Sequence[dict[str, Any]],
    targets: Sequence[Target], scores: Sequence[NDArray[Any]],
    decisions: Sequence[NDArray[np.bool_]],
) -> Findings:  # fmt: skip
    """Return the files of an attack on some replicates, in order."""
    rows, curves = [], []
    for number, (target, score, decision) in enumerate(
        zip(targets, scores, decisions, strict=True)
    ):
        columns = {
            "replicate": number,
            "record": target.record,
            "label": target.label,
            "member": target.member,
            "score": score,
            "decision": decision,
        }
        if target.entropy is not None:
            columns["true_probability"] = target.true_probability
            columns["entropy"] = target.entropy
        rows.append(pd.DataFrame(columns))
        curve = roc_curve(score, target.member)
        points = {
            "replicate": number,
            "fpr": curve.fpr,
            "tpr": curve.tpr,
            "threshold": curve.threshold,
        }
        curves.append(pd.DataFrame(points))
    return Findings(
        about,
        {"replicates": list(reports), "summary": _summary(reports)},
        pd.concat(rows, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def halves(
    seed: int, number: int, *keys: NDArray[np.int64]
) -> NDArray[np.bool_]:  # fmt: skip
    """Return a random half of some rows, even within equal `keys`; the last leads."""
    rng = stream(seed, "halves", number)
    order = np.lexsort((rng.random(len(keys[0])), *keys))
    half = np.zeros(len(order), dtype=bool)
    half[order[::2]] = True
    return half


def _summary(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def value(item: dict[str, Any] | None) -> float | None:
        return None if item is None else item.get("value")

    columns: dict[str, list[float | None]] = {
        "train_accuracy": [value(r["target"]["train_accuracy"]) for r in reports],
        "test_accuracy": [value(r["target"]["test_accuracy"]) for r in reports],
    }
    for name in ("accuracy", "precision", "recall", "auc"):
        columns[name] = [value(r["attack"][name]) for r in reports]
    for name in ("precision", "recall"):
        of_classes = [
            [c[name]["value"] for c in r["per_class"] if c[name] is not None]
            for r in reports
        ]
        for word, reduce in (("mean", np.mean), ("median", np.median)):
            columns[f"class_{name}_{word}"] = [
                float(reduce(values)) if values else None for values in of_classes
            ]
    if "privacy" in reports[0]:
        columns["epsilon"] = [r["privacy"]["epsilon"] for r in reports]
    if "audit" in reports[0]:
        for name in ("epsilon_lower", "epsilon_exceeded"):
            columns[name] = [r["audit"][name] for r in reports]
    for fpr in reports[0]["attack"]["tpr_at_fpr"]:
        rates = [value(r["attack"]["tpr_at_fpr"][fpr]) for r in reports]
        # refused in all of them: a claim on it is an error, not a miss
        if any(one is not None for one in rates):
            columns[f"tpr_at_{fpr}"] = rates
    return {name: spread(values) for name, values in columns.items()}
