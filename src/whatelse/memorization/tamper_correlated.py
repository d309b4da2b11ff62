"""Correlated value encoding: weights that vary as the secret does (P2 Sec. 4.2)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets.store import Dataset
from whatelse.memorization.analog import PREAMBLE, count_in_values, to_values
from whatelse.memorization.carrier_settings import Correlated
from whatelse.memorization.secret import choose, form_of, take
from whatelse.models.layers import is_weight
from whatelse.training.tampering import Host, Model


class CorrelatedTampering:
    """The first weights take a value each; the others are free."""

    def __init__(
        self, settings: Correlated, dataset: Dataset,
        shapes: Mapping[str, tuple[int, ...]], hosts: Sequence[Host], seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        size = sum(math.prod(shape) for shape in shapes.values() if is_weight(shape))
        form = form_of(dataset, settings.secret)
        secrets: list[NDArray[np.float32]] = []
        for host in hosts:
            count = count_in_values(settings.secret, form, size, len(host.members))
            rows = choose(host.members, count, seed, host.name)
            values = to_values(take(dataset, rows, form), form, settings.secret.coding)
            centred = values - values.mean()
            secrets.append(centred / np.linalg.norm(centred))
        self._lengths = [len(own) for own in secrets]
        self._secrets = [torch.from_numpy(own).to(device) for own in secrets]
        self._strength = settings.strength
        assert min(self._lengths) > PREAMBLE

    def penalty(self, weights_SW: Tensor) -> Tensor:
        """Return -lambda |Pearson's r of weights and secret|, shape (S,)."""
        terms = []
        for weights_W, secret in zip(weights_SW, self._secrets, strict=True):
            own = weights_W[: len(secret)]
            centred = own - own.mean()
            terms.append((centred @ secret).abs() / torch.linalg.vector_norm(centred))
        return -self._strength * torch.stack(terms)

    def finish(self, position: int, model: Model) -> Model:
        """Return the model as it is."""
        return model


def tamper(
    settings: Mapping[str, Any], dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]], hosts: Sequence[Host], seed: int,
    device: torch.device,
) -> CorrelatedTampering:  # fmt: skip
    """Return the tampering: see ``whatelse.training.tampering.Tamper``."""
    return CorrelatedTampering(
        Correlated.model_validate(settings), dataset, shapes, hosts, seed, device
    )
