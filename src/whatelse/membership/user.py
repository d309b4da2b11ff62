"""Was this user's text learned from? Told by how a model ranks its words.

Song & Shmatikov, KDD 2019: histograms of ranks, scaled to length 1, then each bin to
mean 0 and deviation 1 over the users of shadows; a linear support-vector machine.
"""

import numpy as np
from numpy.typing import NDArray

from whatelse.membership.settings import User
from whatelse.models.outputs import Outputs
from whatelse.seeding import stream

NEEDS_SHADOWS = True
_STEPS = 20_000


class Scorer:
    """A fitted support-vector machine.

    Parameters
    ----------
    settings : User
        The attack's.
    shadows : Outputs
        A row for every user that a shadow model is tested on.
    seed : int
        The study's seed.
    name : tuple
        Names this fit among the streams of the seed, e.g. its replicate.
    """

    def __init__(
        self, settings: User, shadows: Outputs, *, seed: int,
        name: tuple[int | str, ...],
    ) -> None:  # fmt: skip
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer, StandardScaler
        from sklearn.svm import LinearSVC

        state = int(stream(seed, "attack", *name).integers(2**31))
        machine = LinearSVC(C=settings.penalty, max_iter=_STEPS, random_state=state)
        self._fitted = make_pipeline(Normalizer(), StandardScaler(), machine)
        self._fitted.fit(shadows.probabilities, shadows.member)

    def score(self, outputs: Outputs) -> NDArray[np.float64]:
        """Return the distance to the separating plane, shape (rows,)."""
        scores: NDArray[np.float64] = self._fitted.decision_function(
            outputs.probabilities
        )
        return scores

    def decide(
        self, scores: NDArray[np.float64], outputs: Outputs
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Return the decision for each row, shape (rows,)."""
        return scores > 0
