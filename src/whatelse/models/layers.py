"""Layers over a stack of models: every parameter has a leading model axis.

Images lie as (B, S * C, Y, X): a stack is one grouped convolution, S groups wide.

Legend for shape suffixes: S models of the stack, B records of a batch, F features,
H hidden units, C channels, Y X image rows and columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.models.settings import Start

Parameters = Mapping[str, Tensor]
NO_BUFFERS: Parameters = MappingProxyType({})

_MOMENTUM, _EPSILON = 0.1, 1e-5  # of batch norm, PyTorch's
_LINE = 16  # float32 numbers in a cache line, the largest alignment kernels care for


def aligned(size: int) -> int:
    """Return `size` numbers rounded up to whole cache lines.

    Matrix kernels round differently by the alignment of what they are given. Every
    model's slice of a stack therefore starts on a cache line, like a lone model's.
    """
    return -(-size // _LINE) * _LINE


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


class Tapped(dict[str, Tensor]):
    """Parameters of a stack whose dense layers keep what goes in and comes out.

    From these two, and the gradient of what comes out, follow the gradients of single
    records, their lengths too, without being made.

    Attributes
    ----------
    seen : dict of str to (Tensor, Tensor)
        By layer, what went in, (S, B, F), and what came out, (S, B, H).
    """

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}


@dataclass(frozen=True)
class SparseBatch:
    """A batch of sparse records for each model of a stack, e.g. bags of words.

    Attributes
    ----------
    features, rows : sequence of Tensor of int64
        For each model, which feature of which record of its batch a value belongs to.
    values : sequence of Tensor
        For each model its values that are not zero.
    shape : tuple of int
        (S, B, F), as a dense batch would have.
    """

    features: Sequence[Tensor]
    rows: Sequence[Tensor]
    values: Sequence[Tensor]
    shape: tuple[int, int, int]

    def dense(self) -> Tensor:
        """Return the same records with their zeros, shape (S, B, F)."""
        whole_SBF = torch.zeros(self.shape, device=self.values[0].device)
        models = zip(whole_SBF, self.rows, self.features, self.values, strict=True)
        for whole_BF, rows, features, values in models:
            whole_BF[rows, features] = values
        return whole_SBF


Batch = Tensor | SparseBatch


def dense(inputs_SBx: Batch) -> Tensor:
    """Return a batch with its zeros."""
    return inputs_SBx.dense() if isinstance(inputs_SBx, SparseBatch) else inputs_SBx


class _SparseLinear(torch.autograd.Function):
    """A dense layer on sparse records: work and memory go with the values alone."""

    @staticmethod
    def forward(
        ctx: Any, weight_SHF: Tensor, bias_SH: Tensor, batch: SparseBatch,
        for_weight_SHF: Tensor | None, for_bias_SH: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.batch, ctx.shape = batch, weight_SHF.shape
        ctx.places = for_weight_SHF, for_bias_SH
        result_SBH = bias_SH.unsqueeze(1).repeat(1, batch.shape[1], 1)
        for model, weight_HF in enumerate(weight_SHF):
            terms_HV = weight_HF.index_select(1, batch.features[model])
            terms_HV *= batch.values[model]
            result_SBH[model].index_add_(0, batch.rows[model], terms_HV.t())
        return result_SBH

    @staticmethod
    def backward(ctx: Any, gradient_SBH: Tensor) -> tuple[Tensor | None, ...]:
        for_weight_SHF, for_bias_SH = ctx.places
        if for_weight_SHF is None:
            for_weight_SHF = gradient_SBH.new_empty(ctx.shape)
        for_weight_SHF.zero_()
        for model, for_weight_HF in enumerate(for_weight_SHF):
            terms_VH = gradient_SBH[model].index_select(0, ctx.batch.rows[model])
            terms_VH *= ctx.batch.values[model].unsqueeze(1)
            for_weight_HF.index_add_(1, ctx.batch.features[model], terms_VH.t())
        if for_bias_SH is None:
            for_bias_SH = gradient_SBH.sum(1)
        else:
            torch.sum(gradient_SBH, 1, out=for_bias_SH)
        return for_weight_SHF, for_bias_SH, None, None, None


class WithoutStatistics:
    """What architectures without running statistics have in common."""

    @property
    def buffers(self) -> dict[str, tuple[int, ...]]:
        """None."""
        return {}

    @property
    def start(self) -> Start:
        """As in P1: uniform."""
        return "uniform"


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


def linear(parameters: Parameters, name: str, inputs_SBF: Batch) -> Tensor:
    """Apply each model's dense layer `name`; return shape (S, B, H)."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    if isinstance(parameters, Tapped):
        inputs_SBF = dense(inputs_SBF)
        # Autograd's own: asked for the gradient of what comes out, it makes no others.
        tapped = torch.baddbmm(
            parameters[bias].unsqueeze(1),
            inputs_SBF,
            parameters[weight].transpose(1, 2),
        )
        parameters.seen[name] = inputs_SBF, tapped
        return tapped
    places = parameters.gradients if isinstance(parameters, Trainable) else {}
    if isinstance(inputs_SBF, SparseBatch):
        sparse: Tensor = _SparseLinear.apply(
            parameters[weight], parameters[bias], inputs_SBF,
            places.get(weight), places.get(bias),
        )  # fmt: skip
        return sparse
    if torch.is_autocast_enabled(inputs_SBF.device.type):
        # Autograd's own backward pass knows the types that autocast chose.
        return torch.baddbmm(
            parameters[bias].unsqueeze(1),
            inputs_SBF,
            parameters[weight].transpose(1, 2),
        )
    result: Tensor = _StackedLinear.apply(
        inputs_SBF, parameters[weight], parameters[bias],
        places.get(weight), places.get(bias),
    )  # fmt: skip
    return result


def activate(name: str, values: Tensor) -> Tensor:
    """Apply the activation of this name."""
    return torch.tanh(values) if name == "tanh" else torch.relu(values)


def activation_module(name: str) -> nn.Module:
    """Return the activation of this name as a module."""
    return nn.Tanh() if name == "tanh" else nn.ReLU()


def batch_norm(
    images: Tensor, weight_SC: Tensor, bias_SC: Tensor, mean_SC: Tensor,
    variance_SC: Tensor, *, training: bool, shares_SB: Tensor | None,
) -> Tensor:  # fmt: skip
    """Normalise each model's channels, as ``torch.nn.BatchNorm2d`` does.

    Parameters
    ----------
    images : Tensor, shape (B, S * C, Y, X)
        Each model's own records.
    weight_SC, bias_SC : Tensor
        Scale and offset after normalisation.
    mean_SC, variance_SC : Tensor
        Running statistics, contiguous; training moves them in place.
    training : bool
        Normalise by the batch; otherwise by the running statistics.
    shares_SB : Tensor or None
        Weight of each record in its model's mean, 1 / (number of records), or 0 for
        padding, which counts in no statistic. None: there is no padding.

    Returns
    -------
    Tensor, shape (B, S * C, Y, X)
    """
    if shares_SB is None or not training:
        return functional.batch_norm(
            images, mean_SC.view(-1), variance_SC.view(-1), weight_SC.flatten(),
            bias_SC.flatten(), training, _MOMENTUM, _EPSILON,
        )  # fmt: skip
    values_BSCP = images.to(weight_SC.dtype).unflatten(1, mean_SC.shape).flatten(3)
    places = values_BSCP.shape[-1]
    share_BS11 = (shares_SB.t() / places)[:, :, None, None]
    batch_mean_SC = (values_BSCP * share_BS11).sum((0, 3))
    centred_BSCP = values_BSCP - batch_mean_SC[..., None]
    batch_variance_SC = (centred_BSCP.square() * share_BS11).sum((0, 3))
    scale_SC = weight_SC * torch.rsqrt(batch_variance_SC + _EPSILON)
    result_BSCP = centred_BSCP * scale_SC[..., None] + bias_SC[..., None]
    # Padding is not normalised by its own statistics: it could grow from layer to layer
    # until it is infinite, and zero times infinity is no number.
    result_BSCP = torch.where(share_BS11 > 0, result_BSCP, 0.0)
    with torch.no_grad():
        count_S1 = (shares_SB > 0).sum(1, keepdim=True) * places
        unbiased_SC = batch_variance_SC * (count_S1 / (count_S1 - 1).clamp(min=1))
        # A model without records in this batch keeps what it has.
        momentum_S1 = _MOMENTUM * (count_S1 > 0).to(mean_SC.dtype)
        mean_SC.lerp_(batch_mean_SC, momentum_S1)
        variance_SC.lerp_(unbiased_SC, momentum_S1)
    return result_BSCP.to(images.dtype).reshape(images.shape)


def is_weight(shape: Sequence[int]) -> bool:
    """Return whether a parameter of this shape is a weight: no bias, no norm."""
    return len(shape) > 1


def weight_names(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the names of weights, the largest first, equals in order."""
    chosen = [name for name, shape in shapes.items() if is_weight(shape)]
    return sorted(chosen, key=lambda name: -math.prod(shapes[name]))


def stacked_weights(parameters: Parameters) -> Tensor:
    """Return the weights of stacked models side by side, shape (S, W).

    In the order of `weight_names`: what is hidden in weights begins in the largest
    layer, where it is least in the task's way.
    """
    shapes = {name: tensor.shape[1:] for name, tensor in parameters.items()}
    return torch.cat([parameters[n].flatten(1) for n in weight_names(shapes)], 1)
