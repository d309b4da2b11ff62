"""What a membership attack found, with its controls: metrics, curves, scores."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import exchange_test
from whatelse.measures.rates import decision_measures, rate
from whatelse.measures.roc import auc, roc_curve, tpr_at_fpr
from whatelse.measures.spread import spread
from whatelse.membership.settings import MembershipAttack
from whatelse.models.outputs import CONTROL, TARGET, Outputs, load_outputs
from whatelse.seeding import stream

MakeScorer = Callable[..., Any]


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Run a membership attack on the outputs of each replicate."""
    settings: Any = TypeAdapter(MembershipAttack).validate_python(spec.settings)
    module = importlib.import_module(f"whatelse.{settings.kind}")
    return evaluate(
        module.Scorer,
        settings,
        [load_outputs(folders) for folders in replicates_of(inputs, "outputs")],
        needs_shadows=module.NEEDS_SHADOWS,
        seed=spec.seed,
    )


def evaluate(
    make_scorer: MakeScorer,
    settings: Any,
    replicates: Sequence[Outputs],
    *,
    needs_shadows: bool,
    seed: int,
) -> Findings:
    """Run an attack on the target of each replicate, with both controls.

    Parameters
    ----------
    make_scorer : callable
        ``Scorer`` of the attack's module.
    settings : MembershipAttack
        The attack's.
    replicates : sequence of Outputs
        Rows of the target, of its shadows and of the control model.
    needs_shadows : bool
        Whether the attack is fitted on shadows.
    seed : int
        The study's seed.

    Returns
    -------
    Findings

    Raises
    ------
    UserError
        If the outputs lack what the attack needs.
    """
    reports, scores, curves = [], [], []
    for number, outputs in enumerate(replicates):
        target = outputs.of(outputs.model == TARGET)
        shadows = outputs.of(outputs.model > TARGET)
        inside = int(target.member.sum())
        outside = len(target.member) - inside
        if inside < 1 or outside < 2:
            raise UserError(
                f"outputs: the target has {inside} members and {outside} non-members; "
                "allowed: at least 1 and 2 (the controls halve the non-members)"
            )
        if needs_shadows and not len(shadows.model):
            raise UserError(
                f"attack kind: {settings.kind} needs outputs of shadow models, and "
                "there are none; allowed without: membership.threshold"
            )
        scorer = make_scorer(settings, shadows, seed=seed, name=(number,))
        score = scorer.score(target)
        decision = scorer.decide(score, target)
        overall, per_class = decision_measures(
            decision, target.member, target.label, target.about["class_names"]
        )
        resolution = {
            f"{fpr:g}": tpr_at_fpr(score, target.member, fpr)
            for fpr in settings.false_positive_rates
        }
        reports.append(
            {
                "replicate": number,
                "target": _accuracies(target),
                "attack": {
                    **overall,
                    "auc": auc(score, target.member),
                    "tpr_at_fpr": resolution,
                },
                "per_class": per_class,
                "controls": {
                    "negative": _negative(scorer, outputs, seed, number),
                    "positive": _positive(
                        make_scorer, settings, target, shadows, seed, number
                    ),
                },
            }
        )
        curve = roc_curve(score, target.member)
        curves.append(
            pd.DataFrame(
                {
                    "replicate": number,
                    "fpr": curve.fpr,
                    "tpr": curve.tpr,
                    "threshold": curve.threshold,
                }
            )
        )
        scores.append(
            pd.DataFrame(
                {
                    "replicate": number,
                    "record": target.record,
                    "label": target.label,
                    "member": target.member,
                    "score": score,
                    "decision": decision,
                }
            )
        )
    metrics = {"replicates": reports, "summary": _summary(reports)}
    return Findings(
        replicates[0].about,
        metrics,
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def _accuracies(target: Outputs) -> dict[str, Any]:
    correct, member = target.correct, target.member
    return {
        "train_accuracy": rate(int(correct[member].sum()), int(member.sum())),
        "test_accuracy": rate(int(correct[~member].sum()), int((~member).sum())),
    }


def _negative(scorer: Any, outputs: Outputs, seed: int, number: int) -> dict[str, Any]:
    """Send records that a model never saw through the attack as "members".

    The model is a shadow and the "members" are the target's: drawn like members, in
    their proportion and place, yet unseen. If shadows had been trained on the target's
    data, or if members and non-members differed by how they were drawn, this fails.
    Outputs that a user brings lack such a model: there, random halves of the
    non-members stand against each other.
    """
    control = outputs.of(outputs.model == CONTROL)
    kind = "a model that saw neither, on the target's members and non-members"
    if not len(control.model):
        kind = "random halves of the target's non-members"
        control = outputs.of((outputs.model == TARGET) & ~outputs.member)
        control = replace(control, member=_halves(control, seed, number))
    score = scorer.score(control)
    return {
        "what": kind,
        "auc": auc(score, control.member),
        "p_value": exchange_test(score, control.member),
    }


def _positive(
    make_scorer: MakeScorer,
    settings: Any,
    target: Outputs,
    shadows: Outputs,
    seed: int,
    number: int,
) -> dict[str, Any]:
    """Plant a leak in outputs that have none; the attack must find it.

    Of non-members alone, a random half is called members and their outputs are moved
    halfway to the true class, the others halfway to uniform, for shadows and target
    alike. The attack is fitted and run on these as on the real ones.
    """
    planted_shadows = _plant(shadows, seed, number) if len(shadows.model) else shadows
    planted = _plant(target, seed, number)
    scorer = make_scorer(
        settings.for_control(), planted_shadows, seed=seed, name=(number, "plant")
    )
    score = scorer.score(planted)
    return {
        "what": "a leak planted in the outputs of non-members",
        "auc": auc(score, planted.member),
        "p_value": exchange_test(score, planted.member),
    }


def _plant(outputs: Outputs, seed: int, number: int) -> Outputs:
    innocent = outputs.of(~outputs.member)
    member = _halves(innocent, seed, number)
    rows, classes = innocent.probabilities.shape
    toward = np.full((rows, classes), 1.0 / classes, dtype=np.float32)
    toward[member] = 0.0
    toward[member, innocent.label[member]] = 1.0
    mixed = ((innocent.probabilities + toward) / 2).astype(np.float32)
    return replace(innocent, member=member, probabilities=mixed)


def _halves(outputs: Outputs, seed: int, number: int) -> NDArray[np.bool_]:
    """Return a random half of the rows, even within every model and class."""
    rng = stream(seed, "halves", number)
    order = np.lexsort((rng.random(len(outputs.label)), outputs.label, outputs.model))
    half = np.zeros(len(order), dtype=bool)
    half[order[::2]] = True
    return half


def _summary(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def value(item: dict[str, Any] | None) -> float | None:
        return None if item is None else item["value"]

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
    return {name: spread(values) for name, values in columns.items()}
