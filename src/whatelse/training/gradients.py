"""Synchronised SGD: participants send gradients (P3 Alg. 1)."""

from collections.abc import Sequence

import torch

from whatelse.errors import UserError
from whatelse.models.stacked import Architecture
from whatelse.seeding import stream
from whatelse.training.device import generator_of
from whatelse.training.ensemble import TrainingData
from whatelse.training.federated_settings import Gradients
from whatelse.training.participants import Observer, OnRound, Participant, Scene
from whatelse.training.program import Dropout, Program, Rows, Vectors, add
from whatelse.training.submissions import noise_of, sendable, submitted, sum_of


def share_gradients(
    architecture: Architecture, settings: Gradients, data: TrainingData,
    participants: Sequence[Participant], seed: int, name: tuple[int | str, ...],
    model: Vectors, observer: Observer | None, on_round: OnRound | None,
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
    noises = noise_of(settings, program.parameters, data.device, seed, name)
    # Summed in one pass, unless somebody does other things with their own gradient.
    plain = [
        number
        for number, participant in enumerate(participants)
        if number != seat and whole and not participant.submit
    ]
    others = [n for n in range(len(participants)) if n != seat and n not in plain]

    def each(batches: Sequence[Rows]) -> list[Vectors]:
        return [sendable(own, settings) for own in program.of_each(batches)]

    def total_of(batches: Sequence[Rows]) -> Vectors:
        if whole:
            return program.of_sum(batches)[0]
        return sum_of(each, batches)

    def of_one(number: int, batch: Rows, scene: Scene) -> tuple[Vectors, float]:
        """Return what a participant sends, and its loss."""
        gradient, loss = program.of_sum([batch])
        sent = submitted(participants[number], gradient, scene)
        return sendable(sent, settings), loss

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
        losses = []
        if plain:
            total, loss = program.of_sum([batches[number] for number in plain])
            losses += [loss] * len(plain)
        for number in others:
            sent, loss = of_one(number, batches[number], scene)
            add(total, sent)
            losses.append(loss)
        if noises:
            add(total, noises[0]())
        if observer and seat is not None:
            if dropout:
                dropout.generator = emulated
            observer.look(scene, total)
            if dropout:
                dropout.generator = learned
            sent, loss = of_one(seat, batches[seat], scene)
            total = dict(total)
            add(total, sent)
            losses.append(loss)
        with torch.no_grad():
            for place, parameter in program.parameters.items():
                parameter.sub_(total[place], alpha=settings.learning_rate)
        if on_round:
            on_round(iteration + 1, sum(losses) / len(losses))
    return {place: value.detach() for place, value in program.parameters.items()}
