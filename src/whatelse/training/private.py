"""DP-SGD: models that leave every single record in doubt (Abadi et al., CCS 2016).

At each step a record takes part by a coin of its own (Poisson sampling, which is what
the accountant counts), its gradient is cut to a length, and normal noise is added to
the sum. Batches are of any size, then; they are worked on in parts of one width, and
what fills up a part counts nothing, so that all models of a stack are one program and
no model depends on another.

The promise is about a record more or less: the chance of taking part and what sums are
divided by follow from the expected size of the training set, not from how many records
there are. It covers models, not curves of their loss, and the noise is that of a study,
ordinary floating-point numbers from a seed.

Legend for shape suffixes: S models of the stack, B records of a part, T steps of an
epoch, N records, P parameters of one model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from whatelse.measures.privacy import epsilon, noise_for
from whatelse.models.layers import Tapped, dense
from whatelse.models.stacked import Architecture, StackedMlp
from whatelse.seeding import stream
from whatelse.training.device import generator_of
from whatelse.training.ensemble import (
    OnEpoch,
    Stack,
    Strategy,
    TrainingData,
    initial_models,
    learning_rate,
    padded_batch,
    record_losses,
)
from whatelse.training.settings import CentralTraining

# Beyond the expected size of a batch, in standard deviations: more take another part.
_DEVIATIONS = 3.0
_MOST = 2**27  # numbers in the gradients of a part's records: half a gigabyte


@dataclass(frozen=True)
class Mechanism:
    """What is done to gradients, and what the accountant counts.

    Attributes
    ----------
    clip : float
        Longest gradient of a record, L2.
    noise : float
        Standard deviation of the sum's noise, in units of `clip`.
    sampled : float
        Chance, in (0, 1], that a record takes part in a step.
    steps : int
        In all.
    batch : float
        Expected records of a step, which sums are divided by.
    delta : float
        Of the guarantee.
    """

    clip: float
    noise: float
    sampled: float
    steps: int
    batch: float
    delta: float

    def guarantee(self) -> dict[str, Any]:
        """Return what is promised of a model: epsilon, None without noise, and how."""
        spent = None
        if self.noise:
            spent = epsilon(self.noise, self.sampled, self.steps, self.delta)
        return {"epsilon": spent, **asdict(self)}


def mechanism_of(settings: CentralTraining, size: float) -> Mechanism:
    """Return the mechanism that settings with privacy ask for.

    Parameters
    ----------
    settings : CentralTraining
        With `privacy`.
    size : float
        Expected size of a model's training set.

    Raises
    ------
    UserError
        If no noise is enough for the epsilon that is asked for.
    """
    privacy = settings.privacy
    assert privacy
    batch = min(float(settings.batch_size), size)
    sampled = batch / size
    steps = settings.epochs * math.ceil(size / batch)
    noise = privacy.noise
    if noise is None:
        assert privacy.epsilon is not None
        noise = noise_for(privacy.epsilon, sampled, steps, privacy.delta)
    return Mechanism(privacy.clip, noise, sampled, steps, batch, privacy.delta)


class PrivateStack(Stack):
    """Models in training, each record's gradient clipped by itself."""

    def step_privately(
        self, parts: Sequence[tuple[Tensor, Tensor]], mechanism: Mechanism,
        noise_SP: Tensor, rate: float,
    ) -> Tensor:  # fmt: skip
        """Train each model on its own batch.

        Parameters
        ----------
        parts : sequence of (Tensor, Tensor)
            Records, (S, B), and which of them take part, as 1 and 0: any others fill
            up. No record is in two parts.
        mechanism : Mechanism
            How gradients are cut and sums divided.
        noise_SP : Tensor
            Standard normal, laid out like `rows_SP`; scaled here.
        rate : float
            Learning rate.

        Returns
        -------
        Tensor, shape (S,)
            Mean loss of those that took part, before the step; 0 of nobody.
        """
        self.gradients_SP.zero_()
        total_S, count_S = (
            torch.zeros(len(noise_SP), device=noise_SP.device) for _ in range(2)
        )
        for index_SB, taken_SB in parts:
            losses_SB = self._add_clipped(index_SB, taken_SB, mechanism.clip)
            total_S += (losses_SB * taken_SB).sum(1)
            count_S += taken_SB.sum(1)
        self.gradients_SP.add_(noise_SP, alpha=mechanism.noise * mechanism.clip)
        self.gradients_SP.div_(mechanism.batch)
        self.update(range(len(noise_SP)), rate)
        return total_S / count_S.clamp(min=1.0)

    def _add_clipped(self, index_SB: Tensor, taken_SB: Tensor, clip: float) -> Tensor:
        """Add the clipped gradients of some records; return their losses, (S, B)."""
        inputs_SBx = self.data.gather(index_SB)
        labels_SB = self.data.labels[index_SB]
        if not isinstance(self.architecture, StackedMlp):
            return self._add_by_record(dense(inputs_SBx), labels_SB, taken_SB, clip)
        tapped = Tapped(self.leaves)
        logits_SBC = self.architecture.forward(tapped, inputs_SBx)
        losses_SB = record_losses(
            self.settings, logits_SBC.flatten(0, 1), labels_SB.flatten()
        ).view(index_SB.shape)
        came_out = [output for _, output in tapped.seen.values()]
        slopes = torch.autograd.grad(losses_SB.sum(), came_out)
        with torch.no_grad():
            went_in = [given_SBF for given_SBF, _ in tapped.seen.values()]
            # A layer's gradient of one record is an outer product: its length is the
            # product of two. The bias sees a one.
            squares_SB = torch.stack([
                (given_SBF.square().sum(2) + 1) * slope_SBH.square().sum(2)
                for given_SBF, slope_SBH in zip(went_in, slopes, strict=True)
            ]).sum(0)  # fmt: skip
            factors_SB1 = (_factors(squares_SB, clip) * taken_SB).unsqueeze(2)
            layers = zip(tapped.seen, went_in, slopes, strict=True)
            for name, given_SBF, slope_SBH in layers:
                cut_SBH = slope_SBH * factors_SB1
                self.places[f"{name}.weight"].baddbmm_(
                    cut_SBH.transpose(1, 2), given_SBF
                )
                self.places[f"{name}.bias"].add_(cut_SBH.sum(1))
        return losses_SB.detach()

    def _add_by_record(
        self, inputs_SBx: Tensor, labels_SB: Tensor, taken_SB: Tensor, clip: float
    ) -> Tensor:
        """Do the same by making the gradient of every record."""
        with torch.device("meta"):
            module = self.architecture.module()
        names = [name for name, _ in module.named_parameters()]

        def loss_of(
            values: tuple[Tensor, ...], record: Tensor, label: Tensor
        ) -> Tensor:
            given = dict(zip(names, values, strict=True))
            logits_1C = functional_call(module, given, (record.unsqueeze(0),))
            return record_losses(self.settings, logits_1C, label.unsqueeze(0))[0]

        of_records = vmap(grad_and_value(loss_of), in_dims=(None, 0, 0))
        values = tuple(leaf.detach() for leaf in self.leaves.values())
        gradients, losses_SB = vmap(of_records)(values, inputs_SBx, labels_SB)
        flat_SBP = [gradient.flatten(2) for gradient in gradients]
        squares_SB = torch.stack([part.square().sum(2) for part in flat_SBP]).sum(0)
        factors_S1B = (_factors(squares_SB, clip) * taken_SB).unsqueeze(1)
        for place, part_SBP in zip(self.places.values(), flat_SBP, strict=True):
            place.add_(torch.bmm(factors_S1B, part_SBP).view(place.shape))
        return losses_SB


def _factors(squares_SB: Tensor, clip: float) -> Tensor:
    """Return what gradients are multiplied by, as Opacus does."""
    return (clip / (squares_SB.sqrt() + 1e-6)).clamp(max=1.0)


def train_privately(
    architecture: Architecture,
    settings: CentralTraining,
    data: TrainingData,
    members: Sequence[NDArray[np.int64]],
    *,
    size: float,
    streams: Sequence[tuple[int | str, ...]],
    seed: int,
    strategy: Strategy,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Tensor]:
    """Train one model for each entry of `members` by DP-SGD.

    Parameters are those of ``whatelse.training.ensemble.train``; models start from
    their streams alone, since what had seen the records before would be promised
    nothing.

    Parameters
    ----------
    size : float
        Expected size of a model's training set.
    strategy : {"stacked", "loop"}
        All in one program, or one after the other.

    Returns
    -------
    dict of str to Tensor
        Parameters stacked over models, float32, on the CPU.
    """
    mechanism = mechanism_of(settings, size)
    starts = initial_models(architecture, streams, seed)
    if strategy == "loop":
        alone = [
            _train(
                architecture, settings, data, [members[i]], mechanism, [streams[i]],
                seed, [starts[i]], on_epoch,
            )
            for i in range(len(members))
        ]  # fmt: skip
        return {name: torch.cat([one[name] for one in alone]) for name in alone[0]}
    return _train(
        architecture, settings, data, members, mechanism, streams, seed, starts,
        on_epoch,
    )  # fmt: skip


def _train(
    architecture: Architecture, settings: CentralTraining, data: TrainingData,
    members: Sequence[NDArray[np.int64]], mechanism: Mechanism,
    streams: Sequence[tuple[int | str, ...]], seed: int,
    starts: Sequence[Mapping[str, Tensor]], on_epoch: OnEpoch | None,
) -> dict[str, Tensor]:  # fmt: skip
    device = data.device
    stack = PrivateStack(architecture, settings, data, starts)
    steps = mechanism.steps // settings.epochs
    width = part_width(architecture, mechanism, data.num_features)
    generators = [
        generator_of(stream(seed, *name, "noise"), device) for name in streams
    ]
    noise_SP = torch.zeros_like(stack.rows_SP)

    for epoch in range(settings.epochs):
        rate = learning_rate(settings, epoch)
        total_S = torch.zeros(len(members), device=device)
        taken = [
            sampled(mechanism, steps, len(own), stream(seed, *name, "batches", epoch))
            for own, name in zip(members, streams, strict=True)
        ]
        for parts in batches_of(members, taken, width, device):
            for row, generator in zip(noise_SP, generators, strict=True):
                row.normal_(generator=generator)
            total_S += stack.step_privately(parts, mechanism, noise_SP, rate)
        if on_epoch:
            on_epoch(epoch + 1, total_S.cpu().double().numpy() / steps)
    return stack.tensors()


def sampled(
    mechanism: Mechanism, steps: int, records: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw which records take part in some steps, shape (steps, records)."""
    return np.asarray(rng.random((steps, records)) < mechanism.sampled)


def part_width(
    architecture: Architecture, mechanism: Mechanism, num_features: int
) -> int:
    """Return how many records a part has room for: most batches are one part."""
    spread = math.sqrt(mechanism.batch * (1 - mechanism.sampled))
    most = math.ceil(mechanism.batch + _DEVIATIONS * spread)
    weights = sum(math.prod(shape) for shape in architecture.shapes.values())
    return padded_batch(architecture, min(most, max(1, _MOST // weights)), num_features)


def batches_of(
    members: Sequence[NDArray[np.int64]], taken: Sequence[NDArray[np.bool_]],
    width: int, device: torch.device,
) -> Iterator[list[tuple[Tensor, Tensor]]]:  # fmt: skip
    """Yield every step's batches in parts, as many as the largest of them needs.

    Parameters
    ----------
    members : sequence of ndarray of int64, shape (N,)
        Each model's records.
    taken : sequence of ndarray of bool, shape (T, N)
        Which of them are in which step.
    width : int
        Records of a part.
    """
    counts_ST = np.stack([own.sum(1) for own in taken])
    parts_T = np.maximum(1, -(-counts_ST.max(0) // width))
    room = int(parts_T.max()) * width
    index_TSB = np.zeros((len(parts_T), len(members), room), dtype=np.int64)
    for model, (own, flags_TN) in enumerate(zip(members, taken, strict=True)):
        # those taken first, in their order
        order_TN = np.argsort(~flags_TN, axis=1, kind="stable")[:, :room]
        index_TSB[:, model, : order_TN.shape[1]] = own[order_TN]
    filled_TSB = np.arange(room) < counts_ST.T[:, :, None]
    index = torch.from_numpy(index_TSB).to(device)
    mask = torch.from_numpy(filled_TSB.astype(np.float32)).to(device)
    for step, count in enumerate(parts_T):
        ends = range(width, (int(count) + 1) * width, width)
        yield [
            (index[step, :, end - width : end].contiguous(),
             mask[step, :, end - width : end].contiguous())
            for end in ends
        ]  # fmt: skip
