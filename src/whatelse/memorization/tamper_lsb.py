"""LSB encoding: low bits of every finished parameter are replaced (P2 Sec. 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from whatelse.datasets.store import Dataset
from whatelse.memorization.carrier_settings import Lsb
from whatelse.memorization.low_bits import write_low_bits
from whatelse.memorization.payload import encode
from whatelse.memorization.secret import draw_bits
from whatelse.training.tampering import Host, Model


class LowBitsTampering:
    """Training is as ever; a finished model's file takes the payload."""

    penalty = None

    def __init__(
        self, settings: Lsb, dataset: Dataset, shapes: Mapping[str, tuple[int, ...]],
        hosts: Sequence[Host], seed: int,
    ) -> None:  # fmt: skip
        self._bits, self._names = settings.bits, list(shapes)
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        room = size * self._bits
        self._streams = []
        for host in hosts:
            *_, data = draw_bits(
                settings.secret, dataset, host.members, room, seed, host.name
            )
            self._streams.append(encode(data, settings.secret.coding, room))

    def finish(self, position: int, model: Model) -> Model:
        """Return the model with the payload in its parameters."""
        values = np.concatenate([model[name].numpy().ravel() for name in self._names])
        written = torch.from_numpy(
            write_low_bits(values, self._streams[position], self._bits)
        )
        parts = written.split([model[name].numel() for name in self._names])
        changed = {
            name: part.view(model[name].shape)
            for name, part in zip(self._names, parts, strict=True)
        }
        return {**model, **changed}


def tamper(
    settings: Mapping[str, Any], dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]], hosts: Sequence[Host], seed: int,
    device: torch.device,
) -> LowBitsTampering:  # fmt: skip
    """Return the tampering: see ``whatelse.training.tampering.Tamper``."""
    return LowBitsTampering(Lsb.model_validate(settings), dataset, shapes, hosts, seed)
