"""The loss threshold of Yeom et al. (CSF 2018): members have lower loss.

Needs no shadow models; the attacker is taken to know the target's mean training loss,
which model cards often state.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.settings import Threshold
from whatelse.models.outputs import Outputs

NEEDS_SHADOWS = False


class Scorer:
    """The threshold rule; nothing is fitted.

    Parameters are those of ``whatelse.membership.shadow.Scorer``.
    """

    def __init__(
        self, settings: Threshold, shadows: Outputs, *, seed: int, name: tuple[int | str, ...]  # noqa: E501
    ) -> None:  # fmt: skip
        pass

    def score(self, outputs: Outputs) -> NDArray[np.float32]:
        """Return the log-probability of the true class, shape (rows,)."""
        return outputs.log_probability

    def decide(self, scores: NDArray[np.float32], outputs: Outputs) -> NDArray[np.bool_]:  # fmt: skip  # noqa: E501
        """Return whether the loss is at most the members' mean, shape (rows,)."""
        return scores >= scores[outputs.member].mean()
