"""Attack P (Ye et al., CCS 2022): the loss threshold, set on a population.

The score is that of ``membership.threshold``; what differs is the decision, for which
nobody has to know the target's training loss.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.compared import Compared, above_most
from whatelse.membership.settings import AttackP
from whatelse.models.signals import Signal

SIGNAL: Signal = "log_probability"


def score(settings: AttackP, compared: Compared) -> NDArray[np.float64]:
    """Return the log-probability of the true class, shape (rows,)."""
    return compared.observed[:, 0].astype(np.float64)


def decide(
    settings: AttackP, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return who is above all but a share `level` of the population."""
    return above_most(scores, compared.others[:, 0], settings.level)
