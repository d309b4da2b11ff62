"""The door through which the outside sees a model (P1 Sec. IX)."""

import torch
from torch import Tensor

from whatelse.errors import UserError
from whatelse.models.settings import Label, ReleaseSettings, Rounded, Temperature, Top


class Oracle:
    """The door to a model's answers: transforms, counts and caps them.

    Parameters
    ----------
    release : ReleaseSettings
        What is seen.

    Attributes
    ----------
    queries : int
        Answers given so far.
    """

    def __init__(self, release: ReleaseSettings) -> None:
        self.release = release
        self.queries = 0

    def answer(self, logits: Tensor) -> Tensor:
        """Return what is released for some logits, shape (..., classes), float64.

        Raises
        ------
        UserError
            If that would be more answers than allowed.
        """
        self.queries += logits.shape[:-1].numel()
        limit = self.release.max_queries
        if limit is not None and self.queries > limit:
            raise UserError(
                f"release.max_queries: {self.queries} queries asked; allowed: {limit}"
            )
        logits = logits.double()
        release = self.release
        if isinstance(release, Temperature):
            logits = logits / release.temperature
        probabilities = torch.softmax(logits, -1)
        if isinstance(release, Top):
            count = min(release.count, logits.shape[-1])
            values, places = probabilities.topk(count, -1)
            return torch.zeros_like(probabilities).scatter(-1, places, values)
        if isinstance(release, Rounded):
            return probabilities.round(decimals=release.decimals)
        if isinstance(release, Label):
            best = probabilities.argmax(-1, keepdim=True)
            return torch.zeros_like(probabilities).scatter(-1, best, 1.0)
        return probabilities
