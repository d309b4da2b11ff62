"""Collaborative learning: participants fit one model and keep their data.

Two protocols: synchronised SGD (P3 Alg. 1: every participant sends the gradient of one
batch, and the model steps against their sum) and federated averaging (P3 Alg. 2, P4
Eq. 1: those selected train the model on their own data, and it moves by the mean of
their changes). Three things are kept apart: what a participant submits, how
submissions become the next model, and what an observer is shown of it. An observer
keeps what it needs as rounds stream by; nothing here stores updates.

Legend for shape suffixes: K participants or batches, B records of a batch, C classes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.features import POOLINGS, laid_out, module_of
from whatelse.models.layers import dense
from whatelse.models.stacked import Architecture, initial, initial_buffers
from whatelse.seeding import stream
from whatelse.training.aggregation import aggregate
from whatelse.training.device import generator_of
from whatelse.training.ensemble import (
    OnEpoch,
    Strategy,
    TrainingData,
    choose_strategy,
    train,
)
from whatelse.training.federated_settings import Averaging, Defence, Gradients
from whatelse.training.settings import Sgd, TrainingSettings

Rows = NDArray[np.int64]
Vectors = dict[str, Tensor]
"""A model, a gradient or a change of a model, by name of parameter."""


class Participant(Protocol):
    """Somebody who takes part.

    Attributes
    ----------
    rows : ndarray of int64
        The records that are theirs.
    submit : callable or None
        From its honest update and the scene to what it sends instead; None for an
        honest one.
    """

    @property
    def rows(self) -> Rows:
        """See above."""

    @property
    def submit(self) -> "Submit | None":
        """See above."""

    def batch(self, iteration: int, size: int) -> Rows:
        """Return the records of one batch of synchronised SGD, shape (size,)."""

    def local(self, number: int) -> Rows:
        """Return the records that are trained on in one round of averaging."""


@dataclass(frozen=True)
class Honest:
    """Goes through its own records in random order, again and again.

    Attributes
    ----------
    rows : ndarray of int64
        Its records.
    name : tuple
        Names its stream of random numbers.
    seed : int
        The study's.
    """

    rows: Rows
    name: tuple[int | str, ...]
    seed: int
    submit = None

    def batch(self, iteration: int, size: int) -> Rows:
        """Return the next records."""
        return endless(self.rows, iteration * size, size, self.seed, self.name)

    def local(self, number: int) -> Rows:
        """Return all its records."""
        return self.rows


@dataclass(frozen=True)
class Seated(Honest):
    """A participant that is honest but for what it sends.

    Attributes
    ----------
    active : callable or None
        What it sends in place of its honest update, if anything.
    """

    active: "Submit | None" = None

    @property
    def submit(self) -> "Submit | None":  # type: ignore[override]
        """See above."""
        return self.active


def endless(
    rows: Rows, start: int, size: int, seed: int, name: Sequence[int | str]
) -> Rows:
    """Return a part of the endless sequence of random orders of some records.

    Every record occurs once in each order. The sequence is a function of its name, so
    any part of it can be had without the parts before.
    """
    pieces = []
    position, left = start, size
    while left > 0:
        epoch, offset = divmod(position, len(rows))
        order = stream(seed, *name, "batches", epoch).permutation(rows)
        piece = order[offset : offset + left]
        pieces.append(piece)
        position, left = position + len(piece), left - len(piece)
    return np.concatenate(pieces)


@dataclass(frozen=True)
class Scene:
    """One round, as it stands before the model moves.

    Attributes
    ----------
    number : int
        Which round, from 0.
    model : dict of str to Tensor
        The joint model that participants were sent; not to be changed.
    each : callable
        From sequences of records to what an honest participant would submit who had
        these: the gradient of the mean loss on a batch, or the change by local
        training.
    total : callable
        The sum of these, cheaper where nobody asks for them one by one.
    noise : callable or None
        With differential privacy, a draw of what is added to a sum: not the one that
        was, which nobody knows.
    chosen : tuple of int
        Who takes part.
    """

    number: int
    model: Vectors
    each: "Callable[[Sequence[Rows]], list[Vectors]]"
    total: "Callable[[Sequence[Rows]], Vectors]"
    _program: "Callable[[], Program]"
    noise: "Callable[[], Vectors] | None" = None
    chosen: tuple[int, ...] = ()

    @functools.cached_property
    def program(self) -> "Program":
        """The model, to be asked for gradients of other losses; not to be changed."""
        return self._program()

    def program_of_own(self) -> "Program":
        """Return the model, to be trained on."""
        return self._program()


_AT_ONCE = 4096  # records of a pass
_ASKED = 1024  # of one without gradients
Submit = Callable[[Vectors, Scene], Vectors]


class Observer(Protocol):
    """A participant that looks at what the others did.

    Attributes
    ----------
    seat : int
        Which participant it is. It is shown what all others submitted together: the
        move of the joint model, less its own part of it.
    """

    seat: int

    def look(self, scene: Scene, others: Vectors) -> None:
        """See one round: the sum of the others' gradients or weighted changes.

        With privacy, noise is in it.
        """


@dataclass(frozen=True)
class Move:
    """What a round of averaging did.

    Attributes
    ----------
    chosen : sequence of int
        Who took part.
    sent : sequence of dict of str to Tensor
        The change that each sent.
    shares : ndarray, shape (chosen,)
        How much of each the server took.
    """

    chosen: Sequence[int]
    sent: Sequence[Vectors]
    shares: NDArray[np.float64]


class Auditor(Protocol):
    """Who measures a joint model as it is made; takes no part and sees everything."""

    def audit(self, program: "Program", move: Move | None) -> None:
        """See the model at the start, with no move, and after every round."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    model : dict of str to Tensor
        Parameters and buffers, float32, on the CPU.
    history : list of dict
        ``round`` and ``loss``: the participants' mean training loss.
    """

    model: Vectors
    history: list[dict[str, float]] = field(default_factory=list)


def collaborate(
    architecture: Architecture,
    settings: Gradients | Averaging,
    data: TrainingData,
    participants: Sequence[Participant],
    *,
    seed: int,
    name: tuple[int | str, ...] = (),
    start: Vectors | None = None,
    observer: Observer | None = None,
    auditor: Auditor | None = None,
    invited: Mapping[int, Sequence[int]] | None = None,
    on_round: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Fit one model by a protocol.

    Parameters
    ----------
    architecture : Architecture
        Of the model.
    settings : Gradients or Averaging
        The protocol, and how long it goes.
    data : TrainingData
        All participants' records, on the device to train on.
    participants : sequence of Participant
        At least two.
    seed : int
        The study's.
    name : tuple, optional
        Names the stream of the initial model and of selections.
    start : dict of str to Tensor, optional
        Parameters and buffers to begin with; drawn anew if left out.
    observer : Observer, optional
        Sits among the participants.
    auditor : Auditor, optional
        Sees every round of averaging.
    invited : mapping of int to sequence of int, optional
        Participants that are among those selected in a round.
    on_round : callable, optional
        Called after each round with its number, from 1, and the mean loss.

    Returns
    -------
    Outcome

    Raises
    ------
    UserError
        If a participant has no records, or the architecture has running statistics,
        which synchronised SGD does not share.
    """
    for number, participant in enumerate(participants):
        if not len(participant.rows):
            raise UserError(
                f"participants: {number} has no records; allowed: fewer participants"
            )
    start = start or {
        **initial(architecture, stream(seed, *name, "init")),
        **initial_buffers(architecture),
    }
    model = {place: value.to(data.device) for place, value in start.items()}
    history: list[dict[str, float]] = []

    def told(number: int, loss: float) -> None:
        history.append({"round": number, "loss": loss})
        if on_round:
            on_round(number, loss)

    common = (data, participants, seed, name, model, observer, told)
    if isinstance(settings, Averaging):
        final = _average(architecture, settings, *common, auditor, invited or {})
    else:
        final = _share_gradients(architecture, settings, *common)
    return Outcome(
        {place: value.to("cpu", copy=True) for place, value in final.items()}, history
    )


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

    def features(self, rows: Tensor) -> Tensor:
        """Return records as the module takes them."""
        return self._laid_out(dense(self.data.gather(rows.unsqueeze(0)))[0])

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
            _add(total, self.gradient(loss))
            lost += loss.item()
        self.add_decay(total, len(batches))
        return total, lost / len(batches)

    def add_decay(self, total: Vectors, times: int = 1) -> None:
        """Add what weight decay adds to so many gradients."""
        if self._weight_decay:
            weight = times * self._weight_decay
            _add(total, {k: weight * v.detach() for k, v in self.parameters.items()})

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


def _share_gradients(
    architecture: Architecture, settings: Gradients, data: TrainingData,
    participants: Sequence[Participant], seed: int, name: tuple[int | str, ...],
    model: Vectors, observer: Observer | None, told: Callable[[int, float], None],
) -> Vectors:  # fmt: skip
    """Run synchronised SGD (P3 Alg. 1)."""
    if architecture.buffers:
        raise UserError(
            "architecture: has running statistics, which gradients do not share; "
            "allowed: no batch norm, or averaging"
        )
    learned, emulated = (
        generator_of(stream(seed, *name, who), data.device)
        for who in ("dropout", "emulated dropout")
    )
    dropout = Dropout(settings.dropout, learned) if settings.dropout else None
    program = Program(
        architecture, data, model, weight_decay=settings.weight_decay, dropout=dropout
    )
    seat = observer.seat if observer else None
    whole = settings.shared == 1 and not settings.privacy
    noises = _noises(settings, program.parameters, data.device, seed, name)
    # Summed in one pass, unless somebody does other things with their own gradient.
    plain = [
        number
        for number, participant in enumerate(participants)
        if number != seat and whole and not participant.submit
    ]
    others = [n for n in range(len(participants)) if n != seat and n not in plain]

    def each(batches: Sequence[Rows]) -> list[Vectors]:
        return [_sendable(own, settings) for own in program.of_each(batches)]

    def total_of(batches: Sequence[Rows]) -> Vectors:
        if whole:
            return program.of_sum(batches)[0]
        return _sum_of(each, batches)

    for iteration in range(settings.iterations):
        scene = Scene(
            iteration, program.parameters, each, total_of, lambda: program,
            noises and noises[1],
        )  # fmt: skip
        batches = [
            participant.batch(iteration, settings.batch_size)
            for participant in participants
        ]
        total: Vectors = {}
        loss, count = 0.0, 0
        if plain:
            total, loss = program.of_sum([batches[number] for number in plain])
            loss, count = loss * len(plain), len(plain)
        for number in others:
            gradient, own = program.of_sum([batches[number]])
            sent = _sent(participants[number], gradient, scene)
            _add(total, _sendable(sent, settings))
            loss, count = loss + own, count + 1
        if noises:
            _add(total, noises[0]())
        if observer and seat is not None:
            if dropout:
                dropout.generator = emulated
            observer.look(scene, total)
            if dropout:
                dropout.generator = learned
            gradient, own = program.of_sum([batches[seat]])
            total = dict(total)
            sent = _sent(participants[seat], gradient, scene)
            _add(total, _sendable(sent, settings))
            loss, count = loss + own, count + 1
        with torch.no_grad():
            for place, parameter in program.parameters.items():
                parameter.sub_(total[place], alpha=settings.learning_rate)
        told(iteration + 1, loss / count)
    return {place: value.detach() for place, value in program.parameters.items()}


def _sent(participant: Participant, update: Vectors, scene: Scene) -> Vectors:
    return participant.submit(update, scene) if participant.submit else update


def _sendable(update: Vectors, settings: Gradients | Averaging) -> Vectors:
    """Return what is sent of an update: its largest values, no longer than allowed.

    The former is P3's Sec. VIII (Shokri & Shmatikov, CCS 2015).
    """
    if isinstance(settings, Gradients) and settings.shared < 1:
        whole = torch.cat([value.abs().flatten() for value in update.values()])
        kept = max(1, round(settings.shared * len(whole)))
        least = whole.kthvalue(len(whole) - kept + 1).values
        update = {
            place: torch.where(value.abs() >= least, value, 0.0)
            for place, value in update.items()
        }
    if not settings.privacy:
        return update
    squares = torch.stack([value.square().sum() for value in update.values()])
    factor = (settings.privacy.clip / squares.sum().sqrt()).clamp(max=1.0)
    return {place: value * factor for place, value in update.items()}


def _noises(
    settings: Gradients | Averaging, shapes: Vectors, device: torch.device, seed: int,
    name: tuple[int | str, ...],
) -> tuple[Callable[[], Vectors], Callable[[], Vectors]] | None:  # fmt: skip
    """Return how noise is drawn, by the server and by who emulates it."""
    if not settings.privacy:
        return None
    deviation = settings.privacy.noise * settings.privacy.clip

    def drawn(generator: torch.Generator) -> Vectors:
        return {
            place: deviation
            * torch.randn(value.shape, generator=generator, device=device)
            for place, value in shapes.items()
        }

    server, emulated = (
        functools.partial(drawn, generator_of(stream(seed, *name, who), device))
        for who in ("noise", "emulated noise")
    )
    return server, emulated


def _add(total: Vectors, update: Vectors) -> None:
    for place, value in update.items():
        total[place] = total[place] + value if place in total else value


def _average(
    architecture: Architecture, settings: Averaging, data: TrainingData,
    participants: Sequence[Participant], seed: int, name: tuple[int | str, ...],
    model: Vectors, observer: Observer | None, told: Callable[[int, float], None],
    auditor: Auditor | None, invited: Mapping[int, Sequence[int]],
) -> Vectors:  # fmt: skip
    """Run federated averaging (P3 Alg. 2, P4 Eq. 1)."""
    if architecture.buffers and settings.privacy:
        raise UserError(
            "architecture: has running statistics, which noise would make negative; "
            "allowed with privacy: no batch norm"
        )
    strategy = choose_strategy(architecture, data.device)
    local = TrainingSettings(
        optimizer=Sgd(
            kind="sgd",
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
        ),
        l2=settings.l2,
        epochs=settings.local_epochs,
        batch_size=settings.batch_size,
        loss=settings.loss,
        clip_gradient=settings.clip_gradient,
    )
    model = {place: value.cpu() for place, value in model.items()}
    noises = _noises(settings, model, torch.device("cpu"), seed, name)
    if auditor:
        auditor.audit(Program(architecture, data, model), None)
    for number in range(settings.rounds):
        chosen = _selected(
            settings, len(participants), seed, name, number, invited.get(number, ())
        )
        losses: list[NDArray[np.float64]] = []
        locally = functools.partial(
            _changes, architecture, local, settings, data, model, seed, strategy, name,
            number,
        )  # fmt: skip
        rows = [participants[i].local(number) for i in chosen]
        changes = locally(
            rows,
            [(*name, "round", number, i) for i in chosen],
            on_epoch=functools.partial(_keep, losses),
        )
        scene = Scene(
            number, model, locally, functools.partial(_sum_of, locally),
            functools.partial(Program, architecture, data, model),
            noises and noises[1], tuple(chosen),
        )  # fmt: skip
        sent = [
            _sendable(_sent(participants[i], change, scene), settings)
            for i, change in zip(chosen, changes, strict=True)
        ]
        others, mine, shares = _moved(
            settings, sent, rows, _seat_of(observer, chosen),
            stream(seed, *name, "defence", number),
        )  # fmt: skip
        if noises:
            scale = settings.server_rate / len(chosen)
            _add(others, {place: scale * v for place, v in noises[0]().items()})
        if observer:
            observer.look(scene, others)
        _add(others, mine)
        model = {place: value + others[place] for place, value in model.items()}
        if auditor:
            program = Program(architecture, data, model)
            auditor.audit(program, Move(chosen, sent, shares))
        told(number + 1, float(np.mean(losses)))
    return model


def _seat_of(observer: Observer | None, chosen: Sequence[int]) -> int | None:
    """Return an observer's place among those selected, if it is."""
    seat = observer.seat if observer else None
    return chosen.index(seat) if seat in chosen else None


def _moved(
    settings: Averaging, sent: Sequence[Vectors], rows: Sequence[Rows],
    mine: int | None, rng: np.random.Generator,
) -> tuple[Vectors, Vectors, NDArray[np.float64]]:  # fmt: skip
    """Return the model's move by the others' changes, that by one's own, and shares."""
    if settings.defence:
        return _defended(settings, settings.defence, sent, rng)
    # the mean of those selected
    same = settings.privacy or settings.weights == "equal"
    sizes = np.array([1 if same else len(own) for own in rows])
    shares = sizes / sizes.sum()
    parts: tuple[Vectors, Vectors] = ({}, {})
    for row, change in enumerate(sent):
        share = settings.server_rate * float(shares[row])
        part = {place: value * share for place, value in change.items()}
        _add(parts[row == mine], part)
    return *parts, shares


def _defended(
    settings: Averaging, defence: Defence, sent: Sequence[Vectors],
    rng: np.random.Generator,
) -> tuple[Vectors, Vectors, NDArray[np.float64]]:  # fmt: skip
    whole = torch.stack(
        [torch.cat([value.flatten() for value in change.values()]) for change in sent]
    )
    move, shares = aggregate(defence, whole, rng)
    sizes = [value.numel() for value in sent[0].values()]
    places = zip(sent[0].items(), move.split(sizes), strict=True)
    moved = {
        place: settings.server_rate * part.view(value.shape)
        for (place, value), part in places
    }
    return moved, {}, shares


def _changes(
    architecture: Architecture, local: TrainingSettings, settings: Averaging,
    data: TrainingData, model: Vectors, seed: int, strategy: Strategy,
    name: tuple[int | str, ...], number: int, rows: Sequence[Rows],
    streams: Sequence[tuple[int | str, ...]] | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[Vectors]:  # fmt: skip
    """Return what would be sent of how the model changes by some records."""
    names = streams or [(*name, "emulated", number, i) for i in range(len(rows))]
    trained = train(
        architecture, local, data, rows, streams=names, seed=seed, strategy=strategy,
        starts=[model] * len(rows), on_epoch=on_epoch,
    )  # fmt: skip
    changes = [
        {place: trained[place][i] - model[place] for place in model}
        for i in range(len(rows))
    ]
    return [_sendable(change, settings) for change in changes]


def _sum_of(
    each: Callable[[Sequence[Rows]], list[Vectors]], rows: Sequence[Rows]
) -> Vectors:
    total: Vectors = {}
    for own in each(rows):
        _add(total, own)
    return total


def _keep(losses: list[NDArray[np.float64]], _: int, own: NDArray[np.float64]) -> None:
    losses.append(own)


def _selected(
    settings: Averaging, count: int, seed: int, name: tuple[int | str, ...],
    number: int, invited: Sequence[int],
) -> list[int]:  # fmt: skip
    """Return who takes part in a round, those invited for certain."""
    wanted = settings.selected or count
    if wanted > count:
        raise UserError(f"selected: {wanted}; allowed: 1..{count}, the participants")
    if wanted == count:
        return list(range(count))
    if len(invited) > wanted:
        raise UserError(
            f"selected: {wanted}; allowed: at least {len(invited)}, who attack at once"
        )
    drawn = stream(seed, *name, "selected", number).permutation(count).tolist()
    others = [number for number in drawn if number not in invited]
    return sorted([*invited, *others[: wanted - len(invited)]])
