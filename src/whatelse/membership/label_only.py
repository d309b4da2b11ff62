"""Membership by labels alone (Choquette-Choo et al., ICML 2021).

With one query the gap attack (Yeom et al., CSF 2018): who is answered rightly is called
a member. With augmented queries, how many of them are still answered rightly stands for
the distance from the decision boundary (Sec. 4.2): members lie further from it.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.compared import Compared, above_most
from whatelse.membership.settings import LabelOnly
from whatelse.models.signals import Signal

SIGNAL: Signal = "right"


def score(settings: LabelOnly, compared: Compared) -> NDArray[np.float64]:
    """Return the share of queries that are answered rightly, shape (rows,)."""
    return compared.observed.mean(1, dtype=np.float64)


def decide(
    settings: LabelOnly, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return who is answered rightly, or more often than most of the population.

    Of one query whoever is; of several, who is above all but a share `level` of the
    population, or at the top with everything right where more of it are.
    """
    if compared.observed.shape[1] == 1:
        return scores > 0
    theirs = compared.others.mean(1, dtype=np.float64)
    return above_most(scores, theirs, settings.level) | (scores == 1)
