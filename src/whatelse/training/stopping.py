"""Early stopping: each model is kept as it was at its best epoch."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.errors import UserError
from whatelse.training.settings import EarlyStopping


class Stopper:
    """Watches the loss of some models on records that were held back.

    A model that has waited long enough stays as it was, however long others go on:
    its company changes nothing.

    Parameters
    ----------
    settings : EarlyStopping
        How long is waited.
    held_back : sequence of ndarray of int64 or None
        The records of each model.

    Attributes
    ----------
    held_back : sequence of ndarray of int64
        The records of each model.
    best : dict of str to Tensor
        Each model at its best epoch so far, stacked.

    Raises
    ------
    UserError
        If nothing is held back.
    """

    def __init__(
        self, settings: EarlyStopping, held_back: Sequence[NDArray[np.int64]] | None
    ) -> None:
        if held_back is None:
            raise UserError(
                "training.early_stopping: no records are held back here; allowed: left "
                "out, but for entries of models"
            )
        self.settings = settings
        self.held_back = held_back
        self.best: dict[str, Tensor] = {}
        self._least = torch.full((len(held_back),), torch.inf)
        self._waited = torch.zeros(len(held_back), dtype=torch.int64)

    def alone(self) -> "list[Stopper]":
        """Return one for each model by itself."""
        return [Stopper(self.settings, [own]) for own in self.held_back]

    def after(self, losses_S: Tensor, tensors: Callable[[], dict[str, Tensor]]) -> bool:
        """Take note of an epoch; return whether any model goes on.

        Parameters
        ----------
        losses_S : Tensor
            Mean loss of each model on its records.
        tensors : callable
            Returns parameters and buffers as they are, stacked, on the CPU.
        """
        losses_S = losses_S.cpu()
        going = self._waited < self.settings.patience
        # at the first epoch whatever it is: a model that diverged has no number
        better = going & ((losses_S < self._least) | (not self.best))
        self._least = torch.where(better, losses_S, self._least)
        self._waited = torch.where(better, 0, self._waited + 1)
        if not self.best:
            self.best = {name: value.clone() for name, value in tensors().items()}
        elif better.any():
            for name, value in tensors().items():
                self.best[name][better] = value[better]
        return bool((self._waited < self.settings.patience).any())
