"""White box: the length of the gradient of a record's loss (Nasr et al., S&P 2019).

Training goes on until the gradients of its records are short. One threshold for all, or
each record's own by LiRA's test of log lengths (Carlini et al., S&P 2022).
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership import lira
from whatelse.membership.compared import Compared, above_most
from whatelse.membership.settings import SHARE_VARIANCE, GradientNorm
from whatelse.models.signals import Signal

SIGNAL: Signal = "gradient_norm"


def score(settings: GradientNorm, compared: Compared) -> NDArray[np.float64]:
    """Return minus the log length, or its log likelihood ratio, shape (rows,)."""
    if not settings.calibrated:
        return compared.observed[:, 0].astype(np.float64)
    few = len(compared.references) < SHARE_VARIANCE
    inside, outside = (
        lira.fit(compared.references, chosen, one_variance=few)
        for chosen in (compared.inside, ~compared.inside)
    )
    return lira.online(compared.observed, inside, outside)


def decide(
    settings: GradientNorm, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return who is likelier a member, or above most of the population."""
    if settings.calibrated:
        return scores > 0
    return above_most(scores, compared.others[:, 0], settings.level)
