"""What audits by canaries found, with their controls: bounds on epsilon from below.

Every model tosses a coin for every canary (``split: coins``). Of a model's answers an
audit gets the margins of canaries; the coins say what was right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.membership.compared import Floats
from whatelse.membership.reference import plant
from whatelse.membership.reports import (
    Attacked,
    Target,
    accuracies,
    findings,
    module_of,
    promised,
)
from whatelse.membership.settings import settings_of
from whatelse.models.signals import Signals, load_signals
from whatelse.seeding import stream


@dataclass(frozen=True)
class Judged:
    """What an audit judged by, shape (rows,) each, and its bound.

    Attributes
    ----------
    model, canary : ndarray of int64
        Whose answer, and about which: places in the stack and among the canaries.
    score : ndarray of float64
        Higher where the canary was in.
    decision : ndarray of bool
        Whether it is said to be.
    bound : dict
        ``epsilon_lower`` and what it was counted from.
    """

    model: NDArray[np.int64]
    canary: NDArray[np.int64]
    score: NDArray[np.float64]
    decision: NDArray[np.bool_]
    bound: dict[str, Any]


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Run an audit on all models of each replicate."""
    settings = settings_of(spec)
    return evaluate(
        module_of(settings),
        settings,
        [load_signals(own, "margin") for own in replicates_of(inputs, "signals")],
        seed=spec.seed,
    )


def evaluate(
    module: Any, settings: Any, replicates: Sequence[Signals], *, seed: int
) -> Findings:
    """Run an audit on some replicates, with both controls.

    Parameters
    ----------
    module : module
        The audit's, with ``judge(settings, margins, inside) -> Judged``.
    settings : Audit or Epsilon
        The audit's.
    replicates : sequence of Signals
        All models of each; the first is the target.
    seed : int
        The study's seed.

    Returns
    -------
    Findings
        Task accuracies are the target's, about records that are no canaries.

    Raises
    ------
    UserError
        If the models that are judged by are all of one kind.
    """
    attacked = [
        _attack(module, settings, number, signals, seed)
        for number, signals in enumerate(replicates)
    ]
    return findings(replicates[0].about, settings.false_positive_rates, attacked)


def _attack(
    module: Any, settings: Any, number: int, signals: Signals, seed: int
) -> Attacked:
    pool, others = np.flatnonzero(signals.pool), np.flatnonzero(~signals.pool)
    margins, inside = signals.values[:, pool, 0], signals.train[:, pool]
    judged = module.judge(settings, margins, inside)
    rows = pool[judged.canary]
    privacy = promised(signals.about)
    return Attacked(
        Target(
            rows, signals.label[rows], signals.train[judged.model, rows],
            signals.correct[judged.model, rows],
        ),
        judged.score, judged.decision,
        controls=_controls(module, settings, signals, margins, inside, seed, number),
        queries=1.0,  # the margin of a canary as it is
        more={
            **privacy,
            # of the task, canaries left out
            "target": accuracies(signals.correct[0, others], signals.train[0, others]),
            "audit": _held_against(judged.bound, settings, privacy.get("privacy")),
        },
    )  # fmt: skip


def _held_against(
    bound: dict[str, Any], settings: Any, privacy: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the bound with what it is stated at, and whether it is above a promise."""
    promised = privacy["epsilon"] if privacy else None
    exceeded = None
    if promised is not None:
        exceeded = float(bound["epsilon_lower"] > promised)
    return {
        **bound, "delta": settings.delta, "confidence": settings.confidence,
        "epsilon": promised, "epsilon_exceeded": exceeded,
    }  # fmt: skip


def _controls(
    module: Any, settings: Any, signals: Signals, margins: Floats,
    inside: NDArray[np.bool_], seed: int, number: int,
) -> dict[str, Control]:  # fmt: skip
    """Judge answers by coins that their models never knew, without and with a leak.

    Negative: model 1 by the coins of model 0, and so on; if coins of models hung on
    each other, or scores on anything but the coins, this fails. Of a single model, by
    coins tossed anew. Positive: the same with answers moved, those to canaries that are
    in towards the true class.
    """
    if len(margins) > 1:
        kind, asked, coins = "by the coins of another model", margins[1:], inside[:-1]
    else:
        kind, asked = "by coins that were tossed afterwards", margins
        coins = stream(seed, "fresh coins", number).random(inside.shape) < 0.5
    classes = len(signals.about["class_names"])
    told = plant("margin", asked, coins, classes)
    return {
        "negative": _control(kind, module.judge(settings, asked, coins), coins),
        "positive": _control(
            "a leak planted in the margins of canaries",
            module.judge(settings, told, coins), coins,
        ),
    }  # fmt: skip


def _control(what: str, judged: Judged, coins: NDArray[np.bool_]) -> Control:
    return control_of(what, judged.score, coins[judged.model, judged.canary])
