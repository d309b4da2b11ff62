"""The bound over independently trained models (Jagielski, Ullman & Oprea, 2020).

A model is one trial, of one canary. Canaries of one model were fitted together and are
no trials of their own, however many there are; they only serve to choose the one that
is judged by, on models that then are not.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.measures.audit import choose, over_models
from whatelse.membership.canaries import Judged
from whatelse.membership.compared import Floats
from whatelse.membership.settings import Epsilon


def judge(settings: Epsilon, margins: Floats, inside: NDArray[np.bool_]) -> Judged:
    """Choose a canary and a threshold on every other model; judge by the rest.

    Parameters
    ----------
    settings : Epsilon
        The attack's.
    margins : ndarray of float, shape (models, canaries)
        Of the canaries' labels.
    inside : ndarray of bool, shape (models, canaries)
        Whether a canary was in a model's training set.

    Returns
    -------
    Judged
        A row a model.
    """
    stated = {"delta": settings.delta, "confidence": settings.confidence}
    canary, threshold = choose(margins[::2], inside[::2], **stated)
    models = np.arange(1, len(margins), 2)
    score = margins[models, canary].astype(np.float64)
    bound = over_models(score, inside[models, canary], threshold=threshold, **stated)
    return Judged(
        model=models,
        canary=np.full(len(models), canary),
        score=score,
        decision=score >= threshold,
        bound=dict(bound),
    )
