"""The audit of one training run (Steinke, Nasr & Jagielski, NeurIPS 2023).

Each canary was in by a coin of its own, so guesses about all of them count although the
model is one: whatever scores hang on, the coins are independent.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.measures.audit import OneRun, one_run
from whatelse.membership.canaries import Judged
from whatelse.membership.compared import Floats
from whatelse.membership.settings import Audit


def judge(settings: Audit, margins: Floats, inside: NDArray[np.bool_]) -> Judged:
    """Guess about canaries of the first model.

    Parameters
    ----------
    settings : Audit
        The attack's.
    margins : ndarray of float, shape (models, canaries)
        Of the canaries' labels. Those of further models, whose coins are their own, say
        how hard a canary is: their mean is taken off.
    inside : ndarray of bool, shape (models, canaries)
        Whether a canary was in a model's training set.

    Returns
    -------
    Judged
        A row a canary; said to be in is the upper half.
    """
    score = margins[0].astype(np.float64)
    if len(margins) > 1:
        score = score - margins[1:].mean(0, dtype=np.float64)
    order = np.argsort(score, kind="stable")
    right = inside[0, order]
    number, half = len(order), len(order) // 2
    # All shares are tried, so each has its part of the error.
    confidence = 1 - (1 - settings.confidence) / len(settings.guesses)
    tried: list[OneRun] = []
    for share in settings.guesses:
        side = min(max(1, round(share * number / 2)), half)
        found = int((~right[:side]).sum() + right[-side:].sum())
        tried.append(
            one_run(
                number, 2 * side, found, delta=settings.delta, confidence=confidence
            )
        )
    best = max(tried, key=lambda bound: bound["epsilon_lower"])
    decision = np.zeros(number, dtype=bool)
    decision[order[number - half :]] = True
    return Judged(
        model=np.zeros(number, dtype=np.int64),
        canary=np.arange(number),
        score=score,
        decision=decision,
        bound={**best, "tried": tried},
    )
