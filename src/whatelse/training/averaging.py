"""Federated averaging: participants train on their own data (P3 Alg. 2, P4 Eq. 1)."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.models.stacked import Architecture
from whatelse.seeding import stream
from whatelse.training.aggregation import aggregate
from whatelse.training.ensemble import (
    OnEpoch,
    Strategy,
    TrainingData,
    choose_strategy,
    train,
)
from whatelse.training.federated_settings import (
    Averaging,
    Defence,
    Flame,
    Median,
    TrimmedMean,
)
from whatelse.training.participants import (
    Auditor,
    Move,
    Observer,
    OnRound,
    Participant,
    Scene,
)
from whatelse.training.program import Program, Rows, Vectors, add
from whatelse.training.settings import Sgd, TrainingSettings
from whatelse.training.submissions import (
    left_of,
    noise_of,
    sendable,
    submitted,
    sum_of,
)


def average(
    architecture: Architecture, settings: Averaging, data: TrainingData,
    participants: Sequence[Participant], seed: int, name: tuple[int | str, ...],
    model: Vectors, observer: Observer | None, on_round: OnRound | None,
    auditor: Auditor | None, invited: Mapping[int, Sequence[int]],
) -> Vectors:  # fmt: skip
    """Run federated averaging (P3 Alg. 2, P4 Eq. 1)."""
    if architecture.buffers and settings.privacy:
        raise UserError(
            "architecture: has running statistics, which noise would make negative; "
            "allowed with privacy: no batch norm"
        )
    noise = settings.defence.noise if isinstance(settings.defence, Flame) else 0.0
    if architecture.buffers and noise:
        raise UserError(
            f"collaboration.defence.noise: {noise}, which would make running "
            "statistics of the architecture negative; allowed with batch norm: 0"
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
        augment=settings.augment,
    )
    model = {place: value.cpu() for place, value in model.items()}
    noises = noise_of(settings, model, torch.device("cpu"), seed, name)
    if auditor:
        auditor.audit(Program(architecture, data, model), None)
    for number in range(settings.rounds):
        chosen = _selected(
            settings, len(participants), seed, name, number, invited.get(number, ())
        )
        losses: list[NDArray[np.float64]] = []
        locally = functools.partial(
            _changes, architecture, local, data, model, seed, strategy
        )
        each = functools.partial(
            _emulated, locally, settings, (*name, "emulated", number)
        )
        rows = [participants[i].local(number) for i in chosen]
        changes = locally(
            rows,
            [(*name, "round", number, i) for i in chosen],
            on_epoch=functools.partial(_keep, losses),
        )
        scene = Scene(
            number, model, each, functools.partial(sum_of, each),
            functools.partial(Program, architecture, data, model),
            noises and noises[1], tuple(chosen),
        )  # fmt: skip
        given = [
            submitted(participants[i], change, scene)
            for i, change in zip(chosen, changes, strict=True)
        ]
        sent = [sendable(change, settings) for change in given]
        others, mine, shares = _moved(
            settings, sent, rows, _seat_of(observer, chosen),
            architecture.shapes, stream(seed, *name, "defence", number),
        )  # fmt: skip
        if noises:
            scale = settings.server_rate / len(chosen)
            add(others, {place: scale * v for place, v in noises[0]().items()})
        if observer:
            observer.look(scene, others)
        add(others, mine)
        model = {place: value + others[place] for place, value in model.items()}
        if auditor:
            program = Program(architecture, data, model)
            if settings.privacy:
                clip = settings.privacy.clip
                shares = shares * [float(left_of(change, clip)) for change in given]
            auditor.audit(program, Move(chosen, given, shares))
        if on_round:
            on_round(number + 1, float(np.mean(losses)))
    return model


def _seat_of(observer: Observer | None, chosen: Sequence[int]) -> int | None:
    """Return an observer's place among those selected, if it is."""
    seat = observer.seat if observer else None
    return chosen.index(seat) if seat in chosen else None


def _moved(
    settings: Averaging, sent: Sequence[Vectors], rows: Sequence[Rows],
    mine: int | None, parameters: Collection[str], rng: np.random.Generator,
) -> tuple[Vectors, Vectors, NDArray[np.float64]]:  # fmt: skip
    """Return the model's move by the others' changes, that by one's own, and shares."""
    if settings.defence:
        return _defended(settings, settings.defence, sent, parameters, rng)
    # the mean of those selected
    same = settings.privacy or settings.weights == "equal"
    sizes = np.array([1 if same else len(own) for own in rows])
    shares = sizes / sizes.sum()
    parts: tuple[Vectors, Vectors] = ({}, {})
    for row, change in enumerate(sent):
        share = settings.server_rate * float(shares[row])
        part = {place: value * share for place, value in change.items()}
        add(parts[row == mine], part)
    return *parts, shares


def _defended(
    settings: Averaging, defence: Defence, sent: Sequence[Vectors],
    parameters: Collection[str], rng: np.random.Generator,
) -> tuple[Vectors, Vectors, NDArray[np.float64]]:  # fmt: skip
    """Judge changes by their parameters; running statistics are taken as these are."""
    weights = [place for place in sent[0] if place in parameters]
    statistics = [place for place in sent[0] if place not in parameters]
    move, shares = aggregate(defence, _side_by_side(sent, weights), rng)
    moved = _apart(move, sent[0], weights)
    if statistics:
        rows = _side_by_side(sent, statistics)
        if isinstance(defence, Median | TrimmedMean):  # place by place, these too
            move, _ = aggregate(defence, rows, rng)
        else:
            move = torch.from_numpy(shares).to(rows) @ rows
        moved |= _apart(move, sent[0], statistics)
    return {k: settings.server_rate * v for k, v in moved.items()}, {}, shares


def _side_by_side(sent: Sequence[Vectors], places: Sequence[str]) -> torch.Tensor:
    """Return a row for each change."""
    return torch.stack(
        [torch.cat([change[place].flatten() for place in places]) for change in sent]
    )


def _apart(move: torch.Tensor, like: Vectors, places: Sequence[str]) -> Vectors:
    """Return a row as a change again."""
    parts = move.split([like[place].numel() for place in places])
    return {
        place: part.view(like[place].shape)
        for place, part in zip(places, parts, strict=True)
    }


def _changes(
    architecture: Architecture, local: TrainingSettings, data: TrainingData,
    model: Vectors, seed: int, strategy: Strategy, rows: Sequence[Rows],
    streams: Sequence[tuple[int | str, ...]], on_epoch: OnEpoch | None = None,
) -> list[Vectors]:  # fmt: skip
    """Return how the model changes by each of several sets of records."""
    trained = train(
        architecture, local, data, rows, streams=streams, seed=seed, strategy=strategy,
        starts=[model] * len(rows), on_epoch=on_epoch,
    )  # fmt: skip
    return [
        {place: trained[place][i] - model[place] for place in model}
        for i in range(len(rows))
    ]


def _emulated(
    locally: Callable[..., list[Vectors]], settings: Averaging,
    name: tuple[int | str, ...], rows: Sequence[Rows],
) -> list[Vectors]:  # fmt: skip
    """Return what honest participants would send who had these records."""
    changes = locally(rows, [(*name, i) for i in range(len(rows))])
    return [sendable(change, settings) for change in changes]


def _keep(losses: list[NDArray[np.float64]], _: int, own: NDArray[np.float64]) -> None:
    losses.append(own)


def _selected(
    settings: Averaging, count: int, seed: int, name: tuple[int | str, ...],
    number: int, invited: Sequence[int],
) -> list[int]:  # fmt: skip
    """Return who takes part in a round, those invited for certain."""
    wanted = settings.selected or count
    if wanted > count:
        raise UserError(
            f"collaboration.selected: {wanted}; allowed: 1..{count}, the participants"
        )
    if wanted == count:
        return list(range(count))
    if len(invited) > wanted:
        raise UserError(
            f"collaboration.selected: {wanted}; allowed: at least {len(invited)}, who "
            "attack at once"
        )
    drawn = stream(seed, *name, "selected", number).permutation(count).tolist()
    others = [number for number in drawn if number not in invited]
    return sorted([*invited, *others[: wanted - len(invited)]])
