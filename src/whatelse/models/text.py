"""Nets for records of words, over a stack of models (P3 Sec. V-A).

A record is a row of word numbers: 1 to V, then 0 up to its length. Zero is a word like
any other to a convolution, which sees it at the end of short records; a recurrent net
is asked for its state after the last word before it.

Legend for shape suffixes: S models of the stack, B records of a batch, L words of a
record, E numbers of an embedded word, V rows of the embedding, H hidden units, G gates
(three times the hidden units, four of an LSTM), C channels or classes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.layers import (
    NO_BUFFERS,
    Batch,
    Parameters,
    Trainable,
    WithoutStatistics,
    aligned,
    dense,
    linear,
)
from whatelse.models.settings import Gru, Lstm, TextCnn

EMBEDDING = "embedding.weight"


class StackedTextCnn(WithoutStatistics):
    """Convolutions of some widths side by side, the largest of each over a record.

    As Kim (EMNLP 2014) has them. The stack is one grouped convolution a width.
    """

    def __init__(
        self, settings: TextCnn, input_shape: tuple[int, ...], num_classes: int,
        words: int | None,
    ) -> None:  # fmt: skip
        self.rows = _rows(settings.kind, input_shape, words)
        if max(settings.windows) > input_shape[0]:
            raise UserError(
                f"architecture.windows: {max(settings.windows)}; allowed: at most "
                f"{input_shape[0]}, the words of a record"
            )
        self.settings = settings
        self.num_classes = num_classes
        self.found = settings.filters * len(settings.windows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model."""
        own = self.settings
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.rows, own.embedding)}
        for number, window in enumerate(own.windows):
            shapes[f"conv{number}.weight"] = (own.filters, own.embedding, window)
            shapes[f"conv{number}.bias"] = (own.filters,)
        last = self.found
        if own.hidden:
            shapes["dense.weight"] = (own.hidden, last)
            shapes["dense.bias"] = (own.hidden,)
            last = own.hidden
        shapes["output.weight"] = (self.num_classes, last)
        shapes["output.bias"] = (self.num_classes,)
        return shapes

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C)."""
        embedded_SBLE = embedded(parameters, inputs_SBx)
        stack = len(embedded_SBLE)
        words = embedded_SBLE.permute(1, 0, 3, 2).flatten(1, 2)  # B, S * E, L
        found_SBH = _largest(
            [
                functional.conv1d(
                    words,
                    parameters[f"conv{number}.weight"].flatten(0, 1),
                    parameters[f"conv{number}.bias"].flatten(),
                    groups=stack,
                ).unflatten(1, (stack, -1))
                for number in range(len(self.settings.windows))
            ]
        ).transpose(0, 1)
        hidden_SBH = torch.relu(found_SBH)
        if self.settings.hidden:
            hidden_SBH = torch.relu(linear(parameters, "dense", hidden_SBH))
        return linear(parameters, "output", hidden_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        last = self.settings.hidden or self.found
        return nn.Sequential(
            _CnnBody(self.settings, self.rows), nn.Linear(last, self.num_classes)
        )


class StackedGru(WithoutStatistics):
    """Gated recurrent nets of one layer (Cho et al., EMNLP 2014), in PyTorch's form."""

    def __init__(
        self, settings: Gru, input_shape: tuple[int, ...], num_classes: int,
        words: int | None,
    ) -> None:  # fmt: skip
        self.rows = _rows(settings.kind, input_shape, words)
        self.settings = settings
        self.num_classes = num_classes

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model; biases of gates after both weights."""
        embedding, hidden = self.settings.embedding, self.settings.hidden
        return {
            EMBEDDING: (self.rows, embedding),
            "input.weight": (3 * hidden, embedding),
            "state.weight": (3 * hidden, hidden),
            "input.bias": (3 * hidden,),
            "state.bias": (3 * hidden,),
            "output.weight": (self.num_classes, hidden),
            "output.bias": (self.num_classes,),
        }

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits, shape (S, B, C)."""
        embedded_SBLE = embedded(parameters, inputs_SBx)
        gates_SBLG = linear(parameters, "input", embedded_SBLE.flatten(1, 2)).unflatten(
            1, embedded_SBLE.shape[1:3]
        )
        states_LSBH = _recurrent(parameters, gates_SBLG)
        last_SBH = _at(states_LSBH, last_words(dense(inputs_SBx)))
        return linear(parameters, "output", last_SBH)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        return nn.Sequential(
            _GruBody(self.settings, self.rows),
            nn.Linear(self.settings.hidden, self.num_classes),
        )


class StackedLstm(WithoutStatistics):
    """Recurrent nets of some layers (Hochreiter & Schmidhuber, 1997).

    Language models, where the classes are the words: after each word, the state says
    the next one.
    """

    def __init__(
        self, settings: Lstm, input_shape: tuple[int, ...], num_classes: int,
        words: int | None,
    ) -> None:  # fmt: skip
        self.rows = _rows(settings.kind, input_shape, words)
        if settings.tied and num_classes != self.rows:
            raise UserError(
                f"architecture.tied: true with {num_classes} classes; allowed: classes "
                f"that are the next word, {self.rows} with the filler, such as of "
                "blogs-words, or tied: false"
            )
        self.settings = settings
        self.num_classes = num_classes

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter of one model; biases of gates after both weights."""
        embedding, hidden = self.settings.embedding, self.settings.hidden
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.rows, embedding)}
        for layer in range(self.settings.layers):
            given = hidden if layer else embedding
            shapes[f"input{layer}.weight"] = (4 * hidden, given)
            shapes[f"state{layer}.weight"] = (4 * hidden, hidden)
            shapes[f"input{layer}.bias"] = (4 * hidden,)
            shapes[f"state{layer}.bias"] = (4 * hidden,)
        if not self.settings.tied:
            shapes["output.weight"] = (self.num_classes, hidden)
        shapes["output.bias"] = (self.num_classes,)
        return shapes

    def forward(
        self, parameters: Parameters, inputs_SBx: Batch, *,
        buffers: Parameters = NO_BUFFERS, training: bool = False,
        shares_SB: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return logits after the last word, shape (S, B, C)."""
        states_SLBH = self._states(parameters, inputs_SBx)
        last_SBH = _at(states_SLBH.transpose(0, 1), last_words(dense(inputs_SBx)))
        return linear(self._output(parameters), "output", last_SBH)

    def all_logits(self, parameters: Parameters, inputs_SBx: Batch) -> Tensor:
        """Return logits after each word, shape (S, B, L, C).

        They lie as (S, L, B, C), in the order in which they are computed.
        """
        states_SLBH = self._states(parameters, inputs_SBx)
        logits_SNC = linear(
            self._output(parameters), "output", states_SLBH.flatten(1, 2)
        )
        return logits_SNC.unflatten(1, states_SLBH.shape[1:3]).transpose(1, 2)

    def module(self) -> nn.Module:
        """Return one model in PyTorch's plain form."""
        body = _LstmBody(self.settings, self.rows)
        if self.settings.tied:
            return LanguageModel(body, _TiedLinear(body.embedding))
        return LanguageModel(body, nn.Linear(self.settings.hidden, self.num_classes))

    def _states(self, parameters: Parameters, inputs_SBx: Batch) -> Tensor:
        # The embedding's gradient has no place of its own where another is added.
        first = dict(parameters) if self.settings.tied else parameters
        states_SLBx = embedded(first, dense(inputs_SBx).transpose(1, 2))
        for layer in range(self.settings.layers):
            states_SLBx = _long_short(parameters, layer, states_SLBx)
        return states_SLBx

    def _output(self, parameters: Parameters) -> Parameters:
        if not self.settings.tied:
            return parameters
        return {
            "output.weight": parameters[EMBEDDING],
            "output.bias": parameters["output.bias"],
        }


class LanguageModel(nn.Sequential):
    """A body, whose state after the last word it returns, and an output layer."""

    def all_logits(self, words_BL: Tensor) -> Tensor:
        """Return logits after each word, shape (B, L, C)."""
        body, output = self
        states_BLH: Tensor = body.states(words_BL)  # type: ignore[operator]
        result: Tensor = output(states_BLH)
        return result


class MaxOverTime(nn.Module):
    """The largest answer of each filter over a record, filters of all widths."""

    def forward(self, *answers_BCL: Tensor) -> Tensor:
        """Return shape (B, filters of all)."""
        return _largest(answers_BCL)


class LastState(nn.Module):
    """The state after the last word of a record."""

    def forward(self, states_BLH: Tensor, words_BL: Tensor) -> Tensor:
        """Return shape (B, H)."""
        return _at(states_BLH.transpose(0, 1), last_words(words_BL))


class _CnnBody(nn.Module):
    def __init__(self, settings: TextCnn, rows: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, settings.embedding)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(settings.embedding, settings.filters, window)
            for window in settings.windows
        )
        # modules, so that their outputs can be looked at
        self.largest, self.activation = MaxOverTime(), nn.ReLU()
        self.dense: nn.Module | None = None
        if settings.hidden:
            found = settings.filters * len(settings.windows)
            self.dense, self.after = nn.Linear(found, settings.hidden), nn.ReLU()

    def forward(self, words_BL: Tensor) -> Tensor:
        embedded_BEL = self.embedding(words_BL.long()).transpose(1, 2)
        found_BH = self.largest(*(own(embedded_BEL) for own in self.convolutions))
        hidden_BH: Tensor = self.activation(found_BH)
        if self.dense is not None:
            hidden_BH = self.after(self.dense(hidden_BH))
        return hidden_BH


class _GruBody(nn.Module):
    def __init__(self, settings: Gru, rows: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, settings.embedding)
        self.gru = nn.GRU(settings.embedding, settings.hidden, batch_first=True)
        self.last = LastState()

    def forward(self, words_BL: Tensor) -> Tensor:
        states_BLH, _ = self.gru(self.embedding(words_BL.long()))
        result: Tensor = self.last(states_BLH, words_BL)
        return result


class _LstmBody(nn.Module):
    def __init__(self, settings: Lstm, rows: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, settings.embedding)
        self.lstm = nn.LSTM(
            settings.embedding, settings.hidden, settings.layers, batch_first=True
        )
        self.last = LastState()

    def states(self, words_BL: Tensor) -> Tensor:
        # Not every CPU has a kernel for an LSTM in bfloat16.
        with torch.autocast("cpu", enabled=False):
            states_BLH: Tensor = self.lstm(self.embedding(words_BL.long()))[0]
        return states_BLH

    def forward(self, words_BL: Tensor) -> Tensor:
        result: Tensor = self.last(self.states(words_BL), words_BL)
        return result


class _TiedLinear(nn.Module):
    """A dense layer whose weights are those of an embedding."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        # Not a part of this module: its weight is the embedding's parameter. And not
        # the weight, which is another one after the net is moved.
        self._embedding = (embedding,)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, hidden_xH: Tensor) -> Tensor:
        return functional.linear(hidden_xH, self._embedding[0].weight, self.bias)


class _Embedded(torch.autograd.Function):
    """Rows of each model's embedding.

    A model's part of a stack does not lie beside the next one's: an embedding of all
    would first be copied whole, and so would its gradient be.
    """

    @staticmethod
    def forward(
        ctx: Any, weight_SVE: Tensor, words_SN: Tensor, place_SVE: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(words_SN)
        ctx.shape, ctx.place = weight_SVE.shape, place_SVE
        pairs = zip(weight_SVE, words_SN, strict=True)
        return torch.stack([own_VE.index_select(0, words) for own_VE, words in pairs])

    @staticmethod
    def backward(ctx: Any, gradient_SNE: Tensor) -> tuple[Tensor | None, ...]:
        (words_SN,) = ctx.saved_tensors
        place_SVE = ctx.place
        if place_SVE is None:
            size = math.prod(ctx.shape[1:])
            rows = gradient_SNE.new_empty(ctx.shape[0], aligned(size))
            place_SVE = rows[:, :size].view(ctx.shape)
        place_SVE.zero_()
        for own_VE, words, gradient_NE in zip(
            place_SVE, words_SN, gradient_SNE, strict=True
        ):
            own_VE.index_add_(0, words, gradient_NE)
        return place_SVE, None, None


def embedded(parameters: Parameters, inputs_SBx: Batch) -> Tensor:
    """Return the embedded words of each model's records, shape (S, B, L, E)."""
    places = parameters.gradients if isinstance(parameters, Trainable) else {}
    words_SBL = dense(inputs_SBx).long()
    result: Tensor = _Embedded.apply(
        parameters[EMBEDDING], words_SBL.flatten(1), places.get(EMBEDDING)
    )
    return result.unflatten(1, words_SBL.shape[1:])


def _recurrent(parameters: Parameters, gates_SBLG: Tensor) -> Tensor:
    """Return the states of ``torch.nn.GRU`` after each word, shape (L, S, B, H)."""
    weight_SHG = parameters["state.weight"].transpose(1, 2)
    bias_S1G = parameters["state.bias"].unsqueeze(1)
    size = weight_SHG.shape[1]
    both = 2 * size
    state_SBH = gates_SBLG.new_zeros(*gates_SBLG.shape[:2], size)
    states = []
    for gates_SBG in gates_SBLG.unbind(2):
        own_SBG = torch.baddbmm(bias_S1G, state_SBH, weight_SHG)
        open_SBG = torch.sigmoid(gates_SBG[..., :both] + own_SBG[..., :both])
        reset_SBH, update_SBH = open_SBG.chunk(2, -1)
        new_SBH = torch.tanh(gates_SBG[..., both:] + reset_SBH * own_SBG[..., both:])
        state_SBH = new_SBH + update_SBH * (state_SBH - new_SBH)
        states.append(state_SBH)
    return torch.stack(states)


def _long_short(parameters: Parameters, layer: int, inputs_SLBx: Tensor) -> Tensor:
    """Return the states of a layer of ``torch.nn.LSTM``, shape (S, L, B, H)."""
    gates_SLBG = linear(
        parameters, f"input{layer}", inputs_SLBx.flatten(1, 2)
    ).unflatten(1, inputs_SLBx.shape[1:3])
    weight_SHG = parameters[f"state{layer}.weight"].transpose(1, 2)
    bias_S1G = parameters[f"state{layer}.bias"].unsqueeze(1)
    stack, _, batch = gates_SLBG.shape[:3]
    state_SBH = cell_SBH = gates_SLBG.new_zeros(stack, batch, weight_SHG.shape[1])
    states = []
    for gates_SBG in gates_SLBG.unbind(1):
        whole_SBG = gates_SBG + torch.baddbmm(bias_S1G, state_SBH, weight_SHG)
        take, keep, new, give = whole_SBG.chunk(4, -1)
        added_SBH = torch.sigmoid(take) * torch.tanh(new)
        cell_SBH = torch.sigmoid(keep) * cell_SBH + added_SBH
        state_SBH = torch.sigmoid(give) * torch.tanh(cell_SBH)
        states.append(state_SBH)
    return torch.stack(states, 1)


def _largest(answers: Sequence[Tensor]) -> Tensor:
    """Return the largest of each row, side by side."""
    return torch.cat([own.amax(-1) for own in answers], -1)


def last_words(words_xL: Tensor) -> Tensor:
    """Return the place of the last word of each record; 0 if there is none."""
    places_L = torch.arange(words_xL.shape[-1], device=words_xL.device)
    return torch.where(words_xL > 0, places_L, 0).amax(-1)


def _at(states_LxH: Tensor, places_x: Tensor) -> Tensor:
    """Return the state of each record at its place, shape (..., H)."""
    index = places_x[None, ..., None].expand(1, *states_LxH.shape[1:])
    return states_LxH.gather(0, index).squeeze(0)


def _rows(kind: str, input_shape: tuple[int, ...], words: int | None) -> int:
    """Return the rows of an embedding: the words, and padding."""
    if words is None or len(input_shape) != 1:
        found = "no vocabulary" if words is None else f"shape {tuple(input_shape)}"
        raise UserError(
            f"architecture.kind: {kind} needs records of words, shape (length,), with "
            f"a vocabulary; the data set has {found}"
        )
    return words + 1
