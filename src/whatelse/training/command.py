"""``whatelse train``: train some models of a family and store them as a block."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from whatelse import records
from whatelse.arguments import json_argument, range_argument
from whatelse.datasets.attributes import numbers_of
from whatelse.datasets.store import Dataset, canaries, given_split, open_dataset
from whatelse.errors import UserError
from whatelse.models.stacked import Architecture, build
from whatelse.sources import closure
from whatelse.training.blocks import (
    Block,
    describe,
    load_block,
    save_block,
)
from whatelse.training.device import (
    DEVICES,
    in_stacks_that_fit,
    prepare_device,
    resident,
)
from whatelse.training.ensemble import OnEpoch, Strategy, choose_strategy, train
from whatelse.training.plan import Plan, draw_plan, expected_members, hold_back
from whatelse.training.private import mechanism_of, train_privately
from whatelse.training.progress import Progress, identity_of
from whatelse.training.settings import TrainSpec
from whatelse.training.tampering import Host, Tampering, module_of, tampering

_CURVE_POINTS = 50


class Ahead(BaseModel):
    """A block that is made after this one by the same job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicate: int = Field(..., ge=0)
    models: str
    progress: Path

    @property
    def range(self) -> range:
        """The models of the block."""
        return range_argument(self.models)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec",
        type=json_argument(TrainSpec),
        required=True,
        help="resolved TrainSpec",
    )
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument(
        "--base", type=Path, help="block of the models that these start from"
    )
    parser.add_argument(
        "--models", type=range_argument, required=True, help="e.g. 0:8 for 0 to 7"
    )
    parser.add_argument("--out", type=Path, required=True, help="block to write")
    parser.add_argument(
        "--progress", type=Path, required=True,
        help="folder for finished models and curves of a block in work",
    )  # fmt: skip
    parser.add_argument(
        "--ahead", type=json_argument(tuple[Ahead, ...], "--ahead"), default=(),
        metavar="JSON",
        help="blocks of the same settings that the same scheduler's job makes next: "
        "their models are trained along, as one ensemble, and left in their progress",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help=DEVICES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--strategy", choices=("auto", "stacked", "loop"), default="auto"
    )


def run(args: argparse.Namespace) -> None:
    """Train what is missing of the block, then write it."""
    telemetry = records.Telemetry()
    spec: TrainSpec = args.spec
    device = prepare_device(args.device, args.threads)
    dataset = open_dataset(args.data)
    architecture = build(
        spec.architecture, tuple(dataset.inputs.shape[1:]), dataset.num_classes,
        words=dataset.num_words,
    )  # fmt: skip
    strategy = args.strategy
    if strategy == "auto":
        strategy = choose_strategy(architecture, device)
    code = code_of(spec)
    inputs = {"data": args.data, **({"base": args.base} if args.base else {})}
    identity = identity_of(inputs, code)
    given = spec.split in ("given", "coins")
    parts_of_split = given_split(dataset) if given else None
    tossed = canaries(dataset) if spec.split == "coins" else None
    units = None if spec.unit is None else numbers_of(dataset, spec.unit, "unit")[1]

    def part(replicate: int, models: range, progress: Path) -> _Part:
        own = spec.model_copy(update={"replicate": replicate})
        stamp = {**identity, "spec": own.model_dump(mode="json")}
        plan = draw_plan(
            dataset.labels if units is None else np.zeros(units.max() + 1, np.int64),
            models, members=own.members, non_members=own.non_members, seed=own.seed,
            replicate=replicate, parts=parts_of_split, halves=own.split == "halves",
            canaries=tossed,
        )  # fmt: skip
        plan = plan if units is None else plan.of_records(units)
        held = np.zeros_like(plan.train)
        if own.training and own.training.early_stopping:
            share = own.training.early_stopping.share
            plan, held = hold_back(
                plan, dataset.labels, share, seed=own.seed, replicate=replicate
            )
        return _Part(own, plan, held, Progress(progress, stamp))

    mine = part(spec.replicate, args.models, args.progress)
    size = expected_members(mine.plan, tossed)
    parts = [mine]
    if strategy == "stacked":
        parts += [part(a.replicate, a.range, a.progress) for a in args.ahead]
    missing = [(part, model) for part in parts for model in part.missing()]
    stacks: list[int] = []
    if mine.missing():
        base = _base(args, architecture) if args.base or spec.base else None
        fit = _Fit(architecture, dataset, device, strategy, base, mine, size)
        if strategy == "stacked":
            stacks = in_stacks_that_fit(missing, fit)
        else:
            for each in missing:
                stacks += in_stacks_that_fit([each], fit)
    parameters = mine.progress.stacked(args.models)
    written = save_block(
        args.out,
        description=describe(
            spec.architecture, dataset, architecture, _guarantee_of(spec, size)
        ),
        plan=mine.plan,
        parameters=parameters,
    )
    mine.progress.hand_over(args.out)
    trained = sum(part is mine for part, _ in missing)
    telemetry.write(
        args.out, device=str(device), strategy=strategy, stacks=stacks, trained=trained,
        ahead=len(missing) - trained, resumed=len(args.models) - trained,
    )  # fmt: skip
    records.write_record(
        args.out,
        kind="train",
        spec={
            **spec.model_dump(mode="json"),
            "models": [args.models.start, args.models.stop],
        },
        inputs=inputs,
        code=code,
        outputs=written,
    )
    # Progress stays until the workflow is done: a job that is killed now has not been
    # taken for finished yet, and Snakemake deletes its block.


def _base(args: argparse.Namespace, architecture: Architecture) -> Block:
    """Return the models to start from.

    Raises
    ------
    UserError
        If there are none, or they are not those that are asked for.
    """
    if not args.base:
        raise UserError(
            "--base: left out, but the spec names a base; allowed: the block of models "
            "that these start from"
        )
    base = load_block(args.base)
    if base.architecture.shapes != architecture.shapes:
        raise UserError(
            f"{args.base}: models of another architecture; allowed: that of the spec"
        )
    there = set(base.plan.models.tolist())
    if missing := [model for model in args.models if model not in there]:
        raise UserError(
            f"{args.base}: model {missing[0]} is not in this block; allowed: a block "
            f"that holds {args.models.start} to {args.models.stop - 1}"
        )
    return base


def _guarantee_of(spec: TrainSpec, size: float) -> dict[str, Any] | None:
    """Return what is promised of the models' records, None without privacy."""
    if spec.training is None or spec.training.privacy is None:
        return None
    return mechanism_of(spec.training, size).guarantee()


def code_of(spec: TrainSpec) -> tuple[Path, ...]:
    """Return the sources that train a family, those of its tampering included."""
    tampers = [module_of(spec.tampering)] if spec.tampering else []
    return closure("whatelse.training.command", *tampers)


class _Fit:
    """Trains some models as one stack and keeps those that are finished."""

    def __init__(
        self, architecture: Architecture, dataset: Dataset, device: torch.device,
        strategy: Strategy, base: Block | None, mine: "_Part", size: float,
    ) -> None:  # fmt: skip
        self.architecture, self.dataset, self.device = architecture, dataset, device
        self.strategy, self.base, self.mine = strategy, base, mine
        self.size = size
        self.data = resident(dataset, device)

    def __call__(self, group: list[tuple["_Part", int]]) -> None:
        spec = self.mine.spec
        members = [part.members(model) for part, model in group]
        tampered = None
        if spec.tampering:
            hosts = [
                Host(own, (part.spec.replicate, model))
                for own, (part, model) in zip(members, group, strict=True)
            ]
            tampered = tampering(
                spec.tampering, self.dataset, self.architecture.shapes, hosts,
                seed=spec.seed, device=self.device,
            )  # fmt: skip
        tensors = self._trained(group, members, tampered)
        diverged = []
        for position, (part, model) in enumerate(group):
            own = {name: tensor[position] for name, tensor in tensors.items()}
            if all(torch.isfinite(tensor).all() for tensor in own.values()):
                part.progress.keep(
                    model, tampered.finish(position, own) if tampered else own
                )
            elif part is self.mine:  # another block's is for its own job to refuse
                diverged.append(model)
        if diverged:
            raise UserError(
                f"training.optimizer.learning_rate: model {diverged[0]} of "
                f"replicate {spec.replicate} diverged (weights are not finite); "
                "allowed: a lower rate"
            )

    def _trained(
        self, group: list[tuple["_Part", int]], members: list[NDArray[np.int64]],
        tampered: Tampering | None,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        spec = self.mine.spec
        starts = None
        if self.base:
            place = {int(m): row for row, m in enumerate(self.base.plan.models)}
            whole = {**self.base.parameters, **self.base.buffers}
            rows = [place[model] for _, model in group]
            starts = [{name: whole[name][row] for name in whole} for row in rows]
            if spec.training is None:
                return {name: whole[name][rows] for name in whole}
        if spec.training is None:
            raise UserError("training: left out; allowed only with a base to take")
        own = (spec.lineage, spec.base)
        streams: list[tuple[int | str, ...]] = [
            ("model", p.spec.replicate, model, *filter(None, own)) for p, model in group
        ]
        on_epoch = _curves(group, spec.training.epochs)
        if spec.training.privacy:
            if starts or tampered:
                raise UserError(
                    "training.privacy: with a base or a tampering, which know the "
                    "records already; allowed: neither"
                )
            return train_privately(
                self.architecture, spec.training, self.data, members, size=self.size,
                streams=streams, seed=spec.seed, strategy=self.strategy,
                on_epoch=on_epoch,
            )  # fmt: skip
        return train(
            self.architecture,
            spec.training,
            self.data,
            members,
            held_back=[part.held_back(model) for part, model in group]
            if spec.training.early_stopping
            else None,
            streams=streams,
            seed=spec.seed,
            strategy=self.strategy,
            starts=starts,
            penalty=tampered.penalty if tampered else None,
            on_epoch=on_epoch,
        )


def _curves(group: list[tuple["_Part", int]], epochs: int) -> OnEpoch:
    """Return a hook that appends the losses of some models to their histories."""
    every = max(1, epochs // _CURVE_POINTS)

    def hook(epoch: int, losses: np.ndarray[Any, Any]) -> None:
        if epoch % every and epoch not in (1, epochs):
            return
        points: dict[Progress, list[dict[str, Any]]] = {}
        for (part, model), loss in zip(group, losses, strict=True):
            point = {"model": model, "epoch": epoch, "loss": round(float(loss), 6)}
            points.setdefault(part.progress, []).append(point)
        for progress, own in points.items():
            progress.log(own)

    return hook


@dataclass(frozen=True)
class _Part:
    """A block to be trained: its spec, its models' records, what is finished."""

    spec: TrainSpec
    plan: Plan
    held: NDArray[np.bool_]
    progress: Progress

    def missing(self) -> list[int]:
        """Return the models that are not finished."""
        models = self.plan.models.tolist()
        return [model for model in models if model not in self.progress.finished]

    def members(self, model: int) -> NDArray[np.int64]:
        """Return the records that a model is trained on."""
        return np.flatnonzero(self.plan.train[self._row(model)])

    def held_back(self, model: int) -> NDArray[np.int64]:
        """Return the records that say when to stop."""
        return np.flatnonzero(self.held[self._row(model)])

    def _row(self, model: int) -> int:
        return model - int(self.plan.models[0])
