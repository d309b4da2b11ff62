"""What membership attacks report of a target, whatever they read."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.findings import Findings
from whatelse.measures.balanced import best_balanced_accuracy
from whatelse.measures.controls import Control
from whatelse.measures.rates import Rate, decision_measures, rate
from whatelse.measures.roc import Curve, auc, class_rocs, roc_curve, tpr_at_fpr
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


@dataclass(frozen=True)
class Attacked:
    """What an attack made of a target.

    Attributes
    ----------
    target : Target
        Its records.
    score : ndarray of float, shape (rows,)
        Higher for members.
    decision : ndarray of bool, shape (rows,)
        Who is called one.
    controls : mapping
        Positive and negative.
    queries : float
        Answers of the target that were read for each of its records: more than one
        where it is asked about augmented copies too, of users one for each word.
    more : mapping
        What ``metrics.json`` says of the replicate besides, or in another's place.
    """

    target: Target
    score: NDArray[Any]
    decision: NDArray[np.bool_]
    controls: Mapping[str, Control]
    queries: float
    more: Mapping[str, Any] = field(default_factory=dict)


def findings(
    about: dict[str, Any], rates: Sequence[float], attacked: Sequence[Attacked]
) -> Findings:
    """Return the files of an attack on some replicates, in order.

    Parameters
    ----------
    about : dict
        What outputs say of their data set.
    rates : sequence of float
        False-positive rates at which the true-positive rate is given, or refused.
    attacked : sequence of Attacked
        One a replicate.

    Returns
    -------
    Findings
    """
    names = about["class_names"]
    reports: list[dict[str, Any]] = []
    rows, curves = [], []
    for number, one in enumerate(attacked):
        target = one.target
        columns = {
            "replicate": number,
            "record": target.record,
            "label": target.label,
            "member": target.member,
            "score": one.score,
            "decision": one.decision,
        }
        if target.entropy is not None:
            columns["true_probability"] = target.true_probability
            columns["entropy"] = target.entropy
        rows.append(pd.DataFrame(columns))
        curve = roc_curve(one.score, target.member)
        reports.append(_report(number, names, rates, one, curve))
        points = {
            "replicate": number,
            "fpr": curve.fpr,
            "tpr": curve.tpr,
            "threshold": curve.threshold,
        }
        curves.append(pd.DataFrame(points))
    return Findings(
        about,
        {"replicates": reports, "summary": _summary(reports)},
        pd.concat(rows, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def accuracies(
    correct: NDArray[np.bool_] | NDArray[np.int64], member: NDArray[np.bool_],
    asked: NDArray[np.int64] | None = None,
) -> dict[str, Rate | None]:  # fmt: skip
    """Return how often models are right about members, and about others.

    Parameters
    ----------
    correct : ndarray of bool or int64
        Whether an answer is right, or how many of a row are. Any shape.
    member : ndarray of bool
        In the same shape.
    asked : ndarray of int64, optional
        How many answers a row has; one if left out.
    """
    trials = np.ones(member.shape, dtype=np.int64) if asked is None else asked
    parts = {"train_accuracy": member, "test_accuracy": ~member}
    return {
        name: rate(int(correct[part].sum()), int(trials[part].sum()))
        for name, part in parts.items()
    }


def module_of(settings: Any) -> ModuleType:
    """Return the module of an attack, by its kind."""
    return importlib.import_module(f"whatelse.{settings.kind.replace('-', '_')}")


def promised(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a target's training promised of its records, for `Attacked.more`."""
    return {"privacy": about["privacy"]} if about.get("privacy") else {}


def _report(
    number: int, names: Sequence[str], rates: Sequence[float], attacked: Attacked,
    curve: Curve,
) -> dict[str, Any]:  # fmt: skip
    """Return what ``metrics.json`` says of a replicate."""
    target, score = attacked.target, attacked.score
    overall, per_class = decision_measures(
        attacked.decision, target.member, target.label, names
    )
    of_classes = class_rocs(score, target.member, target.label, rates)
    members = int(target.member.sum())
    others = len(target.member) - members
    return {
        "replicate": number,
        "target": _accuracies(target, slice(None)),
        "attack": {
            **overall,
            "auc": auc(score, target.member),
            "best_balanced_accuracy": best_balanced_accuracy(curve, members, others),
            "tpr_at_fpr": {
                f"{fpr:g}": tpr_at_fpr(score, target.member, fpr) for fpr in rates
            },
        },
        "per_class": [
            {
                **decided, **told,
                **_accuracies(target, target.label == decided["class"]),
            }
            for decided, told in zip(per_class, of_classes, strict=True)
        ],
        "controls": dict(attacked.controls),
        "queries": attacked.queries,
        **attacked.more,
    }  # fmt: skip


def _accuracies(
    target: Target, own: NDArray[np.bool_] | slice
) -> dict[str, Rate | None]:
    """Return how often a target is right about some of its rows."""
    asked = None if target.asked is None else target.asked[own]
    return accuracies(target.correct[own], target.member[own], asked)


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
    for name in ("accuracy", "precision", "recall", "auc", "best_balanced_accuracy"):
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
    columns["queries"] = [r["queries"] for r in reports]
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
