"""Dropout (Srivastava et al., JMLR 2014) of the hidden units of dense layers.

Which units a step leaves out depends on the model's own stream and the epoch alone,
so that a stack and the loop leave out the same.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from whatelse.errors import UserError
from whatelse.models.stacked import Architecture, StackedCnn, StackedMlp
from whatelse.seeding import stream
from whatelse.training.settings import TrainingSettings


def droppable(architecture: Architecture) -> StackedMlp | StackedCnn:
    """Return an architecture that has dense hidden layers.

    Raises
    ------
    UserError
        If it has none.
    """
    if isinstance(architecture, StackedMlp | StackedCnn) and architecture.hidden_units:
        return architecture
    raise UserError(
        "training.dropout: the net has no hidden layer that it could drop units of; "
        "allowed: 0, or architecture mlp with hidden layers, or cnn"
    )


def draw_kept(
    settings: TrainingSettings, architecture: Architecture, steps: int,
    name: tuple[int | str, ...], seed: int, epoch: int,
) -> NDArray[np.float32]:  # fmt: skip
    """Return factors of hidden units, shape (steps x batch size, units).

    0 where a unit is left out, else 1 / (1 - dropout), so that the mean stays. Units
    of all layers lie side by side.
    """
    units = sum(droppable(architecture).hidden_units)
    shape = (steps * settings.batch_size, units)
    drawn = stream(seed, *name, "dropout", epoch).random(shape, dtype=np.float32)
    kept = np.float32(1) / np.float32(1 - settings.dropout)
    return np.where(drawn >= settings.dropout, kept, np.float32(0))


class Dropped:
    """Dropout of a net in PyTorch's plain form.

    Parameters
    ----------
    module : nn.Module
        The net; it keeps the hooks.
    architecture : Architecture
        Its stacked form.

    Attributes
    ----------
    keep : Tensor of shape (B, units) or None
        Factors of the next batch; None leaves all as they are.
    """

    def __init__(self, module: nn.Module, architecture: Architecture) -> None:
        self.keep: Tensor | None = None
        units = droppable(architecture).hidden_units
        activations = [m for m in module.modules() if isinstance(m, nn.Tanh | nn.ReLU)]
        # those of convolutions come first
        start = 0
        for width, layer in zip(units, activations[-len(units) :], strict=True):
            layer.register_forward_hook(self._hook(slice(start, start + width)))
            start += width

    def _hook(self, own: slice) -> Any:
        def drop(_: nn.Module, __: Any, values: Tensor) -> Tensor:
            return values if self.keep is None else values * self.keep[:, own]

        return drop
