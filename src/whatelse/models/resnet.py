"""Residual nets for small images, over a stack of models (He et al., CVPR 2016).

A 3x3 convolution, stages of blocks of two 3x3 convolutions each, the mean over rows
and columns, one dense layer. The first block of each stage but the first has stride 2.

Legend for shape suffixes: S models of the stack, B records of a batch, C classes,
H channels of the last stage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.layers import (
    NO_BUFFERS,
    Batch,
    Parameters,
    batch_norm,
    dense,
    linear,
)
from whatelse.models.settings import Resnet, Start


@dataclass(frozen=True)
class _Convolution:
    """One convolution, padded to keep the size, with or without a norm after it."""

    name: str
    inputs: int
    outputs: int
    side: int
    stride: int
    normalized: bool


@dataclass(frozen=True)
class _Block:
    """Two convolutions beside a shortcut; a convolution in it if it has weights."""

    first: _Convolution
    second: _Convolution
    shortcut: _Convolution | None

    @property
    def reshapes(self) -> bool:
        return self.first.stride > 1 or self.first.inputs != self.first.outputs


class StackedResnet:
    """Residual nets; the stack is one grouped convolution, S groups wide."""

    def __init__(
        self, settings: Resnet, input_shape: tuple[int, ...], num_classes: int
    ) -> None:
        _check(settings, input_shape)
        self.settings = settings
        self.num_classes = num_classes
        normalized = settings.norm != "none"
        width = settings.widths[0]
        self._stem = _Convolution("stem", input_shape[0], width, 3, 1, normalized)
        self._blocks: list[_Block] = []
        for stage, outputs in enumerate(settings.widths):
            for number in range(settings.blocks):
                name = f"stage{stage}.block{number}"
                stride = 2 if stage and not number else 1
                shortcut = None
                if settings.shortcut != "identity" and (stride > 1 or width != outputs):
                    own = normalized and settings.shortcut == "normalized-projection"
                    shortcut = _Convolution(
                        f"{name}.shortcut", width, outputs, 1, stride, own
                    )
                self._blocks.append(
                    _Block(
                        _Convolution(
                            f"{name}.conv1", width, outputs, 3, stride, normalized
                        ),
                        _Convolution(
                            f"{name}.conv2", outputs, outputs, 3, 1, normalized
                        ),
                        shortcut,
                    )
                )
                width = outputs

    def _convolutions(self) -> Iterator[_Convolution]:
        yield self._stem
        for block in self._blocks:
            yield block.first
            yield block.second
            if block.shortcut:
                yield block.shortcut

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for own in self._convolutions():
            shapes[f"{own.name}.weight"] = (
                own.outputs, own.inputs, own.side, own.side,
            )  # fmt: skip
            if self.settings.norm == "none":
                shapes[f"{own.name}.bias"] = (own.outputs,)
            if own.normalized:
                shapes[f"{own.name}.norm.weight"] = (own.outputs,)
                shapes[f"{own.name}.norm.bias"] = (own.outputs,)
        shapes["output.weight"] = (self.num_classes, self.settings.widths[-1])
        shapes["output.bias"] = (self.num_classes,)
        return shapes

    @property
    def buffers(self) -> dict[str, tuple[int, ...]]:
        """Shape of each running statistic of one model."""
        if self.settings.norm != "batch":
            return {}
        return {
            f"{own.name}.norm.{kind}": (own.outputs,)
            for own in self._convolutions()
            if own.normalized
            for kind in ("mean", "variance")
        }

    @property
    def start(self) -> Start:
        """As in P2."""
        return "he"

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C)."""
        whole_SBx = dense(inputs_SBx)
        stack = len(whole_SBx)

        def apply(own: _Convolution, images: Tensor) -> Tensor:
            bias = parameters.get(f"{own.name}.bias")
            images = functional.conv2d(
                images,
                parameters[f"{own.name}.weight"].flatten(0, 1),
                None if bias is None else bias.flatten(),
                stride=own.stride,
                padding=own.side // 2,
                groups=stack,
            )
            if not own.normalized:
                return images
            weight = parameters[f"{own.name}.norm.weight"]
            offset = parameters[f"{own.name}.norm.bias"]
            if self.settings.norm == "group":
                return functional.group_norm(
                    images,
                    stack * self.settings.groups,
                    weight.flatten(),
                    offset.flatten(),
                )
            return batch_norm(
                images,
                weight,
                offset,
                buffers[f"{own.name}.norm.mean"],
                buffers[f"{own.name}.norm.variance"],
                training=training,
                shares_SB=shares_SB,
            )

        images = whole_SBx.transpose(0, 1).flatten(1, 2)
        images = torch.relu(apply(self._stem, images))
        for block in self._blocks:
            inner = torch.relu(apply(block.first, images))
            inner = apply(block.second, inner)
            if block.shortcut:
                images = apply(block.shortcut, images)
            elif block.reshapes:
                images = _reshaped(block.first, images, stack)
            images = torch.relu(inner + images)
        means_SBH = images.mean((2, 3)).unflatten(1, (stack, -1)).transpose(0, 1)
        return linear(parameters, "output", means_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        return nn.Sequential(
            self._plain(self._stem),
            nn.ReLU(),
            *[_PlainBlock(block, self._plain) for block in self._blocks],
            _Mean(),
            nn.Linear(self.settings.widths[-1], self.num_classes),
        )

    def _plain(self, own: _Convolution) -> nn.Module:
        layers: list[nn.Module] = [
            nn.Conv2d(
                own.inputs, own.outputs, own.side, own.stride, own.side // 2,
                bias=self.settings.norm == "none",
            )
        ]  # fmt: skip
        if own.normalized and self.settings.norm == "group":
            layers.append(nn.GroupNorm(self.settings.groups, own.outputs))
        elif own.normalized:
            norm = nn.BatchNorm2d(own.outputs)
            # A count that nothing reads: integers among the buffers would be averaged
            # and scaled with them in federated learning.
            norm.num_batches_tracked = None
            layers.append(norm)
        return nn.Sequential(*layers)


class _PlainBlock(nn.Module):
    def __init__(
        self, block: _Block, plain: Callable[[_Convolution], nn.Module]
    ) -> None:
        super().__init__()
        self.block = block
        self.first = plain(block.first)
        self.second = plain(block.second)
        self.shortcut = plain(block.shortcut) if block.shortcut else None
        # modules, so that their outputs can be looked at
        self.between, self.after = nn.ReLU(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        inner = self.second(self.between(self.first(images)))
        if self.shortcut is not None:
            images = self.shortcut(images)
        elif self.block.reshapes:
            images = _reshaped(self.block.first, images, 1)
        result: Tensor = self.after(inner + images)
        return result


class _Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def _reshaped(own: _Convolution, images: Tensor, stack: int) -> Tensor:
    """Return every `stride`-th row and column, with channels of zeros on both sides."""
    images = images[:, :, :: own.stride, :: own.stride]
    more = own.outputs - own.inputs
    padded = functional.pad(
        images.unflatten(1, (stack, own.inputs)),
        (0, 0, 0, 0, more // 2, more - more // 2),
    )
    return padded.flatten(1, 2)


def _check(settings: Resnet, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        raise UserError(
            "architecture.kind: resnet needs image records of shape (channels, rows, "
            f"columns), the data set has {tuple(input_shape)}"
        )
    least = 2 ** (len(settings.widths) - 1) + 1
    if min(input_shape[1:]) < least:
        raise UserError(
            f"architecture.widths: {len(settings.widths)} stages need images of at "
            f"least {least}x{least}, the data set has {input_shape[1]}x{input_shape[2]}"
        )
    rising = sorted(settings.widths) == list(settings.widths)
    if settings.shortcut == "identity" and not rising:
        raise UserError(
            f"architecture.widths: {list(settings.widths)} fall; allowed with the "
            "shortcut identity: widths that do not"
        )
    uneven = [width for width in settings.widths if width % settings.groups]
    if settings.norm == "group" and uneven:
        raise UserError(
            f"architecture.groups: {settings.groups}; allowed: what divides each of "
            f"the widths {list(settings.widths)}"
        )
