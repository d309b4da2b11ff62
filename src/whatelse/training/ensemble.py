"""Many small models of one architecture, trained in one program.

Parameters are stacked over models, data stay on the device, batches are gathered
per model. Model i depends on its own stream of random numbers alone: which models
share its stack changes nothing, on CPU not a byte. Two things take care of that:
batches are padded to one width with weight-zero records, so every kernel sees the
same shape per model; and the optimizer treats each model's parameters as one row.

Legend for shape suffixes: S models of the stack, B records of a batch, N records,
P parameters of one model.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.models.features import laid_out, module_of
from whatelse.models.layers import (
    Batch,
    Parameters,
    SparseBatch,
    Trainable,
    aligned,
    dense,
    stacked_weights,
)
from whatelse.models.stacked import Architecture, initial
from whatelse.models.text import EMBEDDING, LanguageModel, StackedLstm
from whatelse.seeding import stream
from whatelse.training.augment import AugmentedImages, augmented, drawn_ways
from whatelse.training.descent import Descent
from whatelse.training.dropout import Dropped, draw_kept, droppable
from whatelse.training.next_word import language_model, mean_losses, targets_of
from whatelse.training.settings import (
    Adam,
    Cosine,
    InverseTime,
    OneCycle,
    Steps,
    TrainingSettings,
)
from whatelse.training.stopping import Stopper

Strategy = Literal["stacked", "loop"]
OnEpoch = Callable[[int, NDArray[np.float64]], None]
Penalty = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TrainingData:
    """Records on a device, in their stored type.

    Attributes
    ----------
    inputs : Tensor, shape (N, ...), AugmentedImages or SparseInputs
        uint8 or float32; a record's features are ``inputs * scale + shift``.
    labels : Tensor of int64, shape (N,)
        Classes.
    scale, shift : float or Tensor
        Applied as batches are gathered; a tensor broadcasts over a record.
    """

    inputs: "Tensor | AugmentedImages | SparseInputs"
    labels: Tensor
    scale: float | Tensor = 1.0
    shift: float | Tensor = 0.0

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.labels.device

    @property
    def num_records(self) -> int:
        """How many there are."""
        return len(self.labels)

    @property
    def num_features(self) -> int:
        """Numbers that a model sees of a record."""
        return math.prod(self.inputs.shape[1:])

    def labels_of(self, index: Tensor) -> Tensor:
        """Return the classes of some records, of whatever shape `index` has."""
        if isinstance(self.inputs, AugmentedImages):
            index = index % self.num_records
        return self.labels[index]

    def gather(self, index: Tensor) -> Batch:
        """Return the features of some records, shape (*index.shape, ...).

        Sparse records need an `index` of shape (S, B).
        """
        if isinstance(self.inputs, SparseInputs):
            return self.inputs.gather(index)
        taken = self.inputs.index_select(0, index.flatten()).to(torch.float32)
        if not isinstance(self.scale, float) or self.scale != 1.0:
            taken = taken.mul_(self.scale)
        if not isinstance(self.shift, float) or self.shift != 0.0:
            taken = taken.add_(self.shift)
        return taken.view(*index.shape, *self.inputs.shape[1:])


@dataclass(frozen=True)
class SparseInputs:
    """Sparse records on a device, as compressed rows.

    Attributes
    ----------
    starts : Tensor of int64, shape (N + 1,)
        Where each record's values begin.
    features : Tensor of int64, shape (values,)
        Which feature each value is of.
    values : Tensor of float32, shape (values,)
        Numbers that are not zero.
    shape : tuple of int
        (N, F).
    """

    starts: Tensor
    features: Tensor
    values: Tensor
    shape: tuple[int, int]

    def gather(self, index_SB: Tensor) -> SparseBatch:
        """Return some records for each model, without a loop over records."""
        begins_SB = self.starts[index_SB]
        sizes_SB = self.starts[index_SB + 1] - begins_SB
        batch = index_SB.shape[1]
        rows, places = [], []
        for begins, sizes in zip(begins_SB, sizes_SB, strict=True):
            row = torch.arange(batch, device=sizes.device).repeat_interleave(sizes)
            before = sizes.cumsum(0) - sizes
            place = torch.arange(len(row), device=sizes.device) - before[row]
            rows.append(row)
            places.append(place + begins[row])
        return SparseBatch(
            [self.features[place] for place in places],
            rows,
            [self.values[place] for place in places],
            (len(index_SB), batch, self.shape[1]),
        )


def choose_strategy(architecture: Architecture, device: torch.device) -> Strategy:
    """Return the faster strategy for an architecture on a device.

    Measured by ``benchmarks/ensemble.py``: on a CPU, stacks of perceptrons and of
    gated recurrent nets win and stacks of convolutional nets (grouped convolution)
    lose, those over words too. So do stacks of LSTMs, whose many classes and layers
    fill a core without company (docs/performance.md). The number of models is no
    criterion, so that a model does not change with the company it is trained in.
    """
    convolutional = any(len(shape) > 2 for shape in architecture.shapes.values())
    looped = convolutional or isinstance(architecture, StackedLstm)
    return "loop" if looped and device.type == "cpu" else "stacked"


def train(
    architecture: Architecture,
    settings: TrainingSettings,
    data: TrainingData,
    members: Sequence[NDArray[np.int64]],
    *,
    streams: Sequence[tuple[int | str, ...]],
    seed: int,
    strategy: Strategy,
    starts: Sequence[Mapping[str, Tensor]] | None = None,
    penalty: Penalty | None = None,
    on_epoch: OnEpoch | None = None,
    held_back: Sequence[NDArray[np.int64]] | None = None,
) -> dict[str, Tensor]:
    """Train one model for each entry of `members`.

    Parameters
    ----------
    architecture : Architecture
        Common to all.
    settings : TrainingSettings
        Common to all.
    data : TrainingData
        All records, on the device to train on.
    members : sequence of ndarray of int64
        The records of each model; sizes may differ, none is empty.
    streams : sequence of tuple
        The name of each model's stream of random numbers.
    seed : int
        The study's seed.
    strategy : {"stacked", "loop"}
        One program for all, or one model after the other.
    starts : sequence of mapping, optional
        What each model starts from, parameters and buffers by name; drawn from its
        stream if left out.
    penalty : callable, optional
        From the weights (parameters of more than one dimension) of all models side by
        side, shape (S, W), to a term to add to each model's loss, shape (S,). With the
        loop it is asked once a model, with S = 1, in order: see `_train_loop`.
    on_epoch : callable, optional
        Called after each epoch with its number, from 1, and the mean training loss
        of each model, shape (S,), without the penalty.
    held_back : sequence of ndarray of int64, optional
        The records that each model is stopped by; needed by early stopping.

    Returns
    -------
    dict of str to Tensor
        Parameters and buffers stacked over models, float32, on the CPU.

    Raises
    ------
    UserError
        If the architecture has no such loss or dropout, or nothing is held back.
    """
    if settings.loss == "next-word":
        language_model(architecture)
    if settings.augment:
        data = augmented(data, settings.augment)
    if settings.dropout:
        droppable(architecture)
    stopper = None
    if settings.early_stopping:
        stopper = Stopper(settings.early_stopping, held_back)
    if starts is None:
        starts = initial_models(architecture, streams, seed)
    trainer = _train_stacked if strategy == "stacked" else _train_loop
    return trainer(
        architecture, settings, data, members, streams, seed, starts, penalty,
        on_epoch, stopper,
    )  # fmt: skip


def initial_models(
    architecture: Architecture, streams: Sequence[tuple[int | str, ...]], seed: int
) -> list[dict[str, Tensor]]:
    """Draw the parameters and buffers that models begin with, from their streams."""
    return [initial(architecture, stream(seed, *name, "init")) for name in streams]


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0."""
    base = settings.optimizer.learning_rate
    schedule = settings.schedule
    if isinstance(schedule, Cosine):
        return base * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
    if isinstance(schedule, Steps):
        return base * schedule.factor ** sum(epoch >= at for at in schedule.at)
    if isinstance(schedule, InverseTime):
        return base / (1 + schedule.decay * epoch)
    if isinstance(schedule, OneCycle):
        done, rise = epoch / settings.epochs, schedule.rise
        if done < rise:
            return base * (0.1 + 0.9 * done / rise)
        return base * 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
    return base


def padded_batch(architecture: Architecture, batch_size: int, num_features: int) -> int:
    """Return the width that batches are padded to.

    Kernels round differently by alignment, and vector kernels treat the last few
    elements of a tensor apart. At this width each model's part of inputs, hidden
    layers and logits fills whole cache lines, and that of hidden layers whole
    unrolled vectors, wherever it lies in the stack.
    """
    # The outputs of an embedding are its columns, its rows are words.
    outputs = [shape[name == EMBEDDING] for name, shape in architecture.shapes.items()]
    needs = [(32, width) for width in outputs[:-2]]
    needs += [(16, width) for width in (num_features, outputs[-1])]
    step = math.lcm(*(unit // math.gcd(unit, width) for unit, width in needs))
    return -(-batch_size // step) * step


class Stack:
    """Models in training, and the step that trains them.

    Parameters are the rows of one matrix, so that the optimizer treats each model's as
    one. A step waits for nothing on the device and reads and writes the same memory
    each time, so it can be captured as a CUDA graph.

    Attributes
    ----------
    rows_SP : Tensor
        Parameters, each beginning on a cache line.
    gradients_SP : Tensor
        What `update` steps against, laid out like the rows.
    leaves : mapping of str to Tensor
        Views of the rows, by name, that gradients are taken of.
    places : dict of str to Tensor
        Views of the gradients, by name.
    buffers : dict of str to Tensor
        Running statistics by name, stacked over models.
    """

    def __init__(
        self, architecture: Architecture, settings: TrainingSettings,
        data: TrainingData, starts: Sequence[Mapping[str, Tensor]],
        penalty: Penalty | None = None,
    ) -> None:  # fmt: skip
        self.architecture = architecture
        self.settings = settings
        self.data = data
        self.penalty = penalty
        device = data.device
        size = sum(aligned(math.prod(s)) for s in architecture.shapes.values())
        self.rows_SP = torch.zeros(len(starts), size, device=device)
        self.gradients_SP = torch.zeros_like(self.rows_SP)
        self.places = _views(architecture, self.gradients_SP)
        self.leaves: Parameters = Trainable(
            _views(architecture, self.rows_SP), self.places
        )
        for name, leaf in self.leaves.items():
            leaf.copy_(torch.stack([start[name] for start in starts]))
            leaf.requires_grad_()
        self.buffers = {
            name: torch.stack([start[name] for start in starts]).to(device)
            for name in architecture.buffers
        }
        # Made once: making views anew costs a small net 5% of each step.
        self._gradients = [*self.gradients_SP]
        self._descent = Descent(settings, [*self.rows_SP])

    def step(
        self, index_SB: Tensor, shares_SB: Tensor, *, full: bool,
        active: Sequence[int], rate: float | Tensor, keep_SBH: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Train each model on its own batch.

        Parameters
        ----------
        index_SB : Tensor of int64
            Records; any at all where the share is zero.
        shares_SB : Tensor
            Weight of each record in its model's mean loss.
        full : bool
            All shares are equal.
        active : sequence of int
            Models that have records in this batch.
        rate : float or Tensor
            Learning rate; a tensor on the device if the step is captured.
        keep_SBH : Tensor, optional
            Factors of hidden units: dropout's.

        Returns
        -------
        Tensor, shape (S,)
            Mean loss of each model before the step.
        """
        losses_S = self.losses(index_SB, shares_SB, full, keep_SBH=keep_SBH)
        whole = losses_S.sum()
        if self.penalty:
            whole = whole + self.penalty(stacked_weights(self.leaves)).sum()
        self._gradients_from(whole)
        self.update(active, rate)
        return losses_S.detach()

    def losses(
        self, index_SB: Tensor, shares_SB: Tensor, full: bool, *,
        training: bool = True, keep_SBH: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return each model's mean loss, shape (S,); `training` moves the buffers."""
        inputs_SBx = self.data.gather(index_SB)
        labels_N = self.data.labels_of(index_SB.flatten())
        if self.settings.loss == "next-word":
            model = language_model(self.architecture)
            with _precision(self.settings, index_SB.device):
                logits_SBLC = model.all_logits(self.leaves, inputs_SBx)
            targets_SBL = targets_of(dense(inputs_SBx), labels_N.view(index_SB.shape))
            return mean_losses(logits_SBLC.float(), targets_SBL, shares_SB)
        with _precision(self.settings, index_SB.device):
            if keep_SBH is not None:
                logits_SBC = droppable(self.architecture).forward(
                    self.leaves, inputs_SBx, keep_SBH=keep_SBH
                )
            else:
                logits_SBC = self.architecture.forward(
                    self.leaves,
                    inputs_SBx,
                    buffers=self.buffers,
                    training=training,
                    shares_SB=None if full else shares_SB,
                )
        losses_SB = record_losses(
            self.settings,
            logits_SBC.float().flatten(0, 1),
            labels_N,
        ).view(index_SB.shape)
        return (losses_SB * shares_SB).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of parameters and buffers by name, on the CPU."""
        found = {**_views(self.architecture, self.rows_SP), **self.buffers}
        return {
            name: part.detach().to("cpu", copy=True).contiguous()
            for name, part in found.items()
        }

    def _gradients_from(self, loss: Tensor) -> None:
        """Take the gradients of a summed loss: models do not mix in it."""
        gradients = torch.autograd.grad(loss, list(self.leaves.values()))
        for place, gradient in zip(self.places.values(), gradients, strict=True):
            # Dense layers have written theirs in place.
            if gradient.data_ptr() != place.data_ptr():
                place.copy_(gradient)

    def update(self, active: Sequence[int], rate: float | Tensor) -> None:
        """Take one step with the models that had records in this batch."""
        if self.settings.clip_gradient is not None:
            _clip([self._gradients[i] for i in active], self.settings.clip_gradient)
        self._descent.step(self._gradients, rate, active)


def _clip(gradients: list[Tensor], longest: float) -> None:
    """Shorten gradients that are longer, as ``torch.nn.utils.clip_grad_norm_`` does.

    Each model's is one row. Rows have a kernel each on a CPU, so that none depends on
    the others; on a GPU they have one together.
    """
    lengths_S = torch.stack(torch._foreach_norm(gradients))
    factors_S = (longest / (lengths_S + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factors_S.unbind())


def record_losses(
    settings: TrainingSettings, logits_BC: Tensor, labels_B: Tensor
) -> Tensor:
    """Return the loss of each record, shape (B,)."""
    if settings.loss == "cross-entropy":
        return functional.cross_entropy(logits_BC, labels_B, reduction="none")
    sides_BC = functional.one_hot(labels_B, logits_BC.shape[1]) * 2.0 - 1.0
    return torch.relu(1.0 - sides_BC * logits_BC).mean(1)


def _views(architecture: Architecture, rows_SP: Tensor) -> dict[str, Tensor]:
    """Return each parameter of the stack as a view of the rows, shape (S, ...)."""
    views, start = {}, 0
    for name, shape in architecture.shapes.items():
        stop = start + math.prod(shape)
        views[name] = rows_SP[:, start:stop].unflatten(1, shape).detach()
        start += aligned(stop - start)
    return views


def _precision(
    settings: TrainingSettings, device: torch.device
) -> contextlib.AbstractContextManager[object]:
    """Return the context of the forward pass."""
    if settings.precision == "float32":
        return contextlib.nullcontext()
    # Each weight is used once a step, so a cache of cast weights would only hold
    # memory, and a CUDA graph must not find one from before.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def _epoch_order(
    settings: TrainingSettings, data: TrainingData, members: NDArray[np.int64],
    name: tuple[int | str, ...], seed: int, epoch: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Return what a model is trained on in an epoch, in order."""
    order = stream(seed, *name, "batches", epoch).permutation(members)
    if settings.augment:
        rng = stream(seed, *name, "ways", epoch)
        return drawn_ways(order, settings.augment, data.num_records, rng)
    return order


def _train_stacked(
    architecture: Architecture,
    settings: TrainingSettings,
    data: TrainingData,
    members: Sequence[NDArray[np.int64]],
    streams: Sequence[tuple[int | str, ...]],
    seed: int,
    starts: Sequence[Mapping[str, Tensor]],
    penalty: Penalty | None,
    on_epoch: OnEpoch | None,
    stopper: Stopper | None,
) -> dict[str, Tensor]:
    device = data.device
    stack = Stack(architecture, settings, data, starts, penalty)
    batch = settings.batch_size
    width = padded_batch(architecture, batch, data.num_features)
    num_steps = [-(-len(own) // batch) for own in members]
    ones = [np.ones(len(own), dtype=np.float32) for own in members]
    count_TSB = _in_steps(ones, batch, width, device)
    share_TSB = count_TSB / count_TSB.sum(2, keepdim=True).clamp(min=1.0)
    if stopper:
        held = [
            np.full(len(own), 1 / len(own), dtype=np.float32)
            for own in stopper.held_back
        ]
        held_TSB = _in_steps(held, batch, width, device)
        held_order_TSB = _in_steps(stopper.held_back, batch, width, device)
    active = [
        [i for i, own in enumerate(num_steps) if step < own]
        for step in range(max(num_steps))
    ]
    whole = [
        width == batch and all((step + 1) * batch <= len(own) for own in members)
        for step in range(max(num_steps))
    ]
    for epoch in range(settings.epochs):
        orders = [
            _epoch_order(settings, data, own, name, seed, epoch)
            for own, name in zip(members, streams, strict=True)
        ]
        order_TSB = _in_steps(orders, batch, width, device)
        keep_TSBH = None
        if settings.dropout:
            kept = [
                draw_kept(settings, architecture, own, name, seed, epoch)
                for own, name in zip(num_steps, streams, strict=True)
            ]
            keep_TSBH = _in_steps(kept, batch, width, device)
        rate = learning_rate(settings, epoch)
        total_S = torch.zeros(len(members), device=device)
        for step in range(max(num_steps)):
            total_S += stack.step(
                order_TSB[step], share_TSB[step], full=whole[step],
                active=active[step], rate=rate,
                keep_SBH=None if keep_TSBH is None else keep_TSBH[step],
            )  # fmt: skip
        if on_epoch:
            on_epoch(epoch + 1, total_S.cpu().double().numpy() / num_steps)
        if stopper:
            with torch.no_grad():
                losses_TS = [
                    stack.losses(index_SB, shares_SB, full=False, training=False)
                    for index_SB, shares_SB in zip(
                        held_order_TSB, held_TSB, strict=True
                    )
                ]
            going = stopper.after(torch.stack(losses_TS).sum(0), stack.tensors)
            if not going:
                break
    return stopper.best if stopper else stack.tensors()


def _in_steps(
    rows: Sequence[NDArray[Any]], batch: int, width: int, device: torch.device
) -> Tensor:
    """Return each model's rows in batches, padded by zeros, shape (T, S, B, ...).

    Steps first, so that a step's batches of all models lie together.
    """
    steps = max(-(-len(own) // batch) for own in rows)
    more = rows[0].shape[1:]
    whole = np.zeros((len(rows), steps * batch, *more), dtype=rows[0].dtype)
    for own, place in zip(rows, whole, strict=True):
        place[: len(own)] = own
    cut = whole.reshape(len(rows), steps, batch, *more).swapaxes(0, 1)
    padded = np.pad(cut, [(0, 0), (0, 0), (0, width - batch), *[(0, 0) for _ in more]])
    return torch.from_numpy(np.ascontiguousarray(padded)).to(device)


def _train_loop(
    architecture: Architecture,
    settings: TrainingSettings,
    data: TrainingData,
    members: Sequence[NDArray[np.int64]],
    streams: Sequence[tuple[int | str, ...]],
    seed: int,
    starts: Sequence[Mapping[str, Tensor]],
    penalty: Penalty | None,
    on_epoch: OnEpoch | None,
    stopper: Stopper | None,
) -> dict[str, Tensor]:
    """Train in PyTorch's plain form, one model after the other: the oracle.

    A penalty that differs between models sees them one at a time, so give it one.
    """
    done = []
    alone = stopper.alone() if stopper else [None] * len(members)
    for own, name, start, stop in zip(members, streams, starts, alone, strict=True):
        done.append(
            _train_plain(
                architecture, settings, data, own, name, seed, start, penalty,
                on_epoch, stop,
            )
        )  # fmt: skip
    return {name: torch.stack([model[name] for model in done]) for name in done[0]}


def _train_plain(
    architecture: Architecture,
    settings: TrainingSettings,
    data: TrainingData,
    members: NDArray[np.int64],
    name: tuple[int | str, ...],
    seed: int,
    start: Mapping[str, Tensor],
    penalty: Penalty | None,
    on_epoch: OnEpoch | None,
    stopper: Stopper | None,
) -> dict[str, Tensor]:
    device = data.device
    module = module_of(architecture, start, device)
    named = dict(zip(architecture.shapes, module.parameters(), strict=True))
    buffers = dict(zip(architecture.buffers, module.buffers(), strict=True))
    arranged = laid_out(module, device)
    chosen = settings.optimizer
    decay = 2 * settings.l2
    optimizer: torch.optim.Optimizer
    if isinstance(chosen, Adam):
        optimizer = torch.optim.Adam(
            module.parameters(), chosen.learning_rate, weight_decay=decay, fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            module.parameters(), chosen.learning_rate, momentum=chosen.momentum,
            nesterov=chosen.nesterov, weight_decay=decay, fused=True,
        )  # fmt: skip
    dropped = Dropped(module, architecture) if settings.dropout else None

    def features_of(index: Tensor) -> Tensor:
        return arranged(dense(data.gather(index.unsqueeze(0)))[0])

    def tensors() -> dict[str, Tensor]:
        return {
            place: value.detach().cpu().contiguous()
            for place, value in {**named, **buffers}.items()
        }

    for epoch in range(settings.epochs):
        optimizer.param_groups[0]["lr"] = learning_rate(settings, epoch)
        numbers = _epoch_order(settings, data, members, name, seed, epoch)
        order = torch.from_numpy(numbers).to(device)
        total, batches = (
            torch.zeros((), device=device),
            order.split(settings.batch_size),
        )
        if dropped:
            kept = draw_kept(
                settings, architecture, len(batches), name, seed, epoch
            )  # fmt: skip
            keeps = torch.from_numpy(kept).to(device).split(settings.batch_size)
        for step, index in enumerate(batches):
            features = features_of(index)
            if dropped:
                dropped.keep = keeps[step][: len(index)]
            loss = whole = _plain_loss(
                settings, module, features, data.labels_of(index)
            )
            if penalty:
                single = {place: value.unsqueeze(0) for place, value in named.items()}
                whole = loss + penalty(stacked_weights(single)).sum()
            optimizer.zero_grad()
            whole.backward()
            if settings.clip_gradient is not None:
                nn.utils.clip_grad_norm_(module.parameters(), settings.clip_gradient)
            optimizer.step()
            total += loss.detach()
        if on_epoch:
            on_epoch(epoch + 1, np.array([total.item() / len(batches)]))
        if stopper:
            if dropped:
                dropped.keep = None
            (own,) = stopper.held_back
            mean = torch.zeros(1, device=device)
            module.eval()
            with torch.no_grad():
                for index in (
                    torch.from_numpy(own).to(device).split(settings.batch_size)
                ):
                    loss = _plain_loss(
                        settings, module, features_of(index), data.labels[index]
                    )
                    mean += loss * len(index) / len(own)
            module.train()
            going = stopper.after(
                mean, lambda: {k: v.unsqueeze(0) for k, v in tensors().items()}
            )
            if not going:
                return {place: value[0] for place, value in stopper.best.items()}
    if stopper:
        return {place: value[0] for place, value in stopper.best.items()}
    return tensors()


def _plain_loss(
    settings: TrainingSettings, module: nn.Module, features: Tensor, labels_B: Tensor
) -> Tensor:
    """Return the mean loss of a model in PyTorch's plain form on a batch."""
    if settings.loss == "next-word":
        assert isinstance(module, LanguageModel)
        with _precision(settings, features.device):
            logits_BLC = module.all_logits(features)
        targets_BL = targets_of(features, labels_B)
        shares_B = torch.ones_like(labels_B, dtype=torch.float32)
        single = (logits_BLC.float(), targets_BL, shares_B)
        return mean_losses(*(value.unsqueeze(0) for value in single))[0]
    with _precision(settings, features.device):
        logits_BC = module(features)
    return record_losses(settings, logits_BC.float(), labels_B).mean()
