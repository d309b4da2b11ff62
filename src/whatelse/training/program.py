"""One model in PyTorch's plain form: what participants compute with it.

Legend for shape suffixes: K participants or batches, B records of a batch, C classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.features import POOLINGS, laid_out, module_of
from whatelse.models.layers import dense
from whatelse.models.stacked import Architecture
from whatelse.training.ensemble import TrainingData
from whatelse.training.next_word import targets_of

Rows = NDArray[np.int64]
Vectors = dict[str, Tensor]
"""A model, a gradient or a change of a model, by name of parameter."""

_AT_ONCE = 4096  # records of a pass
_ASKED = 1024  # of one without gradients
_READ = 32  # of one with an answer after every word


class Program:
    """One model in PyTorch's plain form, and the gradients that it gives.

    Attributes
    ----------
    parameters : dict of str to Tensor
        Those of the model, by name: what a step changes.

    Raises
    ------
    UserError
        If there is dropout but no pooling for it to follow.
    """

    def __init__(
        self, architecture: Architecture, data: TrainingData, model: Vectors, *,
        weight_decay: float = 0.0, dropout: "Dropout | None" = None,
    ) -> None:  # fmt: skip
        self.module = module_of(architecture, model, data.device)
        self._weight_decay = weight_decay
        if dropout:
            dropout.put_into(self.module)
        self.parameters: dict[str, Tensor] = dict(
            zip(architecture.shapes, self.module.parameters(), strict=True)
        )
        self._buffers = dict(
            zip(architecture.buffers, self.module.buffers(), strict=True)
        )
        self._laid_out = laid_out(self.module, data.device)
        self.data = data

    def vectors(self) -> Vectors:
        """Return copies of parameters and buffers, on the CPU."""
        whole = {**self.parameters, **self._buffers}
        return {k: v.detach().to("cpu", copy=True) for k, v in whole.items()}

    def load(self, model: Vectors) -> None:
        """Take other parameters and buffers."""
        with torch.no_grad():
            for place, value in {**self.parameters, **self._buffers}.items():
                value.copy_(model[place])

    def features(self, rows: Tensor, data: TrainingData | None = None) -> Tensor:
        """Return records as the module takes them."""
        return self._laid_out(dense((data or self.data).gather(rows.unsqueeze(0)))[0])

    def answers(self, rows: Rows) -> Tensor:
        """Return the model's logits for records, on the CPU; it is left in `eval`."""
        index = torch.from_numpy(rows).to(self.data.device)
        module = self.module.eval()
        with torch.inference_mode():
            return torch.cat(
                [module(self.features(part)).cpu() for part in index.split(_ASKED)]
            )

    def right(self, rows: Rows) -> float:
        """Return the share of some records that the model gives their class."""
        told = self.answers(rows).argmax(1)
        return float((told == self.data.labels[rows].cpu()).float().mean())

    def right_of_words(self, rows: Rows) -> float:
        """Return the share of the words of some records that a language model tells.

        Each from those before it; nothing is to be said where an unknown one follows.
        """
        index = torch.from_numpy(rows).to(self.data.device)
        module = self.module.eval()
        right = count = 0
        with torch.inference_mode():
            for part in index.split(_READ):
                words = self.features(part)
                targets = targets_of(words, self.data.labels_of(part))
                told = module.all_logits(words).argmax(-1)  # type: ignore[operator]
                right += int(((told == targets) & (targets > 0)).sum())
                count += int((targets > 0).sum())
        return right / max(count, 1)

    def of_sum(self, batches: Sequence[Rows]) -> tuple[Vectors, float]:
        """Return the sum of the batches' gradients, and the mean of their losses.

        Batches go through together, some thousands of records at once: it costs what
        records cost, not what batches do.
        """
        rows = torch.from_numpy(np.concatenate(batches)).to(self.data.device)
        shares = torch.cat(
            [torch.full((len(batch),), 1 / len(batch)) for batch in batches]
        ).to(self.data.device)
        total: Vectors = {}
        lost = 0.0
        for part, share in zip(
            rows.split(_AT_ONCE), shares.split(_AT_ONCE), strict=True
        ):
            losses_B = functional.cross_entropy(
                self.module(self.features(part)), self.data.labels[part],
                reduction="none",
            )  # fmt: skip
            loss = (losses_B * share).sum()
            add(total, self.gradient(loss))
            lost += loss.item()
        self.add_decay(total, len(batches))
        return total, lost / len(batches)

    def add_decay(self, total: Vectors, times: int = 1) -> None:
        """Add what weight decay adds to so many gradients."""
        if self._weight_decay:
            weight = times * self._weight_decay
            add(total, {k: weight * v.detach() for k, v in self.parameters.items()})

    def of_each(self, batches: Sequence[Rows]) -> list[Vectors]:
        """Return the gradient of the mean loss on each batch."""
        return [self.of_sum([batch])[0] for batch in batches]

    def gradient(self, loss: Tensor) -> Vectors:
        """Return the gradient of a loss, by name of parameter."""
        found = torch.autograd.grad(loss, list(self.parameters.values()))
        return dict(zip(self.parameters, found, strict=True))


class Dropout:
    """Values that are left out after every pooling, while a module is in training.

    Attributes
    ----------
    generator : torch.Generator
        Draws them: another for who only emulates, so that looking changes nothing.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.generator = generator
        self._share = share

    def put_into(self, module: nn.Module) -> None:
        """Hang it on every pooling of a module."""
        poolings = [part for part in module.modules() if isinstance(part, POOLINGS)]
        if not poolings:
            raise UserError(
                f"collaboration.dropout: {self._share}; allowed: 0, for a net without "
                "pooling"
            )
        for pooling in poolings:
            pooling.register_forward_hook(self._leave_out)

    def _leave_out(
        self, owner: nn.Module, _inputs: object, output: Tensor
    ) -> Tensor | None:  # fmt: skip
        if not owner.training:
            return None
        drawn = torch.rand(
            output.shape, generator=self.generator, device=output.device
        )  # fmt: skip
        return torch.where(drawn < self._share, 0.0, output / (1 - self._share))


def finite(model: Vectors) -> bool:
    """Return whether all values are numbers: what diverged has some that are not."""
    return all(bool(torch.isfinite(value).all()) for value in model.values())


def add(total: Vectors, update: Vectors) -> None:
    """Add an update to a sum, place by place."""
    for place, value in update.items():
        total[place] = total[place] + value if place in total else value
