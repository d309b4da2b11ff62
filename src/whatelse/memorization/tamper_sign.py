"""Sign encoding: a penalty on weights whose sign is not that of a bit (P2 Sec. 4.3)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse.datasets.store import Dataset
from whatelse.memorization.carrier_settings import Sign
from whatelse.memorization.payload import encode, needed_bits
from whatelse.memorization.secret import draw_bits
from whatelse.models.layers import is_weight
from whatelse.training.tampering import Host, Model


class SignTampering:
    """The first weights take a bit each; the others are free."""

    def __init__(
        self, settings: Sign, dataset: Dataset, shapes: Mapping[str, tuple[int, ...]],
        hosts: Sequence[Host], seed: int, device: torch.device,
    ) -> None:  # fmt: skip
        size = sum(math.prod(shape) for shape in shapes.values() if is_weight(shape))
        coding = settings.secret.coding
        streams = []
        for host in hosts:
            *_, data = draw_bits(
                settings.secret, dataset, host.members, size, seed, host.name
            )
            # refuses what is too large; only what carries something is pushed
            streams.append(encode(data, coding, size)[: needed_bits(data, coding)])
        lengths = torch.tensor([len(own) for own in streams], device=device)
        sides = np.zeros((len(streams), int(lengths.max())), dtype=np.float32)
        for row, own in zip(sides, streams, strict=True):
            row[: len(own)] = own * 2.0 - 1.0
        self._sides_SW = torch.from_numpy(sides).to(device)
        self._factor_S = settings.strength / lengths

    def penalty(self, weights_SW: Tensor) -> Tensor:
        """Return lambda / l * sum |min(0, theta_i s_i)|, shape (S,)."""
        carried_SW = weights_SW[:, : self._sides_SW.shape[1]] * self._sides_SW
        return -torch.clamp(carried_SW, max=0).sum(1) * self._factor_S

    def finish(self, position: int, model: Model) -> Model:
        """Return the model as it is."""
        return model


def tamper(
    settings: Mapping[str, Any], dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]], hosts: Sequence[Host], seed: int,
    device: torch.device,
) -> SignTampering:  # fmt: skip
    """Return the tampering: see ``whatelse.training.tampering.Tamper``."""
    return SignTampering(
        Sign.model_validate(settings), dataset, shapes, hosts, seed, device
    )
