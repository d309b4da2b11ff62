"""Representations with an attribute taken out of them, and put back (ICLR 2020).

Song & Shmatikov, *Overlearning reveals sensitive attributes*: a net for one task is cut
before its last layer; what comes out, the representation, is what a server would be
sent. Censoring trains it so that an attribute cannot be told from it: against an
adversary that tries, or through a noisy bottleneck whose content must be worth it.

Legend for shape suffixes: B records of a batch, H features of a representation,
F features of a record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.properties.settings import Adversarial, Fitting, Information
from whatelse.seeding import stream

_HIDDEN = (256, 128)  # of the adversary and of the attacker's classifier, as published
_DECODED = 1024  # most features of a record that the bottleneck's decoder gives back


@dataclass(frozen=True)
class Encoder:
    """The part of a net that makes representations, and the part that uses them.

    Attributes
    ----------
    body, head : nn.Module
        All but the last layer, and the last layer.
    """

    body: nn.Module
    head: nn.Module


def cut(net: nn.Module) -> Encoder:
    """Cut a net before its last layer.

    Raises
    ------
    UserError
        If it is no plain sequence of layers.
    """
    if not isinstance(net, nn.Sequential) or len(net) < 3:
        raise UserError(
            "models: not a sequence of layers with one hidden; allowed: mlp with a "
            "hidden layer, or cnn"
        )
    return Encoder(net[:-1], net[-1])


def perceptron(widths: Sequence[int], rng: np.random.Generator) -> nn.Sequential:
    """Return a ReLU net of these widths, its weights drawn from a stream."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(
        zip(widths[:-1], widths[1:], strict=True)
    ):
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        bound = 1 / np.sqrt(inputs)
        with torch.no_grad():
            for part in (layer.weight, layer.bias):
                drawn = rng.uniform(-bound, bound, tuple(part.shape))
                part.copy_(torch.from_numpy(drawn.astype(np.float32)))
        layers += [nn.ReLU(), layer] if number else [layer]
    return nn.Sequential(*layers)


class _Reversed(torch.autograd.Function):
    """Passes values on and turns gradients round."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


class _Bottleneck(nn.Module):
    """A representation with noise, as much as its content is not worth."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.mean = perceptron((width, width), rng)
        self.log_variance = perceptron((width, width), rng)

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """Return the mean: what is sent when training is over."""
        found: Tensor = self.mean(hidden_BH)
        return found


def censored(
    net: nn.Module, inputs: Tensor, labels: NDArray[np.int64],
    attribute: NDArray[np.int64], defence: Adversarial | Information, fitting: Fitting,
    seed: int, number: int,
) -> Encoder:  # fmt: skip
    """Train a net of its own start so that an attribute is not told by its insides.

    Parameters
    ----------
    net : nn.Module
        Freshly drawn; it is trained in place.
    inputs : Tensor, shape (records, ...)
        As the net takes them.
    labels, attribute : ndarray of int64, shape (records,)
        The task, and what must not be told.
    defence : Adversarial or Information
        How.
    fitting : Fitting
        Rate, epochs, batch.
    seed, number : int
        Name the streams.
    """
    encoder = cut(net)
    rng = stream(seed, "censoring", number)
    with torch.no_grad():
        width = encoder.body(inputs[:1]).shape[1]
    values = int(attribute.max()) + 1
    extra: nn.Module
    if isinstance(defence, Adversarial):
        extra = perceptron((width, *_HIDDEN, values), rng)
        body = encoder.body
    else:
        bottleneck = _Bottleneck(width, rng)
        flat = _small(inputs[:1]).shape[1]
        extra = perceptron((width + values, 256, flat), rng)
        body = nn.Sequential(encoder.body, bottleneck)
    task, hidden_of = torch.from_numpy(labels), torch.from_numpy(attribute)
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def loss_of(rows: Tensor) -> Tensor:
        told, secret = task[rows], hidden_of[rows]
        hidden_BH = encoder.body(inputs[rows])
        if isinstance(defence, Adversarial):
            guessed = extra(_Reversed.apply(hidden_BH, defence.gamma))
            return functional.cross_entropy(
                encoder.head(hidden_BH), told
            ) + functional.cross_entropy(guessed, secret)
        mean_BH = bottleneck.mean(hidden_BH)
        spread_BH = bottleneck.log_variance(hidden_BH).clamp(-10, 10)
        drawn_BH = torch.randn(mean_BH.shape, generator=noise)
        sent_BH = mean_BH + drawn_BH * torch.exp(spread_BH / 2)
        divergence = (mean_BH**2 + spread_BH.exp() - 1 - spread_BH).sum(1).mean() / 2
        # the decoder is given the attribute: content that repeats it is worth nothing
        beside = functional.one_hot(secret, values).float()
        made_BF = extra(torch.cat([sent_BH, beside], 1))
        lost = functional.mse_loss(made_BF, _small(inputs[rows]), reduction="sum")
        return (
            functional.cross_entropy(encoder.head(sent_BH), told)
            + defence.beta * divergence
            + defence.reconstruction * lost / len(rows)
        )

    parts = nn.ModuleList([body, encoder.head, extra])
    fit(parts, loss_of, len(inputs), fitting, seed, ("censoring", number))
    return Encoder(body.eval(), encoder.head)


def fit(
    net: nn.Module, loss_of: Any, count: int, fitting: Fitting, seed: int,
    name: tuple[int | str, ...],
) -> None:  # fmt: skip
    """Train by Adam on batches of records in random order.

    Parameters
    ----------
    net : nn.Module
        Whose parameters are moved.
    loss_of : callable
        From a batch of rows, a Tensor of int64, to the loss.
    count : int
        Records.
    fitting : Fitting
        Rate, epochs, batch.
    seed : int
        The study's.
    name : tuple
        Names the stream of orders.
    """
    optimizer = torch.optim.Adam(net.parameters(), fitting.learning_rate, fused=True)
    net.train()
    for epoch in range(fitting.epochs):
        order = stream(seed, *name, "batches", epoch).permutation(count)
        for rows in torch.from_numpy(order).split(fitting.batch_size):
            optimizer.zero_grad()
            loss_of(rows).backward()
            optimizer.step()


def represent(body: nn.Module, inputs: Tensor, at_once: int = 1024) -> Tensor:
    """Return the representations of records, shape (records, H)."""
    body.eval()
    with torch.inference_mode():
        parts = [body(part) for part in inputs.split(at_once)]
    return torch.cat(parts).clone()


def classifier(
    points: Tensor, column: NDArray[np.int64], fitting: Fitting, seed: int,
    name: tuple[int | str, ...],
) -> nn.Sequential:  # fmt: skip
    """Return the attacker's net, fitted to tell a column from representations."""
    values = int(column.max()) + 1
    net = perceptron((points.shape[1], *_HIDDEN, values), stream(seed, *name, "init"))
    told = torch.from_numpy(column)
    fit(
        net,
        lambda rows: functional.cross_entropy(net(points[rows]), told[rows]),
        len(points), fitting, seed, name,
    )  # fmt: skip
    return net.eval()


def put_back(
    censored_points: Tensor, plain_points: Tensor, fitting: Fitting, seed: int,
    name: tuple[int | str, ...],
) -> nn.Sequential:  # fmt: skip
    """Return the attacker's map from censored representations to plain ones.

    De-censoring: the attacker trains a plain net for the same task on its auxiliary
    records, and learns where these lie in it.
    """
    widths = (censored_points.shape[1], 256, plain_points.shape[1])
    net = perceptron(widths, stream(seed, *name, "init"))
    fit(
        net,
        lambda rows: functional.mse_loss(
            net(censored_points[rows]), plain_points[rows]
        ),
        len(plain_points), fitting, seed, name,
    )  # fmt: skip
    return net.eval()


def _small(inputs: Tensor) -> Tensor:
    """Return records flat, images made smaller until they have few numbers."""
    if inputs.dim() == 4:
        most = max(1, int((_DECODED / inputs.shape[1]) ** 0.5))
        side = (min(most, inputs.shape[2]), min(most, inputs.shape[3]))
        inputs = functional.adaptive_avg_pool2d(inputs, side)
    return inputs.flatten(1)
