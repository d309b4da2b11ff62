"""A model under examination: what its file holds, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.errors import UserError
from whatelse.models.features import laid_out, module_of
from whatelse.models.layers import dense, weight_names
from whatelse.models.stacked import Architecture
from whatelse.training.blocks import MODELS, Block, load_block
from whatelse.training.ensemble import TrainingData
from whatelse.training.tampering import Model

_AT_ONCE, _IMAGES_AT_ONCE = 4096, 128  # records of a forward pass


@dataclass(frozen=True)
class Suspect:
    """One model.

    Attributes
    ----------
    architecture : Architecture
        Runs it.
    tensors : dict of str to Tensor
        Parameters and buffers, float32.
    """

    architecture: Architecture
    tensors: Model

    @property
    def parameters(self) -> NDArray[np.float32]:
        """All parameters side by side, biases and norms too."""
        return self._flat(list(self.architecture.shapes))

    @property
    def weights(self) -> NDArray[np.float32]:
        """All parameters of more than one dimension side by side, largest first."""
        return self._flat(weight_names(self.architecture.shapes))

    def with_parameters(self, values: NDArray[np.float32]) -> "Suspect":
        """Return the model with other parameters."""
        return self._with(list(self.architecture.shapes), values)

    def with_weights(self, values: NDArray[np.float32]) -> "Suspect":
        """Return the model with its first weights replaced."""
        whole = self.weights.copy()
        whole[: len(values)] = values
        return self._with(weight_names(self.architecture.shapes), whole)

    def probabilities(
        self, data: TrainingData, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Return the model's answers, shape (records, classes)."""
        asked = np.arange(data.num_records) if rows is None else rows
        images = any(len(shape) == 4 for shape in self.architecture.shapes.values())
        ask = self._on_images(data) if images else self._as_a_stack(data)
        at_once = _IMAGES_AT_ONCE if images else _AT_ONCE
        with torch.inference_mode():
            answers = [
                torch.softmax(ask(torch.from_numpy(asked[start : start + at_once])), 1)
                for start in range(0, len(asked), at_once)
            ]
        return torch.cat(answers).numpy()

    def _on_images(self, data: TrainingData) -> Callable[[Tensor], Tensor]:
        # On a CPU, in small parts and with channels last, six times as fast as a stack.
        module = module_of(self.architecture, self.tensors).eval()
        layout = laid_out(module, data.device)

        def ask(rows: Tensor) -> Tensor:
            inputs = dense(data.gather(rows.unsqueeze(0)))[0]
            logits: Tensor = module(layout(inputs))
            return logits

        return ask

    def _as_a_stack(self, data: TrainingData) -> Callable[[Tensor], Tensor]:
        # It takes bags of words without their zeros.
        one = {name: tensor.unsqueeze(0) for name, tensor in self.tensors.items()}
        parameters = {name: one[name] for name in self.architecture.shapes}
        buffers = {name: one[name] for name in self.architecture.buffers}

        def ask(rows: Tensor) -> Tensor:
            batch = data.gather(rows.unsqueeze(0))
            return self.architecture.forward(parameters, batch, buffers=buffers)[0]

        return ask

    def labels(self, data: TrainingData) -> NDArray[np.int64]:
        """Return the model's most probable classes, shape (records,)."""
        return self.probabilities(data).argmax(1)

    def _flat(self, names: list[str]) -> NDArray[np.float32]:
        return np.concatenate([self.tensors[name].numpy().ravel() for name in names])

    def _with(self, names: list[str], values: NDArray[np.float32]) -> "Suspect":
        sizes = [self.tensors[name].numel() for name in names]
        parts = torch.from_numpy(values).split(sizes)
        changed = {
            name: part.view(self.tensors[name].shape)
            for name, part in zip(names, parts, strict=True)
        }
        return replace(self, tensors={**self.tensors, **changed})


def load_suspects(folder: Path) -> tuple[Block, list[Suspect]]:
    """Read a block and return it with its models.

    Raises
    ------
    UserError
        If it cannot be read, or a weight is not finite.
    """
    block = load_block(folder)
    whole = {**block.parameters, **block.buffers}
    for name, tensor in whole.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{folder / MODELS}: {name} has values that are not finite; allowed: "
                "finite weights"
            )
    return block, [
        Suspect(block.architecture, block.model(row))
        for row in range(len(block.plan.models))
    ]


def correct(suspect: Suspect, data: TrainingData, rows: NDArray[np.int64]) -> int:
    """Return how many records a model gives their true class."""
    told = suspect.probabilities(data, rows).argmax(1)
    return int((told == data.labels.numpy()[rows]).sum())


def check_alike(model: Suspect, place: object, other: Suspect, there: object) -> None:
    """Refuse to compare models of different architectures.

    Raises
    ------
    UserError
        If a parameter has another name or shape.
    """
    if model.architecture.shapes != other.architecture.shapes:
        raise UserError(
            f"{there}: another architecture than {place}; allowed: models of the same"
        )
