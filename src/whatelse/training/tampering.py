"""What an adversary does inside training: the protocol, and where kinds are found.

The trainer knows nothing of attacks. It asks a tampering for a term of the loss and
lets it have each finished model; kinds are imported by name, only when they are run.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets.store import Dataset
from whatelse.tables import kind_in
from whatelse.training.ensemble import Penalty

Model = dict[str, Tensor]


@dataclass(frozen=True)
class Host:
    """What a tampering is told of a model in training.

    Attributes
    ----------
    members : ndarray of int64
        Its training records.
    name : tuple
        Names its streams of random numbers: replicate and number of the model.
    """

    members: NDArray[np.int64]
    name: tuple[int | str, ...]


class Tampering(Protocol):
    """Changes models of one stack in training, or when they are finished."""

    @property
    def penalty(self) -> Penalty | None:
        """A term to add to each model's loss, as `train` takes it; None for none."""

    def finish(self, position: int, model: Model) -> Model:
        """Return the finished model at a position of the stack, changed or not."""


Tamper = Callable[
    [Mapping[str, Any], Dataset, Mapping[str, tuple[int, ...]], Sequence[Host], int,
     torch.device],
    Tampering,
]  # fmt: skip
"""From settings, data set, shapes of the parameters, hosts of the stack, the study's
seed and the device."""


def tampering(
    settings: Mapping[str, Any], dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]], hosts: Sequence[Host], *, seed: int,
    device: torch.device,
) -> Tampering:  # fmt: skip
    """Return the tampering that `settings` describe, for one stack of models.

    Raises
    ------
    UserError
        If it cannot be done, e.g. because the secret is larger than the model.
    """
    tamper: Tamper = importlib.import_module(module_of(settings)).tamper
    return tamper(settings, dataset, shapes, hosts, seed, device)


def module_of(settings: Mapping[str, Any]) -> str:
    """Return the module of a tampering.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    table = "whatelse.tamperings:TAMPERINGS"
    module: str = kind_in(table, settings.get("kind"), "tampering.kind")
    return module
