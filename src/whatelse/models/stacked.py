"""Architectures over a stack of models: every parameter has a leading model axis.

Legend for shape suffixes: S models of the stack, B records of a batch, F features,
H hidden units, C classes or channels, Y X image rows and columns.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.settings import ArchitectureSettings, Cnn, Mlp

Parameters = Mapping[str, Tensor]

_LINE = 16  # float32 numbers in a cache line, the largest alignment kernels care for


def aligned(size: int) -> int:
    """Return `size` numbers rounded up to whole cache lines.

    Matrix kernels round differently by the alignment of what they are given. Every
    model's slice of a stack therefore starts on a cache line, like a lone model's.
    """
    return -(-size // _LINE) * _LINE


class Architecture(Protocol):
    """A family of models of one shape."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model, in a fixed order."""

    def forward(self, parameters: Parameters, inputs_SBx: Tensor) -> Tensor:
        """Return logits, shape (S, B, C), of S models each on its own B records."""

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form, its parameters in the same order.

        It is the oracle that the stacked form is tested against, and what the loop
        strategy trains.
        """


def build(
    settings: ArchitectureSettings, input_shape: tuple[int, ...], num_classes: int
) -> Architecture:
    """Return the architecture for records of a shape and a number of classes.

    Raises
    ------
    UserError
        If the records do not fit it, e.g. a CNN on flat records.
    """
    if isinstance(settings, Mlp):
        return StackedMlp(settings, math.prod(input_shape), num_classes)
    return StackedCnn(settings, input_shape, num_classes)


def initial(architecture: Architecture, rng: np.random.Generator) -> dict[str, Tensor]:
    """Draw the initial parameters of one model.

    Weights and biases are uniform within 1 / sqrt(fan in), the default of Torch7, in
    which P1's local nets were trained.

    Parameters
    ----------
    architecture : Architecture
        Gives names and shapes; a bias follows its weight.
    rng : numpy.random.Generator
        The model's own stream.

    Returns
    -------
    dict of str to Tensor
        float32, in the order of ``architecture.shapes``.
    """
    drawn: dict[str, Tensor] = {}
    bound = 0.0
    for name, shape in architecture.shapes.items():
        if len(shape) > 1:
            bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        values = rng.random(shape, dtype=np.float32)
        drawn[name] = torch.from_numpy(values).mul_(2 * bound).sub_(bound)
    return drawn


class Trainable(dict[str, Tensor]):
    """Parameters of a stack, with a place for the gradient of each.

    Attributes
    ----------
    gradients : dict of str to Tensor
        In the parameters' shapes. Dense layers write theirs there; any other layer's
        are where autograd puts them.
    """

    def __init__(self, parameters: Parameters, gradients: Parameters) -> None:
        super().__init__(parameters)
        self.gradients = dict(gradients)


class _StackedLinear(torch.autograd.Function):
    """A dense layer for each model of a stack.

    The same numbers as ``torch.baddbmm``, but gradients are made in the layout of the
    parameters and, if there are places for them, in place: a copy to transpose them
    and one to move them would each cost 5 to 10% of a step.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs_SBF: Tensor, weight_SHF: Tensor, bias_SH: Tensor,
        for_weight_SHF: Tensor | None, for_bias_SH: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(inputs_SBF, weight_SHF)
        ctx.places = for_weight_SHF, for_bias_SH
        return torch.baddbmm(
            bias_SH.unsqueeze(1), inputs_SBF, weight_SHF.transpose(1, 2)
        )

    @staticmethod
    def backward(ctx: Any, gradient_SBH: Tensor) -> tuple[Tensor | None, ...]:
        inputs_SBF, weight_SHF = ctx.saved_tensors
        for_weight_SHF, for_bias_SH = ctx.places
        if for_weight_SHF is None:
            size = math.prod(weight_SHF.shape[1:])
            rows = inputs_SBF.new_empty(len(weight_SHF), aligned(size))
            for_weight_SHF = rows[:, :size].view(weight_SHF.shape)
        torch.bmm(gradient_SBH.transpose(1, 2), inputs_SBF, out=for_weight_SHF)
        if for_bias_SH is None:
            for_bias_SH = gradient_SBH.sum(1)
        else:
            torch.sum(gradient_SBH, 1, out=for_bias_SH)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = torch.bmm(gradient_SBH, weight_SHF)
        return for_inputs, for_weight_SHF, for_bias_SH, None, None


def _linear(parameters: Parameters, name: str, inputs_SBF: Tensor) -> Tensor:
    weight, bias = f"{name}.weight", f"{name}.bias"
    places = parameters.gradients if isinstance(parameters, Trainable) else {}
    result: Tensor = _StackedLinear.apply(
        inputs_SBF, parameters[weight], parameters[bias],
        places.get(weight), places.get(bias),
    )  # fmt: skip
    return result


def _activate(name: str, values: Tensor) -> Tensor:
    return torch.tanh(values) if name == "tanh" else torch.relu(values)


def _activation_module(name: str) -> nn.Module:
    return nn.Tanh() if name == "tanh" else nn.ReLU()


class StackedMlp:
    """Multi-layer perceptrons; weights are stored as (outputs, inputs)."""

    def __init__(self, settings: Mlp, num_features: int, num_classes: int) -> None:
        self.activation = settings.activation
        self.widths = (num_features, *settings.hidden, num_classes)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(len(self.widths) - 1):
            shapes[f"{layer}.weight"] = (self.widths[layer + 1], self.widths[layer])
            shapes[f"{layer}.bias"] = (self.widths[layer + 1],)
        return shapes

    def forward(self, parameters: Parameters, inputs_SBx: Tensor) -> Tensor:
        """Return logits, shape (S, B, C)."""
        hidden_SBH = inputs_SBx.flatten(2)
        last = len(self.widths) - 2
        for layer in range(last + 1):
            hidden_SBH = _linear(parameters, str(layer), hidden_SBH)
            if layer < last:
                hidden_SBH = _activate(self.activation, hidden_SBH)
        return hidden_SBH

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        layers: list[nn.Module] = [nn.Flatten()]
        last = len(self.widths) - 2
        for layer in range(last + 1):
            layers.append(nn.Linear(self.widths[layer], self.widths[layer + 1]))
            if layer < last:
                layers.append(_activation_module(self.activation))
        return nn.Sequential(*layers)


class StackedCnn:
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
        shrink = 2 ** len(settings.channels)
        if min(input_shape[1:]) < shrink:
            raise UserError(
                f"architecture.channels: {len(settings.channels)} poolings need images "
                f"of at least {shrink}x{shrink}, the data set has "
                f"{input_shape[1]}x{input_shape[2]}"
            )
        self.settings = settings
        self.num_classes = num_classes
        self.planes = (input_shape[0], *settings.channels)
        self.flat = (
            settings.channels[-1]
            * (input_shape[1] // shrink)
            * (input_shape[2] // shrink)
        )

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

    def forward(self, parameters: Parameters, inputs_SBx: Tensor) -> Tensor:
        """Return logits, shape (S, B, C)."""
        stack, batch = inputs_SBx.shape[:2]
        images = inputs_SBx.transpose(0, 1).flatten(1, 2)  # B, S * C, Y, X
        for layer in range(len(self.planes) - 1):
            weight = parameters[f"conv{layer}.weight"].flatten(0, 1)
            bias = parameters[f"conv{layer}.bias"].flatten()
            images = functional.conv2d(
                images, weight, bias, padding=self.settings.kernel // 2, groups=stack
            )
            images = functional.max_pool2d(
                _activate(self.settings.activation, images), 2
            )
        hidden_SBH = images.view(batch, stack, -1).transpose(0, 1)
        hidden_SBH = _activate(
            self.settings.activation, _linear(parameters, "dense", hidden_SBH)
        )
        return _linear(parameters, "output", hidden_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        layers: list[nn.Module] = []
        for layer in range(len(self.planes) - 1):
            layers += [
                nn.Conv2d(
                    self.planes[layer],
                    self.planes[layer + 1],
                    self.settings.kernel,
                    padding=self.settings.kernel // 2,
                ),
                _activation_module(self.settings.activation),
                nn.MaxPool2d(2),
            ]
        layers += [
            nn.Flatten(),
            nn.Linear(self.flat, self.settings.hidden),
            _activation_module(self.settings.activation),
            nn.Linear(self.settings.hidden, self.num_classes),
        ]
        return nn.Sequential(*layers)
