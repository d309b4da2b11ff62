"""Architectures over a stack of models: every parameter has a leading model axis.

Legend for shape suffixes: S models of the stack, B records of a batch, F features,
H hidden units, C classes or channels, Y X image rows and columns.
"""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.layers import (
    NO_BUFFERS,
    Batch,
    Parameters,
    SparseBatch,
    WithoutStatistics,
    activate,
    activation_module,
    dense,
    linear,
)
from whatelse.models.resnet import StackedResnet
from whatelse.models.settings import (
    ArchitectureSettings,
    Cnn,
    Gru,
    Lstm,
    Mlp,
    Start,
    TextCnn,
)
from whatelse.models.text import StackedGru, StackedLstm, StackedTextCnn


class Architecture(Protocol):
    """A family of models of one shape."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model, in a fixed order."""

    @property
    def buffers(self) -> dict[str, tuple[int, ...]]:
        """Shape of what training moves without a gradient: running statistics."""

    @property
    def start(self) -> Start:
        """How `initial` draws the weights."""

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C), of S models each on its own B records.

        Parameters
        ----------
        parameters : mapping of str to Tensor
            By the names of `shapes`, stacked over models.
        inputs_SBx : Tensor or SparseBatch
            Features.
        buffers : mapping of str to Tensor
            By the names of `buffers`, stacked over models; `training` moves them in
            place.
        training : bool
            Normalise by the batch, not by the buffers.
        shares_SB : Tensor, optional
            With `training`: the weight of each record in its batch's mean, zero for
            padding. If left out, all count the same.
        """

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form, all in the same order.

        It is the oracle that the stacked form is tested against, and what the loop
        strategy trains.
        """


def build(
    settings: ArchitectureSettings, input_shape: tuple[int, ...], num_classes: int, *,
    words: int | None = None,
) -> Architecture:  # fmt: skip
    """Return the architecture for records of a shape and a number of classes.

    Parameters
    ----------
    settings : ArchitectureSettings
        Kind and sizes.
    input_shape : tuple of int
        Shape of a record.
    num_classes : int
        Outputs.
    words : int, optional
        Where records are rows of word numbers: the words of the vocabulary.

    Raises
    ------
    UserError
        If the records do not fit it, e.g. a CNN on flat records.
    """
    if isinstance(settings, Mlp):
        return StackedMlp(settings, math.prod(input_shape), num_classes)
    if isinstance(settings, Cnn):
        return StackedCnn(settings, input_shape, num_classes)
    if isinstance(settings, TextCnn):
        return StackedTextCnn(settings, input_shape, num_classes, words)
    if isinstance(settings, Gru):
        return StackedGru(settings, input_shape, num_classes, words)
    if isinstance(settings, Lstm):
        return StackedLstm(settings, input_shape, num_classes, words)
    return StackedResnet(settings, input_shape, num_classes)


def initial(architecture: Architecture, rng: np.random.Generator) -> dict[str, Tensor]:
    """Draw the parameters, and make the buffers, that one model begins with.

    "uniform": weights and biases within 1 / sqrt(fan in), the default of Torch7, in
    which P1's local nets were trained. "he": normal weights of variance 2 / (fan in)
    (He et al., ICCV 2015), as P2 has for its residual net; "glorot": uniform ones of
    variance 2 / (fan in + fan out) (Glorot & Bengio, AISTATS 2010), the default of
    Lasagne, in which P3's nets were trained. With both, norms begin as the identity,
    biases at zero. Running means are 0, variances 1.

    Parameters
    ----------
    architecture : Architecture
        Gives names and shapes; a bias follows its weight.
    rng : numpy.random.Generator
        The model's own stream.

    Returns
    -------
    dict of str to Tensor
        float32, in the order of ``architecture.shapes``, then of its buffers.
    """
    buffers = {
        name: torch.ones(shape) if name.endswith("variance") else torch.zeros(shape)
        for name, shape in architecture.buffers.items()
    }
    if architecture.start != "uniform":
        draw = _he if architecture.start == "he" else _glorot
        drawn = {
            name: draw(shape, rng) if len(shape) > 1 else _at_rest(name, shape)
            for name, shape in architecture.shapes.items()
        }
        return drawn | buffers
    drawn = {}
    bound = 0.0
    for name, shape in architecture.shapes.items():
        if len(shape) > 1:
            bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        values = rng.random(shape, dtype=np.float32)
        drawn[name] = torch.from_numpy(values).mul_(2 * bound).sub_(bound)
    return drawn | buffers


def _at_rest(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)


def _glorot(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    places = math.prod(shape[2:])  # of a filter: each has its own inputs and outputs
    bound = math.sqrt(6 / ((shape[0] + shape[1]) * places))
    values = rng.random(shape, dtype=np.float32)
    return torch.from_numpy(values).mul_(2 * bound).sub_(bound)


def _he(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    values = rng.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values).mul_(math.sqrt(2 / math.prod(shape[1:])))


class StackedMlp(WithoutStatistics):
    """Multi-layer perceptrons; weights are stored as (outputs, inputs)."""

    def __init__(self, settings: Mlp, num_features: int, num_classes: int) -> None:
        self.activation = settings.activation
        self.widths = (num_features, *settings.hidden, num_classes)
        self.hidden_units = settings.hidden

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(len(self.widths) - 1):
            shapes[f"{layer}.weight"] = (self.widths[layer + 1], self.widths[layer])
            shapes[f"{layer}.bias"] = (self.widths[layer + 1],)
        return shapes

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None, keep_SBH: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C).

        `keep_SBH` are factors of the hidden units, layer after layer: dropout's.
        """
        hidden_SBH = inputs_SBx
        if not isinstance(hidden_SBH, SparseBatch):
            hidden_SBH = hidden_SBH.flatten(2)
        last = len(self.widths) - 2
        kept = () if keep_SBH is None else keep_SBH.split(self.hidden_units, -1)
        for layer in range(last):
            hidden_SBH = activate(
                self.activation, linear(parameters, str(layer), hidden_SBH)
            )
            if kept:
                hidden_SBH = hidden_SBH * kept[layer]
        return linear(parameters, str(last), hidden_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        layers: list[nn.Module] = [nn.Flatten()]
        last = len(self.widths) - 2
        for layer in range(last + 1):
            layers.append(nn.Linear(self.widths[layer], self.widths[layer + 1]))
            if layer < last:
                layers.append(activation_module(self.activation))
        return nn.Sequential(*layers)


class StackedCnn(WithoutStatistics):
    """P1's CNN (Sec. VI-A): convolution and 2x2 max-pool, repeated, one dense layer.

    The stack is one grouped convolution, S groups wide.
    """

    def __init__(
        self, settings: Cnn, input_shape: tuple[int, ...], num_classes: int
    ) -> None:
        if len(input_shape) != 3:
            raise UserError(
                "architecture.kind: cnn needs image records of shape (channels, rows, "
                f"columns), the data set has {tuple(input_shape)}"
            )
        if settings.kernel % 2 == 0:
            raise UserError(
                f"architecture.kernel: {settings.kernel} is even; allowed: odd, 1..15"
            )
        lost = 0 if settings.padding == "same" else settings.kernel - 1
        rows, columns = input_shape[1:]
        for _ in settings.channels:
            rows, columns = (rows - lost) // 2, (columns - lost) // 2
        if min(rows, columns) < 1:
            fewest = 1
            for _ in settings.channels:
                fewest = 2 * fewest + lost
            raise UserError(
                f"architecture.channels: {len(settings.channels)} poolings need images "
                f"of at least {fewest}x{fewest}, the data set has "
                f"{input_shape[1]}x{input_shape[2]}"
            )
        self.settings = settings
        self.num_classes = num_classes
        self.hidden_units = (settings.hidden,)
        self.planes = (input_shape[0], *settings.channels)
        self.flat = settings.channels[-1] * rows * columns
        self.padding = settings.kernel // 2 if settings.padding == "same" else 0

    @property
    def start(self) -> Start:
        """How weights are drawn."""
        return self.settings.start

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model."""
        side = self.settings.kernel
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(len(self.planes) - 1):
            shapes[f"conv{layer}.weight"] = (
                self.planes[layer + 1], self.planes[layer], side, side,
            )  # fmt: skip
            shapes[f"conv{layer}.bias"] = (self.planes[layer + 1],)
        shapes["dense.weight"] = (self.settings.hidden, self.flat)
        shapes["dense.bias"] = (self.settings.hidden,)
        shapes["output.weight"] = (self.num_classes, self.settings.hidden)
        shapes["output.bias"] = (self.num_classes,)
        return shapes

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None, keep_SBH: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C); `keep_SBH` are factors of the dense layer."""
        whole_SBx = dense(inputs_SBx)
        stack, batch = whole_SBx.shape[:2]
        images = whole_SBx.transpose(0, 1).flatten(1, 2)  # B, S * C, Y, X
        for layer in range(len(self.planes) - 1):
            weight = parameters[f"conv{layer}.weight"].flatten(0, 1)
            bias = parameters[f"conv{layer}.bias"].flatten()
            images = functional.conv2d(
                images, weight, bias, padding=self.padding, groups=stack
            )
            # The same in either order, since activations grow: this one is cheaper.
            images = activate(
                self.settings.activation, functional.max_pool2d(images, 2)
            )
        hidden_SBH = images.view(batch, stack, -1).transpose(0, 1)
        hidden_SBH = activate(
            self.settings.activation, linear(parameters, "dense", hidden_SBH)
        )
        if keep_SBH is not None:
            hidden_SBH = hidden_SBH * keep_SBH
        return linear(parameters, "output", hidden_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        layers: list[nn.Module] = []
        for layer in range(len(self.planes) - 1):
            layers += [
                nn.Conv2d(
                    self.planes[layer],
                    self.planes[layer + 1],
                    self.settings.kernel,
                    padding=self.padding,
                ),
                nn.MaxPool2d(2),
                activation_module(self.settings.activation),
            ]
        layers += [
            nn.Flatten(),
            nn.Linear(self.flat, self.settings.hidden),
            activation_module(self.settings.activation),
            nn.Linear(self.settings.hidden, self.num_classes),
        ]
        return nn.Sequential(*layers)
