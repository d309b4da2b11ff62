"""Attack R (Ye et al., CCS 2022): each record's loss against that under references.

The score is the share of reference models without the record that give its true class
less than the target does (RMIA, Sec. 2). A tie, which sure models have often, counts
one half: the paper's "no more" would call it a member's.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.compared import Compared
from whatelse.membership.settings import AttackR
from whatelse.models.signals import Signal

SIGNAL: Signal = "log_probability"


def score(settings: AttackR, compared: Compared) -> NDArray[np.float64]:
    """Return the share of reference models that are less sure, shape (rows,)."""
    outside = ~compared.inside
    theirs, ours = compared.references[..., 0], compared.observed[:, 0]
    beaten = ((theirs < ours) & outside).sum(0)
    tied = ((theirs == ours) & outside).sum(0)
    return np.asarray((beaten + tied / 2) / outside.sum(0))


def decide(
    settings: AttackR, scores: NDArray[np.float64], compared: Compared
) -> NDArray[np.bool_]:
    """Return whom at most a share `level` of the reference models are surer of."""
    return scores >= 1 - settings.level
