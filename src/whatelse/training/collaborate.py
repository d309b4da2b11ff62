"""``whatelse collaborate``: fit a joint model among participants, and store it.

The artefact is a block of one model, as ``whatelse train`` writes them, with what an
adversary among the participants kept (``observations.safetensors``).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.datasets.store import Dataset, given_split, open_dataset
from whatelse.errors import UserError
from whatelse.measures.privacy import epsilon
from whatelse.measures.rates import Rate, majority, rate
from whatelse.models.stacked import Architecture, build
from whatelse.seeding import stream
from whatelse.sources import closure
from whatelse.training.adversary import Cast, Planted, Stage, cast_of, module_of
from whatelse.training.blocks import describe, load_block, save_block, save_tensors
from whatelse.training.deal import dealt
from whatelse.training.device import DEVICES, prepare_device, resident
from whatelse.training.ensemble import TrainingData
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import (
    CollaborationSpec,
    rounds_of,
)
from whatelse.training.observations import ABOUT, OBSERVATIONS
from whatelse.training.plan import Plan
from whatelse.training.program import Program, Vectors, finite
from whatelse.training.progress import Progress, identity_of

_CURVE_POINTS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(CollaborationSpec), required=True,
        help="resolved CollaborationSpec",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument("--base", type=Path, help="joint model to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--progress", type=Path, required=True,
        help="folder for the curve of a model in work",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help=DEVICES)
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Fit the joint model and write it with what was observed."""
    telemetry = records.Telemetry()
    spec: CollaborationSpec = args.spec
    device = prepare_device(args.device, args.threads)
    dataset = open_dataset(args.data)
    architecture = build(
        spec.architecture, tuple(dataset.inputs.shape[1:]), dataset.num_classes,
        words=dataset.num_words,
    )  # fmt: skip
    privacy = guarantee_of(spec)
    inside = _inside(spec, dataset)
    cast = cast_for(spec, dataset, inside)
    data = with_planted(resident(dataset, device), cast.planted)
    start = load_start(args.base, architecture) if args.base else None
    stages = _stages(args.base)
    inputs = {"data": args.data} | ({"base": args.base} if args.base else {})
    code = code_of(spec)
    identity = {**identity_of(inputs, code), "spec": spec.model_dump(mode="json")}
    progress = Progress(args.progress, identity)
    rounds = rounds_of(spec.protocol)
    every = max(1, rounds // _CURVE_POINTS)

    def keep(number: int, loss: float) -> None:
        if number % every == 0 or number in (1, rounds):
            progress.log([{"model": 0, "epoch": number, "loss": round(loss, 6)}])

    model = collaborate(
        architecture, spec.protocol, data, cast.participants, seed=spec.seed,
        name=_name(spec, stages), start=start,
        observer=cast.observer, auditor=cast.auditor, invited=cast.invited,
        on_round=keep,
    )  # fmt: skip
    if not finite(model):
        raise UserError(
            f"protocol.learning_rate: replicate {spec.replicate} diverged (weights are "
            "not finite); allowed: a lower rate"
        )
    program = Program(architecture, data, model)
    fitted, tested = inside.copy(), ~inside
    fitted[cast.ignored] = tested[cast.ignored] = False
    labels = np.asarray(dataset.labels)
    commonest = majority(labels[fitted], labels[tested])
    about = {
        "participants": [len(participant.rows) for participant in cast.participants],
        "test_accuracy": _accuracy(program, np.flatnonzero(tested)),
        "train_accuracy": _accuracy(program, np.flatnonzero(fitted)),
        "task_majority": rate(int(commonest.sum()), len(commonest)),
        "adversary": cast.about,
        "privacy": privacy,
        "stages": stages,
    }
    written = save_block(
        args.out,
        description=describe(spec.architecture, dataset, architecture),
        plan=Plan(np.zeros(1, np.int64), inside[None], ~inside[None]),
        parameters={k: v.unsqueeze(0) for k, v in model.items()},
    )
    save_tensors(args.out / OBSERVATIONS, cast.watching.kept() if cast.watching else {})
    records.write_json(args.out / ABOUT, about)
    progress.hand_over(args.out)
    telemetry.write(args.out, device=str(device), rounds=rounds)
    records.write_record(
        args.out,
        kind="collaborate",
        spec=spec.model_dump(mode="json"),
        inputs=inputs,
        code=code,
        outputs=[*written, OBSERVATIONS, ABOUT],
    )


def cast_for(
    spec: CollaborationSpec, dataset: Dataset, inside: NDArray[np.bool_]
) -> Cast:
    """Return who takes part.

    Raises
    ------
    UserError
        If there are fewer records than participants.
    """
    rows = np.flatnonzero(inside)
    if len(rows) < spec.participants:
        raise UserError(
            f"participants: {spec.participants} of {len(rows)} records; allowed: "
            f"2..{len(rows)}"
        )
    name = _name(spec)
    if spec.adversary:
        stage = Stage(
            dataset, rows, np.flatnonzero(~inside), spec.participants, spec.protocol,
            spec.deal, spec.seed, name, spec.replicate,
        )  # fmt: skip
        return cast_of(spec.adversary, stage)
    people = dealt(spec.deal, dataset, rows, spec.participants, spec.seed, name)
    return Cast(people, None, {})


def with_planted(data: TrainingData, planted: Planted | None) -> TrainingData:
    """Return records with those that an adversary made after them."""
    if planted is None:
        return data
    if not isinstance(data.inputs, torch.Tensor):
        raise UserError(
            "adversary: its records are dense, those of the data set sparse; allowed: "
            "images, numbers or sequences of words"
        )
    more = torch.from_numpy(planted.inputs).to(data.inputs)
    labels = torch.from_numpy(planted.labels).to(data.labels)
    return replace(
        data,
        inputs=torch.cat([data.inputs, more]),
        labels=torch.cat([data.labels, labels]),
    )


def load_start(folder: Path, architecture: Architecture) -> Vectors:
    """Return the joint model to start from.

    Raises
    ------
    UserError
        If it cannot be read, or is of another architecture.
    """
    block = load_block(folder)
    if block.architecture.shapes != architecture.shapes:
        raise UserError(
            f"{folder}: of another architecture; allowed: that of the joint model"
        )
    return block.model(0)


def _stages(base: Path | None) -> int:
    """Return how many joint models one starts from, one from the other."""
    if base is None:
        return 0
    before: int = records.read_json(base / ABOUT).get("stages", 0)
    return before + 1


def guarantee_of(spec: CollaborationSpec) -> dict[str, float] | None:
    """Return epsilon and delta of participants, or None without privacy.

    Those selected count as a sample in which each is by itself with the same chance;
    what is drawn is a sample of fixed size.
    """
    protocol = spec.protocol
    if not protocol.privacy:
        return None
    selected = getattr(protocol, "selected", None) or spec.participants
    spent = epsilon(
        protocol.privacy.noise, selected / spec.participants, rounds_of(protocol),
        protocol.privacy.delta,
    )  # fmt: skip
    return {"epsilon": spent, "delta": protocol.privacy.delta}


def _name(spec: CollaborationSpec, stages: int = 0) -> tuple[int | str, ...]:
    # who goes on draws batches anew, each time; records are dealt as they were
    return ("collaboration", spec.replicate, *["continued"] * stages)


def _inside(spec: CollaborationSpec, dataset: Dataset) -> NDArray[np.bool_]:
    """Return which records participants hold; the others are held out."""
    if spec.split == "given":
        return given_split(dataset)
    count = max(1, round(spec.held_out * dataset.num_records))
    rng = stream(spec.seed, *_name(spec), "held-out")
    inside = np.ones(dataset.num_records, dtype=bool)
    inside[rng.permutation(dataset.num_records)[:count]] = False
    return inside


def _accuracy(program: Program, rows: NDArray[np.int64]) -> Rate | None:
    if not len(rows):
        return None
    told = program.answers(rows).argmax(1)
    return rate(int((told == program.data.labels[rows].cpu()).sum()), len(rows))


def code_of(spec: CollaborationSpec) -> tuple[Path, ...]:
    """Return the sources that make it, those of its adversary included."""
    kinds = [module_of(spec.adversary)] if spec.adversary else []
    return closure("whatelse.training.collaborate", *kinds)
